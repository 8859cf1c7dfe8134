package ppo

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/run"
)

// 17. The critic is its own model, starts as the reward model, has its own learning rate and warm-up; or shares the trunk with a
// head that starts at 0.
func TestPoint17Critic(t *testing.T) {
	in, c := toy(t)
	rewardModel := in.Critic.Clone()
	l, tr, _ := experienced(t, in, c)
	ids := append(slices.Clone(tr.Prompts[0]), tr.Responses[0]...)
	for i := range tr.Responses[0] { // the value of a state is the reward model's score of the text so far
		got, err := l.model.ScoresOf(context.Background(), l.eval, rewardModel, [][]int32{ids[:len(tr.Prompts[0])+i]}, 1000)
		if err != nil || float64(got[0]) != tr.OldValues[i] {
			t.Errorf("V of state %d is %v, the reward model says %v (%v)", i, tr.OldValues[i], got, err)
		}
	}
	in, c = toy(t, func(in *Inputs, _ *Config) { in.CriticGain, in.CriticBias = 0.5, -2 })
	l, scaled, st := experienced(t, in, c)
	for i, v := range scaled.OldValues {
		near(t, "V with the reward model's gain and bias", v, 0.5*tr.OldValues[i]-2, 1e-6)
	}
	s := l.newStep(scaled, scaled.all(), st)
	if must(t, s.gradients(context.Background())); !slices.Equal(s.values, scaled.OldValues) {
		t.Error("the update's values are not those of the rollout")
	}
	if d := Default(); d.Critic.LR < 3*d.LR || d.Critic.LR > 10*d.LR {
		t.Errorf("critic's rate %v, policy's %v: peers take 3 to 10 times", d.Critic.LR, d.LR)
	}

	in, c = toy(t, func(_ *Inputs, c *Config) { c.Critic.Warmup, c.Episodes = 2, 16 })
	policy, critic := slices.Clone(in.Policy.Values), slices.Clone(in.Critic.Values)
	trainToy(t, in, c)
	if !slices.Equal(policy, in.Policy.Values) || slices.Equal(critic, in.Critic.Values) {
		t.Error("during the critic's warm-up the policy moved, or the critic did not")
	}
	in, c = toy(t, func(_ *Inputs, c *Config) { c.Critic.LR, c.Episodes = 0, 16 })
	policy, critic = slices.Clone(in.Policy.Values), slices.Clone(in.Critic.Values)
	trainToy(t, in, c)
	if slices.Equal(policy, in.Policy.Values) || !slices.Equal(critic, in.Critic.Values) {
		t.Error("with the critic's rate at 0 the critic moved, or the policy did not")
	}

	in, c = toy(t, func(in *Inputs, c *Config) { c.Critic.Layers = 1 })
	critic = slices.Clone(in.Critic.Values)
	trainToy(t, in, c)
	for _, p := range in.Critic.Params() {
		same := slices.Equal(critic[p.Off:p.Off+p.Len()], in.Critic.Values[p.Off:p.Off+p.Len()])
		if same != (p.Layer < 1) {
			t.Errorf("critic.layers 1: %s of block %d moved: %v", p.Name, p.Layer, !same)
		}
	}

	in, c = toy(t, func(in *Inputs, c *Config) { in.Critic, c.Critic.Shared = nil, true })
	l, tr, st = experienced(t, in, c)
	for _, v := range tr.OldValues {
		if v != 0 {
			t.Fatalf("the shared value head starts at %v", v)
		}
	}
	s = l.newStep(tr, tr.all(), st)
	if must(t, s.gradients(context.Background())); s.stats.policy.Ratio != 1 || s.stats.valueLoss == 0 {
		t.Errorf("shared trunk: %+v", s.stats)
	}
	head := func(coef float64) []float32 {
		l.c.Critic.Coef = coef
		l.clearGradients()
		must(t, l.newStep(tr, tr.all(), st).gradients(context.Background()))
		return slices.Clone(l.critic.adapter.Grads[len(l.critic.adapter.Grads)-32:])
	}
	l.c.MaxGradNorm = 0
	small, large := head(0.125), head(0.5)
	for i, g := range small {
		if g == 0 || large[i] != 4*g { // powers of two: exact
			t.Fatalf("value head's gradient %v at critic.coef 0.125, %v at 0.5", g, large[i])
		}
	}
	l.clearGradients()
	r := trainToy(t, in, c)
	if !slices.Equal(r.Outputs, []string{"adapter"}) || get(t, r.Metrics, "val/error") == 0 {
		t.Errorf("shared trunk: outputs %v", r.Outputs)
	}
	if in.Policy.Score() != nil {
		t.Error("the policy that is saved carries a value head")
	}
}

