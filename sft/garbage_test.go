package sft

import (
	"context"
	"math"
	"runtime"
	"slices"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
)

// meter notes at every step how much was allocated by then.
type meter struct{ at []float64 }

func (p *meter) Step(int, int, string) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.at = append(p.at, float64(m.TotalAlloc))
}

// perStep is what a step in the steady state allocates: the median, since a line of the log is longer in some.
func (p *meter) perStep() float64 {
	var d []float64
	for i := 4; i < len(p.at); i++ {
		d = append(d, p.at[i]-p.at[i-1])
	}
	slices.Sort(d)
	return d[len(d)/2]
}

// leftBehind trains a model on steps of two micro-batches of two rows of so many tokens, every second of them a target, and returns
// the bytes that a step leaves to the garbage collector: all of it, from its rows to its line in the log.
func leftBehind(t *testing.T, hidden, layers, tokens int) float64 {
	t.Helper()
	pool := kernels.NewPool(1)
	t.Cleanup(pool.Close)
	m, err := model.NewRandom(model.Config{
		Vocab: 64, Hidden: hidden, Intermediate: 2 * hidden, Layers: layers, Heads: 4, KVHeads: 2, HeadDim: hidden / 4, MaxPositions: 1024,
		Eps: 1e-5, RopeTheta: 1e4, InitStd: 0.02, BOS: -1,
	}, 1, pool)
	if err != nil {
		t.Fatal(err)
	}
	a, err := peft.New(peft.Default(), m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for i := range 14 * 4 {
		var r Row
		for j := range tokens {
			r.IDs, r.Weights = append(r.IDs, int32((7*i+j*j)%64)), append(r.Weights, float32(j%2))
		}
		rows = append(rows, r)
	}
	c := testConfig()
	c.Batch, c.MicroTokens, c.Epochs, c.EvalEvery, c.SaveEvery = 4, 2*tokens, 1, 1000, 1000
	p := &meter{}
	if _, err := Train(context.Background(), c, Inputs{Model: m, Adapter: a, Train: rows, Progress: p}, newStage(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	return p.perStep()
}

// A step leaves behind neither activations nor gradients nor anything else that grows with the model: one of four times the width and
// twice the depth leaves the same. With its targets grows what Gorgonia leaves, who makes the result of each operation anew: six
// vectors of eight bytes a target for the loss and its gradient. (A hidden state of the smallest of these models has 128 bytes, and a
// block keeps ten of those a token.) The rest is two lines of a log and the graph's lists.
func TestAStepLeavesLittleBehind(t *testing.T) {
	if testing.Short() { // as under the race detector, which empties Go's pools at random
		t.Skip("counts bytes")
	}
	const perTarget, fixed, lines = 6 * 8, 12 << 10, 512
	base, long, large := leftBehind(t, 32, 2, 32), leftBehind(t, 32, 2, 256), leftBehind(t, 128, 4, 32)
	t.Logf("%.0f bytes a step of 64 targets, %.0f of 512, %.0f with the larger model", base, long, large)
	if base > fixed+64*perTarget {
		t.Errorf("a step of 64 targets leaves %.0f bytes, more than %d", base, fixed+64*perTarget)
	}
	if more := long - base; more > (512-64)*perTarget+lines {
		t.Errorf("448 targets more leave %.0f bytes more: %.1f each, want %d", more, more/448, perTarget)
	}
	if math.Abs(large-base) > lines {
		t.Errorf("a larger model leaves %.0f bytes a step, not %.0f", large, base)
	}
}
