package kernels

import (
	"fmt"
	"math"
	"testing"
)

// compareRows runs f on guarded copies of the slices under the variant in use and under the definition and compares all
// of them.
func compareRows(t *testing.T, what string, p *Pool, shift int, f func(p *Pool, s [][]float32), src ...[]float32) {
	t.Helper()
	got, want := make([][]float32, len(src)), make([][]float32, len(src))
	checks := make([]func(string), len(src))
	for i := range src {
		want[i] = append([]float32(nil), src[i]...)
		got[i], checks[i] = guardedCopy(t, src[i], (shift+3*i)%16)
	}
	f(p, got)
	definition(func() {
		one := NewPool(1)
		f(one, want)
	})
	for i := range src {
		sameBits(t, fmt.Sprintf("%s slice %d", what, i), got[i], want[i])
		checks[i](what)
	}
}

// TestRows: normalisation, rotation, biases and softmax gradients have the definition's bits at every length 1..70,
// misaligned, at one and two threads.
func TestRows(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		p1, p2 := NewPool(1), NewPool(2)
		defer p1.Close()
		defer p2.Close()
		for n := 1; n <= 70; n++ {
			rowsOfLength(t, p1, 3, n)
		}
		rowsOfLength(t, p2, 300, 131)
	})
}

func rowsOfLength(t *testing.T, p *Pool, m, n int) {
	t.Helper()
	what := func(s string) string { return fmt.Sprintf("%s m=%d n=%d", s, m, n) }
	r := func(k, size int) []float32 { return randoms(uint64(1000*n+k), size) }
	compareRows(t, what("RMSNorm"), p, n, func(p *Pool, s [][]float32) {
		p.RMSNorm(s[0], s[1], s[2], s[3], m, n, 1e-5)
		p.RMSNormBackward(s[4], s[5], s[6], s[2], s[3], s[1], m, n, false)
		p.RMSNormBackward(s[7], nil, s[6], s[2], s[3], s[1], m, n, true)
	}, r(0, m*n), r(1, m), r(2, m*n), r(3, n), r(4, m*n), r(5, n), r(6, m*n), r(7, m*n))
	compareRows(t, what("RMSNorm without rstd"), p, n, func(p *Pool, s [][]float32) {
		p.RMSNorm(s[0], nil, s[0], s[1], m, n, 1e-5)
	}, r(0, m*n), r(1, n))
	compareRows(t, what("bias"), p, n, func(p *Pool, s [][]float32) {
		p.AddBias(s[0], s[1], m, n)
		p.ColumnSum(s[2], s[0], m, n)
	}, r(0, m*n), r(1, n), r(2, n))
	compareRows(t, what("SoftmaxGradTile"), p, n, func(p *Pool, s [][]float32) {
		p.SoftmaxGradTile(s[0], s[1], s[2], s[3], s[4], m, n, 0.7)
		p.SoftmaxGradTile(s[1], s[1], s[2], s[3], s[4], m, n, 1)
	}, r(0, m*n), extremes(uint64(n), m*n), r(2, m), r(3, m), r(4, m))
	inv := make([]float64, n)
	pos := make([]int32, m)
	for i := range inv {
		inv[i] = math.Pow(100, -float64(i)/float64(n))
	}
	for i := range pos {
		pos[i] = int32(i * 7 % 31)
	}
	for _, interleaved := range []bool{false, true} {
		rope := NewRoPE(2*n+3, 31, inv, 1)
		rope.Interleaved = interleaved
		compareRows(t, what("RoPE"), p, n, func(p *Pool, s [][]float32) {
			p.RoPE(s[0], pos, 2, rope, false)
			p.RoPE(s[1], pos, 2, rope, true)
		}, r(0, m*2*rope.D), r(1, m*2*rope.D))
	}
}

