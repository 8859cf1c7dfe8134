package kernels

import (
	"cmp"
	"slices"
	"time"
)

// Work is arithmetic that was done, in floating-point operations of products: a multiply and an add are two. What is not a
// product (norms, rotations, softmax) is not counted; it is a small part, and bound by memory.
type Work struct {
	Flops      float64 // what the mathematics asks for, once
	Recomputed float64 // computed again to save memory: scores in attention's backward pass, blocks of a checkpoint, tiles of logits
}

// Sub returns the work done since an earlier reading.
func (w Work) Sub(earlier Work) Work {
	return Work{w.Flops - earlier.Flops, w.Recomputed - earlier.Recomputed}
}

// Spent is work and the time that passed meanwhile.
type Spent struct {
	Work    Work
	Seconds float64
}

// Utilisation is model-FLOP utilisation: Work.Flops / Seconds as a share of a ceiling in GFLOP/s; 0 where one of them is unknown.
// What is recomputed earns nothing.
func (s Spent) Utilisation(ceiling float64) float64 {
	if s.Seconds <= 0 || ceiling <= 0 {
		return 0
	}
	return s.Work.Flops / s.Seconds / (ceiling * 1e9)
}

// Watch measures what is spent from where it was made.
type Watch struct {
	pool  *Pool
	work  Work
	began time.Time
}

// Watch starts one.
func (p *Pool) Watch() Watch { return Watch{p, p.Work(), time.Now()} }

// Spent is what was spent since the watch was made.
func (w Watch) Spent() Spent { return Spent{w.pool.Work().Sub(w.work), time.Since(w.began).Seconds()} }

// Operation is a line of a profile: the calls of one operation on matrices of one shape.
type Operation struct {
	Name    string  `json:"name"`
	Out     int     `json:"out,omitempty"`  // of a product with a weight [Out,In]
	In      int     `json:"in,omitempty"`   //
	Bits    int     `json:"bits,omitempty"` // of one of its elements in memory
	Few     bool    `json:"few,omitempty"`  // at most 16 rows: another kernel, bound by memory
	Calls   int64   `json:"calls"`
	Rows    int64   `json:"rows"` // of all calls together
	Seconds float64 `json:"seconds"`
	Flops   float64 `json:"flops"` // of products, recomputed ones too
	Bytes   float64 `json:"bytes"` // of operands and results, each touched once
}

// fewRows is what Operation calls few.
const fewRows = 16

// meter counts what a pool computes and, while a profile is taken, how long each operation takes. Pool.mu guards it.
type meter struct {
	work    Work
	again   bool // what runs is computed a second time
	now     call // the operation that runs
	profile map[opKey]*Operation
}

// call is one operation's arguments as the meter sees them.
type call struct {
	opKey
	rows         int
	flops, bytes float64
	counted      bool // its first half is in the profile
}

type opKey struct {
	name          string
	out, in, bits int
	few           bool
}

// Work returns the arithmetic done since the pool was made.
func (p *Pool) Work() Work {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meter.work
}

// Recomputing says whether the operations that follow repeat earlier ones: their products count as Recomputed.
func (p *Pool) Recomputing(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.again = on
}

// Profile starts to time every operation, from nothing. It costs two clock readings and one look-up a call, and no memory once
// each operation was seen.
func (p *Pool) Profile() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.profile = map[opKey]*Operation{}
}

// Operations returns the profile so far, the longest first; nil where none is taken.
func (p *Pool) Operations() []Operation {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Operation
	for _, o := range p.meter.profile {
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Out, b.Out), cmp.Compare(a.In, b.In))
	})
	return out
}

// note says what the next call of run does. useful are the flops that the mathematics asks for, again those that the operation
// itself repeats. The caller holds p.mu.
func (m *meter) note(k opKey, rows int, useful, again, bytes float64) {
	if m.again {
		useful, again = 0, useful+again
	}
	m.work.Flops += useful
	m.work.Recomputed += again
	m.now = call{opKey: k, rows: rows, flops: useful + again, bytes: bytes}
}

// took puts the operation that ran into the profile. An operation of two halves is one call.
func (m *meter) took(d time.Duration) {
	c := &m.now
	o := m.profile[c.opKey]
	if o == nil {
		o = &Operation{Name: c.name, Out: c.out, In: c.in, Bits: c.bits, Few: c.few}
		m.profile[c.opKey] = o
	}
	o.Seconds += d.Seconds()
	if c.counted {
		return
	}
	c.counted = true
	o.Calls++
	o.Rows += int64(c.rows)
	o.Flops += c.flops
	o.Bytes += c.bytes
}

