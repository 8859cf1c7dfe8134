package tensor

type residualOp struct {
	x, y, z *Tensor
	share   bool
}

func (o *residualOp) out() *Tensor { return o.z }

// Residual is z = x + y; z takes y's memory, so nothing may read y's values any more. Where y is the output of the linear operation recorded just before, and x is not its input, y is
// given the very gradient of z in the backward pass: the operation has read it before anything is added to it for x.
func (t *Tape) Residual(x, y *Tensor) *Tensor {
	if x.Rows != y.Rows || x.Cols != y.Cols {
		panic("tensor: Residual: shape mismatch")
	}
	z := t.tensors.next()
	*z = Tensor{Rows: x.Rows, Cols: x.Cols, Data: y.Data, tape: t, needs: x.needs || y.needs}
	t.pool.Add(z.Data, x.Data, y.Data)
	if t.records(z) {
		o := t.slabs.residual.next()
		o.x, o.y, o.z = x, y, z
		if n := len(t.ops); n > 0 {
			l, ok := t.ops[n-1].(*linearOp)
			o.share = ok && l.y == y && l.x != x
		}
		t.push(o)
	}
	return z
}

func (o *residualOp) backward(t *Tape) {
	x, y, z := o.x, o.y, o.z
	moved := false // x owns z's gradient now
	switch {
	case !x.needs:
	case x.Grad != nil:
		t.pool.Axpy(x.Grad, 1, z.Grad)
	case z.borrowed: // x's gradient will be added to, which the owner must not see
		x.Grad = t.copied(z.Grad)
	default:
		x.Grad, moved = z.Grad, true
	}
	switch {
	case !y.needs:
	case y.Grad != nil:
		t.pool.Axpy(y.Grad, 1, z.Grad)
	case x.needs && !o.share:
		y.Grad = t.copied(z.Grad)
	default:
		y.Grad, y.borrowed, moved = z.Grad, moved || z.borrowed, true
	}
	if moved {
		z.Grad = nil
	}
}

func (t *Tape) copied(g []float32) []float32 {
	c := t.grads.get(len(g))
	copy(c, g)
	return c
}

type gatherOp struct {
	x, y *Tensor
	rows []int32
}

func (o *gatherOp) out() *Tensor { return o.y }

// Gather is y_i = x[rows_i]; y [len(rows),C]. It keeps rows until Reset.
func (t *Tape) Gather(x *Tensor, rows []int32) *Tensor {
	y := t.made(len(rows), x.Cols, x.needs)
	t.pool.GatherRows(y.Data, x.Data, rows, x.Cols)
	if t.records(y) {
		o := t.slabs.gather.next()
		o.x, o.y, o.rows = x, y, rows
		t.push(o)
	}
	return y
}

func (o *gatherOp) backward(t *Tape) {
	t.pool.ScatterAdd(t.zeroedGrad(o.x), o.y.Grad, o.rows, o.x.Cols)
}
