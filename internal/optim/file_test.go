package optim

import (
	"os"
	"path/filepath"
	"slices"
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
