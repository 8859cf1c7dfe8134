package ppo

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"plumb/internal/model"
	"plumb/internal/peft"
)

// 1. One definition of what counts, from lengths: the stop token is in, nothing after it is, and no id is special.
func TestPoint01MasksNotIDs(t *testing.T) {
	tr := &Trajectories{
		Prompts:   [][]int32{{7, stopID, 0}, {5}}, // a stop id and a zero inside a prompt
		Responses: [][]int32{{4, 0, stopID}, {9}},
	}
	tr.Starts = StartsOf([]int{3, 1})
	ms := tr.micros(tr.all(), 100, false)
	if len(ms) != 1 {
		t.Fatalf("%d passes", len(ms))
	}
	// By hand: sequence 0 is 7 3 0 4 0 (the last token predicts nothing), rows 2 3 4 predict 4 0 3; sequence 1 is 5, row 5 predicts 9.
	m := ms[0]
	if !slices.Equal(m.batch.IDs, []int32{7, stopID, 0, 4, 0, 5}) || !slices.Equal(m.batch.Starts, []int32{0, 5, 6}) {
		t.Errorf("batch %v %v", m.batch.IDs, m.batch.Starts)
	}
	if !slices.Equal(m.rows, []int32{2, 3, 4, 5}) || !slices.Equal(m.targets, []int32{4, 0, stopID, 9}) {
		t.Errorf("rows %v targets %v", m.rows, m.targets)
	}
	cut, ended := CutAtStop([]int32{4, 0, stopID, 8, 8}, []int32{stopID}, 0)
	if !ended || !slices.Equal(cut, []int32{4, 0, stopID}) {
		t.Errorf("cut %v, ended %v", cut, ended)
	}
	// Every loss and metric of a real batch has exactly one element a response token.
	l, tr, st := experiencedToy(t)
	s := l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	n := 0
	for _, r := range tr.Responses {
		n += len(r)
	}
	for name, x := range map[string][]float64{
		"weights": s.weights, "policyLogp": s.policyLogp, "values": s.values, "entropy": s.entropy, "advantages": tr.Advantages,
		"returns": tr.Returns, "rewards": tr.Rewards, "kl": tr.KL, "refLogp": tr.RefLogp,
	} {
		if len(x) != n {
			t.Errorf("%s has %d elements, the responses %d tokens", name, len(x), n)
		}
		finite(t, name, x)
	}
}

// 2. Positions: a row's log-probabilities do not depend on the rows beside it or on how rows are cut into passes, to the bit.
func TestPoint02PositionsAlone(t *testing.T) {
	l, tr, _ := experiencedToy(t)
	values := valuesOf(t, l, tr)
	for i := range tr.Responses {
		one := &Trajectories{Prompts: tr.Prompts[i : i+1], Responses: tr.Responses[i : i+1], Starts: StartsOf([]int{len(tr.Responses[i])})}
		alone, err := l.logprobs(context.Background(), l.policy.adapter, one)
		if err != nil {
			t.Fatal(err)
		}
		a, b := tr.Starts.Row(i)
		if !slices.Equal(alone, tr.OldLogp[a:b]) || !slices.Equal(valuesOf(t, l, one), values[a:b]) {
			t.Errorf("response %d gives other numbers alone", i)
		}
	}
	l.c.MicroTokens = 1
	cut, err := l.logprobs(context.Background(), l.policy.adapter, tr)
	if err != nil || !slices.Equal(cut, tr.OldLogp) || !slices.Equal(valuesOf(t, l, tr), values) {
		t.Error("smaller passes give other numbers")
	}
}

// 3. The temperature divides the logits everywhere, and filtered sampling is refused.
func TestPoint03TemperatureEverywhere(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) { c.Sampling.Temperature = 0.7 })
	l, tr, st := experienced(t, in, c)
	if !slices.Equal(tr.SampledLogp, tr.OldLogp) {
		t.Error("sampler and trainer differ at temperature 0.7")
	}
	s := l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	if !slices.Equal(s.policyLogp, tr.OldLogp) {
		t.Error("the update's log-probabilities are not those of the rollout")
	}
	for i, r := range tr.RefLogp { // policy and reference are still equal, so a reference at another temperature would show
		if r != tr.OldLogp[i] {
			t.Fatal("the reference's log-probabilities are of another temperature")
		}
	}
	// The numbers themselves: float64 log-softmax of logits/0.7, within float32 rounding of logits of size 10.
	l.eval.Reset()
	b := model.Pack(append(slices.Clone(tr.Prompts[0]), tr.Responses[0]...))
	h := l.model.Hidden(l.eval, l.policy.adapter, b)
	z := widen(nil, l.model.Logits(l.eval, l.policy.adapter, h, []int32{int32(len(tr.Prompts[0]) - 1)}))
	if want := logSoftmax(z, 0.7)[tr.Responses[0][0]]; math.Abs(want-tr.OldLogp[0]) > 1e-5 {
		t.Errorf("log-probability %v, want %v", tr.OldLogp[0], want)
	}
	for _, spoil := range []func(*Sampling){
		func(s *Sampling) { s.TopK = 50 }, func(s *Sampling) { s.TopP = 0.9 }, func(s *Sampling) { s.MinP = 0.1 },
		func(s *Sampling) { s.MinNew = 4 }, func(s *Sampling) { s.Temperature = 0 },
	} {
		bad := c
		spoil(&bad.Sampling)
		if bad.Validate() == nil {
			t.Errorf("accepted %+v", bad.Sampling)
		}
	}
}

