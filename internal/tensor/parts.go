package tensor

// Part is rows [From,To) of an operation that other rows have in common with it, and what is theirs alone. Parts lie one after
// another and cover all rows.
type Part struct {
	From, To int
	W        *Matrix
	Bias     *Vector // of Linear; the gain of RMSNorm
	LoRA     *LoRA
}

// LinearParts is Linear where each part has a pair, and may have a matrix and a bias, of its own: several adapters over one reading
// of the weights. Each row has the bits of Linear. It records nothing.
func (t *Tape) LinearParts(x *Tensor, parts []Part) *Tensor {
	t.mustNotRecord("LinearParts")
	y := t.New(x.Rows, parts[0].W.W.Out)
	for i := 0; i < len(parts); {
		w, from, to := parts[i].W, parts[i].From, 0
		for ; i < len(parts) && parts[i].W == w; i++ {
			to = parts[i].To
		}
		t.pool.Linear(y.Data[from*y.Cols:], x.Data[from*x.Cols:], to-from, w.W, false)
	}
	for _, p := range parts {
		rows := p.To - p.From
		own := y.Data[p.From*y.Cols : p.To*y.Cols]
		if p.LoRA != nil {
			u := t.acts.alloc(rows * p.LoRA.rank())
			t.pool.Linear(u, x.Data[p.From*x.Cols:], rows, p.LoRA.A.W, false)
			t.pool.Scale(u, p.LoRA.Scale, u)
			t.pool.Linear(own, u, rows, p.LoRA.B.W, true)
		}
		if p.Bias != nil {
			t.pool.AddBias(own, p.Bias.Data, rows, y.Cols)
		}
	}
	return y
}

// RMSNormParts is RMSNorm where each part may have a gain of its own. It records nothing.
func (t *Tape) RMSNormParts(x *Tensor, parts []Part, eps float32) *Tensor {
	t.mustNotRecord("RMSNormParts")
	y := t.New(x.Rows, x.Cols)
	for i := 0; i < len(parts); {
		w, from, to := parts[i].Bias, parts[i].From, 0
		for ; i < len(parts) && parts[i].Bias == w; i++ {
			to = parts[i].To
		}
		t.pool.RMSNorm(y.Data[from*y.Cols:], nil, x.Data[from*x.Cols:], w.Data, to-from, x.Cols, eps)
	}
	return y
}

// EmbedParts is Embed where each part may have a table and a pair of its own. It records nothing.
func (t *Tape) EmbedParts(ids []int32, parts []Part) *Tensor {
	t.mustNotRecord("EmbedParts")
	y := t.New(len(ids), parts[0].W.W.In)
	for _, p := range parts {
		t.embed(y.Data[p.From*y.Cols:p.To*y.Cols], p.W, ids[p.From:p.To], p.LoRA)
	}
	return y
}

func (t *Tape) mustNotRecord(what string) {
	if !t.off {
		panic("tensor: " + what + ": the tape records; use NewInferenceTape")
	}
}
