package optim

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/kernels"
)

// TestAdamW8AgainstItsDefinition: eight steps with 8-bit moments against the definition as golden.json writes it out. Its
// tolerance: 1e-5 for all but 0.2 % of the elements (a moment on a midpoint may round the other way), after step 1
// bitsandbytes' own run to 1e-6 too.
func TestAdamW8AgainstItsDefinition(t *testing.T) {
	x := golden.Tensors(t, golden.Dir(t, "optim/golden.safetensors"))
	params, grads := slices.Clone(x["adamw8bit.start"].F), x["adamw8bit.gradients"].F
	n := len(params)
	pool := kernels.NewPool(2)
	defer pool.Close()
	o := NewAdamW(pool, n, Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Bits: 8})
	for k := range 8 {
		o.Step(params, grads[k*n:(k+1)*n], 0.01)
		step := string(rune('1' + k))
		want, ok := x["adamw8bit.defined.after."+step]
		if !ok {
			continue
		}
		off := 0
		for i, v := range want.F {
			if math.Abs(float64(params[i]-v)) > 1e-5 {
				off++
			}
		}
		if off > n/500 {
			t.Errorf("step %s: %d of %d parameters are off", step, off, n)
		}
		if k == 0 {
			for i, v := range x["adamw8bit.after.1"].F {
				if math.Abs(float64(params[i]-v)) > 1e-6 {
					t.Fatalf("step 1: parameter %d is %v, bitsandbytes has %v", i, params[i], v)
				}
			}
		}
		for what, got := range map[string][]byte{"state1": o.m8, "state2": o.v8} {
			apart := 0
			for i, c := range x["adamw8bit.defined."+what+"."+step].Bytes {
				if got[i] != c {
					apart++
				}
			}
			if apart > n/500 {
				t.Errorf("step %s: %d of %d codes of %s differ", step, apart, n, what)
			}
		}
		for i, v := range x["adamw8bit.defined.absmax2."+step].F {
			if math.Abs(float64(o.vScale[i]-v)) > 1e-5*float64(v) {
				t.Errorf("step %s: scale %d of the second moment is %v, want %v", step, i, o.vScale[i], v)
			}
		}
	}
	if got, want := o.Bytes(), 2*n+2*4*17; got != want { // 17 blocks of 256
		t.Errorf("the state takes %d bytes, want %d", got, want)
	}
}

// TestStateContinuesBitForBit: for every form of state, in memory or in a file, on one thread or three, two steps, stored and
// restored elsewhere, and two more, are four steps. Among the groups are a small one and one that fills no block.
func TestStateContinuesBitForBit(t *testing.T) {
	const n = 4096 + 100 + 5000
	groups := []Group{{0, 4096, 1, 1}, {4096, 100, 1, 0}, {4196, 5000, 0.5, 1}}
	start, grads := make([]float32, n), make([]float32, n)
	for i := range start {
		start[i], grads[i] = float32(math.Sin(float64(i))), float32(math.Cos(float64(i*i)))
	}
	for _, bits := range []int{32, 8} {
		var whole []float32
		for _, paged := range []bool{false, true} {
			open := func(threads int) *AdamW {
				pool := kernels.NewPool(threads)
				t.Cleanup(pool.Close)
				c := Defaults()
				c.Bits = bits
				o := NewAdamW(pool, n, c, groups...)
				if paged {
					if err := o.Page(t.TempDir()); err != nil {
						t.Fatal(err)
					}
				}
				return o
			}
			o, p := open(1), slices.Clone(start)
			for range 4 {
				o.Step(p, grads, 0.1)
			}
			if whole == nil {
				whole = p
			}
			if !slices.Equal(p, whole) {
				t.Errorf("%d bits, paged %v: other values than in memory", bits, paged)
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			a, b := open(3), open(2)
			p = slices.Clone(start)
			for range 2 {
				a.Step(p, grads, 0.1)
			}
			dir, again := t.TempDir(), make([]float32, n)
			if err := a.Save(dir, "x", p); err != nil {
				t.Fatal(err)
			}
			if err := b.Load(dir, "x", again); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				b.Step(again, grads, 0.1)
			}
			if !slices.Equal(again, whole) {
				t.Errorf("%d bits, paged %v: continued differently", bits, paged)
			}
			if bits == 8 {
				if err := os.Truncate(filepath.Join(dir, "x.v8"), 10); err != nil {
					t.Fatal(err)
				}
				if b.Load(dir, "x", again) == nil {
					t.Error("a cut file was read")
				}
			}
		}
	}
}

// TestPagedLeavesNothing: the file has no name from the start.
func TestPagedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	pool := kernels.NewPool(1)
	defer pool.Close()
	o := NewAdamW(pool, 100, Defaults())
	if err := o.Page(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files %v, %v", left, err)
	}
	if err := NewAdamW(pool, 100, Defaults()).Page(filepath.Join(dir, "absent")); err == nil {
		t.Error("paged into a folder that is not there")
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}
