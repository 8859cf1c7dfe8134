package ppo

import (
	"math"

	"plumb/internal/objective"
	"plumb/internal/run"
	"plumb/internal/stats"
)

// stepStats is what one optimizer step leaves for the metrics.
type stepStats struct {
	policy               objective.PolicyStats
	value                objective.ValueStats
	policyLoss           float64 // the clipped surrogate alone
	valueLoss            float64
	entropy              float64 // mean over the step's tokens, nats
	policyNorm           float64 // gradient norms before clipping; 0 where nothing was trained
	criticNorm           float64
	trainedPolicy        bool
	nonFinite, overRatio bool // the step was skipped, and why
}

// metrics are those of one update, under TRL's names where TRL has one (docs/algorithms/ppo.md defines them). Every mean is
// over real tokens, over responses or over optimizer steps; nothing is averaged over padding, for there is none.
func metrics(tr *Trajectories, c Config, st *state, steps []stepStats, lr, criticLR float64) []run.KV {
	out := []run.KV{{Key: "episode", Value: float64(st.Episodes)}}
	out = append(out, countMetrics(tr, steps)...)
	out = append(out, rewardMetrics(tr, c)...)
	out = append(out, stepMetrics(steps)...)
	typical, most := logpDifference(tr)
	out = append(out,
		run.KV{Key: "policy/advantages_mean", Value: objective.Mean(tr.Advantages)},
		run.KV{Key: "policy/advantages_std", Value: math.Sqrt(objective.Variance(tr.Advantages))},
		run.KV{Key: "val/var_explained", Value: objective.VarExplained(tr.OldValues, tr.Returns)},
		run.KV{Key: "val/mean", Value: objective.Mean(tr.OldValues)},
		run.KV{Key: "returns/mean", Value: objective.Mean(tr.Returns)},
		run.KV{Key: "returns/var", Value: objective.Variance(tr.Returns)},
		run.KV{Key: "lr", Value: lr},
		run.KV{Key: "lr_critic", Value: criticLR},
		run.KV{Key: "rollout/logprob_diff_mean", Value: typical},
		run.KV{Key: "rollout/logprob_diff_max", Value: most},
		run.KV{Key: "guard/steps", Value: float64(len(steps))},
		run.KV{Key: "guard/skipped_nonfinite", Value: float64(st.NonFinite)},
		run.KV{Key: "guard/skipped_ratio", Value: float64(st.OverRatio)},
	)
	return append(out, textMetrics(tr)...)
}

// countMetrics say over how many each mean is: responses, their tokens, and the optimizer steps that stepMetrics counts.
func countMetrics(tr *Trajectories, steps []stepStats) []run.KV {
	policy, critic := 0, 0
	for _, s := range steps {
		if s.counts(false) {
			critic++
		}
		if s.counts(true) {
			policy++
		}
	}
	return []run.KV{
		{Key: "batch/episodes", Value: float64(tr.B())},
		{Key: "batch/tokens", Value: float64(tr.N())},
		{Key: "batch/policy_steps", Value: float64(policy)},
		{Key: "batch/critic_steps", Value: float64(critic)},
	}
}

// counts says whether the step is in the means over steps, or over those that trained the policy.
func (s stepStats) counts(policyOnly bool) bool {
	return !s.nonFinite && (s.trainedPolicy || !policyOnly)
}

// rewardMetrics are about scores and the divergence from the reference.
func rewardMetrics(tr *Trajectories, c Config) []run.KV {
	kl, scores := SummariseKL(tr.KL, tr.Starts, tr.KLCoef), stats.MeanOf(tr.Scores)
	out := []run.KV{
		{Key: "objective/kl", Value: kl.Mean},
		{Key: "objective/kl_se", Value: stats.MeanOf(kl.PerSequence).SE},
		{Key: "objective/kl_per_token", Value: kl.PerToken},
		{Key: "objective/kl_alarm", Value: alarm(tr)},
		{Key: "objective/kl_coef", Value: tr.KLCoef},
		{Key: "objective/scores", Value: scores.Value},
		{Key: "objective/scores_std", Value: stats.Std(tr.Scores)},
		{Key: "objective/scores_se", Value: scores.SE},
		{Key: "objective/scores_raw", Value: objective.Mean(tr.RawScores)},
		{Key: "objective/non_score_reward", Value: objective.Mean(kl.NonScore)},
		{Key: "objective/rlhf_reward", Value: objective.Mean(kl.NonScore) + scores.Value},
		{Key: "objective/entropy", Value: -objective.Mean(tr.Starts.Sums(tr.OldLogp))},
	}
	for _, e := range []objective.Estimator{objective.K1, objective.K3} {
		if e != c.KL.Estimator {
			out = append(out, run.KV{Key: "objective/kl_" + string(e), Value: sampledKL(e, tr).Mean})
		}
	}
	return out
}

