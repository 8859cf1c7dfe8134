package kernels

import (
	"math"
	"testing"

	"plumb/internal/rng"
)

// u is the unit roundoff of float32.
const u = 1.0 / (1 << 24)

func randoms(seed uint64, n int) []float32 {
	r := rng.New(seed)
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.Norm())
	}
	return x
}

func TestFMA32(t *testing.T) {
	// Cases where rounding the float64 sum a second time goes wrong, worked out by hand: a·b + c lies just off the
	// midpoint of two float32 by less than a float64 ulp.
	for _, c := range []struct{ a, b, c, want float32 }{
		{1 + 0x1p-23, 1 + 0x1p-23, 0x1p-24 * 0x1p-30, 1 + 0x1p-22},
		{0x1p-24, 1, 1, 1},                      // exact midpoint: to even
		{0x1p-24 + 0x1p-47, 1, 1, 1 + 0x1p-23},  // above it, visible in float64
		{0x1p-62, 0x1p-62, 1, 1},                // below float64 resolution
		{0x1p-126, 0x1p-24, 0x1p-126, 0x1p-126}, // midpoint among subnormals: to even
		{0x1.8p-126, 0x1p-23, 0, 0x1p-148},      // 1.5 ulp of the subnormals: to even
		{float32(math.Inf(1)), 1, 0, float32(math.Inf(1))},
	} {
		if got := fma32(c.a, c.b, c.c); got != c.want {
			t.Errorf("fma32(%x, %x, %x) = %x, want %x", c.a, c.b, c.c, got, c.want)
		}
	}
	// 1+2⁻²⁴ is a midpoint; adding or subtracting 2⁻⁸⁰ must decide, though float64 cannot hold the sum.
	if got := fma32(0x1p-40, 0x1p-40, 1+0x1p-23); got != 1+0x1p-23 {
		t.Errorf("tiny product changed the sum: %x", got)
	}
	a, b := float32(1+0x1p-12), float32(1+0x1p-12) // product 1 + 2⁻¹¹ + 2⁻²⁴: a midpoint
	up, down := fma32(a, b, 0x1p-100), fma32(a, b, -0x1p-100)
	if up != 1+0x1p-11+0x1p-23 || down != 1+0x1p-11 {
		t.Errorf("midpoint plus and minus a trifle: %x, %x", up, down)
	}
}

// products checks c against the float64 product of a and b with the bound K·u·Σ|ab| (Higham 2002, §3.1, one rounding
// for each fma).
func checkProducts(t *testing.T, name string, c []float32, m, n, k int, a, b func(i, k int) float32, old []float32) {
	t.Helper()
	for i := range m {
		for j := range n {
			want, mag := 0.0, 0.0
			if old != nil {
				want = float64(old[i*n+j])
				mag = math.Abs(want)
			}
			for l := range k {
				p := float64(a(i, l)) * float64(b(l, j))
				want += p
				mag += math.Abs(p)
			}
			if d := math.Abs(float64(c[i*n+j]) - want); !(d <= float64(k+1)*u*mag) {
				t.Fatalf("%s: m=%d n=%d k=%d: c[%d,%d] = %v, want %v (off by %g, bound %g)", name, m, n, k, i, j, c[i*n+j], want, d, float64(k+1)*u*mag)
			}
		}
	}
}

func TestLinear(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	for _, s := range [][3]int{{1, 1, 1}, {1, 16, 7}, {3, 17, 33}, {7, 40, 100}, {20, 5, 64}} {
		m, out, in := s[0], s[1], s[2]
		x, wf := randoms(1, m*in), randoms(2, out*in)
		w := PackF32(wf, out, in)
		y := make([]float32, m*out)
		p.Linear(y, x, m, w, false)
		a := func(i, k int) float32 { return x[i*in+k] }
		checkProducts(t, "Linear", y, m, out, in, a, func(k, j int) float32 { return wf[j*in+k] }, nil)
		dx := make([]float32, m*in)
		p.LinearBackInput(dx, y, m, w, false)
		checkProducts(t, "LinearBackInput", dx, m, in, out, func(i, k int) float32 { return y[i*out+k] }, func(k, j int) float32 { return wf[k*in+j] }, nil)
		dw := randoms(3, out*in)
		old := append([]float32(nil), dw...)
		p.AccumGrad(dw, y, x, m, out, in)
		checkProducts(t, "AccumGrad", dw, out, in, m, func(i, k int) float32 { return y[k*out+i] }, func(k, j int) float32 { return x[k*in+j] }, old)
	}
}
