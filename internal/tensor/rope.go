package tensor

import "plumb/internal/kernels"

type ropeOp struct {
	x     *Tensor
	pos   []int32
	heads int
	table kernels.RoPE
}

// out is nil: the rotation happens in place, and so does its gradient.
func (o *ropeOp) out() *Tensor { return nil }

// RoPE rotates x [m, heads·D] in place, row i by position pos[i] (Su et al. 2021, eq. 34). The operation that made x must
// not need x's values in its backward pass; Linear does not. It keeps pos until Reset.
func (t *Tape) RoPE(x *Tensor, pos []int32, heads int, table kernels.RoPE) {
	t.pool.RoPE(x.Data, pos, heads, table, false)
	if t.records(x) {
		o := t.slabs.rope.next()
		o.x, o.pos, o.heads, o.table = x, pos, heads, table
		t.push(o)
	}
}

func (o *ropeOp) backward(t *Tape) {
	if o.x.Grad != nil {
		t.pool.RoPE(o.x.Grad, o.pos, o.heads, o.table, true)
	}
}
