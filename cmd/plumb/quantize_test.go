package main

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
	"plumb/internal/model"
	"plumb/internal/tensor"
)

// logitsOf are the logits at every position of one sequence.
func logitsOf(m *model.Model, ids []int32) []float32 {
	tape := tensor.NewInferenceTape(m.Pool())
	rows := make([]int32, len(ids))
	for i := range rows {
		rows[i] = int32(i)
	}
	return slices.Clone(m.Logits(tape, nil, m.Hidden(tape, nil, model.Pack(ids)), rows).Data)
}

// TestBitsandbytesBase: a pre-quantised folder is used as it is, and its logits are those that bitsandbytes computes (abs 1e-4:
// nf4/qlora.json); quantising it once more is refused.
func TestBitsandbytesBase(t *testing.T) {
	dir := golden.Dir(t, "nf4/llama-bnb-4bit")
	want := golden.Tensors(t, golden.Dir(t, "nf4/qlora.safetensors"))
	l, err := testApp(t).load(context.Background(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if !l.Model.FewBits() {
		t.Error("the weights are not held in few bits")
	}
	for _, s := range []string{"0", "1", "2"} {
		near(t, "logits "+s, logitsOf(l.Model, int32s(want["input_ids."+s].I)), want["logits_no_adapter."+s].F, 1e-4)
	}
	if _, err := testApp(t).loadAs(context.Background(), dir, "", "nf4"); err == nil {
		t.Error("quantised twice")
	}
}

// TestQuantisedCache: beside the checkpoint where that can be written, else in the cache folder; a model read from there has
// the bits of the one that was quantised.
func TestQuantisedCache(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a folder that nobody can write to")
	}
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	a := testApp(t)
	src, err := checkpoint.Open(golden.Dir(t, "models/llama"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	src.Path = "/proc/self" // not even root can make a file there
	cfg, err := model.ParseConfig(src.ConfigJSON)
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{5, 9, 2, 77, 30, 4}
	plain, err := a.newModel(context.Background(), cfg, src, "sum", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range quantisations {
		fresh, err := a.newModel(context.Background(), cfg, src, "sum", kind)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(cache, "plumb", "quantised", "plumb-"+kind+"-sum.safetensors")
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		again, err := a.newModel(context.Background(), cfg, src, "sum", kind)
		if err != nil {
			t.Fatal(err)
		}
		x, y, z := logitsOf(fresh, ids), logitsOf(again, ids), logitsOf(plain, ids)
		if !slices.Equal(x, y) {
			t.Errorf("%s: logits from the kept weights differ", kind)
		}
		if slices.Equal(x, z) {
			t.Errorf("%s: logits are those of the base as stored", kind)
		}
		for _, v := range x {
			if math.IsNaN(float64(v)) {
				t.Fatalf("%s: a logit is NaN", kind)
			}
		}
		// Another base's weights under this name are not taken.
		if _, err := a.openCache(path, "other", kind); err == nil {
			t.Error("a cache of another base was opened")
		}
		// Nor are codes that somebody changed: the model is quantised, and kept, anew.
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		spoiled := slices.Clone(data)
		spoiled[len(spoiled)/2] ^= 0x10
		if err := os.WriteFile(path, spoiled, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := a.openCache(path, "sum", kind); err == nil || !strings.Contains(err.Error(), "not the bytes that were written") {
			t.Errorf("%s: a changed cache gives the error %v", kind, err)
		}
		healed, err := a.newModel(context.Background(), cfg, src, "sum", kind)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(logitsOf(healed, ids), x) {
			t.Errorf("%s: logits after the cache was changed differ", kind)
		}
		if back, err := os.ReadFile(path); err != nil || !slices.Equal(back, data) {
			t.Errorf("%s: the changed cache was not written anew (%v)", kind, err)
		}
		if err := os.Remove(path + sumSuffix); err != nil {
			t.Fatal(err)
		}
		if _, err := a.openCache(path, "sum", kind); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a cache without its sum gives the error %v", kind, err)
		}
	}
}
