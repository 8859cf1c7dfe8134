package ppo

import (
	"math"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/objective"
)

// Reference values are float64: 1e-12 of the largest for closed formulas, 1e-9 for whitening, deviations and long sums.
const (
	exact = 1e-12
	long  = 1e-9
)

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tol*max(1, math.Abs(want)) {
		t.Errorf("%s: got %v, want %v (difference %.3g)", what, got, want, got-want)
	}
}

func nearAll(t *testing.T, what string, got, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	scale := 1.0
	for _, w := range want {
		scale = max(scale, math.Abs(w))
	}
	for i := range got {
		if math.IsNaN(got[i]) || math.Abs(got[i]-want[i]) > tol*scale {
			t.Fatalf("%s[%d]: got %v, want %v (difference %.3g)", what, i, got[i], want[i], got[i]-want[i])
		}
	}
}

// pack keeps the real elements of a masked matrix, which is how every row layout becomes the same packed vector.
func pack[T any](mask [][]float64, x [][]T) (out []T) {
	for r, row := range mask {
		for t, m := range row {
			if m == 1 {
				out = append(out, x[r][t])
			}
		}
	}
	return out
}

func rows(mask [][]float64) Starts {
	var lengths []int
	for _, row := range mask {
		n := 0
		for _, m := range row {
			n += int(m)
		}
		lengths = append(lengths, n)
	}
	return StartsOf(lengths)
}

func TestRewardsAgainstReference(t *testing.T) {
	type values struct {
		Rewards  [][]float64
		NonScore []float64   `json:"non_score_reward_per_sequence"`
		MeanNon  float64     `json:"objective_non_score_reward"`
		Scores   float64     `json:"objective_scores"`
		RLHF     float64     `json:"objective_rlhf_reward"`
		Biased   [][]float64 `json:"whitened_keep_mean_biased"`
		Bessel   [][]float64 `json:"whitened_keep_mean_bessel"`
	}
	var file struct {
		Cases []struct {
			Name    string
			Mask    [][]float64
			Ended   []bool      `json:"ended_with_stop"`
			Logp    [][]float64 `json:"logprob"`
			RefLogp [][]float64 `json:"ref_logprob"`
			Scores  []float64
			Coef    float64 `json:"kl_coef"`
			Rules   []struct {
				Rule       string
				Value      float64
				After      []float64 `json:"scores_after_rule"`
				Estimators map[objective.Estimator]values
			}
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/rewards.json.gz"), &file)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			starts := rows(c.Mask)
			in := map[string][]float64{"policyLogp": pack(c.Mask, c.Logp), "refLogp": pack(c.Mask, c.RefLogp)}
			for _, rule := range c.Rules {
				scores := MissingStop{rule.Rule, rule.Value}.Apply(c.Scores, c.Ended)
				nearAll(t, rule.Rule, scores, rule.After, exact)
				for e, want := range rule.Estimators {
					kl := objective.KL(e).Eval(make([]float64, starts[starts.Len()]), in).Each
					got := Rewards(kl, starts, scores, c.Coef)
					nearAll(t, string(e), got, pack(c.Mask, want.Rewards), exact)
					s := SummariseKL(kl, starts, c.Coef)
					nearAll(t, "non-score", s.NonScore, want.NonScore, exact)
					near(t, "mean non-score", starts.Mean(s.NonScore), want.MeanNon, exact)
					near(t, "mean score", starts.Mean(scores), want.Scores, exact)
					near(t, "rlhf reward", starts.Mean(s.NonScore)+starts.Mean(scores), want.RLHF, exact)
					nearAll(t, "whitened", Whiten(got, objective.Variance, true), pack(c.Mask, want.Biased), long)
					nearAll(t, "whitened, Bessel", Whiten(got, objective.BesselVariance, true), pack(c.Mask, want.Bessel), long)
				}
			}
		})
	}
}