// 18. The reference is the same base, bare or with the frozen SFT adapter: no second model, and the KL at step 0 is exactly 0.
func TestPoint18ReferenceKLStartsAtZero(t *testing.T) {
	fresh := func(in *Inputs, _ *Config) {
		cfg := peft.Default()
		cfg.R = 4
		a, err := peft.New(cfg, in.Model.Modules(), 3)
		if err != nil {
			t.Fatal(err)
		}
		in.Policy, in.Reference = a, nil
	}
	for name, start := range map[string]func(*Inputs, *Config){"SFT adapter": func(*Inputs, *Config) {}, "bare base": fresh} {
		in, c := toy(t, start)
		_, tr, _ := experienced(t, in, c)
		for _, k := range tr.KL {
			if k != 0 {
				t.Fatalf("%s: KL %v before anything moved", name, k)
			}
		}
		before := []float32(nil)
		if in.Reference != nil {
			before = slices.Clone(in.Reference.Values)
		}
		r := trainToy(t, in, c)
		if get(t, r.Metrics, "objective/kl_k3") <= 0 {
			t.Errorf("%s: KL %v after training", name, get(t, r.Metrics, "objective/kl"))
		}
		if in.Reference != nil && !slices.Equal(before, in.Reference.Values) {
			t.Error("the reference moved")
		}
	}
}

// 19. Gradients are clipped and their norms reported per model; a minibatch that is not finite is dumped, skipped and counted, and
// three in a row end the run.
func TestPoint19GradientClipAndNaNGuard(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) { c.MaxGradNorm = 1e-3 })
	l, tr, st := experienced(t, in, c)
	s := l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	for _, m := range []struct {
		grads []float32
		norm  float64
	}{{l.policy.adapter.Grads, s.stats.policyNorm}, {l.critic.adapter.Grads, s.stats.criticNorm}} {
		if after := optim.Norm(l.model.Pool(), m.grads); m.norm <= 1e-3 || math.Abs(after-1e-3) > 1e-6 {
			t.Errorf("norm %v before, %v after clipping at 1e-3", m.norm, after)
		}
	}
	l.clearGradients()

	policy, critic := slices.Clone(in.Policy.Values), slices.Clone(in.Critic.Values)
	root := t.TempDir()
	folder := stage(t, root)
	dump := func(x *step) error { return dumpStep(folder, x, 7, 11, in.Text) }
	good := slices.Clone(tr.Returns)
	tr.Returns[1] = math.NaN()
	l.c.Epochs = 2
	steps, err := l.learn(context.Background(), tr, st, dump)
	if err != nil || len(steps) != 2 || !steps[0].nonFinite || st.NonFinite != 2 || st.NonFiniteInRow != 2 {
		t.Fatalf("two minibatches: %v, %+v", err, st)
	}
	if !slices.Equal(policy, in.Policy.Values) || !slices.Equal(critic, in.Critic.Values) {
		t.Error("a skipped minibatch moved a model")
	}
	text, err := os.ReadFile(folder.Path("nonfinite", "update-000007-epoch-00-minibatch-00.json"))
	if err != nil || !json.Valid(text) || !bytes.Contains(text, []byte(`"value_loss": null`)) {
		t.Errorf("the dump: %v\n%s", err, text)
	}
	_, err = l.learn(context.Background(), tr, st, dump)
	if err == nil || !strings.Contains(err.Error(), "episodes [") || !strings.Contains(err.Error(), "seed 11") || !strings.Contains(err.Error(), "update 1") {
		t.Errorf("three in a row: %v", err)
	}
	tr.Returns = good
	if _, err = l.learn(context.Background(), tr, st, dump); err != nil || st.NonFiniteInRow != 0 || slices.Equal(policy, in.Policy.Values) {
		t.Errorf("after good minibatches: %v, %+v", err, st)
	}
	in.Scorer = badScorer{}
	if _, err := Train(context.Background(), c, in, stage(t, t.TempDir())); err == nil || !strings.Contains(err.Error(), "episode 2") {
		t.Errorf("a score that is no number: %v", err)
	}
}

