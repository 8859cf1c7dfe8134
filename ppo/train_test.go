package ppo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// The rule asks for even tokens. The share of them in the last quarter of a short training exceeds that in the first by far more
// than chance: the standard error of such a mean of 160 shares is below 0.03.
func TestToyLearns(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) {
		c.Episodes, c.Batch, c.Epochs, c.SaveEvery, c.KL.Coef = 640, 32, 4, 100, 0.02
		c.LR, c.Critic.LR, c.Schedule, c.Optimizer.Eps = 1e-2, 5e-3, "constant", 1e-8
		c.MissingStop.Rule = KeepScore
	})
	s := stage(t, t.TempDir())
	if _, err := Train(context.Background(), c, in, s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.Path("metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var raw []float64
	for line := range strings.Lines(string(text)) {
		var m map[string]float64
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		raw = append(raw, m["objective/scores_raw"])
	}
	before, after := sum(raw[:5])/5, sum(raw[15:])/5
	t.Logf("share of even tokens %.3f, then %.3f", before, after)
	if len(raw) != 20 || after < before+0.15 {
		t.Errorf("share of even tokens %.3f in the first five updates, %.3f in the last of %d", before, after, len(raw))
	}
}

// The critic on disk gives the values it had: its gain is in the head, its bias beside it.
func TestCriticKeepsItsBias(t *testing.T) {
	in, c := toy(t, func(in *Inputs, c *Config) { in.CriticGain, in.CriticBias, c.Episodes = 0.5, -1.25e-7, 8 })
	s := stage(t, t.TempDir())
	if _, err := Train(context.Background(), c, in, s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.Path("critic", "plumb.json"))
	if err != nil {
		t.Fatal(err)
	}
	var scale struct{ Gain, Bias float64 }
	if err := json.Unmarshal(text, &scale); err != nil || scale.Gain != 1 || scale.Bias != -1.25e-7 {
		t.Errorf("plumb.json of the critic: %s, %v", text, err)
	}
}

// A critic that trains its top block starts from a trunk computed once. Everything is as if it were not kept, to the bit, also
// where the reference shares it.
func TestKeptTrunkChangesNothing(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) { c.Critic.Layers = 1 })
	l, tr, st := experienced(t, in, c)
	if l.trunk != 1 || !l.refOnTrunk {
		t.Fatalf("trunk %d, shared %v", l.trunk, l.refOnTrunk)
	}
	s := l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	grads := slices.Clone(l.critic.adapter.Grads)
	l.clearGradients()

	l.trunk, l.refOnTrunk = 0, false
	ref, values, err := l.judged(context.Background(), tr)
	if err != nil || !slices.Equal(ref, tr.RefLogp) || !slices.Equal(values, tr.OldValues) {
		t.Error("reference or values differ", err)
	}
	s = l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	if !slices.Equal(grads, l.critic.adapter.Grads) || !slices.ContainsFunc(grads, func(g float32) bool { return g != 0 }) {
		t.Error("the critic's gradients differ")
	}

	in, c = toy(t, func(in *Inputs, c *Config) {
		c.Critic.Layers = 1
		ref := in.Policy.Clone()
		ref.Values[5] += 0.25 // below the trunk's end
		in.Reference = ref.Freeze()
	})
	if l := func() *learner { in.check(c); return newLearner(in, c) }(); l.trunk != 1 || l.refOnTrunk {
		t.Error("a reference with another trunk shares the critic's")
	}
}

// A reward model on the critic's trunk gives its scores from the one pass over that, the scores it gives alone; one with a trunk of
// its own, or with a critic trained to the bottom, is asked.
func TestScoresFromTheCriticsTrunk(t *testing.T) {
	for what, c := range map[string]struct {
		layers, asked int
		spoil         func(reward *peft.Adapter)
	}{
		"one trunk":        {1, 0, func(*peft.Adapter) {}},
		"the whole critic": {0, 1, func(*peft.Adapter) {}},
		"other below":      {1, 1, func(a *peft.Adapter) { a.Values[5] += 0.25 }},
	} {
		var s *adapterScorer
		in, cfg := toy(t, func(in *Inputs, cfg *Config) {
			cfg.Critic.Layers, cfg.MicroTokens = c.layers, 30 // several passes
			s = &adapterScorer{m: in.Model, a: in.Critic.Clone()}
			c.spoil(s.a)
			s.a.Freeze()
			in.Scorer = s
		})
		in.CriticGain = 3 // the critic's head is not the reward model's any more
		_, tr, _ := experienced(t, in, cfg)
		if s.asked != c.asked {
			t.Errorf("%s: the scorer was asked %d times, want %d", what, s.asked, c.asked)
		}
		want, err := s.Scores(context.Background(), tr.Prompts, tr.Responses)
		if err != nil || !slices.Equal(tr.RawScores, want) {
			t.Errorf("%s: scores %v, want %v, %v", what, tr.RawScores, want, err)
		}
	}
}

