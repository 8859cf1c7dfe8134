package tensor

import "plumb/internal/kernels"

type attentionOp struct {
	q, k, v, y *Tensor
	lse        []float32 // [n,H]
	sequences  Sequences
	shape      kernels.AttnShape
}

func (o *attentionOp) out() *Tensor { return o.y }

// Sequences says which packed rows belong together: sequence s is rows Starts[s] .. Starts[s+1]-1. Where Parents is not nil and
// Parents[s] not negative, s goes on where the earlier sequence Parents[s] ends: it sees that one's rows, and those that one
// sees, as its own past. So what several sequences begin with is there once.
type Sequences struct {
	Starts  []int32 // 0, ..., number of rows
	Parents []int32
}

// N is the number of sequences.
func (s Sequences) N() int { return len(s.Starts) - 1 }

// Len is the number of rows of sequence i itself.
func (s Sequences) Len(i int) int { return int(s.Starts[i+1] - s.Starts[i]) }

// Parent is the sequence that i continues, -1 where there is none.
func (s Sequences) Parent(i int) int {
	if s.Parents == nil {
		return -1
	}
	return int(s.Parents[i])
}

// Attention is causal attention within each of the packed sequences: q [n,H·D], k and v [n,KV·D]; y [n,H·D]. Shared beginnings
// change no bit of y; in the gradients they change the order of a sum. It keeps the slices of sequences until Reset.
func (t *Tape) Attention(q, k, v *Tensor, sequences Sequences, shape kernels.AttnShape) *Tensor {
	if q.Cols != shape.H*shape.D || k.Cols != shape.KV*shape.D || v.Cols != k.Cols || k.Rows != q.Rows || v.Rows != q.Rows {
		panic("tensor: Attention: shape mismatch")
	}
	y := t.made(q.Rows, q.Cols, q.needs || k.needs || v.needs)
	var lse []float32
	if t.records(y) {
		lse = t.acts.alloc(q.Rows * shape.H)
		o := t.slabs.attention.next()
		o.q, o.k, o.v, o.y, o.lse, o.sequences, o.shape = q, k, v, y, lse, sequences, shape
		t.push(o)
	}
	whole := t.packed(k, v, sequences)
	t.pool.Attention(y.Data, lse, q.Data, t.seqs, shape)
	t.grads.put(whole)
	return y
}

// packed describes packed sequences to the kernels in t.seqs. The kernels want a sequence's keys and values in one piece, so
// where it has a parent they are copied together in whole, which is to be given back.
func (t *Tape) packed(k, v *Tensor, sequences Sequences) (whole []float32) {
	c := k.Cols
	t.seqs = t.seqs[:0]
	copies := 0
	for s := range sequences.N() {
		lo, n := int(sequences.Starts[s]), sequences.Len(s)
		x := kernels.AttnSeq{QRow: lo, QLen: n, K: k.Data[lo*c : (lo+n)*c], V: v.Data[lo*c : (lo+n)*c]}
		if p := sequences.Parent(s); p >= s {
			panic("tensor: Attention: a sequence comes before its parent")
		} else if p >= 0 {
			x.Past = t.seqs[p].Past + t.seqs[p].QLen
			copies += 2 * (x.Past + n) * c
		}
		t.seqs = append(t.seqs, x)
	}
	if copies == 0 {
		return nil
	}
	whole = t.grads.get(copies)
	rest := whole
	for s := range t.seqs {
		x := &t.seqs[s]
		if x.Past == 0 {
			continue
		}
		p, past, n := t.seqs[sequences.Parent(s)], x.Past*c, (x.Past+x.QLen)*c
		copy(rest[:past], p.K)
		copy(rest[past:n], x.K)
		copy(rest[n:n+past], p.V)
		copy(rest[n+past:2*n], x.V)
		x.K, x.V, rest = rest[:n:n], rest[n:2*n:2*n], rest[2*n:]
	}
	return whole
}

func (o *attentionOp) backward(t *Tape) {
	dq, dk, dv := t.grads.get(len(o.q.Data)), t.grads.get(len(o.k.Data)), t.grads.get(len(o.v.Data))
	whole := t.packed(o.k, o.v, o.sequences)
	var given []float32 // like whole, for the gradients
	if whole != nil {
		given = t.grads.get(len(whole))
	}
	rest, c := given, o.k.Cols
	for s := range t.seqs {
		x := &t.seqs[s]
		at, n := x.QRow*c, (x.Past+x.QLen)*c
		if x.Past == 0 {
			x.DK, x.DV = dk[at:at+n], dv[at:at+n]
			continue
		}
		x.DK, x.DV, rest = rest[:n], rest[n:2*n], rest[2*n:]
	}
	t.pool.AttentionBackward(dq, o.y.Grad, o.q.Data, o.y.Data, o.lse, t.seqs, o.shape)
	// From the last to the first: whoever passes on to a parent has heard from all its own children.
	for s := len(t.seqs) - 1; s >= 0; s-- {
		x := &t.seqs[s]
		if x.Past == 0 {
			continue
		}
		p, past, at := &t.seqs[o.sequences.Parent(s)], x.Past*c, x.QRow*c
		t.pool.Axpy(p.DK[:past], 1, x.DK[:past])
		t.pool.Axpy(p.DV[:past], 1, x.DV[:past])
		copy(dk[at:], x.DK[past:])
		copy(dv[at:], x.DV[past:])
	}
	t.grads.put(given)
	t.grads.put(whole)
	t.give(o.q, dq)
	t.give(o.k, dk)
	t.give(o.v, dv)
}

// give makes g the gradient of x, or adds it to what x has.
func (t *Tape) give(x *Tensor, g []float32) {
	switch {
	case !x.needs:
		t.grads.put(g)
	case x.Grad == nil:
		x.Grad = g
	default:
		t.pool.Axpy(x.Grad, 1, g)
		t.grads.put(g)
	}
}

// AttentionCached is attention of new rows over sequences whose keys and values lie in caches, for decoding, where it puts the
// rows' own; the same bits as Attention. It records nothing.
func (t *Tape) AttentionCached(q *Tensor, seqs []kernels.AttnSeq, shape kernels.AttnShape) *Tensor {
	t.mustNotRecord("AttentionCached")
	y := t.New(q.Rows, q.Cols)
	t.pool.Attention(y.Data, nil, q.Data, seqs, shape)
	return y
}