// noteGemm is note for c[m,n] = A[m,k] B[k,n].
func (m *meter) noteGemm(rows int, g *gemmArgs) {
	k := opKey{name: "product", out: g.n, in: g.k, bits: g.bits, few: rows <= fewRows}
	if g.bits == 0 {
		k.bits = 32
	}
	r, n, depth := float64(rows), float64(g.n), float64(g.k)
	switch {
	case g.kind == packedB:
		k.name = "linear"
	case g.kind == transposedB:
		k.name, k.out, k.in = "linear, back to its input", g.k, g.n
	case g.rowStride == 1 && g.acc: // AccumGrad, whose rows are A's columns
		k.name, k.out, k.in, k.few = "linear, gradient of its weight", rows, g.n, g.k <= fewRows
		rows = g.k
	}
	results := 1.0
	if g.acc {
		results = 2
	}
	m.note(k, rows, 2*r*n*depth, 0, 4*(r*depth+results*r*n)+float64(k.bits)/8*n*depth)
}

// noteAdded adds a second product into the same results to what was noted, which is then one operation with a pair.
func (m *meter) noteAdded(rows int, g *gemmArgs) {
	first := m.now
	m.noteGemm(rows, g)
	if first.name == "linear" {
		first.name = "linear with its pair"
	} else {
		first.name = "linear with its pair, back to its input"
	}
	first.flops += m.now.flops
	first.bytes += m.now.bytes - 8*float64(rows)*float64(g.n) // the results stay in the cache
	m.now = first
}

// noteAttention is note for attention: two products of [pairs of a query and a key that it sees] by D and head, forward; the
// gradients of q, k, v and of the scores are four, and passes over the scores recompute one, a second pass two.
func (m *meter) noteAttention(seqs []AttnSeq, s AttnShape, passes int) {
	rows, pairs, keys := 0, 0.0, 0.0 // keys in numbers of 32 bits
	for i := range seqs {
		rows += seqs[i].QLen
		size := 1.0
		if seqs[i].cached() {
			size = float64(seqs[i].Pages[0].headBytes()) / float64(8*KeyTile*s.D)
		}
		keys += float64(seqs[i].Past+seqs[i].QLen) * size
		pairs += visible(seqs[i].Past, seqs[i].QLen, s.Window)
	}
	product := 2 * float64(s.H*s.D) * pairs
	k := opKey{name: "attention", out: s.H * s.D, in: s.KV * s.D, bits: 32, few: rows <= fewRows}
	wide, narrow := 4*float64(rows*s.H*s.D), 4*keys*float64(s.KV*s.D)
	if passes == 0 {
		m.note(k, rows, 2*product, 0, 2*wide+2*narrow)
		return
	}
	k.name = "attention, backward"
	m.note(k, rows, 4*product, float64(2*passes-1)*product, 4*wide+4*narrow)
}

// visible counts the pairs of a query, at positions past .. past+n-1, and a key that it sees.
func visible(past, n, window int) float64 {
	upTo := func(t int) float64 { // Σ of min(i+1, window) over i < t
		if window == 0 || t <= window {
			return float64(t) * float64(t+1) / 2
		}
		return float64(window)*float64(window+1)/2 + float64(t-window)*float64(window)
	}
	return upTo(past+n) - upTo(past)
}

// passes over memory of the operations on elements and rows: how many arrays of their size each reads and writes.
var (
	flatNames  = [...]string{opAdd: "add", opAxpy: "axpy", opScale: "scale", opSwiGLU: "swiglu", opSwiGLUBackward: "swiglu, backward"}
	flatArrays = [...]float64{opAdd: 3, opAxpy: 3, opScale: 2, opSwiGLU: 3, opSwiGLUBackward: 5}
	rowNames   = [...]string{
		opRMSNorm: "norm", opRMSNormBackward: "norm, backward", opRMSNormGrad: "norm, gradient of its gain", opAddBias: "add bias",
		opColumnSum: "bias, gradient", opRoPE: "rope", opLogSumExp: "log-sum-exp", opSoftmaxGrad: "softmax, gradient", opGather: "gather", opScatterAdd: "scatter",
	}
	rowArrays = [...]float64{
		opRMSNorm: 2, opRMSNormBackward: 3, opRMSNormGrad: 2, opAddBias: 2, opColumnSum: 1, opRoPE: 2, opLogSumExp: 1, opSoftmaxGrad: 2,
		opGather: 2, opScatterAdd: 3,
	}
)

func (m *meter) noteFlat(op flatOp, n int) {
	m.note(opKey{name: flatNames[op], bits: 32}, 1, 0, 0, 4*flatArrays[op]*float64(n))
}

func (m *meter) noteRows(op rowOp, rows, n int) {
	m.note(opKey{name: rowNames[op], bits: 32}, rows, 0, 0, 4*rowArrays[op]*float64(rows)*float64(n))
}
