package ppo

import (
	"context"
	"math"
	"slices"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/run"
)

// The toy: a random two-block model of 23 tokens, far from uniform (its initial weights are large), where stop is token 3.

const (
	stopID = 3
	vocab  = 23
)

func toyModel(t testing.TB, threads int) *model.Model {
	t.Helper()
	pool := kernels.NewPool(threads)
	t.Cleanup(pool.Close)
	m, err := model.NewRandom(model.Config{
		Vocab: vocab, Hidden: 32, Intermediate: 48, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, MaxPositions: 64,
		Eps: 1e-5, RopeTheta: 1e4, InitStd: 0.25, BOS: -1, EOS: []int32{stopID},
	}, 5, pool)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// adapter is LoRA of rank 4 with B away from zero, as an SFT adapter is.
func adapter(t testing.TB, m *model.Model, seed uint64) *peft.Adapter {
	t.Helper()
	cfg := peft.Default()
	cfg.R = 4
	a, err := peft.New(cfg, m.Modules(), seed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Values {
		if a.Values[i] == 0 {
			a.Values[i] = 0.02 * float32(int(seed+uint64(i)*7919)%11-5)
		}
	}
	for _, p := range a.Params() { // what lies between two parameters stays zero
		end := p.Off + p.Len()
		for i := end; i < len(a.Values) && i%16 != 0; i++ {
			a.Values[i] = 0
		}
	}
	return a
}

// countScorer is a rule: the share of even tokens.
type countScorer struct{ seen *[][]int32 }

func (c countScorer) Scores(_ context.Context, _, responses [][]int32) ([]float64, error) {
	out := make([]float64, len(responses))
	for i, r := range responses {
		if c.seen != nil {
			*c.seen = append(*c.seen, slices.Clone(r))
		}
		for _, id := range r {
			if id%2 == 0 {
				out[i] += 1 / float64(len(r))
			}
		}
	}
	return out, nil
}

// toy is a training small enough for tests. Options change the configuration and the inputs.
func toy(t testing.TB, options ...func(*Inputs, *Config)) (Inputs, Config) {
	t.Helper()
	m := toyModel(t, 2)
	sft := adapter(t, m, 1)
	reward := sft.Clone()
	reward.AddScoreHead(32, 2, 0.2)
	in := Inputs{
		Model: m, Policy: sft.Clone(), Reference: sft.Clone().Freeze(), Critic: reward, Scorer: countScorer{},
		StopIDs: []int32{stopID}, Text: func(_, ids []int32) string { return string(rune('a' + ids[0])) }, Seed: 11, Base: "toy",
	}
	for i := range 6 {
		in.Prompts = append(in.Prompts, Prompt{IDs: []int32{int32(1 + i), int32(20 - i), stopID, int32(5 + 2*i)}[:2+i%3], Text: "p"})
	}
	c := Default()
	c.Prompts, c.Episodes, c.Batch, c.Epochs, c.LR, c.Critic.LR = "toy.jsonl", 24, 8, 2, 2e-3, 5e-3
	c.Sampling.MaxNew, c.SaveEvery = 8, 1
	for _, o := range options {
		o(&in, &c)
	}
	return in, c
}

// stage begins, or begins again, a stage of the run in root.
func stage(t testing.TB, root string) *run.Stage {
	t.Helper()
	s, closeRun := begin(t, root)
	t.Cleanup(closeRun)
	return s
}

func begin(t testing.TB, root string) (s *run.Stage, closeRun func()) {
	t.Helper()
	d, err := run.Open(root, "toy")
	if err != nil {
		t.Fatal(err)
	}
	s = d.Stage("ppo")
	b, err := s.Begin(run.Manifest{Program: "test", Seed: 11})
	if err != nil || len(b.Notes) > 0 {
		t.Fatal(b.Notes, err)
	}
	return s, func() { d.Close() }
}

func trainToy(t testing.TB, in Inputs, c Config) Result {
	t.Helper()
	r, err := Train(context.Background(), c, in, stage(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// experienced is a learner with one batch, advantages and all, before anything is learned.
func experienced(t testing.TB, in Inputs, c Config) (*learner, *Trajectories, *state) {
	t.Helper()
	if err := in.check(c); err != nil {
		t.Fatal(err)
	}
	l, st := newLearner(in, c), newState(c, run.Manifest{})
	tr, err := l.experience(context.Background(), in, st)
	if err != nil {
		t.Fatal(err)
	}
	l.advantages(tr, st)
	return l, tr, st
}

func experiencedToy(t testing.TB) (*learner, *Trajectories, *state) {
	t.Helper()
	in, c := toy(t)
	return experienced(t, in, c)
}

// valuesOf are the critic's values alone.
func valuesOf(t testing.TB, l *learner, tr *Trajectories) []float64 {
	t.Helper()
	_, values, err := l.judged(context.Background(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func noDump(*step) error { return nil }

func get(t testing.TB, m run.Values, key string) float64 {
	t.Helper()
	v, ok := m.Lookup(key)
	if !ok {
		t.Fatalf("no metric %s", key)
	}
	return v
}

func finite(t testing.TB, what string, x []float64) {
	t.Helper()
	for i, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatalf("%s[%d] = %v", what, i, v)
		}
	}
}
