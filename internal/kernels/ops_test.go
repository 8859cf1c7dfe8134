package kernels

import (
	"fmt"
	"math"
	"testing"
)

// ulps returns the distance of got from want in units of the last place of float32 at want.
func ulps(got float32, want float64) float64 {
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

// TestExpLog: exp32 and log32 against float64 over their whole ranges; exp32's edge values.
func TestExpLog(t *testing.T) {
	worst := 0.0
	for i := range 400_000 {
		x := float32(-104 + 192.7*float64(i)/400_000)
		want := math.Exp(float64(x))
		limit := 1.1
		if want < 0x1p-126 { // two roundings: at most one more
			limit = 2.1
		}
		d := ulps(exp32(x), want)
		if worst = max(worst, d); d > limit {
			t.Fatalf("exp32(%v) = %v, want %v: %.2f ulp", x, exp32(x), want, d)
		}
	}
	t.Logf("exp32 worst error %.3f ulp", worst)
	worst = 0
	for i := range 400_000 {
		x := float32(math.Exp(-60 + 120*float64(i)/400_000))
		d := ulps(log32(x), math.Log(float64(x)))
		if near := math.Abs(float64(x) - 1); near < 1e-3 && near > 0 {
			continue // the sum of a softmax never falls there: 1 or at least 1+exp(-104)
		}
		if worst = max(worst, d); d > 2 {
			t.Fatalf("log32(%v) = %v, want %v: %.2f ulp", x, log32(x), math.Log(float64(x)), d)
		}
	}
	t.Logf("log32 worst error %.3f ulp", worst)
	inf := float32(math.Inf(1))
	for _, c := range [][2]float32{{0, 1}, {-inf, 0}, {inf, inf}, {-104.5, 0}, {89, inf}, {88.8, inf}, {-104, 0}, {-103.9, 0x1p-149}} {
		if got := exp32(c[0]); got != c[1] {
			t.Errorf("exp32(%v) = %v, want %v", c[0], got, c[1])
		}
	}
	if nan := float32(math.NaN()); exp32(nan) == exp32(nan) || log32(-1) == log32(-1) || log32(inf) == log32(inf) || log32(1) != 0 {
		t.Error("NaN does not pass or log32(1) is not 0")
	}
}

// extremes returns n values among which all kinds of float32 occur.
func extremes(seed uint64, n int) []float32 {
	x := randoms(seed, n)
	special := []float32{0, float32(math.Copysign(0, -1)), 1e-40, -1e-42, 3e38, -3e38, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 88.7, -103.5, 1e-20}
	for i := range x {
		switch {
		case i%5 == 4:
			x[i] = special[(i/5+int(seed))%len(special)]
		case i%5 == 3:
			x[i] *= 30
		}
	}
	return x
}

// flatOps are the elementwise operations on five slices of n: the first three are outputs of some.
var flatOps = map[string]func(p *Pool, s [5][]float32) (outputs []int){
	"add":            func(p *Pool, s [5][]float32) []int { p.Add(s[0], s[1], s[2]); return []int{0} },
	"add in place":   func(p *Pool, s [5][]float32) []int { p.Add(s[0], s[0], s[2]); return []int{0} },
	"axpy":           func(p *Pool, s [5][]float32) []int { p.Axpy(s[0], -1.7, s[1]); return []int{0} },
	"scale":          func(p *Pool, s [5][]float32) []int { p.Scale(s[0], 0.3, s[1]); return []int{0} },
	"swiglu":         func(p *Pool, s [5][]float32) []int { p.SwiGLU(s[0], s[1], s[2]); return []int{0} },
	"swiglu inplace": func(p *Pool, s [5][]float32) []int { p.SwiGLU(s[0], s[0], s[2]); return []int{0} },
	"swigluBackward": func(p *Pool, s [5][]float32) []int {
		p.SwiGLUBackward(s[0], s[1], s[2], s[3], s[4])
		return []int{0, 1}
	},
	"adamw": func(p *Pool, s [5][]float32) []int {
		for i, v := range s[3] {
			s[3][i] = v * v // a second moment is not negative
		}
		p.AdamW(s[0], s[1], s[2], s[3], AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, WeightDecay: 0.1, Step: 3, GradScale: 0.5})
		return []int{0, 2, 3}
	},
}

// TestElementwise: every variant has the definition's bits at every length 0..70 and misalignment, writes nothing
// outside, and leaves its inputs alone.
func TestElementwise(t *testing.T) {
	for name, op := range flatOps {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T) {
				p1, p2 := NewPool(1), NewPool(2)
				defer p1.Close()
				defer p2.Close()
				for n := range 71 {
					compareFlat(t, op, p1, n, n%17)
				}
				compareFlat(t, op, p2, 5*flatChunk+3, 1)
			})
		})
	}
}

