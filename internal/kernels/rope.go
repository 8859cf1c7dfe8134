package kernels

import "math"

// RoPE says how vectors are rotated by their position (Su et al. 2021, eq. 34): Cos and Sin [T, Rot/2] are tables over
// positions; of each head's D elements the first Rot are rotated in pairs (i, i+Rot/2), or (2i, 2i+1) if Interleaved.
type RoPE struct {
	D, Rot      int
	Cos, Sin    []float32
	Interleaved bool
}

// NewRoPE returns tables for positions 0..n-1: angle = position·invFreq[i], cosine and sine times scale, computed in
// float64. len(invFreq) is Rot/2.
func NewRoPE(d, n int, invFreq []float64, scale float64) RoPE {
	r := RoPE{D: d, Rot: 2 * len(invFreq), Cos: make([]float32, n*len(invFreq)), Sin: make([]float32, n*len(invFreq))}
	for t := range n {
		for i, f := range invFreq {
			s, c := math.Sincos(float64(t) * f)
			r.Cos[t*len(invFreq)+i], r.Sin[t*len(invFreq)+i] = float32(c*scale), float32(s*scale)
		}
	}
	return r
}

// RoPE rotates x [m, heads·D] in place, row i by position pos[i]:
//
//	x1' = x1·cos − x2·sin;   x2' = x2·cos + x1·sin
//
// or with the opposite sign of sin if inverse, which is also the gradient.
func (p *Pool) RoPE(x []float32, pos []int32, heads int, r RoPE, inverse bool) {
	m, n := len(pos), heads*r.D
	if len(x) < m*n || r.Rot > r.D || r.Rot%2 != 0 {
		panic("kernels: RoPE: bad shape")
	}
	for _, t := range pos {
		if t < 0 || (int(t)+1)*r.Rot/2 > len(r.Cos) || (int(t)+1)*r.Rot/2 > len(r.Sin) {
			panic("kernels: RoPE: position outside the table")
		}
	}
	p.rows(m, n, rowJob{op: opRoPE, a: x, ids: pos, n: n, k: heads, rope: r, acc: inverse})
}
