package tensor

import (
	"math"

	"plumb/internal/kernels"
)

// headRows is the number of rows whose logits are computed together: a tile is at most headRows x kernels.VocabTile.
const headRows = 1024

type headOp struct {
	h             *Tensor
	w             *Matrix
	lora          *LoRA
	targets       []int32
	scale         float32
	logp, entropy *Tensor
	best          *Tensor   // [R,1] 1 where the target is the likeliest, else 0
	lse           []float32 // [R] log Σ exp(scale · logits)
	u             []float32 // [R,r] Scale · h Aᵀ
	mean          []float32 // [R,C] scale · Σ_v exp(z_v − ref) W_v, or nil
	ref           []float32 // [R]
}

// out is nil: there are two.
func (o *headOp) out() *Tensor { return nil }

// LogProbs gives, for each row h_i of h [R,C] and z = scale · (W h_i + LoRA), logp_i = z[target_i] − log Σ exp z, and the
// entropy −Σ p log p of p = softmax(z), both [R,1] in nats, in one pass over tiles of the vocabulary; scale is one over the
// temperature. The logits are never held at once. lora may be nil. It keeps targets until Reset; the caller has checked their
// range.
//
// The backward pass computes each tile again, except where only h is trained: d logp / d h = scale (W_target − Σ p_v W_v), and
// that mean is gathered while a tile is at hand, a third of the work saved. A seed on the entropy needs the tiles again.
func (t *Tape) LogProbs(h *Tensor, w *Matrix, lora *LoRA, targets []int32, scale float32) (logp, entropy *Tensor) {
	logp, entropy, _ = t.Predict(h, w, lora, targets, scale)
	return logp, entropy
}

// Predict is LogProbs that also says, [R,1], where the target is the likeliest of all (1, else 0; the first of equals is not
// told from the others).
func (t *Tape) Predict(h *Tensor, w *Matrix, lora *LoRA, targets []int32, scale float32) (logp, entropy, best *Tensor) {
	if h.Cols != w.W.In || len(targets) != h.Rows {
		panic("tensor: LogProbs: shape mismatch")
	}
	o := t.slabs.head.next()
	needs := h.needs || w.Grad != nil || lora.trained()
	*o = headOp{h: h, w: w, lora: lora, targets: targets, scale: scale, lse: t.acts.alloc(h.Rows)}
	o.logp, o.entropy, o.best = t.made(h.Rows, 1, needs), t.made(h.Rows, 1, needs), t.made(h.Rows, 1, false)
	if lora != nil {
		o.u = t.acts.alloc(h.Rows * lora.rank())
		kept, scratch := t.kept(h, lora)
		t.pool.Linear(o.u, kept, h.Rows, lora.A.W, false)
		t.grads.put(scratch)
		t.pool.Scale(o.u, lora.Scale, o.u)
	}
	if t.records(o.logp) && w.Grad == nil && lora == nil {
		o.mean, o.ref = t.acts.alloc(len(h.Data)), t.acts.alloc(h.Rows)
	}
	for lo := 0; lo < h.Rows; lo += headRows {
		o.forward(t, lo, min(lo+headRows, h.Rows))
	}
	if t.records(o.logp) {
		t.push(o)
	}
	return o.logp, o.entropy, o.best
}

// forward computes rows [lo,hi).
func (o *headOp) forward(t *Tape, lo, hi int) {
	m := hi - lo
	t.lse = t.lse[:0]
	for range m {
		t.lse = append(t.lse, kernels.NewLSE())
	}
	buf := t.grads.get(m * kernels.VocabTile)
	target := t.grads.get(m) // the scaled logit of each row's target
	for v0 := 0; v0 < o.w.W.Out; v0 += kernels.VocabTile {
		v1 := min(v0+kernels.VocabTile, o.w.W.Out)
		z := o.logits(t, buf, lo, hi, v0, v1)
		t.pool.LogSumExpTile(t.lse, z, m, v1-v0, o.scale)
		for i, v := range o.targets[lo:hi] {
			if int(v) >= v0 && int(v) < v1 {
				target[i] = z[i*(v1-v0)+int(v)-v0] * o.scale
			}
		}
		if o.mean != nil {
			o.gather(t, z, lo, hi, v0, v1)
		}
	}
	for i, s := range t.lse {
		o.lse[lo+i] = float32(s.Log())
		o.logp.Data[lo+i] = float32(s.LogProb(target[i]))
		o.entropy.Data[lo+i] = float32(s.Entropy())
		o.best.Data[lo+i] = 0
		if target[i] == s.Max {
			o.best.Data[lo+i] = 1
		}
	}
	t.grads.put(buf)
	t.grads.put(target)
}