// adapterScorer is a reward model: 2.5 times its head's output at the last token, less 0.5.
type adapterScorer struct {
	m     *model.Model
	a     *peft.Adapter
	asked int
}

func (s *adapterScorer) RewardModel() (*peft.Adapter, float64, float64) { return s.a, 2.5, -0.5 }

func (s *adapterScorer) Scores(ctx context.Context, prompts, responses [][]int32) ([]float64, error) {
	s.asked++
	var texts [][]int32
	for i := range prompts {
		texts = append(texts, slices.Concat(prompts[i], responses[i]))
	}
	raw, err := s.m.ScoresOf(ctx, tensor.NewInferenceTape(s.m.Pool()), s.a, texts, 1000)
	out := make([]float64, len(raw))
	for i, r := range raw {
		out[i] = 2.5*float64(r) - 0.5
	}
	return out, err
}

// Recomputing blocks in the backward pass changes no bit of a training.
func TestRecomputeChangesNothing(t *testing.T) {
	in, c := toy(t)
	trainToy(t, in, c)
	policy, critic := in.Policy.Values, in.Critic.Values
	in, c = toy(t, func(_ *Inputs, c *Config) { c.Recompute = true })
	trainToy(t, in, c)
	if !slices.Equal(policy, in.Policy.Values) || !slices.Equal(critic, in.Critic.Values) {
		t.Error("another policy or critic")
	}
}

// Within any room that suffices a training gives the same bits; one that does not is refused, and the key to lower is named.
func TestRoomChangesNothing(t *testing.T) {
	in, c := toy(t)
	trainToy(t, in, c)
	policy, critic := in.Policy.Values, in.Critic.Values
	asked, again := 0, []float64{}
	for _, room := range []int{680 << 10, 1 << 30} {
		in, c = toy(t, func(in *Inputs, _ *Config) {
			in.Room = func(coming int) int {
				asked++
				if least := 8 * (len(in.Policy.Values) + len(in.Critic.Values)); coming < least {
					t.Errorf("%d bytes are to come, the moments alone are %d", coming, least)
				}
				return room
			}
		})
		before := in.Model.Pool().Work()
		trainToy(t, in, c)
		if !slices.Equal(policy, in.Policy.Values) || !slices.Equal(critic, in.Critic.Values) {
			t.Errorf("within %d bytes: another policy or critic", room)
		}
		again = append(again, in.Model.Pool().Work().Sub(before).Recomputed)
	}
	if again[0] < 2*again[1] {
		t.Errorf("%g operations were computed again within little, %g within much", again[0], again[1])
	}
	if asked != 2 {
		t.Errorf("asked for room %d times in 2 trainings", asked)
	}
	in, c = toy(t, func(in *Inputs, _ *Config) { in.Room = func(int) int { return 1000 } })
	_, err := Train(context.Background(), c, in, stage(t, t.TempDir()))
	if err == nil || !strings.Contains(err.Error(), "memory.budget: activations and gradients take at least ") || !strings.Contains(err.Error(), "lower ppo.micro_tokens") {
		t.Error(err)
	}
}

