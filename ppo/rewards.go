package ppo

import (
	"fmt"

	"plumb/internal/objective"
)

// MissingStop is what happens to the score of a response that was cut at the length limit, without a stop token.
type MissingStop struct {
	Rule  string  // none | override | subtract
	Value float64 // in units of the score
}

// The rules. Override is that of Ziegler et al. 2019 and the TL;DR replications (score := -1), subtract TRL's (score - 1).
const (
	KeepScore     = "none"
	OverrideScore = "override"
	SubtractScore = "subtract"
)

func (m MissingStop) validate() error {
	switch m.Rule {
	case KeepScore, OverrideScore, SubtractScore:
		return nil
	}
	return fmt.Errorf("rule %q: want none, override or subtract", m.Rule)
}

// Apply returns the scores, [B], after the rule; ended[i] says that response i ends with a stop token.
func (m MissingStop) Apply(scores []float64, ended []bool) []float64 {
	out := make([]float64, len(scores))
	for i, s := range scores {
		switch {
		case ended[i] || m.Rule == KeepScore:
			out[i] = s
		case m.Rule == OverrideScore:
			out[i] = m.Value
		case m.Rule == SubtractScore:
			out[i] = s - m.Value
		default:
			panic("ppo: MissingStop: unknown rule")
		}
	}
	return out
}

// ClipScores limits scores, [B], to [-limit, limit]; 0 means no limit.
func ClipScores(scores []float64, limit float64) []float64 {
	out := make([]float64, len(scores))
	for i, s := range scores {
		out[i] = s
		if limit > 0 {
			out[i] = min(max(s, -limit), limit)
		}
	}
	return out
}

// Rewards returns the reward of every real token, [N]: r_t = -coef*KL_t, and the response's score on top of its last real
// token, which is the stop token where there is one (Ziegler et al. 2019, eq. 2, spread over tokens). kl is [N] in nats,
// scores [B]; a response without a token receives nothing.
func Rewards(kl []float64, starts Starts, scores []float64, coef float64) []float64 {
	out := make([]float64, len(kl))
	for i, k := range kl {
		out[i] = -coef * k
	}
	for row, s := range scores {
		if a, b := starts.Row(row); b > a {
			out[b-1] += s
		}
	}
	return out
}

// KLSummary is the divergence from the reference in its two units, which are two quantities with two names, and what it cost.
type KLSummary struct {
	PerSequence []float64 // [B] sum over the response, nats
	Mean        float64   // mean over non-empty responses, nats per sequence: what the controller's target means
	PerToken    float64   // mean over tokens, nats per token
	NonScore    []float64 // [B] sum over the response of -coef*KL_t
}

// SummariseKL computes it from kl, [N].
func SummariseKL(kl []float64, starts Starts, coef float64) KLSummary {
	s := KLSummary{PerSequence: starts.Sums(kl), PerToken: objective.Mean(kl)}
	for _, k := range s.PerSequence {
		s.NonScore = append(s.NonScore, -coef*k)
	}
	s.Mean = starts.Mean(s.PerSequence)
	return s
}
