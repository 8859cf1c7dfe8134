package reward

import (
	"slices"

	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/rng"
)

const orderStream = 0x4EA

// plan says which pairs each step takes: prompts in a seeded order, a new one each epoch, the pairs of a prompt one after
// another. It is a function of the seed alone.
type plan struct {
	train    []Pair
	byPrompt [][]int // pairs by prompt, in order of first occurrence
	seed     uint64
	batch    int
	perEpoch int
	steps    int

	order []int // pairs in the order of epoch, once it was asked for
	epoch int
	step  []Pair // of the step asked for last
}

func newPlan(c Config, train []Pair, seed uint64) plan {
	p := plan{train: train, seed: seed, batch: c.Batch, perEpoch: (len(train) + c.Batch - 1) / c.Batch}
	p.steps = c.Epochs * p.perEpoch
	at := map[string]int{}
	for i, pair := range train {
		g, ok := at[pair.Prompt]
		if !ok {
			g = len(p.byPrompt)
			at[pair.Prompt] = g
			p.byPrompt = append(p.byPrompt, nil)
		}
		p.byPrompt[g] = append(p.byPrompt[g], i)
	}
	return p
}

// pairs are those of step k, counted from 0.
func (p *plan) pairs(k int) []Pair {
	if epoch := k / p.perEpoch; p.order == nil || epoch != p.epoch {
		p.order, p.epoch = p.order[:0], epoch
		for _, g := range rng.New(p.seed, orderStream, uint64(epoch)).Perm(len(p.byPrompt)) {
			p.order = append(p.order, p.byPrompt[g]...)
		}
	}
	at := k % p.perEpoch * p.batch
	p.step = p.step[:0]
	for _, i := range p.order[at:min(at+p.batch, len(p.order))] {
		p.step = append(p.step, p.train[i])
	}
	return p.step
}

// epochs is how many k steps are.
func (p *plan) epochs(k int) float64 { return float64(k) / float64(p.perEpoch) }

// stepStats are the metrics of one step.
type stepStats struct {
	loss, accuracy, gap, min, mean, max float64
	tokens, pairs                       int
}

// parts cuts pairs into micro-batches of about limit tokens, both sides of a pair together.
func parts(pairs []Pair, limit int) [][]Pair {
	var out [][]Pair
	from, n := 0, 0
	for i, p := range pairs {
		size := len(p.Chosen) + len(p.Rejected)
		if i > from && n+size > limit {
			out = append(out, pairs[from:i])
			from, n = i, 0
		}
		n += size
	}
	return append(out, pairs[from:])
}

// scratch is what the bookkeeping of a step is written into, kept from step to step.
type scratch struct {
	sides [][]int32 // of a micro-batch
	tree  model.Tree
	last  []int32
}

// pack lays the sides of pairs one after another, what they begin with once, and names their last tokens. All of it lives until
// the next call.
func (x *scratch) pack(pairs []Pair, minShared int) (b model.Batch, last []int32) {
	x.sides, x.last = x.sides[:0], x.last[:0]
	for _, p := range pairs {
		x.sides = append(x.sides, p.Chosen, p.Rejected)
	}
	x.tree.Pack(minShared, x.sides...)
	for i, s := range x.sides {
		x.last = append(x.last, x.tree.Row(i, len(s)-1))
	}
	return x.tree.Batch, x.last
}

// lossInputs are the vectors of a loss over pairs, scores alternating chosen and rejected.
func lossInputs(pairs []Pair, scores []float32, marginScale float64) map[string][]float64 {
	n := len(pairs)
	in := map[string][]float64{"chosen": make([]float64, n), "rejected": make([]float64, n), "margin": make([]float64, n), "p": make([]float64, n)}
	for i, p := range pairs {
		in["chosen"][i], in["rejected"][i] = float64(scores[2*i]), float64(scores[2*i+1])
		in["margin"][i], in["p"][i] = marginScale*p.Margin, p.Better
	}
	return in
}

// gradients adds up the gradient of the mean loss of a step over its micro-batches.
func (t *trainer) gradients(pairs []Pair) stepStats {
	s := stepStats{pairs: len(pairs)}
	var chosen, rejected []float64
	for _, part := range parts(pairs, t.c.MicroTokens) {
		b, last := t.scratch.pack(part, model.MinSharedInTraining(t.in.Adapter))
		t.tape.Reset()
		t.tape.Drop(t.in.Seed, uint64(t.state.Step), uint64(s.tokens))
		for _, p := range part {
			s.tokens += len(p.Chosen) + len(p.Rejected)
		}
		scores := t.in.Model.Scores(t.tape, t.in.Adapter, t.in.Model.Hidden(t.tape, t.in.Adapter, b), last)
		w := make([]float64, len(part))
		for i := range w {
			w[i] = 1 / float64(len(pairs))
		}
		in := lossInputs(part, scores.Data, t.c.Margin)
		r := t.loss.Eval(w, in)
		seed := make([]float64, 2*len(part))
		for i := range part {
			seed[2*i], seed[2*i+1] = r.Grad["chosen"][i], r.Grad["rejected"][i]
		}
		scores.Seed(seed)
		t.tape.Backward()
		s.loss += r.Loss
		chosen, rejected = append(chosen, in["chosen"]...), append(rejected, in["rejected"]...)
	}
	p := objective.Pairs(chosen, rejected)
	all := append(chosen, rejected...)
	s.accuracy, s.gap, s.min, s.mean, s.max = p.Accuracy, p.MeanGap, slices.Min(all), objective.Mean(all), slices.Max(all)
	return s
}