// stepMetrics are means over the optimizer steps that were finite; those of the policy, over the steps that trained it.
func stepMetrics(steps []stepStats) []run.KV {
	mean := func(f func(stepStats) float64, policyOnly bool) float64 {
		var x []float64
		for _, s := range steps {
			if s.counts(policyOnly) {
				x = append(x, f(s))
			}
		}
		return objective.Mean(x)
	}
	policy := func(key string, f func(stepStats) float64) run.KV { return run.KV{Key: key, Value: mean(f, true)} }
	critic := func(key string, f func(stepStats) float64) run.KV { return run.KV{Key: key, Value: mean(f, false)} }
	largest := 0.0
	for _, s := range steps {
		if s.counts(false) {
			largest = max(largest, s.policy.RatioMax)
		}
	}
	return []run.KV{
		policy("policy/approxkl_avg", func(s stepStats) float64 { return s.policy.ApproxKL }),
		policy("policy/approxkl_k3", func(s stepStats) float64 { return s.policy.ApproxKLK3 }),
		policy("policy/clipfrac_avg", func(s stepStats) float64 { return s.policy.ClipFrac }),
		policy("policy/clipfrac_lower", func(s stepStats) float64 { return s.policy.ClipFracLower }),
		policy("policy/entropy_avg", func(s stepStats) float64 { return s.entropy }),
		policy("loss/policy_avg", func(s stepStats) float64 { return s.policyLoss }),
		critic("loss/value_avg", func(s stepStats) float64 { return s.valueLoss }),
		policy("val/ratio", func(s stepStats) float64 { return s.policy.Ratio }),
		policy("val/ratio_var", func(s stepStats) float64 { return s.policy.RatioVar }),
		{Key: "val/ratio_max", Value: largest},
		critic("val/clipfrac_avg", func(s stepStats) float64 { return s.value.ClipFrac }),
		critic("val/error", func(s stepStats) float64 { return s.value.Error }),
		policy("grad_norm/policy", func(s stepStats) float64 { return s.policyNorm }),
		critic("grad_norm/critic", func(s stepStats) float64 { return s.criticNorm }),
	}
}

// textMetrics look at the responses themselves.
func textMetrics(tr *Trajectories) []run.KV {
	b := float64(tr.B())
	var lengths, queries, repeated []float64
	ended, empty, longest := 0.0, 0.0, 0.0
	for i, r := range tr.Responses {
		n := float64(len(r))
		lengths, queries = append(lengths, n), append(queries, float64(len(tr.Prompts[i])))
		repeated = append(repeated, stats.Repeated(r, 4))
		longest = max(longest, n)
		if tr.Ended[i] {
			ended++
			if len(r) == 1 {
				empty++
			}
		}
	}
	return []run.KV{
		{Key: "val/num_eos_tokens", Value: ended},
		{Key: "val/eos_frac", Value: ended / b},
		{Key: "tokens/responses_len_mean", Value: objective.Mean(lengths)},
		{Key: "tokens/responses_len_p95", Value: stats.Quantile(lengths, 0.95)},
		{Key: "tokens/responses_len_max", Value: longest},
		{Key: "tokens/queries_len_mean", Value: objective.Mean(queries)},
		{Key: "text/repeated_4grams", Value: objective.Mean(repeated)},
		{Key: "text/distinct_1", Value: stats.Distinct(tr.Responses, 1)},
		{Key: "text/distinct_2", Value: stats.Distinct(tr.Responses, 2)},
		{Key: "text/empty_frac", Value: empty / b},
	}
}

// logpDifference compares what the sampler drew with and what the training forward computes: mean and largest |difference|.
func logpDifference(tr *Trajectories) (mean, most float64) {
	diff := make([]float64, tr.N())
	for i, s := range tr.SampledLogp {
		diff[i] = math.Abs(s - tr.OldLogp[i])
		most = max(most, diff[i])
	}
	return objective.Mean(diff), most
}

// sampledKL is another estimate of the divergence from the same samples.
func sampledKL(e objective.Estimator, tr *Trajectories) KLSummary {
	in := map[string][]float64{"policyLogp": tr.OldLogp, "refLogp": tr.RefLogp}
	return SummariseKL(objective.KL(e).Eval(make([]float64, tr.N()), in).Each, tr.Starts, 0)
}

// alarm is 1 where the mean of sampled KL (k1) is below 0 by more than three standard errors. KL cannot be negative, so the
// responses were not drawn from the distribution whose log-probabilities are used.
func alarm(tr *Trajectories) float64 {
	m := stats.MeanOf(sampledKL(objective.K1, tr).PerSequence)
	if m.SE > 0 && m.Value < -3*m.SE {
		return 1
	}
	return 0
}
