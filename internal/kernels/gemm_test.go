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
		{-3, 0.5, 1.5, 0},
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

// gemmCase is one shape with random operands and the three products over it, by the definition.
type gemmCase struct {
	m, out, in       int
	x, dy, wf        []float32
	w                *Weight
	y, dx, dw        []float32 // overwriting
	yAcc, dxAcc, old []float32 // added to old
}

func newGemmCase(seed uint64, m, out, in int, bf16 bool) *gemmCase {
	c := &gemmCase{m: m, out: out, in: in, x: randoms(seed, m*in), dy: randoms(seed+1, m*out), wf: randoms(seed+2, out*in)}
	if bf16 {
		h := make([]uint16, out*in)
		for i, v := range c.wf {
			h[i] = toBF16(v)
			c.wf[i] = fromBF16(h[i])
		}
		c.w = PackBF16(h, out, in)
	} else {
		c.w = PackF32(c.wf, out, in)
	}
	c.old = randoms(seed+3, max(m*out, m*in, out*in))
	c.y, c.dx, c.dw = make([]float32, m*out), make([]float32, m*in), append([]float32(nil), c.old[:out*in]...)
	c.yAcc, c.dxAcc = append([]float32(nil), c.old[:m*out]...), append([]float32(nil), c.old[:m*in]...)
	definition(func() {
		p := NewPool(1)
		p.Linear(c.y, c.x, m, c.w, false)
		p.Linear(c.yAcc, c.x, m, c.w, true)
		p.LinearBackInput(c.dx, c.dy, m, c.w, false)
		p.LinearBackInput(c.dxAcc, c.dy, m, c.w, true)
		p.AccumGrad(c.dw, c.dy, c.x, m, out, in)
	})
	return c
}

// check runs the products on p, all slices shifted off alignment, and compares with the definition bit for bit.
func (c *gemmCase) check(t *testing.T, p *Pool, shift int) {
	t.Helper()
	x, _ := guardedCopy(t, c.x, shift)
	dy, _ := guardedCopy(t, c.dy, shift+1)
	y, yOK := guarded(t, c.m*c.out, shift)
	p.Linear(y, x, c.m, c.w, false)
	yOK("Linear")
	sameBits(t, "Linear", y, c.y)
	copy(y, c.old)
	p.Linear(y, x, c.m, c.w, true)
	yOK("Linear acc")
	sameBits(t, "Linear acc", y, c.yAcc)
	dx, dxOK := guarded(t, c.m*c.in, shift)
	p.LinearBackInput(dx, dy, c.m, c.w, false)
	dxOK("LinearBackInput")
	sameBits(t, "LinearBackInput", dx, c.dx)
	copy(dx, c.old)
	p.LinearBackInput(dx, dy, c.m, c.w, true)
	sameBits(t, "LinearBackInput acc", dx, c.dxAcc)
	dw, dwOK := guardedCopy(t, c.old[:c.out*c.in], shift)
	p.AccumGrad(dw, dy, x, c.m, c.out, c.in)
	dwOK("AccumGrad")
	sameBits(t, "AccumGrad", dw, c.dw)
	sameBits(t, "x", x, c.x)
	sameBits(t, "dy", dy, c.dy)
}

func TestDefinitionOfProducts(t *testing.T) {
	for _, s := range [][3]int{{1, 1, 1}, {1, 16, 7}, {3, 17, 33}, {7, 40, 100}, {20, 5, 64}} {
		for _, bf16 := range []bool{false, true} {
			c := newGemmCase(1, s[0], s[1], s[2], bf16)
			m, out, in := c.m, c.out, c.in
			checkProducts(t, "Linear", c.y, m, out, in, func(i, k int) float32 { return c.x[i*in+k] }, func(k, j int) float32 { return c.wf[j*in+k] }, nil)
			checkProducts(t, "LinearBackInput", c.dx, m, in, out, func(i, k int) float32 { return c.dy[i*out+k] }, func(k, j int) float32 { return c.wf[k*in+j] }, nil)
			checkProducts(t, "AccumGrad", c.dw, out, in, m, func(i, k int) float32 { return c.dy[k*out+i] }, func(k, j int) float32 { return c.x[k*in+j] }, c.old)
			row := make([]float32, in)
			for r := range out {
				c.w.Row(row, r)
				sameBits(t, "Row", row, c.wf[r*in:(r+1)*in])
			}
			all := make([]float32, out*in)
			c.w.Unpack(all)
			sameBits(t, "Unpack", all, c.wf)
		}
	}
}

// TestProducts: every variant, at one and two threads, has the bits of the definition.
func TestProducts(t *testing.T) {
	var cases []*gemmCase
	for i := range 34 { // every count of rows, columns and inputs around the tile sizes 6, 14, 16
		cases = append(cases, newGemmCase(uint64(i), 1+i, 1+(i*7)%37, 1+(i*11)%35, i%2 == 0))
	}
	for i, s := range [][3]int{
		{1, 100, 40},
		{2, 130, 33},
		{5, 70, 20},
		{1, 3, 800},
		{13, 17, 400},
		{15, 33, 785},
		{40, 48, 16},
		{400, 20, 17},
		{30, 16, 401},
		{339, 33, 50},
		{170, 600, 10},
		{20, 20, 1024},
		{9, 1024, 20},
		{800, 16, 48}, // rows 4 KiB apart; more of them than one block of k
	} {
		cases = append(cases, newGemmCase(uint64(100+i), s[0], s[1], s[2], false), newGemmCase(uint64(200+i), s[0], s[1], s[2], true))
	}
	eachVariant(t, func(t *testing.T) {
		for threads := 1; threads <= 2; threads++ {
			p := NewPool(threads)
			defer p.Close()
			for i, c := range cases {
				c.check(t, p, i%16)
			}
		}
	})
}