// gather adds a tile to the mean row of the head, like the values in attention: exp is taken relative to ref, which follows the
// running log-sum-exp at a distance of at most drift, so that nothing overflows and little is rescaled. z is used up.
func (o *headOp) gather(t *Tape, z []float32, lo, hi, v0, v1 int) {
	const drift = 4
	m, c := hi-lo, o.h.Cols
	one, none := t.grads.get(m), t.grads.get(m)
	for i, s := range t.lse {
		one[i], none[i] = 1, 0
		now := float32(s.Log())
		switch r := &o.ref[lo+i]; {
		case v0 == 0:
			*r = now
		case now > *r+drift:
			f := float32(math.Exp(float64(*r - now)))
			for j := (lo + i) * c; j < (lo+i+1)*c; j++ {
				o.mean[j] *= f
			}
			*r = now
		}
	}
	t.pool.SoftmaxGradTile(z, z, o.ref[lo:hi], one, none, m, v1-v0, o.scale)
	t.pool.LinearBackInputRange(o.mean[lo*c:hi*c], z, m, o.w.W, v0, v1, v0 > 0)
	t.grads.put(one)
	t.grads.put(none)
}

// fromMean goes back to h: dh = dlogp (scale W_target − mean exp(ref − lse)).
func (o *headOp) fromMean(t *Tape) {
	dh, has := t.gradOf(o.h)
	c := o.h.Cols
	w := t.grads.get(len(o.h.Data))
	t.pool.Gather(w, o.w.W, o.targets)
	for i, g := range o.logp.Grad {
		f := g * float32(math.Exp(float64(o.ref[i]-o.lse[i])))
		for j := i * c; j < (i+1)*c; j++ {
			d := g*o.scale*w[j] - f*o.mean[j]
			if has {
				d += dh[j]
			}
			dh[j] = d
		}
	}
	t.grads.put(w)
}

// logits computes the unscaled logits of rows [lo,hi) and columns [v0,v1) in buf.
func (o *headOp) logits(t *Tape, buf []float32, lo, hi, v0, v1 int) []float32 {
	m, c := hi-lo, o.h.Cols
	z := buf[:m*(v1-v0)]
	t.pool.LinearRange(z, o.h.Data[lo*c:hi*c], m, o.w.W, v0, v1, false)
	if o.lora != nil {
		r := o.lora.rank()
		t.pool.LinearRange(z, o.u[lo*r:hi*r], m, o.lora.B.W, v0, v1, true)
	}
	return z
}

func (o *headOp) backward(t *Tape) {
	if o.logp.Grad == nil && o.entropy.Grad == nil {
		return
	}
	defer t.dropGrad(o.logp)
	defer t.dropGrad(o.entropy)
	if o.mean != nil && o.entropy.Grad == nil {
		o.fromMean(t)
		return
	}
	var dh, du []float32
	has := false
	if o.h.needs {
		dh, has = t.gradOf(o.h)
	}
	if o.lora != nil && (o.h.needs || o.lora.trained()) {
		du = t.grads.get(len(o.u))
	}
	for lo := 0; lo < o.h.Rows; lo += headRows {
		o.back(t, dh, du, lo, min(lo+headRows, o.h.Rows), has)
	}
	if du != nil {
		t.pool.Scale(du, o.lora.Scale, du)
		o.lora.backInput(t, o.h, du)
		t.grads.put(du)
	}
}

// back goes back through rows [lo,hi). With g and e the derivatives of the loss by a row's log-probability and entropy H,
// d loss / d z_v = g (1[v=target] − p_v) − e p_v (log p_v + H).
func (o *headOp) back(t *Tape, dh, du []float32, lo, hi int, has bool) {
	m, c := hi-lo, o.h.Cols
	a, b := t.grads.get(m), t.grads.get(m)
	for i := range m {
		a[i], b[i] = -grad(o.logp, lo+i)-grad(o.entropy, lo+i)*o.entropy.Data[lo+i], -grad(o.entropy, lo+i)
	}
	buf := t.grads.get(m * kernels.VocabTile)
	for v0 := 0; v0 < o.w.W.Out; v0 += kernels.VocabTile {
		v1 := min(v0+kernels.VocabTile, o.w.W.Out)
		t.pool.Recomputing(true)
		z := o.logits(t, buf, lo, hi, v0, v1)
		t.pool.Recomputing(o.mean != nil) // the mean row, then in vain, was this product
		t.pool.SoftmaxGradTile(z, z, o.lse[lo:hi], a, b, m, v1-v0, o.scale)
		for i, v := range o.targets[lo:hi] {
			if int(v) >= v0 && int(v) < v1 {
				z[i*(v1-v0)+int(v)-v0] += o.scale * grad(o.logp, lo+i)
			}
		}
		if dh != nil {
			t.pool.LinearBackInputRange(dh[lo*c:hi*c], z, m, o.w.W, v0, v1, has || v0 > 0)
		}
		if o.w.Grad != nil {
			t.pool.AccumGrad(o.w.Grad[v0*c:v1*c], z, o.h.Data[lo*c:hi*c], m, v1-v0, c)
		}
		if du != nil {
			r := o.lora.rank()
			t.pool.LinearBackInputRange(du[lo*r:hi*r], z, m, o.lora.B.W, v0, v1, v0 > 0)
			if o.lora.B.Grad != nil {
				t.pool.AccumGrad(o.lora.B.Grad[v0*r:v1*r], z, o.u[lo*r:hi*r], m, v1-v0, r)
			}
		}
	}
	t.pool.Recomputing(false)
	t.grads.put(a)
	t.grads.put(b)
	t.grads.put(buf)
}

func grad(x *Tensor, i int) float32 {
	if x.Grad == nil {
		return 0
	}
	return x.Grad[i]
}
