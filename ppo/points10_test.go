package ppo

import (
	"context"
	"math"
	"slices"
	"testing"

	"plumb/internal/objective"
)

// 10. Five estimators; k1 in the reward; k1 and k3 reported; sums and token means under different names; an impossible mean
// raises the alarm.
func TestPoint10KLEstimators(t *testing.T) {
	// By hand for d = ln 2 and d = -ln 2.
	in := map[string][]float64{"policyLogp": {-1 + math.Ln2, -1}, "refLogp": {-1, -1 + math.Ln2}}
	for e, want := range map[objective.Estimator][]float64{
		objective.K1: {math.Ln2, -math.Ln2}, objective.K2: {math.Ln2 * math.Ln2 / 2, math.Ln2 * math.Ln2 / 2},
		objective.K3: {0.5 - 1 + math.Ln2, 2 - 1 - math.Ln2}, objective.AbsKL: {math.Ln2, math.Ln2},
	} {
		nearAll(t, string(e), objective.KL(e).Eval([]float64{1, 1}, in).Each, want, 1e-15)
	}
	if Default().KL.Estimator != objective.K1 {
		t.Error("the default is not k1")
	}
	// The exact divergence of the toy is what k1 estimates: its mean over the vocabulary, and never negative.
	toyIn, c := toy(t, func(in *Inputs, c *Config) { in.Reference, c.KL.Estimator = nil, objective.ExactKL })
	l, tr, st := experienced(t, toyIn, c)
	for i, id := range tr.Responses[0] {
		row := []int32{int32(len(tr.Prompts[0]) - 1 + i)}
		l.eval.Reset()
		ids := append(slices.Clone(tr.Prompts[0]), tr.Responses[0]...)
		ms := (&Trajectories{Prompts: [][]int32{tr.Prompts[0]}, Responses: [][]int32{tr.Responses[0]}}).micros([]int{0}, 1000, false)[0]
		p := logSoftmax(l.logits(l.policy.adapter, l.model.Hidden(l.eval, l.policy.adapter, ms.batch.Batch), row), 1)
		q := logSoftmax(l.logits(nil, l.model.Hidden(l.eval, nil, ms.batch.Batch), row), 1)
		want := 0.0
		for v := range p {
			want += math.Exp(p[v]) * (p[v] - q[v])
		}
		near(t, "exact KL", tr.KL[i], want, 1e-9)
		if tr.KL[i] <= 0 {
			t.Errorf("exact KL %v", tr.KL[i])
		}
		near(t, "k1 of the same token", tr.OldLogp[i]-tr.RefLogp[i], p[id]-q[id], 1e-5)
		_ = ids
	}
	m := metrics(tr, c, st, nil, 0, 0)
	near(t, "objective/kl", get(t, m, "objective/kl"), sum(tr.KL)/float64(tr.B()), 1e-12)
	near(t, "objective/kl_per_token", get(t, m, "objective/kl_per_token"), sum(tr.KL)/float64(tr.N()), 1e-12)
	if get(t, m, "objective/kl_k3") <= 0 || get(t, m, "objective/kl_k1") == 0 {
		t.Error("k1 and k3 are not reported")
	}
	if alarm(tr) != 0 {
		t.Error("alarm without a cause")
	}
	for i := range tr.RefLogp { // as if the responses came from the reference
		tr.RefLogp[i] = tr.OldLogp[i] + 1 + 0.01*float64(i%3)
	}
	if alarm(tr) != 1 {
		t.Error("a mean KL far below 0 raises no alarm")
	}
}

func sum(x []float64) (s float64) {
	for _, v := range x {
		s += v
	}
	return s
}

