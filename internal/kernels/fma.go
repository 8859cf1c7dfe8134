package kernels

import "math"

// fma32 returns a·b + c rounded once to float32, like the fma instruction.
//
// The product of two float32 is exact in float64, so the float64 sum is one rounding away from the exact value, and
// rounding it again to float32 is wrong only where it falls on the midpoint of two float32 or among the subnormal.
func fma32(a, b, c float32) float32 {
	s := float64(a)*float64(b) + float64(c)
	if inexact(s) {
		return fma32Exact(a, b, c)
	}
	return float32(s)
}

// inexact tells whether rounding s to float32 may round twice: a midpoint or a subnormal. A zero sum is exact.
func inexact(s float64) bool {
	t := math.Float64bits(s)
	return t<<35 == 1<<63 || t<<1-1 < 897<<53-1
}

// fma32Exact rounds the sum to odd in float64 first: then the second rounding cannot be wrong
// (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums", theorem 2).
func fma32Exact(a, b, c float32) float32 {
	p, z := float64(a)*float64(b), float64(c)
	s := p + z
	zz := s - p
	e := (p - (s - zz)) + (z - zz) // exact error of the sum (Knuth's two-sum)
	if t := math.Float64bits(s); e != 0 && t&1 == 0 {
		if (e > 0) == (s > 0) {
			t++
		} else {
			t--
		}
		s = math.Float64frombits(t)
	}
	return float32(s)
}

// lanes is the fixed structure of every reduction: element i belongs to lane i mod 16.
type lanes [16]float32

// sum adds lanes l and l+8, then l+4, l+2, l+1.
func (v *lanes) sum() float32 {
	for w := 8; w > 0; w /= 2 {
		for l := range w {
			v[l] += v[l+w]
		}
	}
	return v[0]
}
