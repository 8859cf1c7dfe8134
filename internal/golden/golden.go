// Package golden finds reference values for tests: figures computed by transformers, PEFT, TRL and others. A small subset
// with its provenance lives in testdata; the rest is looked for under $PLUMB_SHARED (by default the folder shared beside
// the repository). Tests only; nothing of the product imports it.
//
// Each set that a test opens or misses is counted: with PLUMB_GOLDEN_LOG set to a file, one line "ran NAME" or
// "skipped NAME" is appended there, from which the number of sets that ran is printed.
package golden

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func repository() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		panic("golden: no source position")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

func sharedRoot() string {
	if s := os.Getenv("PLUMB_SHARED"); s != "" {
		return s
	}
	return filepath.Join(repository(), "..", "shared")
}

func count(t testing.TB, what, name string) {
	path := os.Getenv("PLUMB_GOLDEN_LOG")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("count golden sets: %v", err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s %s\n", what, name)
}

func find(t testing.TB, name string, candidates ...string) string {
	t.Helper()
	for _, c := range candidates {
		if _, err := os.Stat(c); err == nil {
			count(t, "ran", name)
			return c
		}
	}
	count(t, "skipped", name)
	t.Skipf("reference %s is neither in internal/golden/testdata nor under PLUMB_SHARED (%s)", name, sharedRoot())
	return ""
}

// Dir is the path of a golden set or file such as "models/llama" or "objective/kl.json.gz". The test is skipped, and that
// is counted, where it is absent.
func Dir(t testing.TB, name string) string {
	t.Helper()
	return find(t, name, filepath.Join(repository(), "internal", "golden", "testdata", name), filepath.Join(sharedRoot(), "golden", name))
}

// Shared is the path of anything else that tests share: "models/stories260k", "data/instruct/alpaca/alpaca_5000.json".
func Shared(t testing.TB, name string) string {
	t.Helper()
	return find(t, name, filepath.Join(sharedRoot(), name))
}

// SmolLM2 is the folder of the real model that tests use where it was fetched: the Hugging Face folder "hf", or the GGUF
// file, under $XDG_CACHE_HOME/plumb/smollm2.
func SmolLM2(t testing.TB, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache folder: %v", err)
	}
	return find(t, "smollm2/"+name, filepath.Join(cache, "plumb", "smollm2", name))
}

// Need counts what a test needs besides files, such as a server. Where missing says why it is not there, the test is skipped.
func Need(t testing.TB, name string, missing error) {
	t.Helper()
	if missing == nil {
		count(t, "ran", name)
		return
	}
	count(t, "skipped", name)
	t.Skip(missing)
}

// JSON decodes a .json or .json.gz file into v.
func JSON(t testing.TB, path string, v any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
	}
	if err := json.NewDecoder(r).Decode(v); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
}

// Tensor is one entry of a golden safetensors file. Exactly one of F, I, Bytes is set, by DType.
type Tensor struct {
	DType string
	Shape []int
	F     []float32 // F32 and BF16, widened
	I     []int64   // I64, I32
	Bytes []byte    // everything else
}

// Tensors reads a whole safetensors file. It is written apart from the product's reader, so that the one checks the other.
func Tensors(t testing.TB, path string) map[string]Tensor {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(raw)
	var head map[string]json.RawMessage
	if err := json.Unmarshal(raw[8:8+n], &head); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	data, out := raw[8+n:], map[string]Tensor{}
	for name, js := range head {
		if name == "__metadata__" {
			continue
		}
		var h struct {
			DType  string `json:"dtype"`
			Shape  []int  `json:"shape"`
			Offset [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(js, &h); err != nil {
			t.Fatalf("read %s: %s: %v", path, name, err)
		}
		out[name] = decode(h.DType, h.Shape, data[h.Offset[0]:h.Offset[1]])
	}
	return out
}

func decode(dtype string, shape []int, b []byte) Tensor {
	out := Tensor{DType: dtype, Shape: shape}
	le := binary.LittleEndian
	switch dtype {
	case "F32":
		for i := 0; i < len(b); i += 4 {
			out.F = append(out.F, math.Float32frombits(le.Uint32(b[i:])))
		}
	case "BF16":
		for i := 0; i < len(b); i += 2 {
			out.F = append(out.F, math.Float32frombits(uint32(le.Uint16(b[i:]))<<16))
		}
	case "I64":
		for i := 0; i < len(b); i += 8 {
			out.I = append(out.I, int64(le.Uint64(b[i:])))
		}
	case "I32":
		for i := 0; i < len(b); i += 4 {
			out.I = append(out.I, int64(int32(le.Uint32(b[i:]))))
		}
	default:
		out.Bytes = b
	}
	return out
}