func TestKLSummaryAgainstReference(t *testing.T) {
	var file struct {
		Cases []struct {
			Name string
			Mask [][]float64
			KL   map[objective.Estimator]struct {
				PerToken [][]float64 `json:"per_token"`
				PerSeq   []float64   `json:"per_sequence_nats"`
				MeanSeq  float64     `json:"objective_kl_mean_over_sequences"`
				Mean     float64     `json:"per_token_mean"`
			}
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/kl.json.gz"), &file)
	for _, c := range file.Cases {
		for e, want := range c.KL {
			s := SummariseKL(pack(c.Mask, want.PerToken), rows(c.Mask), 1)
			nearAll(t, c.Name+" per sequence", s.PerSequence, want.PerSeq, exact)
			near(t, c.Name+" mean "+string(e), s.Mean, want.MeanSeq, exact)
			near(t, c.Name+" per token "+string(e), s.PerToken, want.Mean, exact)
		}
	}
}

func TestAdvantagesAgainstReference(t *testing.T) {
	var file struct {
		Cases []struct {
			Name            string
			Mask            [][]float64
			Rewards, Values [][]float64
			Runs            []struct {
				Gamma, Lambda       float64
				Advantages, Returns [][]float64
				Definition          [][]float64 `json:"advantages_by_definition"`
				Biased              [][]float64 `json:"whitened_biased"`
				Bessel              [][]float64 `json:"whitened_bessel"`
			}
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/gae.json.gz"), &file)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			for _, run := range c.Runs {
				adv, ret := Advantages(pack(c.Mask, c.Rewards), pack(c.Mask, c.Values), rows(c.Mask), run.Gamma, run.Lambda)
				nearAll(t, "advantages", adv, pack(c.Mask, run.Advantages), exact)
				nearAll(t, "by definition", adv, pack(c.Mask, run.Definition), exact)
				nearAll(t, "returns", ret, pack(c.Mask, run.Returns), exact)
				nearAll(t, "whitened", Whiten(adv, objective.Variance, false), pack(c.Mask, run.Biased), long)
				nearAll(t, "whitened, Bessel", Whiten(adv, objective.BesselVariance, false), pack(c.Mask, run.Bessel), long)
			}
		})
	}
}

func TestControllersAgainstReference(t *testing.T) {
	var file struct {
		Adaptive []struct {
			Init     float64 `json:"init_kl_coef"`
			Target   float64
			Horizon  float64
			Episodes int `json:"episodes_per_update"`
			Updates  []struct {
				KL    float64 `json:"kl_per_sequence_nats"`
				After float64 `json:"kl_coef_after"`
			}
		} `json:"adaptive_kl"`
		Moments []struct {
			Updates []struct {
				Batch       []float64
				Mean, Count float64
				Var         float64   `json:"var_biased"`
				Std         float64   `json:"std_bessel"`
				Scaled      []float64 `json:"scaled_by_std"`
				Whitened    []float64
				BatchMean   float64 `json:"batch_mean"`
				BatchStd    float64 `json:"batch_std_bessel"`
			}
		} `json:"running_moments"`
	}
	golden.JSON(t, golden.Dir(t, "objective/controllers.json"), &file)
	for _, c := range file.Adaptive {
		k := Controller{Coef: c.Init, Target: c.Target, Horizon: c.Horizon, Max: math.Inf(1)}
		for _, u := range c.Updates {
			k.Update(u.KL, c.Episodes)
			near(t, "kl coefficient", k.Coef, u.After, exact)
		}
	}
	for _, c := range file.Moments {
		m := NewMoments()
		for _, u := range c.Updates {
			m.Update(u.Batch)
			near(t, "mean", m.Mean, u.Mean, long)
			near(t, "variance", m.Var, u.Var, long)
			near(t, "std", m.Std(), u.Std, long)
			near(t, "count", m.Count, u.Count, long)
			near(t, "batch mean", objective.Mean(u.Batch), u.BatchMean, long)
			near(t, "batch std", math.Sqrt(objective.BesselVariance(u.Batch)), u.BatchStd, long)
			for i, x := range u.Batch {
				near(t, "scaled", x/m.Std(), u.Scaled[i], long)
				near(t, "whitened", (x-m.Mean)/m.Std(), u.Whitened[i], long)
			}
		}
	}
}