// TestRowIsRow: a row computed alone, or with a few, has the bits it has among 300, and a range of outputs those of all.
func TestRowIsRow(t *testing.T) {
	c := newGemmCase(7, 300, 70, 130, true)
	eachVariant(t, func(t *testing.T) {
		p := NewPool(2)
		defer p.Close()
		y := make([]float32, 16*c.out)
		for _, m := range []int{1, 2, 3, 7, 15, 16} {
			for r := 0; r+m <= c.m; r += 37 {
				p.Linear(y, c.x[r*c.in:], m, c.w, false)
				sameBits(t, "few rows", y[:m*c.out], c.y[r*c.out:(r+m)*c.out])
			}
		}
		part, dx := make([]float32, c.m*32), make([]float32, c.m*c.in)
		for o := 0; o < c.out; o += 32 {
			n := min(32, c.out-o)
			p.LinearRange(part, c.x, c.m, c.w, o, o+n, false)
			for r := range c.m {
				sameBits(t, "range of outputs", part[r*n:(r+1)*n], c.y[r*c.out+o:][:n])
				copy(part[r*n:(r+1)*n], c.dy[r*c.out+o:])
			}
			p.LinearBackInputRange(dx, part, c.m, c.w, o, o+n, o > 0)
		}
		sameBits(t, "ranges back", dx, c.dx)
		dw := append([]float32(nil), c.old[:c.out*c.in]...)
		for r := 0; r < c.m; r += 90 {
			n := min(90, c.m-r)
			p.AccumGrad(dw, c.dy[r*c.out:], c.x[r*c.in:], n, c.out, c.in)
		}
		sameBits(t, "micro-batches", dw, c.dw)
	})
}

// TestPairs: a product and one that is added to it have the bits of the definition's two calls, at any size of either.
func TestPairs(t *testing.T) {
	type pair struct {
		*gemmCase
		r        int
		u        []float32
		a, b     *Weight
		y, dx, d []float32
	}
	var cases []pair
	for i, s := range [][4]int{{1, 40, 20, 16}, {5, 33, 17, 3}, {90, 130, 100, 16}, {400, 48, 64, 32}, {30, 20, 1024, 1024}, {0, 16, 16, 16}} {
		m, out, in, r := s[0], s[1], s[2], s[3]
		c := pair{gemmCase: newGemmCase(uint64(i), m, out, in, i%2 == 0), r: r, u: randoms(50, m*r)}
		if i == 2 || i == 3 {
			c.w = PackQuantised(NewPool(1).QuantiseNF4(c.wf), out, in)
		}
		c.a, c.b = PackF32(randoms(51, r*in), r, in), PackF32(randoms(52, out*r), out, r)
		c.y, c.dx, c.d = make([]float32, m*out), make([]float32, m*in), append([]float32(nil), c.old[:m*in]...)
		definition(func() {
			p := NewPool(1)
			p.Linear(c.y, c.x, m, c.w, false)
			p.Linear(c.y, c.u, m, c.b, true)
			p.LinearBackInput(c.dx, c.dy, m, c.w, false)
			p.LinearBackInput(c.dx, c.u, m, c.a, true)
			p.LinearBackInput(c.d, c.dy, m, c.w, true)
			p.LinearBackInput(c.d, c.u, m, c.a, true)
		})
		cases = append(cases, c)
	}
	eachVariant(t, func(t *testing.T) {
		for threads := 1; threads <= 2; threads++ {
			p := NewPool(threads)
			defer p.Close()
			for _, c := range cases {
				y, check := guarded(t, c.m*c.out, 3)
				p.LinearPair(y, c.x, c.u, c.m, c.w, c.b)
				check("LinearPair")
				sameBits(t, "LinearPair", y, c.y)
				dx, check := guarded(t, c.m*c.in, 5)
				p.LinearBackInputPair(dx, c.dy, c.u, c.m, c.w, c.a, false)
				check("LinearBackInputPair")
				sameBits(t, "LinearBackInputPair", dx, c.dx)
				copy(dx, c.old)
				p.LinearBackInputPair(dx, c.dy, c.u, c.m, c.w, c.a, true)
				sameBits(t, "LinearBackInputPair acc", dx, c.d)
			}
		}
	})
}

func TestMatMul(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	m, n, k := 9, 21, 30
	a, b, c := randoms(1, m*k), randoms(2, k*n), make([]float32, m*n)
	p.MatMul(c, a, b, m, n, k, false)
	checkProducts(t, "MatMul", c, m, n, k, func(i, l int) float32 { return a[i*k+l] }, func(l, j int) float32 { return b[l*n+j] }, nil)
	p.MatMul(c, a, b, m, n, 0, false)
	sameBits(t, "empty sum", c, make([]float32, m*n))
}

// TestNoGarbage: a call in the steady state allocates nothing.
func TestNoGarbage(t *testing.T) {
	c := newGemmCase(1, 60, 200, 100, false)
	p := NewPool(2)
	defer p.Close()
	if n := testing.AllocsPerRun(20, func() {
		p.Linear(c.y, c.x, c.m, c.w, false)
		p.LinearBackInput(c.dx, c.dy, c.m, c.w, false)
		p.AccumGrad(c.dw, c.dy, c.x, c.m, c.out, c.in)
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

// toBF16 cuts a float32 to bfloat16.
func toBF16(v float32) uint16 { return uint16(math.Float32bits(v) >> 16) }
