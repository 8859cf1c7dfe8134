package model

import (
	"math"
	"sync"

	"plumb/internal/kernels"
)

// frequencies are the rotary frequencies theta^(-2i/D), stretched. They are rounded to float32, as transformers has them:
// the rounding shows at positions in the thousands.
func (c Config) frequencies() []float64 {
	out := make([]float64, c.HeadDim/2)
	for i := range out {
		f := math.Pow(c.RopeTheta, -float64(2*i)/float64(c.HeadDim))
		out[i] = float64(float32(c.RopeScaling.apply(f)))
	}
	return out
}

// apply stretches one frequency. linear divides all; llama3 (Dubey et al. 2024, as in transformers' rope utilities) keeps
// wavelengths below OriginalPositions/HighFactor, divides those above OriginalPositions/LowFreqFactor, blends between.
func (s RopeScaling) apply(f float64) float64 {
	switch s.Type {
	case "linear":
		return f / s.Factor
	case "llama3":
		turns := float64(s.OriginalPositions) * f / (2 * math.Pi) // within the original length
		switch {
		case turns > s.HighFactor:
			return f
		case turns < s.LowFreqFactor:
			return f / s.Factor
		}
		smooth := (turns - s.LowFreqFactor) / (s.HighFactor - s.LowFreqFactor)
		return (1-smooth)*f/s.Factor + smooth*f
	}
	return f
}

// rotary holds the tables of cosines and sines, made longer when a longer sequence comes.
type rotary struct {
	mu    sync.Mutex
	freq  []float64
	n     int
	table kernels.RoPE
}

// upTo returns a table for positions 0..n-1 at least. The values do not depend on its length.
func (r *rotary) upTo(n int) kernels.RoPE {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.n {
		r.n = max(256, 2*r.n, n)
		r.table = kernels.NewRoPE(2*len(r.freq), r.n, r.freq, 1)
	}
	return r.table
}
