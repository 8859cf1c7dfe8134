package kernels

import (
	"fmt"
	"testing"
)

// TestWork: flops counted by hand. A product of m rows with W [out,in] is 2·m·out·in, whichever way; attention forward is two
// products of D by the pairs that see each other, its backward pass four of the mathematics and, in one pass over the scores, one
// again; in two passes three again.
func TestWork(t *testing.T) {
	m, out, in := 5, 48, 24
	w := PackF32(randoms(1, out*in), out, in)
	x, y, dw := randoms(2, m*in), randoms(3, m*out), randoms(4, out*in)
	u, a, b := randoms(6, m*8), PackF32(randoms(7, 8*in), 8, in), PackF32(randoms(8, out*8), out, 8)
	p := NewPool(1)
	defer p.Close()
	product := float64(2 * m * out * in)
	dk, dv := make([]float32, 6*8), make([]float32, 6*8)
	seqs := func(n int, past int, rows int) []AttnSeq {
		kv := randoms(9, (past+n)*8)
		return []AttnSeq{{QRow: rows, QLen: n, K: kv, V: kv, DK: dk, DV: dv, Past: past}}
	}
	s := AttnShape{H: 4, KV: 2, D: 4, Scale: 0.5}
	windowed := s
	windowed.Window = 3
	q, o, lse := randoms(5, 6*16), make([]float32, 6*16), make([]float32, 6*4)
	dq := make([]float32, 6*16)
	for _, c := range []struct {
		name          string
		flops, repeat float64
		f             func()
	}{
		{"linear", product, 0, func() { p.Linear(y, x, m, w, true) }},
		{"range", product / 3, 0, func() { p.LinearRange(y, x, m, w, 16, 32, false) }},
		{"back to input", product, 0, func() { p.LinearBackInput(x, y, m, w, false) }},
		{"with a pair", product + 2*5*48*8, 0, func() { p.LinearPair(y, x, u, m, w, b) }},
		{"with a pair, back", product + 2*5*8*24, 0, func() { p.LinearBackInputPair(x, y, u, m, w, a, true) }},
		{"gradient", product, 0, func() { p.AccumGrad(dw, y, x, m, out, in) }},
		{"matmul", 2 * 3 * 4 * 5, 0, func() { p.MatMul(dw, x, y, 3, 4, 5, false) }},
		{"norm", 0, 0, func() { p.RMSNorm(x, nil, x, randoms(1, in), m, in, 1e-5) }},
		// 6 queries see 1+2+...+6 = 21 keys; with a window of 3, 1+2+3·4 = 15; the 2 after 4 others see 5+6 = 11.
		{"attention", 2 * 2 * 16 * 21, 0, func() { p.Attention(o, lse, q, seqs(6, 0, 0), s) }},
		{"window", 2 * 2 * 16 * 15, 0, func() { p.Attention(o, nil, q, seqs(6, 0, 0), windowed) }},
		{"past", 2 * 2 * 16 * 11, 0, func() { p.Attention(o, nil, q, seqs(2, 4, 0), s) }},
		{"backward", 4 * 2 * 16 * 21, 2 * 16 * 21, func() { p.AttentionBackward(dq, o, q, o, lse, seqs(6, 0, 0), s) }},
		{"backward, past", 4 * 2 * 16 * 11, 2 * 16 * 11, func() { p.AttentionBackward(dq, o, q, o, lse, seqs(2, 4, 0), s) }},
		{"again", 0, product, func() { p.Recomputing(true); p.Linear(y, x, m, w, false); p.Recomputing(false) }},
	} {
		before := p.Work()
		c.f()
		if got := p.Work().Sub(before); got != (Work{c.flops, c.repeat}) {
			t.Errorf("%s: %+v, want %g and %g again", c.name, got, c.flops, c.repeat)
		}
	}
	two := NewPool(2)
	defer two.Close()
	two.AttentionBackward(dq, o, q, o, lse, seqs(6, 0, 0), s)
	if got := two.Work(); got != (Work{4 * 2 * 16 * 21, 3 * 2 * 16 * 21}) {
		t.Errorf("backward in two passes: %+v", got)
	}
}

// TestVisible: the closed form counts what a loop over queries counts.
func TestVisible(t *testing.T) {
	for past := range 8 {
		for n := range 8 {
			for window := range 6 {
				want := 0
				for q := past; q < past+n; q++ {
					for k := range q + 1 {
						if window == 0 || k > q-window {
							want++
						}
					}
				}
				if got := visible(past, n, window); got != float64(want) {
					t.Errorf("visible(%d, %d, %d) = %g, want %d", past, n, window, got, want)
				}
			}
		}
	}
}