// 4. Old log-probabilities come from the training forward, the sampler's are kept beside them, and before anything moves the
// ratio is 1 and approxkl 0: here exactly.
func TestPoint04FirstRatioIsOne(t *testing.T) {
	l, tr, st := experiencedToy(t)
	if mean, most := logpDifference(tr); mean != 0 || most != 0 {
		t.Errorf("sampler and trainer differ by %v on average, %v at most", mean, most)
	}
	tr.SampledLogp[2] += 0.25
	if mean, most := logpDifference(tr); most != 0.25 || math.Abs(mean-0.25/float64(tr.N())) > 1e-15 {
		t.Errorf("a difference of 0.25 is reported as %v, %v", mean, most)
	}
	s := l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	p := s.stats.policy
	if p.Ratio != 1 || p.RatioVar != 0 || p.ApproxKL != 0 || p.ApproxKLK3 != 0 || p.ClipFrac != 0 {
		t.Errorf("before anything moves: %+v", p)
	}
	if !slices.Equal(s.values, tr.OldValues) {
		t.Error("the critic's values are not those of the rollout")
	}
	s.move()
	l.clearGradients()
	s = l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	if p := s.stats.policy; p.ApproxKL == 0 || p.Ratio == 1 {
		t.Errorf("after a step: %+v", p)
	}
}

// With keys and values rounded the sampler is another distribution, which the metric says; what is learned from is the trainer's.
func TestPoint04RoundedCaches(t *testing.T) {
	for _, form := range []string{"bf16", "int8"} {
		in, c := toy(t)
		c.Sampling.KVCache = form
		l, tr, st := experienced(t, in, c)
		if mean, most := logpDifference(tr); mean == 0 || most > 0.1 {
			t.Errorf("%s: sampler and trainer differ by %v on average, %v at most", form, mean, most)
		}
		s := l.newStep(tr, tr.all(), st)
		must(t, s.gradients(context.Background()))
		if p := s.stats.policy; p.Ratio != 1 || p.ApproxKL != 0 {
			t.Errorf("%s: before anything moves: %+v", form, p)
		}
	}
	_, c := toy(t)
	c.Sampling.KVCache = "int4"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "sampling.kv_cache") {
		t.Errorf("a form that is not there: %v", err)
	}
}

