package ppo

import (
	"context"
	"math"
	"slices"

	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// micro is one forward pass: whole sequences side by side, what they begin with once, and which hidden rows belong to response
// tokens.
type micro struct {
	which   []int // rows of the trajectories, in order
	lengths []int // tokens of each sequence, without its last
	batch   model.Tree
	rows    []int32 // [n] the hidden row that predicts response token i; V(s_t) is read there too
	targets []int32 // [n] that token
	ends    []int32 // of each sequence, the hidden row of its last response token, where the pass has that

	ids       []int32   // of all sequences, one after another
	sequences [][]int32 // pieces of ids
}

// micros cuts trajectories which into passes of at most limit tokens each (one sequence at least). The last response token
// predicts nothing and is left out, unless the passes are to be whole.
func (tr *Trajectories) micros(which []int, limit int, whole bool) []micro {
	var out []micro
	for len(which) > 0 {
		n := tr.fit(which, limit, whole)
		var m micro
		tr.lay(&m, which[:n], whole)
		out, which = append(out, m), which[n:]
	}
	return out
}

// fit is how many of trajectories which the first pass takes.
func (tr *Trajectories) fit(which []int, limit int, whole bool) int {
	tokens := 0
	for k, i := range which {
		n := len(tr.Prompts[i]) + len(tr.Responses[i])
		if !whole {
			n--
		}
		if k > 0 && tokens+n > limit {
			return k
		}
		tokens += n
	}
	return len(which)
}

// lay makes m the pass over trajectories which, in the memory it has.
func (tr *Trajectories) lay(m *micro, which []int, whole bool) {
	m.which, m.lengths, m.ids, m.sequences = which, m.lengths[:0], m.ids[:0], m.sequences[:0]
	m.rows, m.targets, m.ends = m.rows[:0], m.targets[:0], m.ends[:0]
	for _, i := range which {
		r := tr.Responses[i]
		m.lengths = append(m.lengths, len(tr.Prompts[i])+len(r)-1)
		if !whole {
			r = r[:len(r)-1]
		}
		m.ids = append(append(m.ids, tr.Prompts[i]...), r...)
	}
	at := 0
	for k := range which { // ids moves no more
		n := m.lengths[k]
		if whole {
			n++
		}
		m.sequences, at = append(m.sequences, m.ids[at:at+n]), at+n
	}
	m.batch.Pack(model.MinShared, m.sequences...)
	for k, i := range which {
		if whole {
			m.ends = append(m.ends, m.batch.Row(k, m.lengths[k]))
		}
		for t, id := range tr.Responses[i] {
			m.rows = append(m.rows, m.batch.Row(k, len(tr.Prompts[i])-1+t))
			m.targets = append(m.targets, id)
		}
	}
}

// all names every trajectory.
func (tr *Trajectories) all() []int {
	which := make([]int, tr.B())
	for i := range which {
		which[i] = i
	}
	return which
}

// logprobs returns log p(token) of every response token, [N] in nats, by an adapter or, where it is nil, the bare base.
func (l *learner) logprobs(ctx context.Context, a *peft.Adapter, tr *Trajectories) ([]float64, error) {
	cs := make([]model.Continuation, tr.B())
	for i := range cs {
		cs[i] = model.Continuation{Context: tr.Prompts[i], IDs: tr.Responses[i]}
	}
	logps, _, err := l.model.LogProbsOf(ctx, l.eval, a, cs, l.temperature, l.c.MicroTokens)
	if err != nil {
		return nil, err
	}
	out := make([]float64, 0, tr.N())
	for _, row := range logps {
		for _, x := range row {
			out = append(out, float64(x))
		}
	}
	return out, nil
}

// judged is what the models that do not act say of the responses: reference log-probabilities and the critic's values, both [N], and the
// raw scores, [B], where it is told those.
//
// A critic that trains only its top blocks is frozen below them, so its trunk is computed once here and kept for the epochs to
// start from. Where the reference has the same blocks there (the reward model was trained on the SFT trunk), and the reward model (the
// critic started as that), the one trunk serves them too. Either way the numbers are the same to the bit.
func (l *learner) judged(ctx context.Context, tr *Trajectories) (refLogp, values []float64, err error) {
	if !l.refOnTrunk {
		if refLogp, err = l.logprobs(ctx, l.reference, tr); err != nil {
			return nil, nil, err
		}
	}
	tr.trunk = make([][]float32, tr.B())
	trunks := l.trunkOf(tr)
	if l.scoreOnTrunk {
		tr.RawScores = make([]float64, 0, tr.B())
	}
	for _, m := range tr.micros(tr.all(), l.c.MicroTokens, l.scoreOnTrunk) {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		l.eval.Reset()
		a := l.critic.adapter
		x := l.model.Trunk(l.eval, a, m.batch.Batch, l.trunk)
		values = l.widenValues(values, l.model.Scores(l.eval, a, l.model.HiddenFrom(l.eval, a, m.batch.Batch, l.trunk, x), m.rows))
		if l.refOnTrunk {
			h := l.model.HiddenFrom(l.eval, l.reference, m.batch.Batch, l.trunk, x)
			logp, _ := l.model.LogProbs(l.eval, l.reference, h, m.rows, m.targets, l.temperature)
			refLogp = widen(refLogp, logp)
		}
		if l.scoreOnTrunk {
			h := l.model.HiddenFrom(l.eval, l.reward, m.batch.Batch, l.trunk, x)
			for _, s := range l.model.Scores(l.eval, l.reward, h, m.ends).Data {
				tr.RawScores = append(tr.RawScores, l.rewardGain*float64(s)+l.rewardBias)
			}
		}
		if l.trunk > 0 {
			for k, i := range m.which {
				n := m.lengths[k] * x.Cols
				tr.trunk[i], trunks = trunks[:n], trunks[n:]
				for t := range m.lengths[k] {
					copy(tr.trunk[i][t*x.Cols:(t+1)*x.Cols], x.Data[int(m.batch.Row(k, t))*x.Cols:])
				}
			}
		}
	}
	return refLogp, values, nil
}

// trunkOf is room for the trunk of all responses, nothing where none is kept. The next batch takes it over.
func (l *learner) trunkOf(tr *Trajectories) []float32 {
	if l.trunk == 0 {
		return nil
	}
	n := 0
	for i := range tr.Responses {
		n += (len(tr.Prompts[i]) + len(tr.Responses[i]) - 1) * l.model.Config.Hidden
	}
	l.trunks = slices.Grow(l.trunks[:0], n)[:n]
	return l.trunks
}

// criticHidden is the critic's hidden states of a pass, recorded, from the kept trunk where there is one.
func (l *learner) criticHidden(tr *Trajectories, m *micro) *tensor.Tensor {
	if l.trunk == 0 {
		return l.model.Hidden(l.tape, l.critic.adapter, m.batch.Batch)
	}
	c := l.model.Config.Hidden
	l.kept = slices.Grow(l.kept[:0], len(m.batch.IDs)*c)[:len(m.batch.IDs)*c]
	for k, i := range m.which {
		for t := range m.lengths[k] {
			copy(l.kept[int(m.batch.Row(k, t))*c:], tr.trunk[i][t*c:(t+1)*c])
		}
	}
	x := l.tape.Leaf(l.kept, len(m.batch.IDs), c, false)
	return l.model.HiddenFrom(l.tape, l.critic.adapter, m.batch.Batch, l.trunk, x)
}

// lowestTrained is the number of the lowest block in which something is trained, at least 0.
func lowestTrained(a *peft.Adapter) int {
	lowest := math.MaxInt
	for _, p := range a.Params() {
		if p.Trainable {
			lowest = min(lowest, p.Layer)
		}
	}
	return max(lowest, 0)
}

// sameBelow says whether two adapters do the same in every block below layer, and in the embedding.
func sameBelow(a, b *peft.Adapter, layer int) bool {
	if a == nil || b == nil || a.Full() || b.Full() || !slices.EqualFunc(below(a, layer), below(b, layer), func(p, q peft.Param) bool {
		return p.Name == q.Name && slices.Equal(a.Values[p.Off:p.Off+p.Len()], b.Values[q.Off:q.Off+q.Len()])
	}) {
		return false
	}
	x, y := a.Config(), b.Config()
	return x.Alpha == y.Alpha && x.R == y.R && x.UseRSLoRA == y.UseRSLoRA && slices.Equal(x.AlphaPattern, y.AlphaPattern) && slices.Equal(x.RankPattern, y.RankPattern)
}

func below(a *peft.Adapter, layer int) []peft.Param {
	var out []peft.Param
	for _, p := range a.Params() {
		if p.Layer < layer {
			out = append(out, p)
		}
	}
	return out
}

// kl returns the configured estimate of KL(policy || reference) at every response token, [N] in nats.
func (l *learner) kl(tr *Trajectories) []float64 {
	if l.c.KL.Estimator == objective.ExactKL {
		return l.fullKL(tr)
	}
	in := map[string][]float64{"policyLogp": tr.OldLogp, "refLogp": tr.RefLogp}
	return objective.KL(l.c.KL.Estimator).Eval(make([]float64, tr.N()), in).Each
}

// fullRows is how many [vocabulary] rows the exact divergence holds at once.
const fullRows = 16

func (l *learner) fullKL(tr *Trajectories) []float64 {
	vocab := l.model.Vocab
	loss := objective.FullKL(vocab)
	out := make([]float64, 0, tr.N())
	for _, m := range tr.micros(tr.all(), l.c.MicroTokens, false) {
		l.eval.Reset()
		policy := l.model.Hidden(l.eval, l.policy.adapter, m.batch.Batch)
		ref := l.model.Hidden(l.eval, l.reference, m.batch.Batch)
		for a := 0; a < len(m.rows); a += fullRows {
			rows := m.rows[a:min(a+fullRows, len(m.rows))]
			in := map[string][]float64{
				"policyLogits": l.logits(l.policy.adapter, policy, rows),
				"refLogits":    l.logits(l.reference, ref, rows),
			}
			out = append(out, loss.Eval(make([]float64, len(rows)), in).Each...)
		}
	}
	return out
}

// logits are those of some hidden rows, divided by the temperature, [rows,vocabulary].
func (l *learner) logits(a *peft.Adapter, h *tensor.Tensor, rows []int32) []float64 {
	z := widen(nil, l.model.Logits(l.eval, a, h, rows))
	for i := range z {
		z[i] /= float64(l.temperature)
	}
	return z
}

func widen(dst []float64, x *tensor.Tensor) []float64 {
	for _, v := range x.Data {
		dst = append(dst, float64(v))
	}
	return dst
}

// widenValues appends V, which is the head's output and the bias.
func (l *learner) widenValues(dst []float64, x *tensor.Tensor) []float64 {
	n := len(dst)
	dst = widen(dst, x)
	for i := n; i < len(dst); i++ {
		dst[i] += l.bias
	}
	return dst
}
