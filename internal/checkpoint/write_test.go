package checkpoint

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// allEntries lists the tensors of a source in the order given, or sorted.
func allEntries(t *testing.T, s *Source, d DType) []Entry {
	t.Helper()
	var out []Entry
	for _, name := range s.Names() {
		e, err := s.Entry(name, d)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// Files written by the safetensors library itself come out again byte for byte.
func TestWriteEqualsReferenceBytes(t *testing.T) {
	for _, set := range []string{"models/llama", "models/llama-bf16", "models/qwen3"} {
		path := filepath.Join(golden.Dir(t, set), "model.safetensors")
		s := open(t, path)
		dtype, _, _ := s.Info("model.norm.weight")
		out := filepath.Join(t.TempDir(), "out.safetensors")
		if err := WriteSafetensors(out, allEntries(t, s, DType(dtype)), s.Metadata); err != nil {
			t.Fatal(err)
		}
		if mustRead(t, out) != mustRead(t, path) {
			t.Errorf("%s: written again, the file differs", set)
		}
	}
}

// A tiny file whose bytes are written out by hand from the format's description.
func TestWriteBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	values := func(v ...float32) func() ([]float32, error) { return func() ([]float32, error) { return v, nil } }
	err := WriteSafetensors(path, []Entry{
		{"b<", F32, []int{1, 2}, values(1, -2), nil}, {"a", BF16, nil, values(1.00390625), nil}, {"c", F16, []int{0, 3}, values(), nil},
	}, map[string]string{"z": "1", "format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"format":"pt","z":"1"},"b<":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},` +
		`"a":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"c":{"dtype":"F16","shape":[0,3],"data_offsets":[10,10]}}`
	for len(header)%8 != 0 {
		header += " "
	}
	// 1.00390625 = 1 + 2^-8 lies half-way between 1 and 1 + 2^-7: the even one is 1.
	want := string([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}) + header + "\x00\x00\x80\x3f\x00\x00\x00\xc0\x80\x3f"
	if got := mustRead(t, path); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestWriteRefuses(t *testing.T) {
	ones := func() ([]float32, error) { return []float32{1}, nil }
	for name, c := range map[string]struct {
		entries []Entry
		want    string
	}{
		"twice":    {[]Entry{{"a", F32, []int{1}, ones, nil}, {"a", F32, []int{1}, ones, nil}}, "used twice"},
		"length":   {[]Entry{{"a", F32, []int{2}, ones, nil}}, `tensor "a": 1 values for shape [2]`},
		"dtype":    {[]Entry{{"a", I64, []int{1}, ones, nil}}, "I64"},
		"negative": {[]Entry{{"a", F32, []int{-1}, ones, nil}}, "out of range"},
		"overflow": {[]Entry{{"a", F16, []int{1}, func() ([]float32, error) { return []float32{70000}, nil }, nil}}, "beyond the range of F16"},
		"bf16":     {[]Entry{{"a", BF16, []int{1}, func() ([]float32, error) { return []float32{math.MaxFloat32}, nil }, nil}}, "beyond the range of BF16"},
		"failing":  {[]Entry{{"a", F32, []int{1}, func() ([]float32, error) { return nil, errors.New("disk on fire") }, nil}}, `tensor "a": disk on fire`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := WriteSafetensors(filepath.Join(dir, "x.safetensors"), c.entries, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%s is left behind", left[0].Name())
			}
		})
	}
}

func TestFolderRoundTrip(t *testing.T) {
	dir := golden.Dir(t, "models/llama")
	s := open(t, dir)
	out := filepath.Join(t.TempDir(), "model")
	f := Folder{ConfigJSON: s.ConfigJSON, Entries: allEntries(t, s, F32), ShardBytes: 50_000, Files: map[string][]byte{"tokenizer.json": []byte("{}")}}
	if err := f.Write(out); err != nil {
		t.Fatal(err)
	}
	back := open(t, out)
	equalToGolden(t, back, filepath.Join(dir, "model.safetensors"))
	shards, _ := filepath.Glob(filepath.Join(out, "model-*.safetensors"))
	if len(shards) < 3 {
		t.Errorf("%d shards of at most 50,000 bytes for 140,416", len(shards))
	}
	for _, shard := range shards {
		if s, err := Inspect(shard); err != nil || s.Bytes > 50_000 {
			t.Errorf("%s: %+v, %v", shard, s, err)
		}
	}
	var ours, theirs struct {
		Metadata map[string]int64
		Map      map[string]string `json:"weight_map"`
	}
	golden.JSON(t, filepath.Join(out, indexFile), &ours)
	golden.JSON(t, filepath.Join(golden.Dir(t, "models/llama-sharded"), indexFile), &theirs)
	if ours.Metadata["total_size"] != theirs.Metadata["total_size"] || ours.Metadata["total_parameters"] != theirs.Metadata["total_parameters"] {
		t.Errorf("index metadata %v, want %v", ours.Metadata, theirs.Metadata)
	}
	// Written again in one piece: the shards, and what a killed writer left, must be gone.
	f.ShardBytes = 0
	for _, name := range []string{".model-00001-of-00009.safetensors.tmp", ".model.safetensors.tmp", ".config.json.tmp"} {
		if err := os.WriteFile(filepath.Join(out, name), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Write(out); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(out, ".*.tmp")); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
	left, _ := filepath.Glob(filepath.Join(out, "model*"))
	if len(left) != 1 || mustRead(t, left[0]) != mustRead(t, filepath.Join(dir, "model.safetensors")) {
		t.Errorf("after writing in one piece: %v", left)
	}
	sides, err := open(t, out).SideFiles()
	if err != nil || len(sides) != 1 || string(sides["tokenizer.json"]) != "{}" {
		t.Errorf("side files %q, %v", sides, err)
	}
}

// A failure half-way leaves a folder that is not taken for a model.
func TestFolderCutOff(t *testing.T) {
	s := open(t, golden.Dir(t, "models/llama"))
	out := filepath.Join(t.TempDir(), "model")
	f := Folder{ConfigJSON: s.ConfigJSON, Entries: allEntries(t, s, F32), ShardBytes: 50_000}
	if err := f.Write(out); err != nil {
		t.Fatal(err)
	}
	f.Entries[len(f.Entries)-1].Float32 = func() ([]float32, error) { return nil, errors.New("cut off") }
	if err := f.Write(out); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Fatalf("error %v", err)
	}
	if _, err := Open(out); err == nil {
		t.Error("half a folder opens")
	}
	if exists(filepath.Join(out, "config.json")) {
		t.Error("half a folder has a config.json")
	}
}

func TestAdapterRoundTrip(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(filepath.Dir(golden.Dir(t, "peft/summary.json")), "*"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, dir := range folders {
		if strings.HasSuffix(dir, ".json") || !exists(filepath.Join(dir, adapterConfigFile)) {
			continue
		}
		seen++
		a, err := ReadAdapter(dir)
		if err != nil {
			t.Error(err)
			continue
		}
		want := golden.Tensors(t, filepath.Join(dir, adapterWeightsFile))
		if len(a.Tensors) != len(want) {
			t.Errorf("%s: %d tensors, want %d", dir, len(a.Tensors), len(want))
		}
		for _, x := range a.Tensors {
			sameBits(t, x.Name, x.Data, want[x.Name].F)
			if !slices.Equal(x.Shape, want[x.Name].Shape) {
				t.Errorf("%s: shape %v", x.Name, x.Shape)
			}
		}
		out := filepath.Join(t.TempDir(), "adapter")
		slices.Reverse(a.Tensors)
		if err := WriteAdapter(out, a.ConfigJSON, a.Tensors); err != nil {
			t.Error(err)
			continue
		}
		for _, name := range []string{adapterConfigFile, adapterWeightsFile} {
			if mustRead(t, filepath.Join(out, name)) != mustRead(t, filepath.Join(dir, name)) {
				t.Errorf("%s: %s, read and written again, differs", dir, name)
			}
		}
	}
	if seen < 35 {
		t.Errorf("%d adapters", seen)
	}
}

// The hash was computed by a Python program from its description in Hash.
func TestHash(t *testing.T) {
	const want = "18ac66a84ca08051dc6752ec66a38eb19cb3898229dc4822d7561c94435eb9f8"
	for _, set := range []string{"models/llama", "models/llama-sharded"} {
		if got, err := open(t, golden.Dir(t, set)).Hash(); err != nil || got != want {
			t.Errorf("%s: hash %s, %v, want %s", set, got, err, want)
		}
	}
	if got, err := open(t, golden.Dir(t, "models/llama-tied")).Hash(); err != nil || got == want {
		t.Errorf("another model has the hash %s, %v", got, err)
	}
	// Its embedding takes several runs.
	const smol = "97ed23f3658776e1290b6f50ca403bad0a7dc42dc108eef5b9aa88ddb8651715"
	if got, err := open(t, golden.SmolLM2(t, "hf")).Hash(); err != nil || got != smol {
		t.Errorf("SmolLM2 has the hash %s, %v, want %s", got, err, smol)
	}
}

func TestSetConfig(t *testing.T) {
	in := []byte(`{"z":1e-05,"torch_dtype":"float32","a":{"b":[1, 2]}}`)
	got, err := SetConfigDType(in, BF16)
	const want = "{\n  \"z\": 1e-05,\n  \"torch_dtype\": \"bfloat16\",\n  \"a\": {\n    \"b\": [\n      1,\n      2\n    ]\n  }\n}\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = SetConfigDType([]byte(`{"dtype":"float32"}`), F16)
	if err != nil || string(got) != "{\n  \"dtype\": \"float16\"\n}\n" {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = SetConfig([]byte(`{}`), "tie_word_embeddings", false)
	if err != nil || string(got) != "{\n  \"tie_word_embeddings\": false\n}\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestInspect(t *testing.T) {
	s, err := Inspect(golden.Dir(t, "models/llama-sharded"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Architecture != "LlamaForCausalLM" || s.Parameters != 35104 || s.Bytes != 140416 || len(s.Types) != 1 || s.Types[0].DType != F32 {
		t.Errorf("summary %+v", s)
	}
	if i := slices.IndexFunc(s.Tensors, func(x TensorSummary) bool { return x.Name == "lm_head.weight" }); i < 0 ||
		s.Tensors[i].File != "model-00003-of-00003.safetensors" || s.Tensors[i].Bytes != 150*32*4 {
		t.Errorf("lm_head.weight: %+v", s.Tensors[max(i, 0)])
	}
	if s, err = Inspect(golden.Dir(t, "peft/lora-default-targets")); err != nil || s.Format != "adapter" || s.Architecture != "LORA" || len(s.Tensors) != 8 {
		t.Errorf("adapter %+v, %v", s, err)
	}
	if s, err = Inspect("testdata/tiny-llama.gguf"); err != nil || s.Architecture != "llama" || s.Tensors[0].Name != "blk.0.attn_k.weight" ||
		s.Metadata["tokenizer.ggml.tokens"] != "[12 strings]" {
		t.Errorf("gguf %+v, %v", s, err)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}
