package objective

import (
	"math"
	"testing"

	"plumb/internal/golden"
)

// The reference values are float64; sums run in another order here, so closed formulas agree to 1e-12 of the largest term.
const tolerance = 1e-12

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

// gather is what every caller does with a mask: keep the real elements, count them per row.
func gather[T any](mask [][]float64, x [][]T) (out []T, lengths []int) {
	for r, row := range mask {
		n := 0
		for t, m := range row {
			if m == 1 {
				out = append(out, x[r][t])
				n++
			}
		}
		lengths = append(lengths, n)
	}
	return out, lengths
}

// toLogits carries d loss/d logp and d loss/d entropy to the logits of one token, by the derivative of log-softmax:
// dlogp/dz_v = 1[v=token] - p_v and dH/dz_v = -p_v (log p_v + H).
func toLogits(logits []float64, token int, dLogp, dEntropy float64) []float64 {
	lse, h := logSumExp(logits), 0.0
	for _, z := range logits {
		h -= math.Exp(z-lse) * (z - lse)
	}
	out := make([]float64, len(logits))
	for v, z := range logits {
		p := math.Exp(z - lse)
		out[v] = -p*dLogp - dEntropy*p*(z-lse+h)
		if v == token {
			out[v] += dLogp
		}
	}
	return out
}

func logSumExp(z []float64) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range z {
		top = max(top, v)
	}
	for _, v := range z {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

func TestKLAgainstReference(t *testing.T) {
	type values struct {
		PerToken [][]float64 `json:"per_token"`
		PerSeq   []float64   `json:"per_sequence_nats"`
		MeanSeq  float64     `json:"objective_kl_mean_over_sequences"`
		Mean     float64     `json:"per_token_mean"`
	}
	var file struct {
		Cases []struct {
			Name       string
			Mask       [][]float64
			Tokens     [][]int
			Policy     [][][]float64 `json:"policy_logits"`
			Ref        [][][]float64 `json:"ref_logits"`
			Logp       [][]float64   `json:"logprob"`
			RefLogp    [][]float64   `json:"ref_logprob"`
			KL         map[Estimator]values
			GradLogp   map[Estimator][][]float64   `json:"grad_of_mean_sequence_kl_wrt_logprob"`
			GradLogits map[Estimator][][][]float64 `json:"grad_of_mean_sequence_kl_wrt_policy_logits"`
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/kl.json.gz"), &file)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			logp, lengths := gather(c.Mask, c.Logp)
			refLogp, _ := gather(c.Mask, c.RefLogp)
			tokens, _ := gather(c.Mask, c.Tokens)
			policy, _ := gather(c.Mask, c.Policy)
			ref, _ := gather(c.Mask, c.Ref)
			w := SeqMeanTokenSum.Weights(lengths, 0)
			for e, want := range c.KL {
				var r Result
				if e == ExactKL {
					vocab := len(policy[0])
					r = FullKL(vocab).Eval(w, map[string][]float64{"policyLogits": flat(policy), "refLogits": flat(ref)})
				} else {
					r = KL(e).Eval(w, map[string][]float64{"policyLogp": logp, "refLogp": refLogp})
				}
				perToken, _ := gather(c.Mask, want.PerToken)
				nearAll(t, string(e), r.Each, perToken, tolerance)
				near(t, string(e)+" mean over sequences", r.Loss, want.MeanSeq, tolerance)
				near(t, string(e)+" token mean", Mean(r.Each), want.Mean, tolerance)
				if g, ok := c.GradLogp[e]; ok {
					grad, _ := gather(c.Mask, g)
					nearAll(t, string(e)+" gradient", r.Grad["policyLogp"], grad, tolerance)
				}
				if g, ok := c.GradLogits[e]; ok {
					grad, _ := gather(c.Mask, g)
					got := r.Grad["policyLogits"]
					if e != ExactKL {
						for i, d := range r.Grad["policyLogp"] {
							got = append(got, toLogits(policy[i], tokens[i], d, 0)...)
						}
					}
					nearAll(t, string(e)+" gradient of the logits", got, flat(grad), tolerance)
				}
			}
		})
	}
}

func flat(rows [][]float64) (out []float64) {
	for _, r := range rows {
		out = append(out, r...)
	}
	return out
}