type badScorer struct{}

func (badScorer) Scores(_ context.Context, _, r [][]int32) ([]float64, error) {
	out := make([]float64, len(r))
	out[2] = math.NaN()
	return out, nil
}

// 20. Epsilon inside or outside of Adam's bias correction, as configured; TensorFlow's place is the default.
func TestPoint20AdamEpsilon(t *testing.T) {
	if !Default().Optimizer.TFEpsilon || Default().Optimizer.Eps != 1e-5 {
		t.Error("the default is not TensorFlow's epsilon of 1e-5")
	}
	move := func(tf bool) float64 {
		in, c := toy(t, func(_ *Inputs, c *Config) { c.Optimizer.TFEpsilon, c.Optimizer.Eps = tf, 1e-3 })
		l := newLearner(in, c)
		before := slices.Clone(in.Policy.Values)
		for i := range in.Policy.Grads {
			in.Policy.Grads[i] = 1e-3
		}
		l.policy.opt.Step(in.Policy.Values, in.Policy.Grads, 0.1)
		return float64(before[0] - in.Policy.Values[0])
	}
	// First step, by hand: lr*g/(g+eps) = 0.05 with torch's, lr*g/(g+eps/sqrt(1-0.999)) with TensorFlow's.
	near(t, "torch's form", move(false), 0.05, 1e-6)
	near(t, "TensorFlow's form", move(true), 0.1*1e-3/(1e-3+1e-3/math.Sqrt(0.001)), 1e-6)
}

// 21. Inner epochs stop once the policy has moved too far from the sampler's, and a minibatch with a wild ratio is skipped.
func TestPoint21TargetKLAndRatioGuard(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) { c.TargetKL, c.Epochs = 1e-7, 5 })
	l, tr, st := experienced(t, in, c)
	steps, err := l.learn(context.Background(), tr, st, noDump)
	// The first step's approxkl is 0, so it is taken; the second sees what it did.
	if err != nil || len(steps) != 1+1 || steps[1].policy.ApproxKL <= 1.5e-7 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	after := slices.Clone(in.Policy.Values)
	if _, err := l.learn(context.Background(), tr, st, noDump); err != nil || !slices.Equal(after, in.Policy.Values) {
		t.Error("a minibatch beyond the target was learned from")
	}

	in, c = toy(t)
	l, tr, st = experienced(t, in, c)
	for i := range tr.OldLogp {
		tr.OldLogp[i] -= 3 // ratio e^3 = 20
	}
	before := slices.Clone(in.Policy.Values)
	steps, err = l.learn(context.Background(), tr, st, noDump)
	if err != nil || st.OverRatio != c.Epochs || !steps[0].overRatio || !slices.Equal(before, in.Policy.Values) {
		t.Errorf("mean ratio %v: %+v, %v", steps[0].policy.Ratio, st, err)
	}
	m := metrics(tr, c, st, steps, 0, 0)
	if get(t, m, "guard/skipped_ratio") != float64(c.Epochs) || get(t, m, "val/ratio_max") < 19 {
		t.Error("the skipped minibatches are not reported")
	}
}