func compareFlat(t *testing.T, op func(*Pool, [5][]float32) []int, p *Pool, n, shift int) {
	t.Helper()
	var src, want, got [5][]float32
	var checks [5]func(string)
	for i := range src {
		src[i] = extremes(uint64(10*n+i), n)
		want[i] = append([]float32(nil), src[i]...)
		got[i], checks[i] = guardedCopy(t, src[i], (shift+i)%16)
	}
	outputs := op(p, got)
	definition(func() { op(NewPool(1), want) })
	for i := range got {
		sameBits(t, fmt.Sprintf("n=%d slice %d", n, i), got[i], want[i])
		checks[i]("elementwise")
		if i >= 3 && len(outputs) < 3 {
			sameBits(t, "input", got[i], src[i])
		}
	}
}

// TestSwiGLU: forward and backward against float64.
func TestSwiGLU(t *testing.T) {
	n := 1000
	g, up, dh := randoms(1, n), randoms(2, n), randoms(3, n)
	h, dg, du := make([]float32, n), make([]float32, n), make([]float32, n)
	p := NewPool(1)
	p.SwiGLU(h, g, up)
	p.SwiGLUBackward(dg, du, dh, g, up)
	f := func(g, u float64) float64 { return g / (1 + math.Exp(-g)) * u }
	for i := range n {
		x, y, d := 3*float64(g[i])/3, float64(up[i]), float64(dh[i])
		const e = 1e-6
		wantG := d * (f(x+e, y) - f(x-e, y)) / (2 * e)
		wantU := d * f(x, 1)
		// Five roundings in the forward pass; the derivative of silu is a sum of two terms of magnitude up to 1+|g|.
		if math.Abs(float64(h[i])-f(x, y)) > 6*u*math.Abs(f(x, y)) || math.Abs(float64(du[i])-wantU) > 7*u*math.Abs(wantU) ||
			math.Abs(float64(dg[i])-wantG) > 12*u*math.Abs(d*y)*(1+math.Abs(x))+1e-9 {
			t.Fatalf("g=%v u=%v: h %v want %v, dg %v want %v, du %v want %v", x, y, h[i], f(x, y), dg[i], wantG, du[i], wantU)
		}
	}
}

// TestAdamW: two steps worked in float64 by the formula of torch.optim.AdamW.
func TestAdamW(t *testing.T) {
	x, m, v := []float32{1, -2, 0.5}, make([]float32, 3), make([]float32, 3)
	grads := [][]float32{{0.1, -3, 0}, {-0.2, 1, 1e-3}}
	wx, wm, wv := []float64{1, -2, 0.5}, make([]float64, 3), make([]float64, 3)
	p := NewPool(1)
	for s, g := range grads {
		p.AdamW(x, g, m, v, AdamW{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: s + 1})
		b1, b2 := 1-math.Pow(0.9, float64(s+1)), 1-math.Pow(0.999, float64(s+1))
		for i := range wx {
			d := float64(g[i])
			wx[i] *= 1 - 0.01*0.1
			wm[i] = 0.9*wm[i] + 0.1*d
			wv[i] = 0.999*wv[i] + 0.001*d*d
			wx[i] -= 0.01 / b1 * wm[i] / (math.Sqrt(wv[i])/math.Sqrt(b2) + 1e-8)
			if math.Abs(float64(x[i])-wx[i]) > 20*u*max(math.Abs(wx[i]), 0.02) {
				t.Errorf("step %d: x[%d] = %v, want %v", s+1, i, x[i], wx[i])
			}
		}
	}
}

func TestSumSquares(t *testing.T) {
	x := randoms(1, 5*flatChunk+77)
	for _, n := range []int{0, 1, 15, 16, 17, 100, flatChunk, len(x)} {
		want := 0.0
		for _, v := range x[:n] {
			want += float64(v) * float64(v)
		}
		var ref float64
		definition(func() { ref = NewPool(1).SumSquares(x[:n]) })
		if math.Abs(ref-want) > 1e-12*want {
			t.Errorf("SumSquares of %d = %v, want %v", n, ref, want)
		}
		eachVariant(t, func(t *testing.T) {
			for threads := 1; threads <= 2; threads++ {
				p := NewPool(threads)
				defer p.Close()
				if got := p.SumSquares(x[:n]); got != ref {
					t.Errorf("SumSquares of %d = %v, definition %v", n, got, ref)
				}
			}
		})
	}
}
