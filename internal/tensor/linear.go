package tensor

import "plumb/internal/kernels"

// Matrix is a weight as operations see it: packed values, and where its gradient is added if it is trained.
type Matrix struct {
	W    *kernels.Weight
	Grad []float32 // [Out,In], nil when frozen
}

// Vector is a gain or bias, and where its gradient is added if it is trained.
type Vector struct {
	Data []float32
	Grad []float32 // nil when frozen
}

// LoRA is a pair beside a matrix: y += Scale · (x Aᵀ) Bᵀ (Hu et al. 2021, eq. 3).
type LoRA struct {
	A, B  Matrix // [r,In], [Out,r]
	Scale float32
	// Columns is A itself, [r,vocabulary] row by row, for an embedding, which reads columns; A.W is nil then.
	Columns []float32
}

func (l *LoRA) rank() int { return l.B.W.In }

func (l *LoRA) trained() bool { return l != nil && (l.A.Grad != nil || l.B.Grad != nil) }

type linearOp struct {
	x, y *Tensor
	w    *Matrix
	bias *Vector
	lora *LoRA
	u    []float32 // [m,r] Scale · x Aᵀ
}

func (o *linearOp) out() *Tensor { return o.y }

// Linear is y = x Wᵀ + b + Scale (x Aᵀ) Bᵀ; bias and lora may be nil. x [m,In], y [m,Out].
func (t *Tape) Linear(x *Tensor, w *Matrix, bias *Vector, lora *LoRA) *Tensor {
	if x.Cols != w.W.In {
		panic("tensor: Linear: shape mismatch")
	}
	needs := x.needs || w.Grad != nil || bias != nil && bias.Grad != nil || lora.trained()
	y := t.made(x.Rows, w.W.Out, needs)
	t.pool.Linear(y.Data, x.Data, x.Rows, w.W, false)
	var u []float32
	if lora != nil {
		u = t.acts.alloc(x.Rows * lora.rank())
		t.pool.Linear(u, x.Data, x.Rows, lora.A.W, false)
		t.pool.Scale(u, lora.Scale, u)
		t.pool.Linear(y.Data, u, x.Rows, lora.B.W, true)
	}
	if bias != nil {
		t.pool.AddBias(y.Data, bias.Data, y.Rows, y.Cols)
	}
	if t.records(y) {
		o := t.slabs.linear.next()
		o.x, o.y, o.w, o.bias, o.lora, o.u = x, y, w, bias, lora, u
		t.push(o)
	}
	return y
}

func (o *linearOp) backward(t *Tape) {
	p, dy, m := t.pool, o.y.Grad, o.x.Rows
	if o.x.needs {
		dx, has := t.gradOf(o.x)
		p.LinearBackInput(dx, dy, m, o.w.W, has)
	}
	if o.w.Grad != nil {
		p.AccumGrad(o.w.Grad, dy, o.x.Data, m, o.w.W.Out, o.w.W.In)
	}
	if o.bias != nil && o.bias.Grad != nil {
		p.ColumnSum(o.bias.Grad, dy, m, o.y.Cols)
	}
	if l := o.lora; l != nil && (o.x.needs || l.trained()) {
		r := l.rank()
		if l.B.Grad != nil {
			p.AccumGrad(l.B.Grad, dy, o.u, m, l.B.W.Out, r)
		}
		du := t.grads.get(m * r)
		p.LinearBackInput(du, dy, m, l.B.W, false)
		p.Scale(du, l.Scale, du)
		if l.A.Grad != nil {
			p.AccumGrad(l.A.Grad, du, o.x.Data, m, r, l.A.W.In)
		}
		if o.x.needs {
			dx, _ := t.gradOf(o.x)
			p.LinearBackInput(dx, du, m, l.A.W, true)
		}
		t.grads.put(du)
	}
}
