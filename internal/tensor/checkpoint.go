package tensor

// Block is a part of a model that can be run twice with the same result.
type Block interface {
	Forward(t *Tape, x *Tensor) *Tensor
}

type checkpointOp struct {
	x, y  *Tensor
	block Block
}

func (o *checkpointOp) out() *Tensor { return o.y }

// Checkpoint runs the block. On a tape that recomputes, or does not record, everything but the output is given back
// at once; Backward then runs the block again (Chen et al. 2016, arXiv 1604.06174). Same bits either way.
func (t *Tape) Checkpoint(x *Tensor, b Block) *Tensor {
	if t.quiet || !t.off && !t.recompute {
		return b.Forward(t, x)
	}
	y := t.New(x.Rows, x.Cols)
	m := t.acts.mark()
	t.quiet = true
	inner := b.Forward(t, x)
	t.quiet = false
	if len(inner.Data) != len(y.Data) {
		panic("tensor: Checkpoint: a block must keep its shape")
	}
	copy(y.Data, inner.Data)
	y.needs = inner.needs
	t.acts.release(m)
	if t.records(y) {
		o := t.slabs.checkpoint.next()
		o.x, o.y, o.block = x, y, b
		t.push(o)
	}
	return y
}

func (o *checkpointOp) backward(t *Tape) {
	m, from := t.acts.mark(), len(t.ops)
	leaf := t.Leaf(o.x.Data, o.x.Rows, o.x.Cols, o.x.needs)
	leaf.Grad, leaf.borrowed = o.x.Grad, o.x.borrowed
	t.pool.Recomputing(true)
	inner := o.block.Forward(t, leaf)
	t.pool.Recomputing(false)
	inner.Grad, inner.borrowed, o.y.Grad = o.y.Grad, o.y.borrowed, nil
	t.back(from)
	o.x.Grad, o.x.borrowed = leaf.Grad, leaf.borrowed
	clear(t.ops[from:])
	t.ops = t.ops[:from]
	t.acts.release(m)
}
