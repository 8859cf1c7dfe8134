package ppo

import (
	"math"

	"plumb/internal/objective"
)

// Moments are a running mean and biased variance of all scores so far (Chan et al. 1979's parallel update). Start with
// NewMoments; the fields are the whole state.
type Moments struct {
	Mean  float64 `json:"mean"`
	Var   float64 `json:"var"`
	Count float64 `json:"count"`
}

// NewMoments has mean 0, variance 1 and next to no weight, so that the first batch decides.
func NewMoments() Moments { return Moments{Var: 1, Count: 1e-24} }

// Update takes in a batch. With n elements, mean mu and biased variance v, delta = mu - Mean, N = Count + n:
//
//	Mean += delta*n/N        Var = (v*n + Var*Count + delta^2*Count*n/N)/N        Count = N
func (m *Moments) Update(batch []float64) {
	if len(batch) == 0 {
		return
	}
	n, v := float64(len(batch)), objective.Variance(batch)
	delta, total := objective.Mean(batch)-m.Mean, m.Count+float64(len(batch))
	m.Mean += delta * n / total
	m.Var = (v*n + m.Var*m.Count + delta*delta*m.Count*n/total) / total
	m.Count = total
}

// Std is the standard deviation with Bessel's correction, what scores are divided by; 1 before the second score.
func (m *Moments) Std() float64 {
	if m.Count < 2 {
		return 1
	}
	return math.Sqrt(m.Var * m.Count / (m.Count - 1))
}
