package kernels

import (
	"fmt"
	"math"
	"testing"
)

// attnCase is a packed batch with random q, k, v and output gradients.
type attnCase struct {
	AttnShape
	lens        []int
	q, k, v, do []float32
	rows        int
}

func newAttnCase(seed uint64, s AttnShape, lens ...int) *attnCase {
	c := &attnCase{AttnShape: s, lens: lens}
	for _, n := range lens {
		c.rows += n
	}
	c.Scale = float32(1 / math.Sqrt(float64(s.D)))
	c.q, c.k = randoms(seed, c.rows*s.H*s.D), randoms(seed+1, c.rows*s.KV*s.D)
	c.v, c.do = randoms(seed+2, c.rows*s.KV*s.D), randoms(seed+3, c.rows*s.H*s.D)
	for i := range c.q {
		c.q[i] *= 3 // peaked rows, so that the running maximum moves
	}
	return c
}

func (c *attnCase) seqs(k, v []float32) []AttnSeq {
	var s []AttnSeq
	row := 0
	for _, n := range c.lens {
		s = append(s, AttnSeq{QRow: row, QLen: n, K: k[row*c.KV*c.D:], V: v[row*c.KV*c.D:]})
		row += n
	}
	return s
}

func (c *attnCase) forward(p *Pool) (out, lse []float32) {
	out, lse = make([]float32, len(c.q)), make([]float32, c.rows*c.H)
	p.Attention(out, lse, c.q, c.seqs(c.k, c.v), c.AttnShape)
	return out, lse
}

func (c *attnCase) backward(p *Pool, out, lse []float32) (dq, dk, dv []float32) {
	dq, dk, dv = make([]float32, len(c.q)), make([]float32, len(c.k)), make([]float32, len(c.v))
	for _, x := range [][]float32{dq, dk, dv} {
		for i := range x {
			x[i] = float32(math.NaN())
		}
	}
	seqs := c.seqs(c.k, c.v)
	for i := range seqs {
		at := seqs[i].QRow * c.KV * c.D
		seqs[i].DK, seqs[i].DV = dk[at:], dv[at:]
	}
	p.AttentionBackward(dq, c.do, c.q, out, lse, seqs, c.AttnShape)
	return dq, dk, dv
}

// exact is the result in float64, and for each element the sum of the magnitudes of its terms.
type exact struct {
	out, lse, dq, dk, dv      []float64
	outM, lseM, dqM, dkM, dvM []float64
	score                     float64 // the largest Scale·Σ|q_d k_d|
}

// reference computes everything in float64 from the formulas, whole rows at once.
func (c *attnCase) reference() *exact {
	f := func(n int) []float64 { return make([]float64, n) }
	e := &exact{
		out: f(len(c.q)), lse: f(c.rows * c.H), dq: f(len(c.q)), dk: f(len(c.k)), dv: f(len(c.v)),
		outM: f(len(c.q)), lseM: f(c.rows * c.H), dqM: f(len(c.q)), dkM: f(len(c.k)), dvM: f(len(c.v)),
	}
	row := 0
	for _, n := range c.lens {
		for h := range c.H {
			for t := range n {
				c.referenceRow(e, row, t, h)
			}
		}
		row += n
	}
	return e
}

func (c *attnCase) referenceRow(e *exact, row, t, h int) {
	qa := ((row+t)*c.H + h) * c.D
	ka := func(j int) int { return ((row+j)*c.KV + h/(c.H/c.KV)) * c.D }
	lo := 0
	if c.Window > 0 {
		lo = max(0, t+1-c.Window)
	}
	s, sum, top := make([]float64, t+1), 0.0, math.Inf(-1)
	for j := lo; j <= t; j++ {
		mag := 0.0
		for d := range c.D {
			p := float64(c.q[qa+d]) * float64(c.k[ka(j)+d]) * float64(c.Scale)
			s[j] += p
			mag += math.Abs(p)
		}
		e.score, top = max(e.score, mag), max(top, s[j])
	}
	for j := lo; j <= t; j++ {
		sum += math.Exp(s[j] - top)
	}
	l, delta, deltaM := top+math.Log(sum), 0.0, 0.0
	e.lse[(row+t)*c.H+h], e.lseM[(row+t)*c.H+h] = l, 1+math.Abs(l)
	add := func(x, m []float64, i int, v, mag float64) {
		x[i] += v
		m[i] += mag
	}
	for j := lo; j <= t; j++ {
		for d := range c.D {
			v := math.Exp(s[j]-l) * float64(c.v[ka(j)+d])
			add(e.out, e.outM, qa+d, v, math.Abs(v))
		}
	}
	for d := range c.D {
		delta += float64(c.do[qa+d]) * e.out[qa+d]
		deltaM += math.Abs(float64(c.do[qa+d])) * e.outM[qa+d]
	}
	for j := lo; j <= t; j++ {
		p, dp, dpM := math.Exp(s[j]-l), 0.0, deltaM
		for d := range c.D {
			v := float64(c.do[qa+d]) * float64(c.v[ka(j)+d])
			dp += v
			dpM += math.Abs(v)
			add(e.dv, e.dvM, ka(j)+d, p*float64(c.do[qa+d]), p*math.Abs(float64(c.do[qa+d])))
		}
		ds, dsM := p*(dp-delta)*float64(c.Scale), p*dpM*float64(c.Scale)
		for d := range c.D {
			k, q := float64(c.k[ka(j)+d]), float64(c.q[qa+d])
			add(e.dq, e.dqM, qa+d, ds*k, dsM*math.Abs(k))
			add(e.dk, e.dkM, ka(j)+d, ds*q, dsM*math.Abs(q))
		}
	}
}