// 11. Ziegler's controller, in nats per sequence: error clipped at 20 %, bounds kept, its state part of the checkpoint.
func TestPoint11AdaptiveKL(t *testing.T) {
	k := Controller{Coef: 0.1, Target: 6, Horizon: 1000, Min: 0.01, Max: 0.11}
	k.Update(7.2, 100) // e = 0.2: 0.1*(1+0.02)
	near(t, "beta", k.Coef, 0.102, 1e-15)
	k.Update(1e9, 100) // clipped
	near(t, "beta", k.Coef, 0.10404, 1e-15)
	for range 100 {
		k.Update(60, 100)
	}
	if k.Coef != 0.11 {
		t.Errorf("beta %v left its upper bound", k.Coef)
	}
	k.Update(0, 1e6) // e = -0.2 with n far above the horizon would make beta negative
	if k.Coef != 0.01 {
		t.Errorf("beta %v left its lower bound", k.Coef)
	}
	k.Update(math.NaN(), 100)
	if k.Coef != 0.01 {
		t.Errorf("beta %v after a KL that is no number", k.Coef)
	}
	fixed := Controller{Coef: 0.3}
	if fixed.Update(100, 100); fixed.Coef != 0.3 {
		t.Error("a fixed beta moved")
	}
	// In training: the KL per sequence starts at 0, so a target of 6 lowers beta by 20 % * 8/40 an update.
	in, c := toy(t, func(_ *Inputs, c *Config) { c.KL.Target, c.KL.Horizon, c.Episodes = 6, 40, 16 })
	r := trainToy(t, in, c)
	near(t, "beta of the second update", get(t, r.Metrics, "objective/kl_coef"), 0.05*(1-0.2*8/40), 1e-15)
}

// 12. Whitening acts on the whole batch; advantages get mean 0 and biased variance 1, rewards keep their mean.
func TestPoint12Whitening(t *testing.T) {
	x := []float64{3, -1, 4, 1, -5, 9}
	w := Whiten(x, objective.Variance, false)
	near(t, "mean", objective.Mean(w), 0, 1e-15)
	near(t, "variance", objective.Variance(w), 1, 1e-8) // the floor of 1e-8 under the root
	near(t, "Bessel variance", objective.BesselVariance(Whiten(x, objective.BesselVariance, false)), 1, 1e-8)
	near(t, "kept mean", objective.Mean(Whiten(x, objective.Variance, true)), objective.Mean(x), 1e-12)
	nearAll(t, "all equal", Whiten([]float64{2, 2}, objective.Variance, false), []float64{0, 0}, 0)
	in, c := toy(t, func(_ *Inputs, c *Config) { c.Minibatches = 4; c.Whiten.Rewards = true })
	_, tr, _ := experienced(t, in, c)
	near(t, "mean of the batch", objective.Mean(tr.Advantages), 0, 1e-12)
	near(t, "variance of the batch", objective.Variance(tr.Advantages), 1, 1e-6)
	plain := Rewards(tr.KL, tr.Starts, tr.Scores, tr.KLCoef)
	near(t, "mean of the rewards", objective.Mean(tr.Rewards), objective.Mean(plain), 1e-12)
	near(t, "variance of the rewards", objective.Variance(tr.Rewards), 1, 1e-6)
}

// 13. GAE equals its double sum, from the last real token, with nothing bootstrapped.
func TestPoint13AdvantagesByDefinition(t *testing.T) {
	_, tr, _ := experiencedToy(t)
	const gamma, lambda = 0.97, 0.9
	adv, returns := Advantages(tr.Rewards, tr.OldValues, tr.Starts, gamma, lambda)
	for row := range tr.B() {
		a, b := tr.Starts.Row(row)
		for i := a; i < b; i++ {
			want := 0.0
			for j := i; j < b; j++ {
				next := 0.0 // V after the end, for a stopped and for a cut response
				if j+1 < b {
					next = tr.OldValues[j+1]
				}
				want += math.Pow(gamma*lambda, float64(j-i)) * (tr.Rewards[j] + gamma*next - tr.OldValues[j])
			}
			near(t, "advantage", adv[i], want, 1e-12)
			near(t, "return", returns[i], want+tr.OldValues[i], 1e-12)
		}
	}
	one, _ := Advantages([]float64{1, 2, 3}, []float64{0.5, -1, 2}, StartsOf([]int{3}), 1, 1)
	nearAll(t, "lambda 1 is the return minus the value", one, []float64{6 - 0.5, 5 + 1, 3 - 2}, 1e-15)
}

