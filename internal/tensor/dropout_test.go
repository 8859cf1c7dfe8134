package tensor

import (
	"math"
	"slices"
	"testing"

	"plumb/internal/rng"
)

// With the mask read off the forward pass (a pair with A = B = 1 shows it), gradients through a dropping pair are those of
// the masked formula; the same seed and step drop the same elements, another step others, and Reset stops it.
func TestDropout(t *testing.T) {
	const m, in, out, r = 40, 30, 20, 3
	tape, draw := NewTape(pool(t)), rng.New(1)
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(draw.Norm())
		}
		return v
	}
	x, a, b := random(m*in), random(r*in), random(out*r)
	ga, gb := make([]float32, r*in), make([]float32, out*r)
	w := matrix(make([]float32, out*in), nil, out, in) // only the pair acts
	l := &LoRA{A: *matrix(a, ga, r, in), B: *matrix(b, gb, out, r), Scale: 2, Dropout: 0.25, Key: 77}

	tape.Drop(5, 1, 0)
	mask := make([]float32, m*in)
	tape.drop(mask, slices.Repeat([]float32{1}, m*in), l)
	kept := 0
	for _, v := range mask {
		if v != 0 {
			kept++
			if math.Abs(float64(v)-1/0.75) > 1e-6 {
				t.Fatalf("a kept element is multiplied by %v", v)
			}
		}
	}
	// 1200 draws: three standard deviations are 0.0375.
	if share := float64(kept) / (m * in); math.Abs(share-0.75) > 0.0375 {
		t.Errorf("%v of the elements are kept", share)
	}

	leaf := tape.Leaf(x, m, in, true)
	y := tape.Linear(leaf, w, nil, l)
	formula := func(v [][]float64) []float64 {
		masked := make([]float64, m*in)
		for i := range masked {
			masked[i] = v[0][i] * float64(mask[i])
		}
		return scaled(2, matmulT(matmulT(masked, v[1], m, r, in), v[2], m, out, r))
	}
	in64 := [][]float64{widen(x), widen(a), widen(b)}
	compare(t, "output", y.Data, formula(in64), 2e-5)
	c := weights(m * out)
	y.Seed(c)
	tape.Backward()
	for i, g := range [][]float32{leaf.Grad, ga, gb} {
		got, want := differences(formula, in64, i, c, 1e-5, g)
		compare(t, "gradient", got, want, 2e-5)
	}

	first := slices.Clone(y.Data)
	again := func(seed, step uint64) []float32 {
		tape.Reset()
		if seed != 0 {
			tape.Drop(seed, step, 0)
		}
		return slices.Clone(tape.Linear(tape.Leaf(x, m, in, true), w, nil, l).Data)
	}
	if !slices.Equal(again(5, 1), first) {
		t.Error("the same seed and step drop other elements")
	}
	if slices.Equal(again(5, 2), first) || slices.Equal(again(6, 1), first) {
		t.Error("another step or seed drops the same elements")
	}
	// The second half of the rows, as a micro-batch of its own.
	tape.Reset()
	tape.Drop(5, 1, m/2)
	if half := tape.Linear(tape.Leaf(x[m/2*in:], m/2, in, true), w, nil, l).Data; !slices.Equal(half, first[m/2*out:]) {
		t.Error("rows of another micro-batch drop other elements")
	}
	l.A.Grad, l.B.Grad = nil, nil
	if frozen := again(5, 1); slices.Equal(frozen, first) || !slices.Equal(frozen, again(0, 0)) {
		t.Error("a frozen pair drops")
	}
	l.A.Grad, l.B.Grad = ga, gb
	l.Key++
	if slices.Equal(again(5, 1), first) {
		t.Error("another pair drops the same elements")
	}
	none := again(0, 0)
	for i := range mask {
		mask[i] = 1
	}
	compare(t, "output after Reset", none, formula(in64), 2e-5)
}

func widen(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}
