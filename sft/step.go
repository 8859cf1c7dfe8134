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

// stepWeights are the weights of a step's targets, row after row, scaled to sum to one.
func stepWeights(rows []Row) ([]float64, error) {
	var out []float64
	sum := 0.0
	for _, r := range rows {
		r.targets(func(_, i int) {
			out = append(out, float64(r.Weights[i]))
			sum += float64(r.Weights[i])
		})
	}
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
	starts := r.starts()
	for s := range len(starts) - 1 {
		for i := int(starts[s]) + 1; i < int(starts[s+1]); i++ {
			if r.Weights[i] > 0 {
				f(s, i)
			}
		}
	}
}

func (r Row) starts() []int32 {
	if r.Starts == nil {
		return []int32{0, int32(len(r.IDs))}
	}
	return r.Starts
}

// micro packs rows, what examples begin with once, and names the hidden rows that predict their targets.
func micro(rows []Row, minShared int) (b model.Batch, hidden, targets []int32) {
	var examples [][]int32
	for _, r := range rows {
		starts := r.starts()
		for s := range len(starts) - 1 {
			examples = append(examples, r.IDs[starts[s]:starts[s+1]])
		}
	}
	tree := model.PackTree(minShared, examples...)
	n := 0
	for _, r := range rows {
		r.targets(func(s, i int) {
			hidden, targets = append(hidden, tree.Row(n+s, i-int(r.starts()[s])-1)), append(targets, r.IDs[i])
		})
		n += len(r.starts()) - 1
	}
	return tree.Batch, hidden, targets
}

// parts cuts rows into micro-batches of about limit tokens.
func parts(rows []Row, limit int) [][]Row {
	var out [][]Row
	n := 0
	for i, r := range rows {
		if i == 0 || n+len(r.IDs) > limit {
			out, n = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], r)
		n += len(r.IDs)
	}
	return out
}

// gradients adds up the gradient of the step's loss over its micro-batches.
func (t *trainer) gradients(rows []Row, weights []float64) stepStats {
	var s stepStats
	for _, part := range parts(rows, t.c.MicroTokens) {
		b, hidden, targets := micro(part, model.MinSharedInTraining(t.in.Adapter))
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
		r := t.loss.Eval(w, map[string][]float64{"logp": widen(logp)})
		logp.Seed(r.Grad["logp"])
		t.tape.Backward()
		s.add(w, r.Loss, entropy, best)
	}
	return s
}

// evaluate measures rows without learning from them.
func (t *trainer) evaluate(ctx context.Context, rows []Row) (stepStats, error) {
	var s stepStats
	weights, err := stepWeights(rows)
	if err != nil {
		return s, errors.New("the held-out rows have no token to predict")
	}
	for _, part := range parts(rows, t.c.MicroTokens) {
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		b, hidden, targets := micro(part, model.MinShared)
		if len(targets) == 0 {
			continue
		}
		w := weights[:len(targets)]
		weights = weights[len(targets):]
		t.eval.Reset()
		logp, entropy, best := t.in.Model.Predict(t.eval, t.in.Adapter, t.in.Model.Hidden(t.eval, t.in.Adapter, b), hidden, targets, 1)
		s.add(w, t.loss.Eval(w, map[string][]float64{"logp": widen(logp)}).Loss, entropy, best)
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

func widen(x *tensor.Tensor) []float64 {
	out := make([]float64, len(x.Data))
	for i, v := range x.Data {
		out[i] = float64(v)
	}
	return out
}