// A whole step, from raw logits, values and scores to losses, gradients of the raw logits and values, and metrics.
func TestWholeStepAgainstReference(t *testing.T) {
	var file struct {
		Cases []struct {
			Name   string
			Params struct {
				Temperature float64
				Coef        float64             `json:"kl_coef"`
				Estimator   objective.Estimator `json:"kl_estimator"`
				Rule        string              `json:"missing_eos_rule"`
				Penalty     float64             `json:"missing_eos_penalty"`
				Gamma       float64
				Lambda      float64
				WhitenRew   bool    `json:"whiten_rewards_keep_mean_bessel"`
				Eps         float64 `json:"eps"`
				EpsValue    float64 `json:"eps_value"`
				VFCoef      float64 `json:"vf_coef"`
				Aggregation objective.Aggregation
			}
			Mask       [][]float64
			Ended      []bool `json:"ended_with_stop"`
			Tokens     [][]int
			Old        [][][]float64 `json:"old_logits"`
			Ref        [][][]float64 `json:"ref_logits"`
			New        [][][]float64 `json:"new_logits"`
			OldValues  [][]float64   `json:"old_values"`
			Values     [][]float64
			Scores     []float64
			OldLogp    [][]float64 `json:"old_logprob"`
			RefLogp    [][]float64 `json:"ref_logprob"`
			NewLogp    [][]float64 `json:"new_logprob"`
			AfterRule  []float64   `json:"scores_after_rule"`
			KL         [][]float64 `json:"kl_per_token"`
			Rewards    [][]float64
			Whitened   [][]float64 `json:"rewards_whitened"`
			Advantages [][]float64
			Returns    [][]float64
			AdvWhite   [][]float64   `json:"advantages_whitened"`
			PolicyLoss float64       `json:"policy_loss"`
			ValueLoss  float64       `json:"value_loss"`
			Total      float64       `json:"total"`
			GradLogits [][][]float64 `json:"grad_new_logits"`
			GradValues [][]float64   `json:"grad_values"`
			Metrics    map[string]float64
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/ppo_step.json.gz"), &file)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p, starts, tokens := c.Params, rows(c.Mask), pack(c.Mask, c.Tokens)
			logps := func(logits [][][]float64) (out []float64) {
				for i, z := range pack(c.Mask, logits) {
					out = append(out, logSoftmax(z, p.Temperature)[tokens[i]])
				}
				return out
			}
			oldLogp, refLogp, newLogp := logps(c.Old), logps(c.Ref), logps(c.New)
			nearAll(t, "old logp", oldLogp, pack(c.Mask, c.OldLogp), exact)
			nearAll(t, "ref logp", refLogp, pack(c.Mask, c.RefLogp), exact)
			nearAll(t, "new logp", newLogp, pack(c.Mask, c.NewLogp), exact)

			scores := MissingStop{p.Rule, p.Penalty}.Apply(c.Scores, c.Ended)
			nearAll(t, "scores", scores, c.AfterRule, exact)
			kl := objective.KL(p.Estimator).Eval(make([]float64, len(tokens)), map[string][]float64{"policyLogp": oldLogp, "refLogp": refLogp}).Each
			nearAll(t, "kl", kl, pack(c.Mask, c.KL), exact)
			rewards := Rewards(kl, starts, scores, p.Coef)
			nearAll(t, "rewards", rewards, pack(c.Mask, c.Rewards), exact)
			if p.WhitenRew {
				rewards = Whiten(rewards, objective.BesselVariance, true)
			}
			nearAll(t, "rewards whitened", rewards, pack(c.Mask, c.Whitened), long)
			oldValues, values := pack(c.Mask, c.OldValues), pack(c.Mask, c.Values)
			adv, returns := Advantages(rewards, oldValues, starts, p.Gamma, p.Lambda)
			nearAll(t, "advantages", adv, pack(c.Mask, c.Advantages), long)
			nearAll(t, "returns", returns, pack(c.Mask, c.Returns), long)
			adv = Whiten(adv, objective.BesselVariance, false)
			nearAll(t, "advantages whitened", adv, pack(c.Mask, c.AdvWhite), long)

			clip, w := objective.Clipping{Low: p.Eps, High: p.Eps}, p.Aggregation.Weights(starts.Lengths(), 0)
			pr := objective.Policy(clip, 0).Eval(w, map[string][]float64{"policyLogp": newLogp, "oldLogp": oldLogp, "advantages": adv, "entropy": make([]float64, len(w))})
			vr := objective.Value(p.EpsValue).Eval(w, map[string][]float64{"values": values, "oldValues": oldValues, "returns": returns})
			near(t, "policy loss", pr.Loss, c.PolicyLoss, long)
			near(t, "value loss", vr.Loss, c.ValueLoss, long)
			near(t, "total", pr.Loss+p.VFCoef*vr.Loss, c.Total, long)
			var gradLogits, wantLogits []float64
			for i, z := range pack(c.Mask, c.New) {
				for v, lp := range logSoftmax(z, p.Temperature) {
					g := -math.Exp(lp)
					if v == tokens[i] {
						g++
					}
					gradLogits = append(gradLogits, g*pr.Grad["policyLogp"][i]/p.Temperature)
				}
			}
			for _, row := range pack(c.Mask, c.GradLogits) {
				wantLogits = append(wantLogits, row...)
			}
			nearAll(t, "d logits", gradLogits, wantLogits, long)
			gradValues := vr.Grad["values"]
			for i := range gradValues {
				gradValues[i] *= p.VFCoef
			}
			nearAll(t, "d values", gradValues, pack(c.Mask, c.GradValues), long)

			ps, vs := objective.PolicyHealth(newLogp, oldLogp, adv, clip), objective.ValueHealth(values, oldValues, returns, p.EpsValue)
			sum := SummariseKL(kl, starts, p.Coef)
			n := float64(len(tokens))
			got := map[string]float64{
				"approxkl_k1": ps.ApproxKLK1, "approxkl_half_square": ps.ApproxKL, "approxkl_k3": ps.ApproxKLK3, "clipfrac": ps.ClipFrac,
				"clipfrac_ratio_outside": ps.ClipFracRatio, "clipfrac_lower": ps.ClipFracLower, "value_clipfrac": vs.ClipFrac,
				"ratio_mean": ps.Ratio, "ratio_var_biased": ps.RatioVar, "ratio_var_bessel": ps.RatioVar * n / (n - 1), "ratio_max": ps.RatioMax, "ratio_min": ps.RatioMin,
				"return_mean": objective.Mean(returns), "return_var_biased": objective.Variance(returns), "value_error_mean_square": vs.Error,
				"explained_variance_old_values": objective.VarExplained(oldValues, returns), "explained_variance_new_values": vs.VarExplained,
				"var_explained_trl096": 1 - vs.Error/objective.BesselVariance(returns),
				"objective/kl":         sum.Mean, "objective/kl_per_token": sum.PerToken, "objective/scores": starts.Mean(scores),
				"objective/non_score_reward": starts.Mean(sum.NonScore), "objective/rlhf_reward": starts.Mean(sum.NonScore) + starts.Mean(scores),
			}
			for name, want := range c.Metrics {
				if g, ok := got[name]; ok {
					near(t, name, g, want, long)
				} else {
					t.Errorf("metric %s is not computed", name)
				}
			}
		})
	}
}

func logSoftmax(z []float64, temperature float64) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, x := range z {
		top = max(top, x/temperature)
	}
	for _, x := range z {
		sum += math.Exp(x/temperature - top)
	}
	out := make([]float64, len(z))
	for i, x := range z {
		out[i] = x/temperature - top - math.Log(sum)
	}
	return out
}