// 5. Dropout, which an adapter's configuration may carry over from SFT, acts in no pass of PPO.
func TestPoint05DropoutOff(t *testing.T) {
	m := toyModel(t, 2)
	cfg := peft.Default()
	cfg.R, cfg.Dropout = 4, 0.5
	dropping, err := peft.New(cfg, m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	plain := adapter(t, m, 1)
	copy(dropping.Values, plain.Values)
	in, c := toy(t)
	in.Model, in.Policy, in.Reference = m, dropping.Clone(), dropping.Clone().Freeze()
	critic := dropping.Clone()
	critic.AddScoreHead(32, 2, 0.2)
	in.Critic = critic
	l, tr, st := experienced(t, in, c)
	s := l.newStep(tr, tr.all(), st)
	must(t, s.gradients(context.Background()))
	if s.stats.policy.Ratio != 1 || s.stats.policy.RatioVar != 0 || !slices.Equal(s.values, tr.OldValues) {
		t.Error("the training pass differs from the evaluation pass")
	}
	in.Policy = plain
	other, err := l.logprobs(context.Background(), plain, tr)
	if err != nil || !slices.Equal(other, tr.OldLogp) {
		t.Error("an adapter with dropout in its configuration gives other numbers")
	}
}

// 6. The score lands on the last real token, which is the stop token, and every token pays for its divergence.
func TestPoint06ScoreLandsOnLastRealToken(t *testing.T) {
	got := Rewards([]float64{1, -2, 3, 0.5, 4}, StartsOf([]int{3, 0, 2}), []float64{10, 99, -7}, 0.1)
	nearAll(t, "rewards", got, []float64{-0.1, 0.2, 10 - 0.3, -0.05, -7 - 0.4}, 1e-15)
	_, tr, _ := experiencedToy(t)
	for i, r := range tr.Responses {
		_, b := tr.Starts.Row(i)
		if tr.Ended[i] != (r[len(r)-1] == stopID) {
			t.Errorf("response %d: ended %v, last token %d", i, tr.Ended[i], r[len(r)-1])
		}
		if want := tr.Scores[i] - tr.KLCoef*tr.KL[b-1]; tr.Rewards[b-1] != want {
			t.Errorf("response %d: the last token earns %v, want %v", i, tr.Rewards[b-1], want)
		}
	}
}

// 7. The scorer sees exactly the ids up to the stop token; scores may be scaled and clipped, in this order.
func TestPoint07ScorerSeesTheResponse(t *testing.T) {
	var seen [][]int32
	in, c := toy(t)
	in.Scorer = countScorer{&seen}
	_, tr, _ := experienced(t, in, c)
	if len(seen) != tr.B() {
		t.Fatalf("scored %d responses of %d", len(seen), tr.B())
	}
	for i, r := range seen {
		if !slices.Equal(r, tr.Responses[i]) || slices.Contains(r[:len(r)-1], stopID) {
			t.Errorf("the scorer saw %v, the response is %v", r, tr.Responses[i])
		}
	}
	nearAll(t, "clipped", ClipScores([]float64{-9, 0.5, 3}, 2), []float64{-2, 0.5, 2}, 0)
	nearAll(t, "not clipped", ClipScores([]float64{-9, 0.5, 3}, 0), []float64{-9, 0.5, 3}, 0)
	// Four scores of deviation sqrt(20/3) = 2.58 (n-1): scaled, then clipped at 1.
	c.Score = Score{Scale: "running", Clip: 1}
	st := &state{Moments: NewMoments()}
	sd := math.Sqrt(20.0 / 3)
	nearAll(t, "shaped", shape([]float64{-3, -1, 1, 3}, []bool{true, true, true, true}, c, st), []float64{-1, -1 / sd, 1 / sd, 1}, 1e-12)
}

// 8. A response without a stop token: its score is replaced or lowered; several stop ids are allowed; the share is a metric.
func TestPoint08MissingStop(t *testing.T) {
	in, ended := []float64{2, -3}, []bool{true, false}
	for _, c := range []struct {
		rule MissingStop
		want []float64
	}{
		{MissingStop{KeepScore, 5}, []float64{2, -3}}, {MissingStop{OverrideScore, -1}, []float64{2, -1}}, {MissingStop{SubtractScore, 1.5}, []float64{2, -4.5}},
	} {
		nearAll(t, c.rule.Rule, c.rule.Apply(in, ended), c.want, 0)
	}
	if Default().MissingStop.Rule != OverrideScore {
		t.Error("the default is not to override")
	}
	if cut, ended := CutAtStop([]int32{5, 9, 3}, []int32{stopID, 9}, 0); !ended || len(cut) != 2 {
		t.Errorf("two stop ids: %v, %v", cut, ended)
	}
	inputs, c := toy(t)
	_, tr, st := experienced(t, inputs, c)
	cutOff := 0.0
	for i := range tr.Ended {
		if !tr.Ended[i] {
			cutOff++
			if tr.Scores[i] != -1 || tr.RawScores[i] == -1 {
				t.Errorf("cut response %d: score %v, raw %v", i, tr.Scores[i], tr.RawScores[i])
			}
		}
	}
	if cutOff == 0 || int(cutOff) == tr.B() {
		t.Fatalf("the toy should cut some responses and not others, it cut %v of %d", cutOff, tr.B())
	}
	m := metrics(tr, c, st, nil, 0, 0)
	if got := get(t, m, "val/eos_frac"); got != 1-cutOff/float64(tr.B()) {
		t.Errorf("val/eos_frac %v", got)
	}
}

// 9. A stop token ends a response from position stop.after on; before, it is an ordinary token.
func TestPoint09StopAfter(t *testing.T) {
	for _, c := range []struct {
		after, length int
		ended         bool
	}{{0, 1, true}, {1, 3, true}, {2, 3, true}, {3, 5, true}, {5, 6, false}} {
		cut, ended := CutAtStop([]int32{3, 1, 3, 2, 3, 1}, []int32{stopID}, c.after)
		if len(cut) != c.length || ended != c.ended {
			t.Errorf("after %d: %v, %v", c.after, cut, ended)
		}
	}
	in, c := toy(t, func(_ *Inputs, c *Config) { c.Stop.After, c.Episodes, c.Batch = 4, 32, 32 })
	l, tr, st := experienced(t, in, c)
	early := false
	for i, r := range tr.Responses {
		early = early || slices.Contains(r[:min(4, len(r))], stopID)
		if len(r) < 5 || tr.Ended[i] != (r[len(r)-1] == stopID) || slices.Contains(r[4:len(r)-1], stopID) {
			t.Errorf("response %v, ended %v", r, tr.Ended[i])
		}
	}
	if !early {
		t.Error("no stop token before position 4: the toy does not test it")
	}
	s := l.newStep(tr, tr.all(), st)
	if must(t, s.gradients(context.Background())); s.stats.policy.Ratio != 1 || !slices.Equal(tr.SampledLogp, tr.OldLogp) {
		t.Error("the cut responses' log-probabilities differ from the sampler's")
	}
}
