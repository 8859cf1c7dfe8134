package sft

import (
	"context"
	"errors"

	"plumb/internal/model"
	"plumb/internal/tensor"
)

// Row is one sequence: Weights[i] is the weight of IDs[i] as a target, given all ids before it. Starts cuts a packed row into
// examples that do not see each other; nil is one example.
type Row struct {
	IDs     []int32
	Weights []float32
	Starts  []int32 // 0, ..., len(IDs)
}

// stepStats are the metrics of one step, or of an evaluation: means over the targets, weighted as the loss is.
type stepStats struct {
	loss, entropy, accuracy float64
	tokens                  int
}

// scratch is what the bookkeeping of a step is written into. It is kept from step to step, so that none leaves garbage that grows
// with its tokens.
type scratch struct {
	weights         []float64 // of the step's targets
	examples        [][]int32 // of a micro-batch, as all below
	tree            model.Tree
	hidden, targets []int32
	logp            []float64
}

// stepWeights are the weights of a step's targets, row after row, scaled to sum to one. They live until the next call.
func (x *scratch) stepWeights(rows []Row) ([]float64, error) {
	out, sum := x.weights[:0], 0.0
	for _, r := range rows {
		r.targets(func(_, i int) {
			out = append(out, float64(r.Weights[i]))
			sum += float64(r.Weights[i])
		})
	}
	x.weights = out
	if sum <= 0 {
		return nil, errors.New("none of its rows has a token to learn; check the data's roles and weights with plumb data check")
	}
	for i := range out {
		out[i] /= sum
	}
	return out, nil
}

// targets calls f for each position i of r, in example number s, that is predicted and weighs something. The first id of an
// example has nothing before it.
func (r Row) targets(f func(s, i int)) {
	for s := range r.examples() {
		lo, hi := r.example(s)
		for i := lo + 1; i < hi; i++ {
			if r.Weights[i] > 0 {
				f(s, i)
			}
		}
	}
}

// examples is how many the row holds, and example the positions of one.
func (r Row) examples() int { return max(len(r.Starts)-1, 1) }

func (r Row) example(s int) (lo, hi int) {
	if r.Starts == nil {
		return 0, len(r.IDs)
	}
	return int(r.Starts[s]), int(r.Starts[s+1])
}

// micro packs rows, what examples begin with once, and names the hidden rows that predict their targets. All of it lives until the
// next call.
func (x *scratch) micro(rows []Row, minShared int) (b model.Batch, hidden, targets []int32) {
	x.examples, x.hidden, x.targets = x.examples[:0], x.hidden[:0], x.targets[:0]
	for _, r := range rows {
		for s := range r.examples() {
			lo, hi := r.example(s)
			x.examples = append(x.examples, r.IDs[lo:hi])
		}
	}
	x.tree.Pack(minShared, x.examples...)
	n := 0
	for _, r := range rows {
		r.targets(func(s, i int) {
			lo, _ := r.example(s)
			x.hidden, x.targets = append(x.hidden, x.tree.Row(n+s, i-lo-1)), append(x.targets, r.IDs[i])
		})
		n += r.examples()
	}
	return x.tree.Batch, x.hidden, x.targets
}

// parts cuts rows into micro-batches of about limit tokens.
func parts(rows []Row, limit int) [][]Row {
	var out [][]Row
	from, n := 0, 0
	for i, r := range rows {
		if i > from && n+len(r.IDs) > limit {
			out = append(out, rows[from:i])
			from, n = i, 0
		}
		n += len(r.IDs)
	}
	return append(out, rows[from:])
}

// gradients adds up the gradient of the step's loss over its micro-batches.
func (t *trainer) gradients(rows []Row, weights []float64) stepStats {
	var s stepStats
	for _, part := range parts(rows, t.c.MicroTokens) {
		b, hidden, targets := t.scratch.micro(part, model.MinSharedInTraining(t.in.Adapter))
		row := s.tokens
		for _, r := range part {
			s.tokens += len(r.IDs)
		}
		if len(targets) == 0 {
			continue
		}
		w := weights[:len(targets)]
		weights = weights[len(targets):]
		t.tape.Reset()
		t.tape.Drop(t.in.Seed, uint64(t.state.Step), uint64(row))
		h := t.in.Model.Hidden(t.tape, t.in.Adapter, b)
		logp, entropy, best := t.in.Model.Predict(t.tape, t.in.Adapter, h, hidden, targets, 1)
		r := t.loss.Eval(w, map[string][]float64{"logp": t.scratch.widen(logp)})
		logp.Seed(r.Grad["logp"])
		t.tape.Backward()
		s.add(w, r.Loss, entropy, best)
	}
	return s
}

// evaluate measures rows without learning from them.
func (t *trainer) evaluate(ctx context.Context, rows []Row) (stepStats, error) {
	var s stepStats
	weights, err := t.scratch.stepWeights(rows)
	if err != nil {
		return s, errors.New("the held-out rows have no token to predict")
	}
	for _, part := range parts(rows, t.c.MicroTokens) {
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		b, hidden, targets := t.scratch.micro(part, model.MinShared)
		if len(targets) == 0 {
			continue
		}
		w := weights[:len(targets)]
		weights = weights[len(targets):]
		t.eval.Reset()
		logp, entropy, best := t.in.Model.Predict(t.eval, t.in.Adapter, t.in.Model.Hidden(t.eval, t.in.Adapter, b), hidden, targets, 1)
		s.add(w, t.loss.Eval(w, map[string][]float64{"logp": t.scratch.widen(logp)}).Loss, entropy, best)
	}
	return s, nil
}

func (s *stepStats) add(w []float64, loss float64, entropy, best *tensor.Tensor) {
	s.loss += loss
	for i, e := range entropy.Data {
		s.entropy += w[i] * float64(e)
		s.accuracy += w[i] * float64(best.Data[i])
	}
}

// widen is a tensor in float64; it lives until the next call.
func (x *scratch) widen(of *tensor.Tensor) []float64 {
	x.logp = x.logp[:0]
	for _, v := range of.Data {
		x.logp = append(x.logp, float64(v))
	}
	return x.logp
}