type ppoCase struct {
	Name       string
	Mask       [][]float64
	Policy     [][][]float64 `json:"policy_logits"`
	Tokens     [][]int
	Logp       [][]float64 `json:"logprob"`
	Old        [][]float64 `json:"old_logprob"`
	Advantages [][]float64
	OldValues  [][]float64 `json:"old_values"`
	Values     [][]float64
	Returns    [][]float64
	Runs       []struct {
		Params struct {
			Low         float64  `json:"eps_low"`
			High        float64  `json:"eps_high"`
			Value       float64  `json:"eps_value"`
			VFCoef      float64  `json:"vf_coef"`
			EntropyCoef float64  `json:"entropy_coef"`
			Dual        *float64 `json:"dual_clip"`
		}
		Aggregation Aggregation
		Norm        float64
		PolicyLoss  float64       `json:"policy_loss"`
		ValueLoss   float64       `json:"value_loss"`
		Entropy     float64       `json:"entropy"`
		Total       float64       `json:"total"`
		GradLogp    [][]float64   `json:"grad_logprob"`
		GradValue   [][]float64   `json:"grad_value"`
		PerToken    [][]float64   `json:"policy_loss_per_token"`
		ValuePer    [][]float64   `json:"value_loss_per_token"`
		EntropyPer  [][]float64   `json:"entropy_per_token"`
		GradLogits  [][][]float64 `json:"grad_policy_logits"`
		Metrics     map[string]*float64
	}
	MicroBatches []struct {
		Parts         [][]int
		Contributions []float64
		Sum           float64
		Wrong         float64 `json:"mean_of_micro_batch_means_which_is_wrong"`
	} `json:"micro_batches"`
}

func ppoCases(t *testing.T) []ppoCase {
	var file struct{ Cases []ppoCase }
	golden.JSON(t, golden.Dir(t, "objective/ppo_loss.json.gz"), &file)
	return file.Cases
}

func TestPolicyAndValueAgainstReference(t *testing.T) {
	for _, c := range ppoCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			logp, lengths := gather(c.Mask, c.Logp)
			old, _ := gather(c.Mask, c.Old)
			adv, _ := gather(c.Mask, c.Advantages)
			oldV, _ := gather(c.Mask, c.OldValues)
			values, _ := gather(c.Mask, c.Values)
			returns, _ := gather(c.Mask, c.Returns)
			policy, _ := gather(c.Mask, c.Policy)
			tokens, _ := gather(c.Mask, c.Tokens)
			entropy := make([]float64, len(logp))
			for i, z := range policy {
				lse := logSumExp(z)
				for _, x := range z {
					entropy[i] -= math.Exp(x-lse) * (x - lse)
				}
			}
			for _, run := range c.Runs {
				p := run.Params
				clip := Clipping{Low: p.Low, High: p.High}
				if p.Dual != nil {
					clip.Dual = *p.Dual
				}
				w := run.Aggregation.Weights(lengths, run.Norm)
				pr := Policy(clip, p.EntropyCoef).Eval(w, map[string][]float64{"policyLogp": logp, "oldLogp": old, "advantages": adv, "entropy": entropy})
				vr := Value(p.Value).Eval(w, map[string][]float64{"values": values, "oldValues": oldV, "returns": returns})
				what := string(run.Aggregation)
				near(t, what+" policy loss", dot(w, pr.Show["surrogate"]), run.PolicyLoss, tolerance)
				near(t, what+" value loss", vr.Loss, run.ValueLoss, tolerance)
				near(t, what+" entropy", dot(w, entropy), run.Entropy, tolerance)
				near(t, what+" total", pr.Loss+p.VFCoef*vr.Loss, run.Total, tolerance)
				grad, _ := gather(c.Mask, run.GradLogp)
				nearAll(t, what+" d logp", pr.Grad["policyLogp"], grad, tolerance)
				grad, _ = gather(c.Mask, run.GradValue)
				for i := range vr.Grad["values"] {
					vr.Grad["values"][i] *= p.VFCoef
				}
				nearAll(t, what+" d value", vr.Grad["values"], grad, tolerance)
				if run.PerToken != nil {
					per, _ := gather(c.Mask, run.PerToken)
					nearAll(t, "surrogate per token", pr.Show["surrogate"], per, tolerance)
					per, _ = gather(c.Mask, run.ValuePer)
					nearAll(t, "value loss per token", vr.Each, per, tolerance)
					per, _ = gather(c.Mask, run.EntropyPer)
					nearAll(t, "entropy per token", entropy, per, tolerance)
					var got []float64
					for i := range logp {
						got = append(got, toLogits(policy[i], tokens[i], pr.Grad["policyLogp"][i], pr.Grad["entropy"][i])...)
					}
					want, _ := gather(c.Mask, run.GradLogits)
					nearAll(t, "d logits", got, flat(want), tolerance)
				}
				if run.Metrics != nil {
					checkMetrics(t, run.Metrics, PolicyHealth(logp, old, adv, clip), ValueHealth(values, oldV, returns, p.Value), VarExplained(oldV, returns), returns)
				}
			}
		})
	}
}

