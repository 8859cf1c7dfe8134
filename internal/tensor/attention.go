package tensor

import "plumb/internal/kernels"

type attentionOp struct {
	q, k, v, y *Tensor
	lse        []float32 // [n,H]
	starts     []int32
	shape      kernels.AttnShape
}

func (o *attentionOp) out() *Tensor { return o.y }

// Attention is causal attention within each of the packed sequences: sequence s is rows starts[s] .. starts[s+1]-1 of
// q [n,H·D], k and v [n,KV·D]; y [n,H·D]. It keeps starts until Reset.
func (t *Tape) Attention(q, k, v *Tensor, starts []int32, shape kernels.AttnShape) *Tensor {
	if q.Cols != shape.H*shape.D || k.Cols != shape.KV*shape.D || v.Cols != k.Cols || k.Rows != q.Rows || v.Rows != q.Rows {
		panic("tensor: Attention: shape mismatch")
	}
	y := t.made(q.Rows, q.Cols, q.needs || k.needs || v.needs)
	var lse []float32
	if t.records(y) {
		lse = t.acts.alloc(q.Rows * shape.H)
		o := t.slabs.attention.next()
		o.q, o.k, o.v, o.y, o.lse, o.starts, o.shape = q, k, v, y, lse, starts, shape
		t.push(o)
	}
	t.pool.Attention(y.Data, lse, q.Data, t.packed(k, v, starts), shape)
	return y
}

// packed describes packed sequences to the kernels.
func (t *Tape) packed(k, v *Tensor, starts []int32) []kernels.AttnSeq {
	t.seqs = t.seqs[:0]
	for s := range len(starts) - 1 {
		lo, hi := int(starts[s]), int(starts[s+1])
		t.seqs = append(t.seqs, kernels.AttnSeq{
			QRow: lo, QLen: hi - lo,
			K: k.Data[lo*k.Cols : hi*k.Cols], V: v.Data[lo*v.Cols : hi*v.Cols],
		})
	}
	return t.seqs
}

func (o *attentionOp) backward(t *Tape) {
	dq, dk, dv := t.grads.get(len(o.q.Data)), t.grads.get(len(o.k.Data)), t.grads.get(len(o.v.Data))
	t.pool.AttentionBackward(dq, dk, dv, o.y.Grad, o.q.Data, o.y.Data, o.lse, t.packed(o.k, o.v, o.starts), o.shape)
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

// AttentionCached is attention of new rows over sequences whose keys and values lie in caches, for decoding; the same
// bits as Attention. It records nothing.
func (t *Tape) AttentionCached(q *Tensor, seqs []kernels.AttnSeq, shape kernels.AttnShape) *Tensor {
	if !t.off {
		panic("tensor: AttentionCached: the tape records")
	}
	y := t.New(q.Rows, q.Cols)
	t.pool.Attention(y.Data, nil, q.Data, seqs, shape)
	return y
}
