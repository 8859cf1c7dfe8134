package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// cost is what one training step takes.
type cost struct {
	attention, other float64 // flops of products
	bytes            float64 // of activations and gradients held
	traffic          float64 // of operands and results of all operations but attention, weights left out
}

func (c cost) flops() float64 { return c.attention + c.other }

// costed is a model of the given depth with a LoRA pair on every linear layer.
func costed(t testing.TB, layers int) (*Model, *peft.Adapter) {
	t.Helper()
	m, err := NewRandom(Config{
		Vocab: 64, Hidden: 32, Intermediate: 48, Layers: layers, Heads: 4, KVHeads: 2, HeadDim: 8, MaxPositions: 4096, Eps: 1e-5,
		RopeTheta: 10000, InitStd: 0.02, BOS: -1, Tied: true,
	}, 1, newPool(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	cfg := peft.Default()
	cfg.R, cfg.Targets = 4, peft.Names("all-linear")
	a, err := peft.New(cfg, m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return m, a
}

// trainCost counts a step on sequences of the given lengths, a loss on every token that has one before it. Counters and not
// clocks: the same on every machine.
func trainCost(t testing.TB, layers int, recompute bool, lengths ...int) cost {
	t.Helper()
	m, a := costed(t, layers)
	p := m.Pool()
	p.Profile()
	before := p.Work()
	tape := tensor.NewTape(p)
	tape.Recompute(recompute)
	b := Pack(sequences(m.Vocab, lengths...)...)
	rows, targets := selection(b, nil)
	logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), rows, targets, 1)
	logp.Seed(slices.Repeat([]float64{1}, len(rows)))
	tape.Backward()
	var c cost
	for _, o := range p.Operations() {
		if strings.HasPrefix(o.Name, "attention") {
			c.attention += o.Flops
			continue
		}
		c.other += o.Flops
		c.traffic += o.Bytes - float64(o.Calls*int64(o.Out*o.In*o.Bits/8))
	}
	w := p.Work().Sub(before)
	if got := w.Flops + w.Recomputed; got != c.flops() {
		t.Fatalf("the pool counts %g flops, its profile %g", got, c.flops())
	}
	c.bytes = float64(tape.Touched())
	return c
}

// exponents are d log y / d log x between neighbours.
func exponents(x, y []float64) []float64 {
	var out []float64
	for i := 1; i < len(x); i++ {
		out = append(out, math.Log(y[i]/y[i-1])/math.Log(x[i]/x[i-1]))
	}
	return out
}

func checkExponents(t *testing.T, what string, x, y []float64, want, tolerance float64) {
	t.Helper()
	for i, e := range exponents(x, y) {
		if math.Abs(e-want) > tolerance {
			t.Errorf("%s grows with exponent %.4f from %g to %g, want %g", what, e, x[i], x[i+1], want)
		}
	}
}

// TestCostGrowsAsItShould: three sizes each of tokens, layers and sequence length. Linear in tokens and in layers; in the length
// of a sequence quadratic inside attention, where T queries see T(T+1)/2 keys (from 128 tokens on an exponent of more than 1.99),
// and linear everywhere else.
func TestCostGrowsAsItShould(t *testing.T) {
	series := func(sizes []int, f func(n int) cost) (x, attention, other, flops, bytes, traffic []float64) {
		for _, n := range sizes {
			c := f(n)
			x, attention, other, flops = append(x, float64(n)), append(attention, c.attention), append(other, c.other), append(flops, c.flops())
			bytes, traffic = append(bytes, c.bytes), append(traffic, c.traffic)
		}
		return
	}
	const exact = 1e-9
	x, _, _, flops, bytes, traffic := series([]int{4, 8, 16}, func(n int) cost { return trainCost(t, 2, false, slices.Repeat([]int{32}, n)...) })
	checkExponents(t, "arithmetic by tokens", x, flops, 1, exact)
	checkExponents(t, "memory traffic by tokens", x, traffic, 1, 0.02) // a bias row, a tile: parts that do not grow
	checkExponents(t, "memory by tokens", x, bytes, 1, 0.02)

	// What is outside the blocks, and the gradients that the lowest block need not pass on, are the same at every depth: the cost of
	// the blocks above one is what grows.
	one := trainCost(t, 1, false, 32, 32)
	x, _, _, flops, bytes, traffic = series([]int{2, 4, 8}, func(n int) cost {
		c := trainCost(t, n+1, false, 32, 32)
		return cost{c.attention - one.attention, c.other - one.other, c.bytes - one.bytes, c.traffic - one.traffic}
	})
	checkExponents(t, "arithmetic by layers", x, flops, 1, exact)
	checkExponents(t, "memory traffic by layers", x, traffic, 1, exact)
	checkExponents(t, "memory by layers", x, bytes, 1, 0.05) // gradients on their way back are one set, the first block's a little less

	x, attention, other, _, bytes, traffic := series([]int{128, 256, 512}, func(n int) cost { return trainCost(t, 2, false, n) })
	checkExponents(t, "attention by length", x, attention, 2, 0.01)
	// There is one target less than tokens: a part in 128.
	checkExponents(t, "arithmetic outside attention by length", x, other, 1, 0.01)
	checkExponents(t, "memory traffic outside attention by length", x, traffic, 1, 0.02)
	checkExponents(t, "memory by length", x, bytes, 1, 0.02) // no T×T matrix is held
}

// TestPackedRowsCostTheirSequences: attention of a packed row is the sum over its sequences, not the square of its length.
func TestPackedRowsCostTheirSequences(t *testing.T) {
	packed := trainCost(t, 2, false, 10, 30, 24)
	sum := 0.0
	for _, n := range []int{10, 30, 24} {
		sum += trainCost(t, 2, false, n).attention
	}
	if packed.attention != sum {
		t.Errorf("attention of a packed row: %g flops, its sequences %g", packed.attention, sum)
	}
}

// TestModelFlops: the count that perf/mfu divides is the formula of docs/algorithms/sft.md, and recomputing earns nothing.
func TestModelFlops(t *testing.T) {
	const layers, n, r = 3, 40, 4
	const c, ff, qo, kv, vocab = 32.0, 48.0, 32.0, 16.0, 64.0
	want := 0.0
	linear := func(out, in float64, back bool) { // of the block's N tokens: x W^T, dy W, and the pair's three products
		products := 1.0
		if back {
			products = 2
		}
		want += 2 * n * out * in * products     // W is frozen
		want += 2 * n * r * (in + out) * 2      // A and B forward, and their gradients
		want += 2 * n * r * out                 // back through B
		want += 2 * n * r * in * (products - 1) // back through A
	}
	for l := range layers {
		linear(qo, c, l > 0) // nothing trained lies below the first block's q, k and v
		linear(kv, c, l > 0)
		linear(kv, c, l > 0)
		linear(c, qo, true)
		linear(ff, c, true)
		linear(ff, c, true)
		linear(c, ff, true)
		want += (2 + 4) * 2 * qo * n * (n + 1) / 2
	}
	want += 2 * (n - 1) * vocab * c * 2 // the head, forward and back, where there is a target
	for _, recompute := range []bool{false, true} {
		m, a := costed(t, layers)
		before := m.Pool().Work()
		tape := tensor.NewTape(m.Pool())
		tape.Recompute(recompute)
		b := Pack(sequences(m.Vocab, n)...)
		rows, targets := selection(b, nil)
		logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), rows, targets, 1)
		logp.Seed(slices.Repeat([]float64{1}, len(rows)))
		tape.Backward()
		got := m.Pool().Work().Sub(before)
		if got.Flops != want {
			t.Errorf("recompute %v: %g flops, the formula says %g", recompute, got.Flops, want)
		}
		if more := got.Recomputed > want/5; more != recompute {
			t.Errorf("recompute %v: %g flops computed again", recompute, got.Recomputed)
		}
	}
}

// BenchmarkLength is the clock's side of the same: seconds of a step by the length of its one sequence.
func BenchmarkLength(b *testing.B) {
	for _, n := range []int{128, 256, 512} {
		b.Run(string(rune('0'+n/128))+"x128", func(b *testing.B) {
			for b.Loop() {
				trainCost(b, 2, false, n)
			}
		})
	}
}