// TestUtilisation: 3 TFLOP in 20 s at a ceiling of 200 GFLOP/s is 0.75; what is recomputed earns nothing.
func TestUtilisation(t *testing.T) {
	s := Spent{Work{Flops: 3e12, Recomputed: 9e12}, 20}
	if got := s.Utilisation(200); got != 0.75 {
		t.Errorf("utilisation %g, want 0.75", got)
	}
	if s.Utilisation(0) != 0 || (Spent{}).Utilisation(200) != 0 {
		t.Error("utilisation of an unknown ceiling or of no time")
	}
}

// TestProfile: calls, rows, flops and bytes of each operation and shape; an operation in two halves is one call; nothing is kept
// where no profile is taken, and a call seen before allocates nothing.
func TestProfile(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	m, out, in := 32, 48, 24
	wf, wh := PackF32(randoms(1, out*in), out, in), PackBF16(randomBF16(2, out*in), out, in)
	x, y := randoms(3, m*in), randoms(4, m*out)
	s := AttnShape{H: 2, KV: 1, D: 4, Scale: 0.5}
	q, o, lse, kv := randoms(5, 6*8), make([]float32, 6*8), make([]float32, 6*2), randoms(6, 6*4)
	dkv := make([]float32, 6*4)
	seqs := []AttnSeq{{QLen: 6, K: kv, V: kv, DK: dkv, DV: dkv}}
	all := func() {
		p.Linear(y, x, m, wf, false)
		p.Linear(y, x, 2, wf, false)
		p.Linear(y, x, m, wh, false)
		p.AccumGrad(q, y, x, m, 1, in) // a scalar head's
		p.Attention(o, lse, q, seqs, s)
		p.AttentionBackward(q, o, q, o, lse, seqs, s)
		p.Add(x, x, x)
	}
	all()
	if p.Operations() != nil {
		t.Error("a profile nobody asked for")
	}
	p.Profile()
	all()
	all()
	got := map[string]Operation{}
	for _, op := range p.Operations() {
		if op.Seconds <= 0 {
			t.Errorf("%s took %g s", op.Name, op.Seconds)
		}
		op.Seconds = 0
		got[fmt.Sprintf("%s %d few=%v", op.Name, op.Bits, op.Few)] = op
	}
	pairs := 2 * 8 * 21.0 // flops of one product over D and head
	for _, want := range []Operation{
		{Name: "linear", Out: out, In: in, Bits: 32, Calls: 2, Rows: 64, Flops: 2 * 2 * 32 * 48 * 24, Bytes: 2 * 4 * (32*24 + 32*48 + 48*24)},
		{Name: "linear", Out: out, In: in, Bits: 32, Few: true, Calls: 2, Rows: 4, Flops: 2 * 2 * 2 * 48 * 24, Bytes: 2 * 4 * (2*24 + 2*48 + 48*24)},
		{Name: "linear", Out: out, In: in, Bits: 16, Calls: 2, Rows: 64, Flops: 2 * 2 * 32 * 48 * 24, Bytes: 2 * (4*(32*24+32*48) + 2*48*24)},
		{Name: "linear, gradient of its weight", Out: 1, In: in, Bits: 32, Calls: 2, Rows: 64, Flops: 2 * 2 * 32 * 24, Bytes: 2 * 4 * (32 + 2*24 + 32*24)},
		{Name: "attention", Out: 8, In: 4, Bits: 32, Few: true, Calls: 2, Rows: 12, Flops: 2 * 2 * pairs, Bytes: 2 * 4 * (2*48 + 2*24)},
		{Name: "attention, backward", Out: 8, In: 4, Bits: 32, Few: true, Calls: 2, Rows: 12, Flops: 2 * 7 * pairs, Bytes: 2 * 4 * (4*48 + 4*24)},
		{Name: "add", Bits: 32, Calls: 2, Rows: 2, Bytes: 2 * 4 * 3 * 32 * 24},
	} {
		k := fmt.Sprintf("%s %d few=%v", want.Name, want.Bits, want.Few)
		if got[k] != want {
			t.Errorf("%s:\n got %+v\nwant %+v", k, got[k], want)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
	if n := testing.AllocsPerRun(20, all); n > 0 {
		t.Errorf("%g allocations a run while profiling", n)
	}
}

// BenchmarkMeter is the smallest operation there is, without and with a profile: what measuring costs a call.
func BenchmarkMeter(b *testing.B) {
	x := randoms(1, 64)
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("profile=%v", on), func(b *testing.B) {
			p := NewPool(1)
			defer p.Close()
			if on {
				p.Profile()
			}
			for b.Loop() {
				p.Add(x, x, x)
			}
		})
	}
}
