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

// metrics are those of one update, under TRL's names where TRL has one. Every mean is over real tokens, over responses or
// over optimizer steps, as its name in docs/algorithms/ppo.md says; nothing is averaged over padding, for there is none.
func metrics(tr *Trajectories, c Config, st *state, steps []stepStats, lr, criticLR float64) []run.KV {
	var out []run.KV
	add := func(key string, v float64) { out = append(out, run.KV{Key: key, Value: v}) }

	kl := SummariseKL(tr.KL, tr.Starts, tr.KLCoef)
	scores := stats.MeanOf(tr.Scores)
	add("episode", float64(st.Episodes))
	add("objective/kl", kl.Mean)
	add("objective/kl_se", stats.MeanOf(kl.PerSequence).SE)
	add("objective/kl_per_token", kl.PerToken)
	if c.KL.Estimator != objective.K3 {
		add("objective/kl_k3", sampledKL(objective.K3, tr).Mean)
	}
	if c.KL.Estimator != objective.K1 {
		add("objective/kl_k1", sampledKL(objective.K1, tr).Mean)
	}
	add("objective/kl_alarm", alarm(tr))
	add("objective/kl_coef", tr.KLCoef)
	add("objective/scores", scores.Value)
	add("objective/scores_std", stats.Std(tr.Scores))
	add("objective/scores_se", scores.SE)
	add("objective/scores_raw", objective.Mean(tr.RawScores))
	add("objective/non_score_reward", objective.Mean(kl.NonScore))
	add("objective/rlhf_reward", objective.Mean(kl.NonScore)+scores.Value)
	add("objective/entropy", -objective.Mean(tr.Starts.Sums(tr.OldLogp)))

	// Means over the optimizer steps that were finite; those of the policy, over the ones that trained it.
	mean := func(keep func(stepStats) bool, f func(stepStats) float64) float64 {
		var x []float64
		for _, s := range steps {
			if !s.nonFinite && keep(s) {
				x = append(x, f(s))
			}
		}
		return objective.Mean(x)
	}
	policy := func(f func(stepStats) float64) float64 {
		return mean(func(s stepStats) bool { return s.trainedPolicy }, f)
	}
	critic := func(f func(stepStats) float64) float64 { return mean(func(stepStats) bool { return true }, f) }
	peak := func(f func(stepStats) float64) float64 {
		top := 0.0
		for _, s := range steps {
			top = max(top, f(s))
		}
		return top
	}
	add("policy/approxkl_avg", policy(func(s stepStats) float64 { return s.policy.ApproxKL }))
	add("policy/approxkl_k3", policy(func(s stepStats) float64 { return s.policy.ApproxKLK3 }))
	add("policy/clipfrac_avg", policy(func(s stepStats) float64 { return s.policy.ClipFrac }))
	add("policy/clipfrac_lower", policy(func(s stepStats) float64 { return s.policy.ClipFracLower }))
	add("policy/entropy_avg", policy(func(s stepStats) float64 { return s.entropy }))
	add("policy/advantages_mean", objective.Mean(tr.Advantages))
	add("policy/advantages_std", math.Sqrt(objective.Variance(tr.Advantages)))
	add("loss/policy_avg", policy(func(s stepStats) float64 { return s.policyLoss }))
	add("loss/value_avg", critic(func(s stepStats) float64 { return s.valueLoss }))
	add("val/ratio", policy(func(s stepStats) float64 { return s.policy.Ratio }))
	add("val/ratio_var", policy(func(s stepStats) float64 { return s.policy.RatioVar }))
	add("val/ratio_max", peak(func(s stepStats) float64 { return s.policy.RatioMax }))
	add("val/clipfrac_avg", critic(func(s stepStats) float64 { return s.value.ClipFrac }))
	add("val/error", critic(func(s stepStats) float64 { return s.value.Error }))
	add("val/var_explained", objective.VarExplained(tr.OldValues, tr.Returns))
	add("val/mean", objective.Mean(tr.OldValues))
	add("returns/mean", objective.Mean(tr.Returns))
	add("returns/var", objective.Variance(tr.Returns))
	add("grad_norm/policy", policy(func(s stepStats) float64 { return s.policyNorm }))
	add("grad_norm/critic", critic(func(s stepStats) float64 { return s.criticNorm }))
	add("lr", lr)
	add("lr_critic", criticLR)

	out = append(out, textMetrics(tr)...)
	typical, most := logpDifference(tr)
	add("rollout/logprob_diff_mean", typical)
	add("rollout/logprob_diff_max", most)
	add("guard/steps", float64(len(steps)))
	add("guard/skipped_nonfinite", float64(st.NonFinite))
	add("guard/skipped_ratio", float64(st.OverRatio))
	return out
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