// 14. The value loss is the larger of both squared errors, halved; the share clipped and the explained variance are reported.
func TestPoint14ValueClipping(t *testing.T) {
	values, old, returns := []float64{1, 1, 0.1, 3}, []float64{0, 0, 0, 3}, []float64{2, 0, 5, 3}
	r := objective.Value(0.2).Eval([]float64{1, 1, 1, 1}, map[string][]float64{"values": values, "oldValues": old, "returns": returns})
	// By hand: V clipped to 0.2, 0.2, 0.1, 3; the errors squared 1|3.24, 1|0.04, 24.01|24.01, 0|0.
	nearAll(t, "loss", r.Each, []float64{1.62, 0.5, 12.005, 0}, 1e-12)
	nearAll(t, "gradient", r.Grad["values"], []float64{0, 1, -4.9, 0}, 1e-12)
	v := objective.ValueHealth(values, old, returns, 0.2)
	near(t, "share clipped", v.ClipFrac, 0.25, 0)
	// var(R) = 3.25, R-V = 1 -1 4.9 0: var = 6.2525 - 1.5006... by hand (1+1+24.01)/4 - (4.9/4)^2.
	near(t, "explained", v.VarExplained, 1-((1+1+24.01)/4-math.Pow(4.9/4, 2))/3.25, 1e-12)
}

// 15. Losses are aggregated over the whole optimizer step: however it is cut into micro-batches, the loss is the same and the
// gradients are, within the rounding of sums in another order.
func TestPoint15MicroBatchSplit(t *testing.T) {
	for _, agg := range []objective.Aggregation{objective.TokenMean, objective.SeqMeanTokenMean, objective.SeqMeanTokenSum, objective.SeqMeanTokenSumNorm} {
		in, c := toy(t, func(_ *Inputs, c *Config) { c.Aggregation, c.MaxGradNorm, c.EntropyCoef = agg, 0, 0.01 })
		l, tr, st := experienced(t, in, c)
		for i := range tr.OldLogp { // ratios away from 1, some clipped
			tr.OldLogp[i] += 0.3 * math.Sin(float64(i))
		}
		gradients := func(micro int) (*step, []float32, []float32) {
			l.c.MicroTokens = micro
			s := l.newStep(tr, tr.all(), st)
			must(t, s.gradients(context.Background()))
			p, v := slices.Clone(l.policy.adapter.Grads), slices.Clone(l.critic.adapter.Grads)
			l.clearGradients()
			return s, p, v
		}
		whole, p1, v1 := gradients(1 << 20)
		for _, micro := range []int{1, 17, 40} {
			parts, p2, v2 := gradients(micro)
			near(t, "policy loss", parts.stats.policyLoss, whole.stats.policyLoss, 1e-12)
			near(t, "value loss", parts.stats.valueLoss, whole.stats.valueLoss, 1e-12)
			// Each gradient element is a float32 sum of N products over tokens: N*2^-24 of the sum of their sizes, for which the
			// vector's largest element times 8 stands in.
			for name, pair := range map[string][2][]float32{"policy": {p1, p2}, "critic": {v1, v2}} {
				top, worst := 0.0, 0.0
				for i, g := range pair[0] {
					top, worst = max(top, math.Abs(float64(g))), max(worst, math.Abs(float64(g-pair[1][i])))
				}
				if bound := 8 * top * float64(tr.N()) / (1 << 24); top == 0 || worst > bound {
					t.Errorf("%s, %d tokens a pass: %s gradients differ by %v, bound %v", agg, micro, name, worst, bound)
				}
			}
		}
	}
}

// 16. The dual clip bounds the loss where the advantage is negative and the ratio large; the share it binds is reported.
func TestPoint16DualClip(t *testing.T) {
	in := map[string][]float64{
		"policyLogp": {math.Log(5), math.Log(5), math.Log(2), 0}, "oldLogp": {0, 0, 0, 0}, "advantages": {-1, 1, -1, -1}, "entropy": {0, 0, 0, 0},
	}
	clip := objective.Clipping{Low: 0.2, High: 0.2, Dual: 3}
	r := objective.Policy(clip, 0).Eval([]float64{1, 1, 1, 1}, in)
	nearAll(t, "loss", r.Each, []float64{3, -1.2, 2, 1}, 1e-15) // without: 5, -1.2, 2, 1
	nearAll(t, "gradient", r.Grad["policyLogp"], []float64{0, 0, 2, 1}, 1e-15)
	near(t, "share", objective.PolicyHealth(in["policyLogp"], in["oldLogp"], in["advantages"], clip).ClipFracLower, 0.25, 0)
	c := Default()
	c.Prompts, c.Clip.Dual = "p", 1
	if c.Validate() == nil {
		t.Error("a dual clip of 1 was accepted")
	}
}
