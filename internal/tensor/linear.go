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
	// Dropout is the probability with which an element of the pair's input is dropped, while the tape drops; Key tells the
	// pair's draws from those of others. An embedding has no such input.
	Dropout float32
	Key     uint64
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
	var u []float32
	if lora == nil {
		t.pool.Linear(y.Data, x.Data, x.Rows, w.W, false)
	} else {
		u = t.acts.alloc(x.Rows * lora.rank())
		kept, scratch := t.kept(x, lora)
		t.pool.Linear(u, kept, x.Rows, lora.A.W, false)
		t.grads.put(scratch)
		t.pool.Scale(u, lora.Scale, u)
		t.pool.LinearPair(y.Data, x.Data, u, x.Rows, w.W, lora.B.W)
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
	p, dy, m, l := t.pool, o.y.Grad, o.x.Rows, o.lora
	if o.w.Grad != nil {
		p.AccumGrad(o.w.Grad, dy, o.x.Data, m, o.w.W.Out, o.w.W.In)
	}
	if o.bias != nil && o.bias.Grad != nil {
		p.ColumnSum(o.bias.Grad, dy, m, o.y.Cols)
	}
	if l == nil || !o.x.needs && !l.trained() {
		if o.x.needs {
			dx, has := t.gradOf(o.x)
			p.LinearBackInput(dx, dy, m, o.w.W, has)
		}
		return
	}
	du := l.backRank(t, dy, o.u, m)
	switch {
	case !o.x.needs:
		l.gradA(t, o.x, du)
	case t.drops(l):
		dx, has := t.gradOf(o.x)
		p.LinearBackInput(dx, dy, m, o.w.W, has)
		l.backInput(t, o.x, du)
	default:
		l.gradA(t, o.x, du)
		dx, has := t.gradOf(o.x)
		p.LinearBackInputPair(dx, dy, du, m, o.w.W, l.A.W, has)
	}
	t.grads.put(du)
}

// backRank goes back through y += u Bᵀ, u = Scale x Aᵀ [m,r], and returns the gradient of x Aᵀ, to be given back to t.grads.
func (l *LoRA) backRank(t *Tape, dy, u []float32, m int) []float32 {
	p, r := t.pool, l.rank()
	if l.B.Grad != nil {
		p.AccumGrad(l.B.Grad, dy, u, m, l.B.W.Out, r)
	}
	du := t.grads.get(m * r)
	p.LinearBackInput(du, dy, m, l.B.W, false)
	p.Scale(du, l.Scale, du)
	return du
}

// gradA adds to the gradient of A, if it is trained, given that of x Aᵀ.
func (l *LoRA) gradA(t *Tape, x *Tensor, du []float32) {
	if l.A.Grad == nil {
		return
	}
	kept, scratch := t.kept(x, l)
	t.pool.AccumGrad(l.A.Grad, du, kept, x.Rows, l.rank(), l.A.W.In)
	t.grads.put(scratch)
}

// backInput goes back through x Aᵀ given the gradient of that; x's gradient, if it has one, must hold something already.
func (l *LoRA) backInput(t *Tape, x *Tensor, du []float32) {
	p, m := t.pool, x.Rows
	l.gradA(t, x, du)
	if !x.needs {
		return
	}
	if !t.drops(l) {
		p.LinearBackInput(x.Grad, du, m, l.A.W, true)
		return
	}
	dx := t.grads.get(len(x.Data))
	p.LinearBackInput(dx, du, m, l.A.W, false)
	t.drop(dx, dx, l)
	p.Axpy(x.Grad, 1, dx)
	t.grads.put(dx)
}
