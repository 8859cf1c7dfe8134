package eval

import (
	"context"
	"fmt"
	"math"

	"plumb/internal/stats"
)

// Answer is one text of one side.
type Answer struct {
	Prompt    string // as the person wrote it
	PromptIDs []int32
	IDs       []int32 // the stop token included
	Text      string
	Stop      string // eos, stop_id, stop_string or length
}

// Judge scores answers: higher is better. Scores of an answer do not depend on the others.
type Judge interface {
	Score(ctx context.Context, answers []Answer) ([]float64, error)
}

// Scorer is a Judge with what the report says of it.
type Scorer struct {
	Name string // as the recipe names it
	Hash string // content of the reward model; empty for a rule
	Judge
	Role string // "judge" or "proxy"
}

// Comparison is what one scorer says of two sides over the same prompts. Before is A, After is B. N, errors,
// intervals and tests are of prompts, each with the mean score of its answers. Of one prompt standard errors are NaN, null in JSON,
// and both p are 1.
type Comparison struct {
	Scorer       string         `json:"scorer"`
	Role         string         `json:"role"`
	N            int            `json:"n"`
	Before       float64        `json:"before"`
	BeforeSE     stats.Number   `json:"before_se"`
	After        float64        `json:"after"`
	AfterSE      stats.Number   `json:"after_se"`
	BeforeStd    stats.Number   `json:"before_std"`
	Difference   float64        `json:"difference"`
	DifferenceCI stats.Interval `json:"difference_interval"`
	P            float64        `json:"p"` // paired t, two-sided
	WinRate      float64        `json:"win_rate"`
	WinRateCI    stats.Interval `json:"win_rate_interval"`
	Wins         int            `json:"wins"`
	Ties         int            `json:"ties"`
	Losses       int            `json:"losses"`
	SignP        float64        `json:"sign_p"`
	BeforeScores []float64      `json:"-"` // of every answer
	AfterScores  []float64      `json:"-"`
}

// perPrompt averages the values of the answers to each prompt, which are no independent samples of anything else.
func perPrompt(xs []float64, samples int) []float64 {
	if samples == 1 {
		return xs
	}
	out := make([]float64, len(xs)/samples)
	for i, x := range xs {
		out[i/samples] += x / float64(samples)
	}
	return out
}

// compare tests scores of B against A, prompt by prompt.
func compare(s Scorer, a, b []float64, cfg Config, seed uint64) (Comparison, error) {
	for i := range a {
		if math.IsNaN(a[i]) || math.IsNaN(b[i]) || math.IsInf(a[i], 0) || math.IsInf(b[i], 0) {
			return Comparison{}, fmt.Errorf("judge %s: answer %d has score %g before and %g after: not a number to compare", s.Name, i, a[i], b[i])
		}
	}
	scoresA, scoresB := a, b
	a, b = perPrompt(a, cfg.Samples), perPrompt(b, cfg.Samples)
	d, wins := make([]float64, len(a)), make([]float64, len(a))
	for i := range a {
		d[i] = b[i] - a[i]
		switch {
		case d[i] > 0:
			wins[i] = 1
		case d[i] == 0:
			wins[i] = 0.5
		}
	}
	ma, mb, md, w := stats.MeanOf(a), stats.MeanOf(b), stats.MeanOf(d), stats.WinRateOf(wins)
	_, p, _ := stats.PairedT(b, a, cfg.Level)
	switch {
	case len(a) < 2 || md.SE == 0 && md.Value == 0: // one prompt proves nothing
		p = 1
	case md.SE == 0: // the same difference every time: the limit of ever smaller variation
		p = 0
	}
	return Comparison{
		Scorer: s.Name, Role: s.Role, N: len(a),
		Before: ma.Value, BeforeSE: stats.Number(ma.SE), After: mb.Value, AfterSE: stats.Number(mb.SE), BeforeStd: stats.Number(stats.Std(scoresA)),
		Difference: md.Value, DifferenceCI: stats.Bootstrap(d, cfg.Bootstrap, cfg.Level, seed), P: p,
		WinRate: w.Rate, WinRateCI: stats.Bootstrap(wins, cfg.Bootstrap, cfg.Level, seed+1),
		Wins: w.Wins, Ties: w.Ties, Losses: w.Losses, SignP: w.SignP,
		BeforeScores: scoresA, AfterScores: scoresB,
	}, nil
}

// Texts describes the answers of one side.
type Texts struct {
	N           int     `json:"n"`
	LengthMean  float64 `json:"length_mean"` // tokens, stop token included
	LengthP95   float64 `json:"length_p95"`
	LengthMax   float64 `json:"length_max"`
	StopShare   float64 `json:"stop_share"` // ended by itself, not cut at max_new
	EmptyShare  float64 `json:"empty_share"`
	Repeated4   float64 `json:"repeated_4gram_share"` // mean over answers
	Distinct1   float64 `json:"distinct_1"`
	Distinct2   float64 `json:"distinct_2"`
	IdenticalTo float64 `json:"identical_to_other_side"`
}

func describe(answers, other []Answer) Texts {
	t := Texts{N: len(answers)}
	var lengths, repeated []float64
	var ids [][]int32
	share := 1 / float64(max(len(answers), 1))
	for i, a := range answers {
		lengths = append(lengths, float64(len(a.IDs)))
		repeated = append(repeated, stats.Repeated(a.IDs, 4))
		ids = append(ids, a.IDs)
		if a.Stop != "length" {
			t.StopShare += share
		}
		if a.Text == "" {
			t.EmptyShare += share
		}
		if a.Text == other[i].Text {
			t.IdenticalTo += share
		}
	}
	t.LengthMean, t.LengthP95, t.LengthMax = stats.MeanOf(lengths).Value, stats.Quantile(lengths, 0.95), stats.Quantile(lengths, 1)
	t.Repeated4, t.Distinct1, t.Distinct2 = stats.MeanOf(repeated).Value, stats.Distinct(ids, 1), stats.Distinct(ids, 2)
	return t
}