var attnCases = []*attnCase{
	newAttnCase(1, AttnShape{H: 1, KV: 1, D: 16}, 1),
	newAttnCase(2, AttnShape{H: 4, KV: 2, D: 8}, 5, 1, 70),
	newAttnCase(3, AttnShape{H: 9, KV: 3, D: 64}, 65, 64, 3),
	newAttnCase(4, AttnShape{H: 3, KV: 3, D: 32}, 150, 2),
	newAttnCase(5, AttnShape{H: 8, KV: 1, D: 20}, 67),
	newAttnCase(6, AttnShape{H: 2, KV: 2, D: 48, Window: 5}, 90),
	newAttnCase(7, AttnShape{H: 4, KV: 2, D: 16, Window: 70}, 200, 40),
	newAttnCase(8, AttnShape{H: 5, KV: 1, D: 128, Window: 64}, 140),
}

// TestAttentionDefinition: the Go definition against float64.
//
// A score is a chain of D products: its error is at most e = (D+2)·u·Scale·Σ|qk|, and that of lse the same plus its own
// rounding. So a probability exp(s − lse) is off by a factor of at most 1+2e+4u (+ |s|u, within e). What is summed over
// D and then over at most T terms adds (D+T+16)·u. All relative to the sum of the terms' magnitudes.
func TestAttentionDefinition(t *testing.T) {
	restore, _ := Use("generic")
	defer restore()
	p := NewPool(1)
	for i, c := range attnCases {
		out, lse := c.forward(p)
		dq, dk, dv := c.backward(p, out, lse)
		e := c.reference()
		s := float64(c.D+2) * u * e.score
		rel := 2*s + float64(c.D+c.rows*c.H/c.KV+16)*u
		for _, x := range []struct {
			name      string
			got       []float32
			want, mag []float64
			rel       float64
		}{{"out", out, e.out, e.outM, rel}, {"lse", lse, e.lse, e.lseM, s + 8*u}, {"dq", dq, e.dq, e.dqM, 2 * rel}, {"dk", dk, e.dk, e.dkM, 2 * rel}, {"dv", dv, e.dv, e.dvM, rel}} {
			for k := range x.got {
				if d := math.Abs(float64(x.got[k]) - x.want[k]); !(d <= x.rel*x.mag[k]) {
					t.Fatalf("case %d: %s[%d] = %v, want %v: off by %g, bound %g", i, x.name, k, x.got[k], x.want[k], d, x.rel*x.mag[k])
				}
			}
		}
	}
}

// TestAttention: every variant, at 1, 2 and 3 threads (one or two passes back), has the bits of the definition.
func TestAttention(t *testing.T) {
	type result struct{ out, lse, dq, dk, dv []float32 }
	want := make([]result, len(attnCases))
	definition(func() {
		p := NewPool(1)
		for i, c := range attnCases {
			w := &want[i]
			w.out, w.lse = c.forward(p)
			w.dq, w.dk, w.dv = c.backward(p, w.out, w.lse)
		}
	})
	eachVariant(t, func(t *testing.T) {
		for _, threads := range []int{1, 2, 3} {
			p := NewPool(threads)
			defer p.Close()
			for i, c := range attnCases {
				if Variant() == "generic" && threads == 1 {
					continue
				}
				out, lse := c.forward(p)
				dq, dk, dv := c.backward(p, out, lse)
				what := fmt.Sprintf("case %d, %d threads: ", i, threads)
				sameBits(t, what+"out", out, want[i].out)
				sameBits(t, what+"lse", lse, want[i].lse)
				sameBits(t, what+"dq", dq, want[i].dq)
				sameBits(t, what+"dk", dk, want[i].dk)
				sameBits(t, what+"dv", dv, want[i].dv)
			}
		}
	})
}