func dot(a, b []float64) (s float64) {
	for i, x := range a {
		s += x * b[i]
	}
	return s
}

// checkMetrics compares every metric the reference has a number for; nil stands for "undefined".
func checkMetrics(t *testing.T, want map[string]*float64, p PolicyStats, v ValueStats, oldExplained float64, returns []float64) {
	t.Helper()
	n := float64(len(returns))
	got := map[string]float64{
		"approxkl_k1": p.ApproxKLK1, "approxkl_half_square": p.ApproxKL, "approxkl_k3": p.ApproxKLK3,
		"clipfrac": p.ClipFrac, "clipfrac_ratio_outside": p.ClipFracRatio, "clipfrac_lower": p.ClipFracLower,
		"value_clipfrac": v.ClipFrac, "ratio_mean": p.Ratio, "ratio_var_biased": p.RatioVar, "ratio_max": p.RatioMax,
		"ratio_min": p.RatioMin, "return_mean": Mean(returns), "return_var_biased": Variance(returns),
		"value_error_mean_square": v.Error, "explained_variance_old_values": oldExplained,
		"explained_variance_new_values": v.VarExplained, "ratio_var_bessel": p.RatioVar * n / (n - 1),
		"var_explained_trl096": 1 - v.Error/BesselVariance(returns),
	}
	for name, w := range want {
		g, known := got[name]
		switch {
		case !known:
			t.Errorf("metric %s is not computed", name)
		case w == nil:
			if !math.IsNaN(g) && !math.IsInf(g, 0) {
				t.Errorf("metric %s: got %v where it is undefined", name, g)
			}
		default:
			near(t, name, g, *w, 1e-9) // variances and long sums
		}
	}
}

// Any split of the step's rows adds up to the same loss and the same gradient; the mean of the parts' means does not.
func TestMicroBatchesAddUp(t *testing.T) {
	for _, c := range ppoCases(t) {
		loss := Policy(Clipping{Low: c.Runs[0].Params.Low, High: c.Runs[0].Params.High}, 0)
		logp, lengths := gather(c.Mask, c.Logp)
		old, _ := gather(c.Mask, c.Old)
		adv, _ := gather(c.Mask, c.Advantages)
		w := TokenMean.Weights(lengths, 0)
		start := make([]int, len(lengths)+1)
		for r, n := range lengths {
			start[r+1] = start[r] + n
		}
		whole, _ := gather(c.Mask, c.Runs[0].GradLogp)
		for _, split := range c.MicroBatches {
			sum, grads := 0.0, make([]float64, len(logp))
			for k, part := range split.Parts {
				a, b := start[part[0]], start[part[len(part)-1]+1]
				r := loss.Eval(w[a:b], map[string][]float64{"policyLogp": logp[a:b], "oldLogp": old[a:b], "advantages": adv[a:b], "entropy": make([]float64, b-a)})
				near(t, c.Name+" contribution", r.Loss, split.Contributions[k], tolerance)
				sum += r.Loss
				copy(grads[a:b], r.Grad["policyLogp"])
			}
			near(t, c.Name+" sum", sum, split.Sum, tolerance)
			nearAll(t, c.Name+" gradient of the parts", grads, whole, tolerance)
		}
	}
}