// TestRMSNorm: the definition against float64, the backward pass by central differences.
func TestRMSNorm(t *testing.T) {
	restore, _ := Use("generic")
	defer restore()
	p := NewPool(1)
	m, n := 4, 37
	x, w, dy := randoms(1, m*n), randoms(2, n), randoms(3, m*n)
	y, rstd, dx, dw := make([]float32, m*n), make([]float32, m), randoms(4, m*n), make([]float32, n)
	before := append([]float32(nil), dx...)
	p.RMSNorm(y, rstd, x, w, m, n, 1e-5)
	p.RMSNormBackward(dx, dw, dy, x, w, rstd, m, n, true)
	loss := func(x, w []float64) (y []float64, l float64) {
		y = make([]float64, m*n)
		for r := range m {
			s := 0.0
			for i := range n {
				s += x[r*n+i] * x[r*n+i]
			}
			for i := range n {
				y[r*n+i] = x[r*n+i] / math.Sqrt(s/float64(n)+1e-5) * w[i]
				l += y[r*n+i] * float64(dy[r*n+i])
			}
		}
		return y, l
	}
	xd, wd := widen(x), widen(w)
	want, _ := loss(xd, wd)
	for i := range y {
		// Σx² is off by at most (n/16+5)u relatively, of which the root takes half; then four roundings.
		if math.Abs(float64(y[i])-want[i]) > 10*u*math.Abs(want[i]) {
			t.Fatalf("y[%d] = %v, want %v", i, y[i], want[i])
		}
	}
	slope := func(v []float64, i int) float64 {
		old, h := v[i], 1e-5
		v[i] = old + h
		_, a := loss(xd, wd)
		v[i] = old - h
		_, b := loss(xd, wd)
		v[i] = old
		return (a - b) / (2 * h)
	}
	for i := range dx {
		if g := slope(xd, i) + float64(before[i]); math.Abs(float64(dx[i])-g) > 5e-6*(1+math.Abs(g)) {
			t.Fatalf("dx[%d] = %v, want %v", i, dx[i], g)
		}
	}
	for i := range dw {
		if g := slope(wd, i); math.Abs(float64(dw[i])-g) > 5e-6*(1+math.Abs(g)) {
			t.Fatalf("dw[%d] = %v, want %v", i, dw[i], g)
		}
	}
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// TestRoPE: by hand: at position 3 the pair (x_i, x_{i+half}) turns by 3·invFreq_i; the inverse turns back; what lies
// beyond Rot stays.
func TestRoPE(t *testing.T) {
	rope := NewRoPE(6, 5, []float64{1, 0.1}, 1)
	p := NewPool(1)
	for _, interleaved := range []bool{false, true} {
		rope.Interleaved = interleaved
		x := []float32{1, 2, 3, 4, 5, 6}
		p.RoPE(x, []int32{3}, 1, rope, false)
		want := []float64{
			math.Cos(3) - 3*math.Sin(3), 2*math.Cos(.3) - 4*math.Sin(.3),
			3*math.Cos(3) + math.Sin(3), 4*math.Cos(.3) + 2*math.Sin(.3), 5, 6,
		}
		if interleaved {
			want = []float64{
				math.Cos(3) - 2*math.Sin(3), 2*math.Cos(3) + math.Sin(3),
				3*math.Cos(.3) - 4*math.Sin(.3), 4*math.Cos(.3) + 3*math.Sin(.3), 5, 6,
			}
		}
		for i := range x {
			if math.Abs(float64(x[i])-want[i]) > 4*u*5 {
				t.Errorf("interleaved %v: x[%d] = %v, want %v", interleaved, i, x[i], want[i])
			}
		}
		p.RoPE(x, []int32{3}, 1, rope, true)
		for i := range x {
			if math.Abs(float64(x[i])-float64(i+1)) > 10*u*6 {
				t.Errorf("inverse: x[%d] = %v, want %d", i, x[i], i+1)
			}
		}
	}
}

// TestLogSumExp: log-probabilities and entropy against float64; tiles, rows and threads change no bit; -∞ has no weight.
func TestLogSumExp(t *testing.T) {
	vocab, m := 3*VocabTile+77, 5
	z := randoms(1, m*vocab)
	for i := range z {
		z[i] *= 8
		if i%9 == 2 {
			z[i] = float32(math.Inf(-1))
		}
	}
	for _, scale := range []float32{1, 1 / 0.7} {
		ref := make([]LSE, m)
		definition(func() {
			for r := range ref {
				ref[r] = LogSumExp(z[r*vocab:(r+1)*vocab], scale, nil)
			}
		})
		for r := range ref {
			checkLSE(t, ref[r], z[r*vocab:(r+1)*vocab], scale)
		}
		eachVariant(t, func(t *testing.T) {
			for threads := 1; threads <= 2; threads++ {
				p := NewPool(threads)
				defer p.Close()
				st := make([]LSE, m)
				for r := range st {
					st[r] = NewLSE()
				}
				for v := 0; v < vocab; v += VocabTile {
					n := min(VocabTile, vocab-v)
					tile, check := guarded(t, m*n, 5)
					for r := range m {
						copy(tile[r*n:(r+1)*n], z[r*vocab+v:])
					}
					p.LogSumExpTile(st, tile, m, n, scale)
					check("LogSumExpTile")
				}
				for r := range st {
					if st[r] != ref[r] || LogSumExp(z[r*vocab:(r+1)*vocab], scale, make([]LSE, 4)) != ref[r] {
						t.Fatalf("row %d: %v, definition %v", r, st[r], ref[r])
					}
				}
			}
			for n := 1; n < 300; n += 13 { // a masked tail has no weight
				row, _ := guardedCopy(t, z[:n], n%16)
				got := LogSumExp(row, scale, nil)
				definition(func() {
					if want := LogSumExp(z[:n], scale, nil); got != want {
						t.Fatalf("n=%d: %v, definition %v", n, got, want)
					}
				})
			}
		})
	}
	if s := LogSumExp([]float32{float32(math.Inf(-1)), 2, float32(math.Inf(-1))}, 1, nil); s.Log() != 2 || s.Entropy() != 0 || s.LogProb(2) != 0 {
		t.Errorf("one possible token: %v", s)
	}
}

// checkLSE: e^d, with d off by at most |d|u + scale's rounding |z|u, carries an error of (|d|+|z|+1)u; sums of 256 in
// float32 add (16+4)u; the logarithm takes the relative error as it is.
func checkLSE(t *testing.T, s LSE, z []float32, scale float32) {
	t.Helper()
	top, sum, dot := math.Inf(-1), 0.0, 0.0
	for _, v := range z {
		top = max(top, float64(v)*float64(scale))
	}
	for _, v := range z {
		if d := float64(v)*float64(scale) - top; !math.IsInf(d, -1) {
			sum += math.Exp(d)
			dot += math.Exp(d) * d
		}
	}
	lse, entropy := top+math.Log(sum), math.Log(sum)-dot/sum
	bound := (2*top + 25) * u
	if math.Abs(s.Log()-lse) > bound || math.Abs(s.Entropy()-entropy) > 10*bound {
		t.Fatalf("log %v, want %v; entropy %v, want %v (bound %g)", s.Log(), lse, s.Entropy(), entropy, bound)
	}
	if lp := s.LogProb(z[0] * scale); math.Abs(lp-(float64(z[0])*float64(scale)-lse)) > 2*bound {
		t.Fatalf("log-probability %v, want %v", lp, float64(z[0])*float64(scale)-lse)
	}
}

// TestSoftmaxGrad: the gradient of dlogp·log p(target) + dH·H by central differences in float64.
func TestSoftmaxGrad(t *testing.T) {
	n, target := 23, 4
	dlogp, dH, scale := -1.3, 0.4, 1/0.7
	z := randoms(1, n)
	f := func(z []float64) (lse, h, loss float64) {
		sum := 0.0
		for _, v := range z {
			sum += math.Exp(v * scale)
		}
		lse = math.Log(sum)
		for _, v := range z {
			h -= math.Exp(v*scale-lse) * (v*scale - lse)
		}
		return lse, h, dlogp*(z[target]*scale-lse) + dH*h
	}
	zd := widen(z)
	lse, h, _ := f(zd)
	dz := make([]float32, n)
	NewPool(1).SoftmaxGradTile(dz, z, []float32{float32(lse)}, []float32{float32(-dlogp - dH*h)}, []float32{float32(-dH)}, 1, n, float32(scale))
	dz[target] += float32(scale * dlogp)
	for i := range dz {
		old, e := zd[i], 1e-5
		zd[i] = old + e
		_, _, a := f(zd)
		zd[i] = old - e
		_, _, b := f(zd)
		zd[i] = old
		if want := (a - b) / (2 * e); math.Abs(float64(dz[i])-want) > 2e-6 {
			t.Errorf("dz[%d] = %v, want %v", i, dz[i], want)
		}
	}
}

func TestGatherScatter(t *testing.T) {
	rows, n := 40, 70
	table := randoms(1, rows*n)
	ids := []int32{3, 39, 0, 3, 17, 3}
	eachVariant(t, func(t *testing.T) {
		p := NewPool(2)
		defer p.Close()
		a, b := make([]float32, len(ids)*n), make([]float32, len(ids)*n)
		p.Gather(a, PackF32(table, rows, n), ids)
		p.GatherRows(b, table, ids, n)
		want := append([]float32(nil), table...)
		for i, id := range ids {
			sameBits(t, "Gather", a[i*n:(i+1)*n], table[int(id)*n:int(id+1)*n])
			sameBits(t, "GatherRows", b[i*n:(i+1)*n], table[int(id)*n:int(id+1)*n])
			for k := range n {
				want[int(id)*n+k] += b[i*n+k]
			}
		}
		got := append([]float32(nil), table...)
		p.ScatterAdd(got, b, ids, n)
		sameBits(t, "ScatterAdd", got, want)
	})
}

// TestMisuse: shapes that do not fit panic before C sees them.
func TestMisuse(t *testing.T) {
	p := NewPool(1)
	x, w := make([]float32, 100), NewWeight(20, 10)
	for name, f := range map[string]func(){
		"short y":        func() { p.Linear(x[:19], x, 1, w, false) },
		"short x":        func() { p.Linear(x, x[:9], 1, w, false) },
		"odd range":      func() { p.LinearRange(x, x, 1, w, 8, 20, false) },
		"range past end": func() { p.LinearRange(x, x, 1, w, 0, 21, false) },
		"short dx":       func() { p.LinearBackInput(x[:9], x, 1, w, false) },
		"short dw":       func() { p.AccumGrad(x, x, x, 1, 20, 10) },
		"norm":           func() { p.RMSNorm(x, nil, x, x[:3], 2, 4, 1e-5) },
		"position":       func() { p.RoPE(x, []int32{5}, 1, NewRoPE(4, 5, []float64{1, 1}, 1), false) },
		"id":             func() { p.Gather(x, w, []int32{20}) },
		"negative id":    func() { p.ScatterAdd(x, x, []int32{-1}, 10) },
		"temperature":    func() { p.LogSumExpTile(make([]LSE, 1), x, 1, 10, 0) },
		"cache": func() {
			p.Attention(x, nil, x, []AttnSeq{{QLen: 2, Past: 3, K: x[:8], V: x}}, AttnShape{H: 1, KV: 1, D: 2})
		},
		"groups":      func() { p.Attention(x, nil, x, nil, AttnShape{H: 3, KV: 2, D: 2}) },
		"lengths":     func() { p.Add(x, x[:99], x) },
		"zero weight": func() { NewWeight(0, 3) },
		"few values":  func() { PackBF16(make([]uint16, 5), 2, 3) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
