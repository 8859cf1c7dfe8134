package checkpoint

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// memory is the file that a fuzzer's bytes stand for.
func memory(b []byte) *file {
	return &file{name: "fuzzed", r: bytes.NewReader(b), size: int64(len(b)), c: io.NopCloser(nil)}
}

// readAll reads every tensor; what a header admits must be readable.
func readAll(t *testing.T, tensors []stored) {
	t.Helper()
	for i := range tensors {
		x := &tensors[i]
		if x.readable() != nil {
			continue
		}
		v, err := x.float32s()
		if err != nil {
			t.Errorf("tensor %q passed the checks and cannot be read: %v", x.name, err)
		}
		if len(v) != x.count {
			t.Errorf("tensor %q: %d values for shape %v", x.name, len(v), x.shape)
		}
	}
}

// bounded fails when reading n bytes of input took more than a fixed amount and a multiple of n. A byte of JSON or of
// metadata costs up to about a hundred bytes in Go values, tensors up to 32 (a block of 32 one-bit values of 1 byte).
func bounded(t *testing.T, n int, f func()) {
	t.Helper()
	if got := allocated(f); got > 4<<20+200*uint64(n) {
		t.Errorf("%d bytes allocated for an input of %d", got, n)
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(safetensorsFile(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"b":{"dtype":"BF16","shape":[],"data_offsets":[12,14]}}`, 14))
	f.Add(safetensorsFile(`{"__metadata__":{"format":"pt"},"e":{"dtype":"I64","shape":[0,2],"data_offsets":[0,0]}}  `, 0))
	f.Add(safetensorsFile(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			tensors, metadata, err := readSafetensors(memory(b))
			if err != nil {
				return
			}
			readAll(t, tensors)
			total := 0
			for _, x := range tensors {
				total += int(x.bytes)
			}
			if total > len(b)-8 {
				t.Errorf("%d bytes of tensors in a file of %d (%v)", total, len(b), metadata)
			}
		})
	})
}

func FuzzGGUF(f *testing.F) {
	whole, err := os.ReadFile("testdata/tiny-llama.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(newGGUF(3, 0, 1).put("k", uint32(ggufArray), uint32(ggufArray), uint64(1), uint32(ggufBool), uint64(2), uint16(1)).Bytes())
	f.Add(newGGUF(2, 1, 0).put("t", uint32(1), uint64(256), uint32(14), uint64(0)).pad(210).Bytes())
	f.Add(llamaGGUF(0, 0, func(*ggufFile) {}))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			m := memory(b)
			g, err := readGGUF(m)
			if err != nil {
				return
			}
			readAll(t, g.tensors)
			s := &Source{GGUF: g}
			if err := s.fromGGUF(); err == nil {
				readAll(t, s.tensors)
				if !json.Valid(s.ConfigJSON) {
					t.Errorf("config %s", s.ConfigJSON)
				}
			}
		})
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1},"weight_map":{"x":"a.safetensors","y":"b.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"x":"../a"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			x, err := parseIndex(b)
			if err != nil {
				return
			}
			for _, name := range x.order {
				if filepath.Base(name) != name || !filepath.IsLocal(name) {
					t.Errorf("file %q", name)
				}
			}
		})
	})
}

func FuzzAdapterConfig(f *testing.F) {
	weights := string(safetensorsFile(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Add([]byte(`{"r":8,"target_modules":["q_proj"],"peft_type":"LORA"}`))
	f.Add([]byte(`{"r":8,"r":9}`))
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, adapterWeightsFile), []byte(weights), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, adapterConfigFile), b, 0o644); err != nil {
			t.Fatal(err)
		}
		a, err := ReadAdapter(dir)
		if err != nil {
			return
		}
		if !json.Valid(a.ConfigJSON) || len(a.Tensors) != 1 {
			t.Errorf("config %q accepted", a.ConfigJSON)
		}
	})
}

// FuzzFolder feeds the JSON files beside the weights.
func FuzzFolder(f *testing.F) {
	weights := safetensorsFile(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4)
	f.Add([]byte(`{"eos_token_id":[1,2],"bos_token_id":0}`), []byte(`{"eos_token":{"content":"</s>"},"chat_template":[{"name":"default","template":"x"}]}`))
	f.Add([]byte(`{"eos_token_id":3}`), []byte(`{"chat_template":"x","bos_token":null}`))
	f.Add([]byte(`{}`), []byte(`{"chat_template":{"default":"x"}}`))
	f.Fuzz(func(t *testing.T, config, tokenizer []byte) {
		fsys := fstest.MapFS{
			weightsFile:              {Data: weights},
			"config.json":            {Data: config},
			"generation_config.json": {Data: config},
			"tokenizer_config.json":  {Data: tokenizer},
		}
		bounded(t, 2*len(config)+len(tokenizer), func() {
			s, err := OpenFS(fsys, "fuzzed")
			if err != nil {
				return
			}
			for _, id := range s.Generation.EOS {
				if id < 0 {
					t.Errorf("eos %d", id)
				}
			}
			if again, err := SetConfig(config, "x", 1); err == nil && !json.Valid(again) {
				t.Errorf("SetConfig made %q", again)
			}
			s.Close()
		})
	})
}
