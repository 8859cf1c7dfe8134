package optim

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/kernels"
)

// Two steps, store, restore elsewhere, two more: the same bits as four steps at once.
func TestSaveAndLoadContinueBitForBit(t *testing.T) {
	pool := kernels.NewPool(1)
	grads := []float32{1, -2, 3e-9, 0, 5}
	run := func(o *AdamW, values []float32, steps int) {
		for range steps {
			o.Step(values, grads, 0.1)
		}
	}
	whole, parts := []float32{1, 2, 3, 4, 5}, []float32{1, 2, 3, 4, 5}
	run(NewAdamW(pool, 5, Defaults()), whole, 4)
	o := NewAdamW(pool, 5, Defaults())
	run(o, parts, 2)
	dir := t.TempDir()
	if err := o.Save(dir, "policy", parts); err != nil {
		t.Fatal(err)
	}
	again, restored := NewAdamW(pool, 5, Defaults()), make([]float32, 5)
	if err := again.Load(dir, "policy", restored); err != nil {
		t.Fatal(err)
	}
	run(again, restored, 2)
	if !slices.Equal(whole, restored) {
		t.Errorf("continued %v, undisturbed %v", restored, whole)
	}
	if err := os.Truncate(filepath.Join(dir, "policy.m"), 7); err != nil {
		t.Fatal(err)
	}
	if err := again.Load(dir, "policy", restored); err == nil {
		t.Error("a cut file was read")
	}
}

// TestSameVector: what was written is found again, down to the sign of a zero; one flipped bit or a lost value is an error.
func TestSameVector(t *testing.T) {
	x := []float32{1.5, float32(math.Copysign(0, -1)), -3e-40, 7}
	path := filepath.Join(t.TempDir(), "x")
	if err := WriteVector(path, x); err != nil {
		t.Fatal(err)
	}
	if err := SameVector(path, x); err != nil {
		t.Error(err)
	}
	if err := SameVector(path, []float32{1.5, 0, -3e-40, 7}); err == nil {
		t.Error("0 passes for -0")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[8] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SameVector(path, x); err == nil || !strings.Contains(err.Error(), "value 2") {
		t.Errorf("a flipped bit: %v", err)
	}
	if err := os.WriteFile(path, raw[:12], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SameVector(path, x); err == nil {
		t.Error("three values pass for four")
	}
}
