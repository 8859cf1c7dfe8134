package kernels

import (
	"math"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// TestNF4AgainstBitsandbytes: codes, scales and values of every NF4 case with blocks of 64 are those bitsandbytes stores.
// Tolerances are the file's: codes exact, scales exact where they are float32 and 1e-7 relative after the 8-bit round trip
// (a product and a sum), values 1e-6 of their block's scale (a product).
func TestNF4AgainstBitsandbytes(t *testing.T) {
	tensors := golden.Tensors(t, golden.Dir(t, "nf4/four_bit.safetensors"))
	pool := NewPool(2)
	defer pool.Close()
	ran := 0
	for key, in := range tensors {
		name, ok := strings.CutSuffix(key, ".input")
		if !ok || !strings.HasPrefix(name, "nf4.") || strings.Contains(name, "block128") {
			continue
		}
		ran++
		q := pool.QuantiseNF4(in.F)
		if want := tensors[name+".packed"].Bytes; !slices.Equal(q.Codes[:len(in.F)/2], want[:len(in.F)/2]) {
			t.Errorf("%s: codes differ", name)
		}
		double := strings.HasSuffix(name, ".double")
		if double {
			checkNested(t, name, q, tensors)
		} else {
			for b, want := range tensors[name+".absmax"].F {
				q.ScaleCodes, q.Scales = nil, append(q.Scales, largest(in.F[b*64:min(b*64+64, len(in.F))]))
				if q.Scales[b] != want {
					t.Errorf("%s: scale %d is %v, want %v", name, b, q.Scales[b], want)
				}
			}
		}
		got := make([]float32, len(in.F))
		q.Dequantise(got)
		bf16 := strings.Contains(name, "bf16")
		for i, want := range tensors[name+".dequantised"].F {
			v := got[i]
			if bf16 { // stored after rounding to bfloat16
				v = nearestBF16(v)
			}
			if d := math.Abs(float64(v - want)); !(d <= 1e-6*float64(q.Scale(i/64))) {
				t.Fatalf("%s: value %d is %v, want %v", name, i, v, want)
			}
		}
	}
	if ran < 15 {
		t.Errorf("%d cases compared, want at least 15", ran)
	}
}

func checkNested(t *testing.T, name string, q *Quantised, tensors map[string]golden.Tensor) {
	t.Helper()
	if !slices.Equal(q.ScaleCodes, tensors[name+".absmax_quantised"].Bytes) {
		t.Errorf("%s: codes of the scales differ", name)
	}
	sameBits(t, name+": offset", []float32{q.Offset}, tensors[name+".absmax_offset"].F)
	sameBits(t, name+": scales of the scales", q.Nested, tensors[name+".nested_absmax"].F)
	sameBits(t, name+": 8-bit table", q.NestedTable, tensors[name+".nested_code"].F)
	for b, want := range tensors[name+".absmax"].F {
		if d := math.Abs(float64(q.Scale(b) - want)); !(d <= 1e-7*float64(want)) {
			t.Errorf("%s: scale %d is %v, want %v", name, b, q.Scale(b), want)
		}
	}
}

func nearestBF16(v float32) float32 {
	b := math.Float32bits(v)
	return fromBF16(uint16((b + 0x7fff + b>>16&1) >> 16))
}

// TestInt8AgainstBitsandbytes: the two dynamic maps to the bit; codes the nearest entry's, or, as the file says of
// bitsandbytes' own search, one not more than 3.1e-5 farther from the value; scales exact; values of its codes to 1e-6.
func TestInt8AgainstBitsandbytes(t *testing.T) {
	tensors := golden.Tensors(t, golden.Dir(t, "nf4/eight_bit.safetensors"))
	sameBits(t, "signed map", DynamicMap(true), tensors["blockwise.code"].F)
	sameBits(t, "unsigned map", DynamicMap(false), tensors["blockwise.code_unsigned"].F)
	pool := NewPool(2)
	defer pool.Close()
	ran := 0
	for key, in := range tensors {
		name, ok := strings.CutSuffix(key, ".block64.input")
		if !ok {
			continue
		}
		name += ".block64"
		ran++
		q, want := pool.QuantiseInt8(in.F), tensors[name+".quantised"].Bytes
		sameBits(t, name+": scales", q.Scales, tensors[name+".absmax"].F)
		for i, x := range in.F {
			s := q.Scales[i/64]
			mine, theirs := math.Abs(float64(q.Table[q.Codes[i]]-x/s)), math.Abs(float64(q.Table[want[i]]-x/s))
			if mine > theirs || theirs > mine+3.1e-5 {
				t.Fatalf("%s: value %d of %v: code %d is %g off, bitsandbytes' %d is %g off", name, i, x/s, q.Codes[i], mine, want[i], theirs)
			}
		}
		q.Codes = want
		got := make([]float32, len(in.F))
		q.Dequantise(got)
		for i, v := range tensors[name+".dequantised"].F {
			if d := math.Abs(float64(got[i] - v)); !(d <= 1e-6*float64(q.Scales[i/64])) {
				t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], v)
			}
		}
	}
	if ran != 5 {
		t.Errorf("%d cases compared, want 5", ran)
	}
}

