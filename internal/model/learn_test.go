package model

import (
	"math"
	"slices"
	"testing"

	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// From random weights the loss of the first step is that of guessing, and a few steps learn a sequence by heart; the same
// seed gives the same bits whatever the number of threads.
func TestTrainingFromRandomWeights(t *testing.T) {
	c := Config{
		Vocab: 50, Hidden: 24, Intermediate: 40, Layers: 2, Heads: 3, KVHeads: 1, HeadDim: 8, MaxPositions: 64, Eps: 1e-5,
		RopeTheta: 10000, InitStd: 0.02, BOS: -1, Tied: true,
	}
	var first []float32
	for _, threads := range []int{1, 2} {
		m, err := NewRandom(c, 11, newPool(t, threads))
		if err != nil {
			t.Fatal(err)
		}
		a := peft.NewFull(m.Modules())
		opt := optim.NewAdamW(m.Pool(), len(a.Values), optim.Defaults())
		b := Pack(sequences(c.Vocab, 30, 20)...)
		rows, targets := selection(b, nil)
		tape := tensor.NewTape(m.Pool())
		var losses []float64
		for range 60 {
			tape.Reset()
			a.ZeroGrads()
			logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), rows, targets, 1)
			loss := 0.0
			for _, v := range logp.Data {
				loss -= float64(v) / float64(len(rows))
			}
			losses = append(losses, loss)
			logp.Seed(slices.Repeat([]float64{-1 / float64(len(rows))}, len(rows)))
			tape.Backward()
			opt.Step(a.Values, a.Grads, 0.01)
		}
		// Logits of random weights have a standard deviation of about 0.02·sqrt(24), so the loss is ln 50 within a hundredth.
		if math.Abs(losses[0]-math.Log(50)) > 0.05 || losses[len(losses)-1] > 0.2 {
			t.Errorf("losses from %v to %v, want %v to nearly 0", losses[0], losses[len(losses)-1], math.Log(50))
		}
		if first == nil {
			first = slices.Clone(a.Values)
		} else if !slices.Equal(first, a.Values) {
			t.Error("the number of threads changes what is learnt")
		}
	}
}
