package reward

import (
	"context"
	"fmt"
	"math"

	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/peft"
	"plumb/internal/stats"
	"plumb/internal/tensor"
)

// Accuracy is what held-out pairs say of a reward model. Ties (Better ½) count in Loss alone.
type Accuracy struct {
	N          int            `json:"n"` // pairs that are no ties
	Accuracy   float64        `json:"accuracy"`
	Interval   stats.Interval `json:"interval"`    // Wilson, 95 %
	LongerWins float64        `json:"longer_wins"` // accuracy of preferring the longer answer, equal lengths ½
	Loss       float64        `json:"loss"`        // without margin and centring
	Gap        float64        `json:"gap"`         // mean of chosen - rejected
	MeanReward float64        `json:"mean_reward"`
	Chosen     []float64      `json:"-"` // scores of all pairs, ties included
	Rejected   []float64      `json:"-"`
}

// Measure scores pairs without learning from them.
func Measure(ctx context.Context, m *model.Model, a *peft.Adapter, pairs []Pair, microTokens int) (Accuracy, error) {
	var out Accuracy
	if len(pairs) == 0 {
		return out, nil
	}
	sides := make([][]int32, 0, 2*len(pairs))
	for _, p := range pairs {
		sides = append(sides, p.Chosen, p.Rejected)
	}
	scores, err := m.ScoresOf(ctx, tensor.NewInferenceTape(m.Pool()), a, sides, microTokens)
	if err != nil {
		return out, err
	}
	for i, s := range scores {
		if x := float64(s); math.IsNaN(x) || math.IsInf(x, 0) {
			return out, fmt.Errorf("held-out pair %d scores %g: the reward model has diverged; lower reward.lr", i/2+1, s)
		}
	}
	w := make([]float64, len(pairs))
	for i := range w {
		w[i] = 1 / float64(len(pairs))
	}
	in := lossInputs(pairs, scores, 0)
	out.Loss = objective.BradleyTerry(0).Eval(w, in).Loss
	out.Chosen, out.Rejected = in["chosen"], in["rejected"]
	out.Gap = objective.Pairs(out.Chosen, out.Rejected).MeanGap
	out.MeanReward = (objective.Mean(out.Chosen) + objective.Mean(out.Rejected)) / 2
	right, longer := 0.0, 0.0
	for i, p := range pairs {
		if p.Better == 0.5 {
			continue
		}
		out.N++
		right += prefers(out.Chosen[i], out.Rejected[i])
		longer += prefers(float64(len(p.Chosen)), float64(len(p.Rejected)))
	}
	if out.N > 0 {
		n := float64(out.N)
		out.Accuracy, out.LongerWins, out.Interval = right/n, longer/n, stats.Wilson(right, n, 0.95)
	}
	return out, nil
}

// prefers is 1 where a is above b, ½ where they are equal.
func prefers(a, b float64) float64 {
	switch {
	case a > b:
		return 1
	case a == b:
		return 0.5
	}
	return 0
}

// String is one line for people.
func (a Accuracy) String() string {
	if a.N == 0 {
		return "accuracy was not measured: no pair is held out, or all of those are ties"
	}
	return fmt.Sprintf("accuracy %.3f [%.3f, %.3f] on %d held-out pairs; preferring the longer answer gives %.3f", a.Accuracy, a.Interval.Low, a.Interval.High, a.N, a.LongerWins)
}
