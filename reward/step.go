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

func (p plan) pairs(k int) []Pair {
	epoch, at := k/p.perEpoch, k%p.perEpoch
	var order []int
	for _, g := range rng.New(p.seed, orderStream, uint64(epoch)).Perm(len(p.byPrompt)) {
		order = append(order, p.byPrompt[g]...)
	}
	var out []Pair
	for _, i := range order[at*p.batch : min((at+1)*p.batch, len(order))] {
		out = append(out, p.train[i])
	}
	return out
}

func (p plan) epoch(k int) float64 { return float64(k) / float64(p.perEpoch) }

// stepStats are the metrics of one step.
type stepStats struct {
	loss, accuracy, gap, min, mean, max float64
	tokens, pairs                       int
}

// parts cuts pairs into micro-batches of about limit tokens, both sides of a pair together.
func parts(pairs []Pair, limit int) [][]Pair {
	var out [][]Pair
	n := 0
	for i, p := range pairs {
		size := len(p.Chosen) + len(p.Rejected)
		if i == 0 || n+size > limit {
			out, n = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], p)
		n += size
	}
	return out
}

// pack lays the sides of pairs one after another, what they begin with once, and names their last tokens.
func pack(pairs []Pair, minShared int) (b model.Tree, last []int32) {
	var sides [][]int32
	for _, p := range pairs {
		sides = append(sides, p.Chosen, p.Rejected)
	}
	b = model.PackTree(minShared, sides...)
	for i, s := range sides {
		last = append(last, b.Row(i, len(s)-1))
	}
	return b, last
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
		b, last := pack(part, model.MinSharedInTraining(t.in.Adapter))
		t.tape.Reset()
		t.tape.Drop(t.in.Seed, uint64(t.state.Step), uint64(s.tokens))
		for _, p := range part {
			s.tokens += len(p.Chosen) + len(p.Rejected)
		}
		scores := t.in.Model.Scores(t.tape, t.in.Adapter, t.in.Model.Hidden(t.tape, t.in.Adapter, b.Batch), last)
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
