package reward

import (
	"context"
	"math"
	"runtime"
	"slices"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/run"
)

// meter notes at every step how much was allocated by then.
type meter struct{ at []float64 }

func (p *meter) Step(int, int, string) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.at = append(p.at, float64(m.TotalAlloc))
}

// leftBehind trains a model on steps of two micro-batches of two pairs, sides of so many tokens, and returns the bytes that a step in
// the steady state leaves to the garbage collector: the median, since a line of the log is longer in some.
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
	a.AddScoreHead(hidden, 4, 0.1)
	var pairs []Pair
	for i := range 14 * 4 {
		p := Pair{Prompt: string(rune('a' + i)), Better: 1}
		for j := range tokens {
			p.Chosen, p.Rejected = append(p.Chosen, int32((7*i+j*j)%64)), append(p.Rejected, int32((5*i+j*j+1)%64))
		}
		pairs = append(pairs, p)
	}
	c := testConfig()
	c.Batch, c.MicroTokens, c.EvalEvery, c.SaveEvery = 4, 4*tokens, 1000, 1000
	d, err := run.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	st := d.Stage("reward")
	if _, err := st.Begin(run.Manifest{}); err != nil {
		t.Fatal(err)
	}
	p := &meter{}
	if _, err := Train(context.Background(), c, Inputs{Model: m, Adapter: a, Train: pairs, Progress: p}, st); err != nil {
		t.Fatal(err)
	}
	var each []float64
	for i := 4; i < len(p.at); i++ {
		each = append(each, p.at[i]-p.at[i-1])
	}
	slices.Sort(each)
	return each[len(each)/2]
}

// A step leaves behind nothing that grows with the model or with the length of its texts: of those a loss sees one score each. What is
// left is two lines of a log, and vectors of the step's four pairs and lists of Gorgonia's graph.
func TestAStepLeavesLittleBehind(t *testing.T) {
	if testing.Short() { // as under the race detector, which empties Go's pools at random
		t.Skip("counts bytes")
	}
	const fixed, lines = 64 << 10, 512
	base, long, large := leftBehind(t, 32, 2, 32), leftBehind(t, 32, 2, 256), leftBehind(t, 128, 4, 32)
	t.Logf("%.0f bytes a step, %.0f with longer texts, %.0f with the larger model", base, long, large)
	if base > fixed {
		t.Errorf("a step leaves %.0f bytes, more than %d", base, fixed)
	}
	if math.Abs(long-base) > lines {
		t.Errorf("a step with texts of eight times the length leaves %.0f bytes, not %.0f", long, base)
	}
	if math.Abs(large-base) > lines {
		t.Errorf("a larger model leaves %.0f bytes a step, not %.0f", large, base)
	}
}
