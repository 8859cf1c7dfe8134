package kernels

import "math"

// Constants of exp32: log2(e), ln 2 in two parts, and the polynomial of Cephes' expf (S. Moshier), which approximates
// (eʳ − 1 − r)/r² for |r| ≤ ln2/2 with a relative error of eʳ below 2⁻²⁵.
const (
	log2e  float32 = 1.44269504088896341
	ln2Hi  float32 = 0.693147182464599609375
	ln2Lo  float32 = -1.904654299957767878e-9
	expLow float32 = -104 // exp(-104) < 2⁻¹⁵⁰ rounds to 0
	expTop float32 = 89   // exp(89) > 2¹²⁸ rounds to +∞
)

var expPoly = [6]float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

// exp32 returns eˣ within 1.1 ulp (2.1 where the result is subnormal): x = n·ln2 + r with n the nearest integer to
// x·log2(e), eʳ by a polynomial, then times 2ⁿ in two factors so that nothing overflows before the result does.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, expLow), expTop)
	t := x * log2e
	n := float32(math.RoundToEven(float64(t)))
	r := fma32(n, -ln2Lo, fma32(n, -ln2Hi, x))
	y := expPoly[0]
	for _, c := range expPoly[1:] {
		y = fma32(y, r, c)
	}
	y = fma32(y, float32(r*r), r) + 1
	i := int32(n)
	a := i >> 1
	return float32(y*pow2(a)) * pow2(i-a)
}

// pow2 returns 2ⁿ for n in the normal range.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

// The polynomial of Cephes' logf: log(1+f) = f − f²/2 + f³·P(f), √½ ≤ 1+f < √2.
var logPoly = [9]float32{
	7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
	-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
}

// log32 returns ln x for a normal positive x (the sum of a softmax is at least 1 or so), within 2 ulp; other
// arguments give NaN.
func log32(x float32) float32 {
	bits := math.Float32bits(x)
	if bits < 0x00800000 || bits >= 0x7f800000 {
		return float32(math.NaN())
	}
	e := int32(bits>>23) - 126 // x = f·2ᵉ, ½ ≤ f < 1
	f := math.Float32frombits(bits&0x007fffff | 0x3f000000)
	if f < 0.70710678118654752440 {
		e--
		f += f
	}
	f--
	z := float32(f * f)
	y := logPoly[0]
	for _, c := range logPoly[1:] {
		y = fma32(y, f, c)
	}
	y = float32(float32(y*f) * z)
	n := float32(e)
	y = fma32(n, ln2Lo, y)
	y = fma32(-0.5, z, y)
	return fma32(n, ln2Hi, f+y)
}