// TestAttentionBackwardAfterPast: a sequence cut in two, the second part attending to the first as its past. The queries'
// gradients keep their bits, and what the two parts give to a key adds up to what it is given uncut: see TestAttentionDefinition
// for the bound, plus u for the sum. Every variant and number of threads has the definition's bits.
func TestAttentionBackwardAfterPast(t *testing.T) {
	cut := func(c *attnCase, p *Pool, out, lse []float32) (dq []float32, seqs []AttnSeq) {
		narrow := c.KV * c.D
		dq = make([]float32, len(c.q))
		for _, s := range c.seqs(c.k, c.v) {
			for _, part := range []AttnSeq{{QRow: s.QRow, QLen: s.QLen * 2 / 3}, {QRow: s.QRow + s.QLen*2/3, QLen: s.QLen - s.QLen*2/3, Past: s.QLen * 2 / 3}} {
				n := (part.Past + part.QLen) * narrow
				part.K, part.V = s.K[:n], s.V[:n]
				part.DK, part.DV = randoms(7, n), randoms(8, n) // to be overwritten
				seqs = append(seqs, part)
			}
		}
		p.AttentionBackward(dq, c.do, c.q, out, lse, seqs, c.AttnShape)
		return dq, seqs
	}
	wantQ, want := make([][]float32, len(attnCases)), make([][]AttnSeq, len(attnCases))
	definition(func() {
		p := NewPool(1)
		for i, c := range attnCases {
			out, lse := c.forward(p)
			whole, _, _ := c.backward(p, out, lse)
			wantQ[i], want[i] = cut(c, p, out, lse)
			sameBits(t, fmt.Sprintf("case %d: dq", i), wantQ[i], whole)
			e := c.reference()
			bound := 2 * (2*float64(c.D+2)*u*e.score + float64(c.D+c.rows*c.H/c.KV+17)*u)
			for k := 0; k < len(want[i]); k += 2 {
				a, b := &want[i][k], &want[i][k+1]
				at := a.QRow * c.KV * c.D
				for j := range b.DK {
					dk, dv := float64(b.DK[j]), float64(b.DV[j])
					if j < len(a.DK) {
						dk, dv = dk+float64(a.DK[j]), dv+float64(a.DV[j])
					}
					if !(math.Abs(dk-e.dk[at+j]) <= bound*e.dkM[at+j]) || !(math.Abs(dv-e.dv[at+j]) <= bound*e.dvM[at+j]) {
						t.Fatalf("case %d, sequence %d: dk, dv[%d] = %v, %v, want %v, %v", i, k/2, j, dk, dv, e.dk[at+j], e.dv[at+j])
					}
				}
			}
		}
	})
	eachVariant(t, func(t *testing.T) {
		for _, threads := range []int{1, 2, 8} {
			p := NewPool(threads)
			defer p.Close()
			for i, c := range attnCases {
				out, lse := c.forward(p)
				dq, seqs := cut(c, p, out, lse)
				what := fmt.Sprintf("case %d, %d threads: ", i, threads)
				sameBits(t, what+"dq", dq, wantQ[i])
				for k := range seqs {
					sameBits(t, what+"dk", seqs[k].DK, want[i][k].DK)
					sameBits(t, what+"dv", seqs[k].DV, want[i][k].DV)
				}
			}
		}
	})
}

func TestAttentionNoGarbage(t *testing.T) {
	c := attnCases[2]
	p := NewPool(2)
	defer p.Close()
	out, lse := c.forward(p)
	dq, dk, dv := c.backward(p, out, lse)
	seqs := c.seqs(c.k, c.v)
	for i := range seqs {
		at := seqs[i].QRow * c.KV * c.D
		seqs[i].DK, seqs[i].DV = dk[at:], dv[at:]
	}
	if n := testing.AllocsPerRun(10, func() {
		p.Attention(out, lse, c.q, seqs, c.AttnShape)
		p.AttentionBackward(dq, c.do, c.q, out, lse, seqs, c.AttnShape)
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

// BenchmarkAttention counts the causal half of the products only.
func BenchmarkAttention(b *testing.B) {
	c := newAttnCase(1, AttnShape{H: 9, KV: 3, D: 64}, 512, 512)
	for _, v := range Available()[1:] {
		for _, threads := range []int{1, 2} {
			p := NewPool(threads)
			defer p.Close()
			restore, _ := Use(v)
			out, lse := c.forward(p)
			dq, dk, dv := c.backward(p, out, lse)
			restore()
			seqs := c.seqs(c.k, c.v)
			for i := range seqs {
				at := seqs[i].QRow * c.KV * c.D
				seqs[i].DK, seqs[i].DV = dk[at:], dv[at:]
			}
			pairs := 2 * 512 * 513 / 2 * float64(c.H*c.D)
			b.Run(fmt.Sprintf("forward/%s/threads=%d", v, threads), func(b *testing.B) {
				restore, _ := Use(v)
				defer restore()
				for b.Loop() {
					p.Attention(out, lse, c.q, seqs, c.AttnShape)
				}
				gflops(b, 4*pairs)
			})
			b.Run(fmt.Sprintf("backward/%s/threads=%d", v, threads), func(b *testing.B) {
				restore, _ := Use(v)
				defer restore()
				for b.Loop() {
					p.AttentionBackward(dq, c.do, c.q, out, lse, seqs, c.AttnShape)
				}
				gflops(b, 10*pairs)
			})
		}
	}
}
