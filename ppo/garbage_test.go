package ppo

import (
	"context"
	"math"
	"runtime"
	"slices"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/model"
)

// leftBehind is what one epoch over eight responses of so many tokens, in two micro-batches of policy and critic each, allocates once
// its memory is there, in bytes: the median of several.
func leftBehind(t *testing.T, hidden, layers, criticLayers, length int) float64 {
	t.Helper()
	in, c := toy(t, func(in *Inputs, c *Config) {
		pool := kernels.NewPool(1)
		t.Cleanup(pool.Close)
		m, err := model.NewRandom(model.Config{
			Vocab: vocab, Hidden: hidden, Intermediate: 2 * hidden, Layers: layers, Heads: 4, KVHeads: 2, HeadDim: hidden / 4, MaxPositions: 1024,
			Eps: 1e-5, RopeTheta: 1e4, InitStd: 0.05, BOS: -1, EOS: []int32{stopID},
		}, 5, pool)
		must(t, err)
		sft := adapter(t, m, 1)
		reward := sft.Clone()
		reward.AddScoreHead(hidden, 2, 0.2)
		in.Model, in.Policy, in.Reference, in.Critic = m, sft.Clone(), sft.Clone().Freeze(), reward
		c.Sampling.MaxNew, c.Stop.After = length, length-1 // all of full length
		c.Epochs, c.MicroTokens, c.Critic.Layers = 1, 4*(length+4), criticLayers
	})
	l, tr, st := experienced(t, in, c)
	if tr.N() != 8*length {
		t.Fatalf("%d tokens, want %d", tr.N(), 8*length)
	}
	var each []float64
	for range 8 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := l.learn(context.Background(), tr, st, noDump)
		must(t, err)
		runtime.ReadMemStats(&after)
		each = append(each, float64(after.TotalAlloc-before.TotalAlloc))
	}
	slices.Sort(each)
	return each[len(each)/2]
}

// A step leaves behind neither activations nor gradients nor anything else that grows with the model: one of four times the width and
// twice the depth leaves the same, a critic that starts from the kept trunk too. With its tokens grows what Gorgonia leaves, who makes
// the result of each operation anew: fifty vectors of eight bytes a response token for the two losses and their gradients. (A hidden
// state of the smallest of these models has 128 bytes, and a block keeps ten of those a token; the real model's states have 2304, and
// thirty blocks.)
func TestAStepLeavesLittleBehind(t *testing.T) {
	if testing.Short() { // as under the race detector, which empties Go's pools at random
		t.Skip("counts bytes")
	}
	const perToken, fixed, slack = 50 * 8, 64 << 10, 2048
	base, long := leftBehind(t, 32, 2, 0, 16), leftBehind(t, 32, 2, 0, 128)
	large, trunk := leftBehind(t, 128, 4, 0, 16), leftBehind(t, 128, 4, 2, 16)
	t.Logf("%.0f bytes a step of 128 tokens, %.0f of 1024, %.0f with the larger models, %.0f with a kept trunk", base, long, large, trunk)
	if base > fixed+128*perToken {
		t.Errorf("a step of 128 tokens leaves %.0f bytes, more than %d", base, fixed+128*perToken)
	}
	if more := long - base; more > (1024-128)*perToken+slack {
		t.Errorf("896 tokens more leave %.0f bytes more: %.1f each, want %d", more, more/896, perToken)
	}
	if math.Abs(large-base) > slack || math.Abs(trunk-base) > slack {
		t.Errorf("larger models leave %.0f bytes a step, %.0f with a kept trunk, not %.0f", large, trunk, base)
	}
}