func TestBradleyTerryAgainstReference(t *testing.T) {
	var file struct {
		Pairs []struct {
			Scores, Form     string
			Chosen, Rejected []float64
			Margin, P        []float64
			Weight           []float64
			Centre           float64
			Smoothing        *float64 `json:"label_smoothing"`
			Loss             float64
			PerPair          []float64 `json:"per_pair"`
			GradChosen       []float64 `json:"grad_chosen"`
			GradRejected     []float64 `json:"grad_rejected"`
			Wrong            float64   `json:"accuracy_ties_wrong"`
			Half             float64   `json:"accuracy_ties_half"`
			Gap              float64   `json:"mean_gap"`
		}
		Rankings []struct {
			Ranks     [][]int `json:"ranks_0_is_best"`
			Scores    [][]float64
			Loss      float64
			PerPrompt []float64   `json:"per_prompt"`
			Grad      [][]float64 `json:"grad_scores"`
		}
		Normalisation []struct {
			Scores   []float64                    `json:"reference_scores"`
			BiasOnly struct{ Bias float64 }       `json:"bias_only"`
			Both     struct{ Gain, Bias float64 } `json:"gain_and_bias_biased_std"`
			Apply    []float64                    `json:"apply_to"`
			Result   []float64                    `json:"gain_and_bias_biased_std_result"`
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/reward_model.json"), &file)
	fill := func(x []float64, n int, v float64) []float64 {
		if x != nil {
			return x
		}
		x = make([]float64, n)
		for i := range x {
			x[i] = v
		}
		return x
	}
	for _, c := range file.Pairs {
		t.Run(c.Scores+"/"+c.Form, func(t *testing.T) {
			n := len(c.Chosen)
			r := BradleyTerry(c.Centre).Eval(Normalise(fill(c.Weight, n, 1)), map[string][]float64{
				"chosen": c.Chosen, "rejected": c.Rejected, "margin": fill(c.Margin, n, 0), "p": fill(c.P, n, 1),
			})
			near(t, "loss", r.Loss, c.Loss, tolerance)
			nearAll(t, "per pair", r.Show["nll"], c.PerPair, tolerance)
			nearAll(t, "d chosen", r.Grad["chosen"], c.GradChosen, tolerance)
			nearAll(t, "d rejected", r.Grad["rejected"], c.GradRejected, tolerance)
			s := Pairs(c.Chosen, c.Rejected)
			near(t, "accuracy", s.Accuracy, c.Wrong, tolerance)
			near(t, "accuracy, ties half", s.AccuracyTiesHalf, c.Half, tolerance)
			near(t, "gap", s.MeanGap, c.Gap, tolerance)
		})
	}
	// A ranking is its comparable pairs, each weighing 1/(pairs of the prompt * prompts): InstructGPT's eq. 1.
	for _, c := range file.Rankings {
		var w, chosen, rejected []float64
		var at [][3]int // prompt, better, worse
		for p, ranks := range c.Ranks {
			first := len(w)
			for i, a := range ranks {
				for j, b := range ranks {
					if a < b {
						w, at = append(w, 1), append(at, [3]int{p, i, j})
						chosen, rejected = append(chosen, c.Scores[p][i]), append(rejected, c.Scores[p][j])
					}
				}
			}
			for i := first; i < len(w); i++ {
				w[i] = 1 / float64((len(w)-first)*len(c.Ranks))
			}
		}
		r := BradleyTerry(0).Eval(w, map[string][]float64{"chosen": chosen, "rejected": rejected, "margin": fill(nil, len(w), 0), "p": fill(nil, len(w), 1)})
		near(t, "ranking loss", r.Loss, c.Loss, tolerance)
		for p := range c.Scores {
			grad := make([]float64, len(c.Scores[p]))
			for i, x := range at {
				if x[0] == p {
					grad[x[1]] += r.Grad["chosen"][i]
					grad[x[2]] += r.Grad["rejected"][i]
				}
			}
			nearAll(t, "ranking gradient", grad, c.Grad[p], tolerance)
		}
	}
	for _, c := range file.Normalisation {
		_, bias := Standardise(c.Scores, false)
		near(t, "bias alone", bias, c.BiasOnly.Bias, 1e-9)
		gain, bias := Standardise(c.Scores, true)
		near(t, "gain", gain, c.Both.Gain, 1e-9)
		near(t, "bias", bias, c.Both.Bias, 1e-9)
		for i, x := range c.Apply {
			near(t, "applied", gain*x+bias, c.Result[i], 1e-9)
		}
	}
}