// quantisations are the forms a Weight may take: bitsandbytes' two, NF4 with float32 scales, blocks of 32 as in GGUF.
func quantisations(p *Pool, w []float32) map[string]*Quantised {
	nf4, single := p.QuantiseNF4(w), p.QuantiseNF4(w)
	for b := range single.ScaleCodes {
		single.Scales = append(single.Scales, single.Scale(b))
	}
	single.ScaleCodes = nil
	q4 := *single
	q4.Block = 32
	q4.Table = randoms(5, 16)
	q4.Scales = randoms(6, (len(w)+31)/32)
	q40, q80, q41, q51 := q4, *p.QuantiseInt8(w), q4, *p.QuantiseInt8(w)
	q40.Table, q41.Table, q80.Table, q51.Table = whole(16, 8), whole(16, 0), whole(256, 128), whole(256, 0)
	q41.Mins, q51.Mins = randoms(7, (len(w)+31)/32), randoms(8, (len(w)+63)/64)
	return map[string]*Quantised{
		"nf4": nf4, "single": single, "blocks of 32": &q4, "int8": p.QuantiseInt8(w),
		"4 bits, whole numbers": &q40, "8 bits, whole numbers": &q80, "4 bits with minima": &q41, "8 bits with minima": &q51,
	}
}

// whole is a table of n whole numbers from -zero on.
func whole(n, zero int) (table []float32) {
	for c := range n {
		table = append(table, float32(c-zero))
	}
	return table
}

// TestQuantisedProducts: for every variant, shapes around all tile sizes and rows that are whole blocks or not, the products
// with a quantised matrix, and with ranges of its rows, have the bits of those with the dequantised float32 matrix; rows and
// codes come back as they went in.
func TestQuantisedProducts(t *testing.T) {
	shapes := [][3]int{ // rows, outputs, inputs
		{1, 1, 1},
		{2, 5, 7},
		{3, 17, 33},
		{1, 100, 64},
		{5, 33, 51},
		{20, 40, 100},
		{60, 20, 130},
		{1, 96, 512},
		{2, 80, 128},
		{3, 64, 448},
		{4, 48, 832},
		{50, 50, 64},
		{200, 70, 128},
		{43, 33, 448},
		{15, 600, 64},
		{29, 40, 192},
	}
	for m := 1; m <= 17; m++ {
		shapes = append(shapes, [3]int{m, 40 + m, 64 * (1 + m%3)})
	}
	pool := NewPool(2)
	defer pool.Close()
	eachVariant(t, func(t *testing.T) {
		for i, s := range shapes {
			m, out, in := s[0], s[1], s[2]
			x, dy, wf := randoms(uint64(i), m*in), randoms(uint64(i+100), m*out), randoms(uint64(i+200), out*in)
			for name, q := range quantisations(pool, wf) {
				q.Dequantise(wf)
				checkQuantised(t, pool, name, PackQuantised(q, out, in), PackF32(wf, out, in), x, dy, m, i%16)
				if back := PackQuantised(q, out, in).Quantised(); !slices.Equal(back.Codes[:out*in*q.Bits/8], q.Codes[:out*in*q.Bits/8]) ||
					!slices.Equal(back.Scales, q.Scales) || !slices.Equal(back.Mins, q.Mins) || !slices.Equal(back.ScaleCodes, q.ScaleCodes) || !slices.Equal(back.Nested, q.Nested) {
					t.Fatalf("%s %v: codes or scales came back otherwise", name, s)
				}
			}
		}
	})
}

func checkQuantised(t *testing.T, p *Pool, name string, w, f *Weight, x, dy []float32, m, shift int) {
	t.Helper()
	out, in := w.Out, w.In
	all, want := make([]float32, out*in), make([]float32, out*in)
	w.Unpack(all)
	f.Unpack(want)
	sameBits(t, name+": Unpack", all, want)
	x, _ = guardedCopy(t, x, shift)
	old := randoms(9, m*max(out, in))
	for _, acc := range []bool{false, true} {
		for o0 := 0; o0 < out; o0 += 48 { // in ranges of 48 outputs, and all
			o1, n := min(o0+48, out), min(48, out-o0)
			if o0 == 0 {
				o1, n = out, out
			}
			y, yOK := guardedCopy(t, old[:m*n], shift)
			wantY := slices.Clone(old[:m*n])
			p.LinearRange(y, x, m, w, o0, o1, acc)
			p.LinearRange(wantY, x, m, f, o0, o1, acc)
			yOK(name)
			sameBits(t, name+": Linear", y, wantY)
			dx, dxOK := guardedCopy(t, old[:m*in], shift)
			wantDX := slices.Clone(old[:m*in])
			p.LinearBackInputRange(dx, dy, m, w, o0, o1, acc)
			p.LinearBackInputRange(wantDX, dy, m, f, o0, o1, acc)
			dxOK(name)
			sameBits(t, name+": LinearBackInput", dx, wantDX)
		}
	}
}

// TestQuantisedBytes: NF4 with double quantisation takes 4 bits, 8/64 for the scales and 32/(64·256) for theirs (Dettmers et
// al. 2023, §3: 0.127 bits), int8 8 + 32/64; no product leaves garbage.
func TestQuantisedBytes(t *testing.T) {
	out, in := 1024, 512
	p := NewPool(2)
	defer p.Close()
	w := randoms(1, out*in)
	nf4, int8 := PackQuantised(p.QuantiseNF4(w), out, in), PackQuantised(p.QuantiseInt8(w), out, in)
	if got, want := nf4.Bytes(), out*in/2+out*in/64+out*in/64/256*4; got != want {
		t.Errorf("nf4 takes %d bytes, want %d", got, want)
	}
	if got, want := int8.Bytes(), out*in+out*in/64*4; got != want {
		t.Errorf("int8 takes %d bytes, want %d", got, want)
	}
	x, y := randoms(2, 20*in), make([]float32, 20*out)
	if n := testing.AllocsPerRun(20, func() {
		p.Linear(y, x, 20, nf4, false)
		p.LinearBackInput(x, y, 20, int8, false)
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}