// 22. Draws are keyed by seed and episode: neither threads, nor the number generated side by side, nor the batch an episode falls
// into changes a response.
func TestPoint22SamplingKeyedByEpisode(t *testing.T) {
	sample := func(threads, side, batch int, seed uint64) (ids [][]int32, logps []float64, prompts [][]int32) {
		in, c := toy(t, func(in *Inputs, c *Config) {
			m := toyModel(t, threads)
			sft := adapter(t, m, 1)
			in.Model, in.Policy, in.Reference, in.Critic = m, sft.Clone(), nil, sft.Clone()
			in.Critic.AddScoreHead(32, 2, 0.2)
			in.Seed, c.Sampling.MaxBatch, c.Batch = seed, side, batch
		})
		l, st := newLearner(in, c), newState(c, run.Manifest{})
		for st.Episodes < 16 {
			tr, err := l.rollOut(context.Background(), in, st)
			if err != nil {
				t.Fatal(err)
			}
			ids, logps, prompts = append(ids, tr.Responses...), append(logps, tr.SampledLogp...), append(prompts, tr.Prompts...)
			st.Episodes += tr.B()
		}
		return ids[:16], logps, prompts[:16]
	}
	ids, logps, prompts := sample(1, 1, 16, 11)
	for _, other := range [][3]int{{2, 1, 16}, {1, 5, 16}, {2, 16, 4}, {4, 3, 8}} {
		i, l, p := sample(other[0], other[1], other[2], 11)
		if !slices.EqualFunc(i, ids, slices.Equal) || !slices.Equal(l, logps) || !slices.EqualFunc(p, prompts, slices.Equal) {
			t.Errorf("%d threads, %d side by side, batches of %d: other responses", other[0], other[1], other[2])
		}
	}
	if i, _, _ := sample(1, 1, 16, 12); slices.EqualFunc(i, ids, slices.Equal) {
		t.Error("another seed gives the same responses")
	}
	in, c := toy(t)
	l := newLearner(in, c)
	if a := l.shuffled(0, 0, 40); slices.Equal(a, l.shuffled(0, 1, 40)) || slices.Equal(a, l.shuffled(1, 0, 40)) || !slices.Equal(a, l.shuffled(0, 0, 40)) {
		t.Error("minibatches: every epoch of every update has an order of its own, always the same")
	}
	// Each pass through the prompts visits every one, in an order of its own.
	for pass := range 3 {
		seen := order(11, pass, 6)
		slices.Sort(seen)
		if !slices.Equal(seen, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("pass %d visits %v", pass, seen)
		}
	}
}

// 23. Both learning rates end at 0 with the episodes, which is what the schedule counts.
func TestPoint23LearningRateEndsAtZero(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) { c.Episodes, c.Batch, c.Warmup = 1000, 10, 100 })
	l := newLearner(in, c)
	for episodes, share := range map[int]float64{0: 0, 50: 0.5, 100: 1, 550: 0.5, 1000: 0} {
		p, v := l.rates(&state{Episodes: episodes})
		near(t, "policy", p, c.LR*share, 1e-15)
		near(t, "critic", v, c.Critic.LR*share, 1e-15)
		s := l.newStep(&Trajectories{}, nil, &state{Episodes: episodes})
		near(t, "policy's step", s.policyLR, c.LR*share, 1e-15)
		near(t, "critic's step", s.criticLR, c.Critic.LR*share, 1e-15)
	}
	in, c = toy(t)
	r := trainToy(t, in, c)
	near(t, "rate of the last update", get(t, r.Metrics, "lr"), c.LR*8/24, 1e-15)
	near(t, "critic's rate of the last update", get(t, r.Metrics, "lr_critic"), c.Critic.LR*8/24, 1e-15)
}
