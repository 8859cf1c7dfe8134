package tensor

type gatedOp struct{ g, u, y *Tensor }

func (o *gatedOp) out() *Tensor { return o.y }

// SwiGLU is y = silu(g) · u, elementwise (Shazeer 2020, eq. 6).
func (t *Tape) SwiGLU(g, u *Tensor) *Tensor {
	if g.Rows != u.Rows || g.Cols != u.Cols {
		panic("tensor: SwiGLU: shape mismatch")
	}
	y := t.made(g.Rows, g.Cols, g.needs || u.needs)
	t.pool.SwiGLU(y.Data, g.Data, u.Data)
	if t.records(y) {
		o := t.slabs.gated.next()
		o.g, o.u, o.y = g, u, y
		t.push(o)
	}
	return y
}

func (o *gatedOp) backward(t *Tape) {
	n := len(o.y.Data)
	dg, du := t.grads.get(n), t.grads.get(n)
	t.pool.SwiGLUBackward(dg, du, o.y.Grad, o.g.Data, o.u.Data)
	t.give(o.g, dg)
	t.give(o.u, du)
}
