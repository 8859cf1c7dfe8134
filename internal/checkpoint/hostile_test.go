package checkpoint

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// safetensorsFile assembles a file from a header and data.
func safetensorsFile(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

// allocated returns the bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// mustRefuse opens a damaged file, wants an error that names it and says what, and little memory taken.
func mustRefuse(t *testing.T, path, want string) {
	t.Helper()
	var err error
	n := allocated(func() {
		var s *Source
		if s, err = Open(path); err == nil {
			s.Close()
		}
	})
	if err == nil {
		t.Errorf("%s opens, want an error with %q", path, want)
		return
	}
	said := strings.ReplaceAll(err.Error(), path, "PATH") // the folder is named after the test
	if !strings.Contains(said, want) || !strings.Contains(said, "PATH") {
		t.Errorf("error %q, want the file's name and %q", said, want)
	}
	if n > 4<<20 {
		t.Errorf("%s: %d bytes allocated on the way to %q", path, n, err)
	}
}

func TestHostileSafetensors(t *testing.T) {
	huge := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":          {nil, "too short"},
		"seven":          {make([]byte, 7), "too short"},
		"header-huge":    {append(huge, '{', '}'), "header of 18446744073709551615 bytes"},
		"header-cut":     {safetensorsFile(`{"a":`, 0)[:10], "truncated"},
		"json-cut":       {safetensorsFile(`{"a":`, 0), "header"},
		"json-after":     {safetensorsFile(`{} {}`, 0), "text after"},
		"not-object":     {safetensorsFile(`[]`, 0), "not a JSON object"},
		"twice":          {safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), `"a" occurs twice`},
		"beyond":         {safetensorsFile(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, 15), "truncated"},
		"absurd":         {safetensorsFile(`{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}`, 4), "truncated"},
		"overflow":       {safetensorsFile(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "overflows"},
		"overflow-bytes": {safetensorsFile(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0), "does not take"},
		"overlap":        {safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6), `inside tensor "a"`},
		"hole":           {safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}}`, 10), `hole of 2 bytes before tensor "b"`},
		"tail":           {safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 5), "after the last tensor"},
		"backwards":      {safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}`, 4), "not a range"},
		"negative":       {safetensorsFile(`{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}`, 4), "out of range"},
		"negative-off":   {safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}}`, 4), "not a range"},
		"fraction":       {safetensorsFile(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1), `tensor "a"`},
		"shape-size":     {safetensorsFile(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}`, 16), "does not take"},
		"dtype":          {safetensorsFile(`{"a":{"dtype":"Q9","shape":[4],"data_offsets":[0,16]}}`, 16), `unknown dtype "Q9"`},
		"no-offsets":     {safetensorsFile(`{"a":{"dtype":"F32","shape":[4]}}`, 16), "data_offsets"},
		"no-shape":       {safetensorsFile(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "shape"},
		"rank":           {safetensorsFile(`{"a":{"dtype":"U8","shape":[`+strings.Repeat("1,", 500_000)+`1],"data_offsets":[0,1]}}`, 1), "list of numbers"},
		"metadata":       {safetensorsFile(`{"__metadata__":[1]}`, 0), "__metadata__"},
		"deep":           {safetensorsFile(`{"a":`+strings.Repeat("[", 100_000), 0), `tensor "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.safetensors")
			if err := os.WriteFile(path, c.file, 0o644); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, path, c.want)
		})
	}
}

// Every proper prefix of a sound file is refused.
func TestTruncatedSafetensors(t *testing.T) {
	whole := safetensorsFile(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}`, 12)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); err == nil {
			s.Close()
			t.Errorf("the first %d of %d bytes open", n, len(whole))
		}
	}
}

