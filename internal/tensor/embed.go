package tensor

type embedOp struct {
	y    *Tensor
	w    *Matrix
	lora *LoRA
	ids  []int32
	u    []float32 // [n,r] Scale · A[:,id]
}

func (o *embedOp) out() *Tensor { return o.y }

// Embed is y_i = W[id_i] + Scale · A[:,id_i]ᵀ Bᵀ; lora may be nil. W [vocabulary,C], A [r,vocabulary], B [C,r]; y [n,C].
// It keeps ids until Reset. The caller has checked their range.
func (t *Tape) Embed(w *Matrix, ids []int32, lora *LoRA) *Tensor {
	y := t.made(len(ids), w.W.In, w.Grad != nil || lora.trained())
	u := t.embed(y.Data, w, ids, lora)
	if t.records(y) {
		o := t.slabs.embed.next()
		o.y, o.w, o.lora, o.ids, o.u = y, w, lora, ids, u
		t.push(o)
	}
	return y
}

// embed writes the embeddings to y and returns Scale · A[:,id].
func (t *Tape) embed(y []float32, w *Matrix, ids []int32, lora *LoRA) (u []float32) {
	t.pool.Gather(y, w.W, ids)
	if lora == nil {
		return nil
	}
	r, vocabulary := lora.rank(), w.W.Out
	u = t.acts.alloc(len(ids) * r)
	for i, id := range ids {
		for k := range r {
			u[i*r+k] = lora.Columns[k*vocabulary+int(id)] * lora.Scale
		}
	}
	t.pool.Linear(y, u, len(ids), lora.B.W, true)
	return u
}

func (o *embedOp) backward(t *Tape) {
	dy, c := o.y.Grad, o.w.W.In
	if o.w.Grad != nil {
		t.pool.ScatterAdd(o.w.Grad, dy, o.ids, c)
	}
	if !o.lora.trained() {
		return
	}
	l, n := o.lora, len(o.ids)
	r, vocabulary := l.rank(), o.w.W.Out
	if l.B.Grad != nil {
		t.pool.AccumGrad(l.B.Grad, dy, o.u, n, c, r)
	}
	if l.A.Grad != nil {
		du := t.grads.get(n * r)
		t.pool.LinearBackInput(du, dy, n, l.B.W, false)
		for i, id := range o.ids {
			for k := range r {
				l.A.Grad[k*vocabulary+int(id)] += du[i*r+k] * l.Scale
			}
		}
		t.grads.put(du)
	}
}