// Gains and biases are not decayed, matrices are, frozen parameters are in no group.
func TestGroupsOfAnAdapter(t *testing.T) {
	a := peft.NewFull(toyModel(t, 1).Modules())
	a.FreezeBelow(1)
	trained, decayed := 0, 0
	for _, g := range a.Groups() {
		trained += g.Len
		if g.Decay == 1 {
			decayed += g.Len
		}
	}
	// Block 1: q and o 32*32, k and v 16*32, three of 48*32; the head 23*32. Gains: two of the block and the last.
	if matrices := 2*32*32 + 2*16*32 + 3*48*32 + vocab*32; decayed != matrices || trained != matrices+3*32 {
		t.Errorf("%d trained, %d decayed", trained, decayed)
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	ok := Default()
	ok.Prompts = "p.jsonl"
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	for key, spoil := range map[string]func(*Config){
		"prompts": func(c *Config) { c.Prompts = "" }, "episodes": func(c *Config) { c.Episodes = 0 }, "batch": func(c *Config) { c.Batch = -1 },
		"minibatches": func(c *Config) { c.Minibatches = 65 }, "epochs": func(c *Config) { c.Epochs = 0 }, "micro_tokens": func(c *Config) { c.MicroTokens = 0 },
		"lr": func(c *Config) { c.LR = nan }, "critic.lr": func(c *Config) { c.Critic.LR = -1 }, "optimizer": func(c *Config) { c.Optimizer.Beta1 = 1 },
		"max_grad_norm": func(c *Config) { c.MaxGradNorm = nan }, "clip.low": func(c *Config) { c.Clip.Low = 1 }, "clip.high": func(c *Config) { c.Clip.High = 0 },
		"clip.value": func(c *Config) { c.Clip.Value = math.Inf(1) }, "kl.coef": func(c *Config) { c.KL.Coef = -0.1 }, "kl.target": func(c *Config) { c.KL.Target = nan },
		"kl.horizon": func(c *Config) { c.KL.Target, c.KL.Horizon = 6, 0 }, "kl.min, kl.max": func(c *Config) { c.KL.Target, c.KL.Min = 6, 0 },
		"kl.estimator": func(c *Config) { c.KL.Estimator = "k4" }, "critic.layers": func(c *Config) { c.Critic.Layers = -1 },
		"critic.warmup": func(c *Config) { c.Critic.Shared, c.Critic.Warmup = true, 3 }, "score.scale": func(c *Config) { c.Score.Scale = "batch" },
		"score.clip": func(c *Config) { c.Score.Clip = -1 }, "sampling.temperature": func(c *Config) { c.Sampling.Temperature = nan },
		"sampling.max_new": func(c *Config) { c.Sampling.MaxNew = 0 }, "stop.after": func(c *Config) { c.Stop.After = 64 },
		"missing_stop": func(c *Config) { c.MissingStop.Rule = "punish" }, "missing_stop.value": func(c *Config) { c.MissingStop.Value = nan },
		"gamma": func(c *Config) { c.Gamma = 1.1 }, "lambda": func(c *Config) { c.Lambda = nan }, "entropy_coef": func(c *Config) { c.EntropyCoef = -1 },
		"aggregation": func(c *Config) { c.Aggregation = "mean" }, "target_kl": func(c *Config) { c.TargetKL = -1 }, "max_ratio": func(c *Config) { c.MaxRatio = 1 },
		"save_every": func(c *Config) { c.SaveEvery = 0 },
	} {
		bad := ok
		spoil(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// What cannot be trained on is refused before anything starts, with the number of the prompt.
func TestInputsAreChecked(t *testing.T) {
	for want, spoil := range map[string]func(*Inputs){
		"there is none": func(in *Inputs) { in.Prompts = nil }, "number 2 is empty": func(in *Inputs) { in.Prompts[1].IDs = nil },
		"number 3: token 0": func(in *Inputs) { in.Prompts[2].IDs = []int32{vocab} }, "64 positions": func(in *Inputs) { in.Prompts[0].IDs = make([]int32, 60) },
		"stop.tokens": func(in *Inputs) { in.StopIDs = nil }, "no scalar head": func(in *Inputs) { in.Critic = in.Policy.Clone() },
	} {
		in, c := toy(t)
		spoil(&in)
		if err := in.check(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// The gradients that a step leaves are the slopes of the losses it reports: central differences through the whole model. Float32
// losses of size 1 carry errors near 1e-7, which over 2h = 0.01 makes 1e-5; the rest is curvature. The entropy bonus is taken off the
// policy's loss; at 0.5 a nat it is most of that, so that its sign and its weight show.
func TestStepGradientsAreSlopes(t *testing.T) {
	for _, coef := range []float64{0, 0.5} {
		in, c := toy(t, func(_ *Inputs, c *Config) { c.MaxGradNorm, c.EntropyCoef, c.Sampling.Temperature = 0, coef, 0.8 })
		l, tr, st := experienced(t, in, c)
		for i := range tr.OldLogp { // ratios near but not at 1, so that no branch changes within h
			tr.OldLogp[i] += 0.05 * math.Sin(float64(i))
			tr.OldValues[i] += 0.03 * math.Cos(float64(i))
		}
		measure := func() *step {
			s := l.newStep(tr, tr.all(), st)
			must(t, s.gradients(context.Background()))
			return s
		}
		policyLoss := func(s *step) float64 {
			loss := s.stats.policyLoss
			for _, h := range s.entropy { // every token weighs the same
				loss -= coef * h / float64(len(s.entropy))
			}
			return loss
		}
		slopes(t, fmt.Sprintf("entropy %g a nat: policy", coef), l, l.policy, measure, policyLoss)
		slopes(t, "critic", l, l.critic, measure, func(s *step) float64 { return s.stats.valueLoss })
	}
}

// slopes compares the largest gradients of a model with central differences of its loss.
func slopes(t *testing.T, what string, l *learner, m *trained, measure func() *step, loss func(*step) float64) {
	t.Helper()
	const h = 5e-3
	l.clearGradients()
	measure()
	grads := slices.Clone(m.adapter.Grads)
	order := make([]int, len(grads))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Compare(math.Abs(float64(grads[j])), math.Abs(float64(grads[i])))
	})
	for _, i := range order[:8] {
		was := m.adapter.Values[i]
		m.adapter.Values[i] = was + h
		up := loss(measure())
		m.adapter.Values[i] = was - h
		down := loss(measure())
		m.adapter.Values[i] = was
		if slope, g := (up-down)/(2*h), float64(grads[i]); math.Abs(slope-g) > 0.02*math.Abs(g)+1e-4 {
			t.Errorf("%s: parameter %d: gradient %v, slope %v", what, i, g, slope)
		}
	}
}
