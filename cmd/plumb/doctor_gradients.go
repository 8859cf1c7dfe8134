package main

import (
	"fmt"
	"math"
	"slices"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// doctorGradients computes the gradient of the mean log-probability with
// respect to a LoRA adapter and compares its norm with the central difference
// along it. Log-probabilities near -10 in float32 carry about 1e-6 each and the
// mean of 209 less; over twice the step of 0.01 that is at most 5e-5, and
// curvature adds a term in the square of the step.
func doctorGradients() (string, error) {
	const step, tolerance = 1e-2, 1e-2
	pool := kernels.NewPool(0)
	defer pool.Close()
	m, err := model.NewRandom(doctorConfig(), 7, pool)
	if err != nil {
		return "", err
	}
	cfg := peft.Default()
	cfg.R, cfg.Alpha = 4, 4
	ad, err := peft.New(cfg, m.Modules(), 3)
	if err != nil {
		return "", err
	}
	x := uint32(9)
	for _, p := range ad.Params() {
		for i := p.Off; i < p.Off+p.Len(); i++ {
			x = x*1664525 + 1013904223
			ad.Values[i] += 0.05 * float32(int32(x)) / (1 << 31) // B starts at zero, where A has no gradient.
		}
	}
	mean := meanLogProb(m, ad, pool)
	ad.ZeroGrads()
	mean(true)
	gradient := slices.Clone(ad.Grads)
	norm := 0.0
	for _, g := range gradient {
		norm += float64(g) * float64(g)
	}
	norm = math.Sqrt(norm)
	move := func(by float64) {
		for i, g := range gradient {
			ad.Values[i] += float32(by * float64(g) / norm)
		}
	}
	move(step)
	up := mean(false)
	move(-2 * step)
	down := mean(false)
	numeric := (up - down) / (2 * step)
	if !(math.Abs(norm-numeric) <= tolerance*norm) {
		return "", fmt.Errorf("the gradient's norm is %.6g, by differences %.6g", norm, numeric)
	}
	return fmt.Sprintf("of %d parameters: norm %.5f, by differences %.5f", len(gradient), norm, numeric), nil
}

// meanLogProb returns a function that computes the mean log-probability of
// some sequences and, if asked, its gradient.
func meanLogProb(m *model.Model, ad *peft.Adapter, pool *kernels.Pool) func(backward bool) float64 {
	tape := tensor.NewTape(pool)
	b := model.Pack(doctorIDs()...)
	var rows, targets []int32
	for i := range len(b.IDs) - 1 {
		rows, targets = append(rows, int32(i)), append(targets, b.IDs[i+1])
	}
	return func(backward bool) float64 {
		tape.Reset()
		logp, _ := m.LogProbs(tape, ad, m.Hidden(tape, ad, b), rows, targets, 1)
		sum := 0.0
		for _, v := range logp.Data {
			sum += float64(v)
		}
		n := float64(len(logp.Data))
		if backward {
			seed := make([]float64, len(logp.Data))
			for i := range seed {
				seed[i] = 1 / n
			}
			logp.Seed(seed)
			tape.Backward()
		}
		return sum / n
	}
}