// A file cut while it is open is an error, not a crash.
func TestFileShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(path, safetensorsFile(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}`, 12), 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if err := os.Truncate(path, 70); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Float32("a"); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("error %v", err)
	}
	if _, err := s.Hash(); err == nil {
		t.Error("a cut file is hashed")
	}
}

func TestNotFinite(t *testing.T) {
	header := `{"f":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"h":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},` +
		`"i":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},"s":{"dtype":"F16","shape":[2],"data_offsets":[20,24]}}`
	file := safetensorsFile(header, 24)
	data := file[8+len(header):]
	path := filepath.Join(t.TempDir(), "model.safetensors")
	write := func() *Source {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		return open(t, path)
	}
	s := write()
	if err := s.CheckWeights(); err != nil {
		t.Errorf("sound weights: %v", err)
	}
	if sum, err := Inspect(path); err != nil || sum.Parameters != 6 || len(sum.Types) != 4 {
		t.Errorf("%+v, %v: want 6 parameters (integers are none) of 4 types", sum, err)
	}
	binary.LittleEndian.PutUint32(data[4:], 0x7fc00001) // NaN
	binary.LittleEndian.PutUint16(data[10:], 0xff80)    // -Inf
	binary.LittleEndian.PutUint16(data[20:], 0x7c00)    // +Inf
	s = write()
	for name, want := range map[string]string{"f": `tensor "f": element 1 is NaN`, "h": `tensor "h": element 1 is -Inf`, "s": `tensor "s": element 0 is +Inf`} {
		if _, err := s.Float32(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Float32: error %v, want %q", err, want)
		}
		if _, err := s.BF16(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("BF16: error %v, want %q", err, want)
		}
		if err := s.CheckWeights(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckWeights: error %v, want %q", err, want)
		}
	}
	if v, err := s.Float32("i"); err != nil || v[0] != 0 {
		t.Errorf("integers: %v, %v", v, err)
	}
	if _, err := s.Float32("nowhere"); err == nil || !strings.Contains(err.Error(), `no tensor "nowhere"`) {
		t.Errorf("error %v", err)
	}
}

func TestHostileIndex(t *testing.T) {
	one := func(name string) string { return `{"` + name + `":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}` }
	for name, c := range map[string]struct {
		index, want string
		a, b        string // headers of the files a.safetensors, b.safetensors
	}{
		"missing-tensor": {`{"weight_map":{"x":"a.safetensors","y":"a.safetensors"}}`, `the first is "y" in a.safetensors`, one("x"), one("y")},
		"missing-file":   {`{"weight_map":{"x":"a.safetensors","y":"c.safetensors"}}`, "c.safetensors", one("x"), one("y")},
		"extra":          {`{"weight_map":{"x":"a.safetensors","z":"b.safetensors"}}`, `tensor "y" of b.safetensors is not in the index`, one("x"), one("y")},
		"both":           {`{"weight_map":{"x":"a.safetensors","y":"b.safetensors"}}`, `tensor "x" is in both`, one("x"), one("x")},
		"elsewhere":      {`{"weight_map":{"x":"b.safetensors","y":"a.safetensors"}}`, "is said to be in", one("x"), one("y")},
		"twice":          {`{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}`, `"x" occurs twice`, one("x"), one("y")},
		"outside":        {`{"weight_map":{"x":"../a.safetensors"}}`, "not the name of a file", one("x"), one("y")},
		"absolute":       {`{"weight_map":{"x":"/etc/passwd"}}`, "not the name of a file", one("x"), one("y")},
		"empty":          {`{"weight_map":{}}`, "empty", one("x"), one("y")},
		"none":           {`{"metadata":{}}`, "no weight_map", one("x"), one("y")},
		"number":         {`{"weight_map":{"x":1}}`, `"x"`, one("x"), one("y")},
		"cut":            {`{"weight_map":{"x":`, "ends early", one("x"), one("y")},
		"bad-shard":      {`{"weight_map":{"x":"a.safetensors"}}`, "header", "{", one("y")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range map[string][]byte{
				indexFile: []byte(c.index), "a.safetensors": safetensorsFile(c.a, 1), "b.safetensors": safetensorsFile(c.b, 1),
			} {
				if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			mustRefuse(t, dir, c.want)
		})
	}
}

func TestOpenExplains(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("pickle/pytorch_model.bin", "")
	write("adapter/adapter_config.json", "{}")
	write("other/named.safetensors", "")
	write("empty/README.md", "")
	write("text.txt", "")
	write("folder/model.safetensors/x", "")
	for path, want := range map[string]string{
		"pickle": "pickled", "pickle/pytorch_model.bin": "pickled", "adapter": "an adapter, not a model", "other": "named.safetensors",
		"empty": "no model.safetensors", "text.txt": "neither", "nowhere": "no such file", "folder": "not a regular file",
	} {
		if _, err := Open(filepath.Join(dir, path)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}
