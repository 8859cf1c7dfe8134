package tensor

type normOp struct {
	x, y *Tensor
	w    *Vector
	rstd []float32 // [m]
}

func (o *normOp) out() *Tensor { return o.y }

// RMSNorm is y = x / sqrt(mean(x²) + eps) · w, row by row (Zhang and Sennrich 2019, eq. 4).
func (t *Tape) RMSNorm(x *Tensor, w *Vector, eps float32) *Tensor {
	y := t.made(x.Rows, x.Cols, x.needs || w.Grad != nil)
	var rstd []float32
	if t.records(y) {
		rstd = t.acts.alloc(x.Rows)
		o := t.slabs.norm.next()
		o.x, o.y, o.w, o.rstd = x, y, w, rstd
		t.push(o)
	}
	t.pool.RMSNorm(y.Data, rstd, x.Data, w.Data, x.Rows, x.Cols, eps)
	return y
}

func (o *normOp) backward(t *Tape) {
	if !o.x.needs {
		dx := t.grads.get(len(o.x.Data)) // not wanted, but computed together
		t.pool.RMSNormBackward(dx, o.w.Grad, o.y.Grad, o.x.Data, o.w.Data, o.rstd, o.x.Rows, o.x.Cols, false)
		t.grads.put(dx)
		return
	}
	dx, has := t.gradOf(o.x)
	t.pool.RMSNormBackward(dx, o.w.Grad, o.y.Grad, o.x.Data, o.w.Data, o.rstd, o.x.Rows, o.x.Cols, has)
}
