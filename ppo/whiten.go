package ppo

import (
	"math"

	"plumb/internal/objective"
)

// whitenFloor is added to the variance under the root, as everywhere in the field.
const whitenFloor = 1e-8

// Whiten returns (x - mean)/sqrt(variance + 1e-8) over all of x, which holds the real tokens of the whole batch and nothing
// else. With keepMean the mean is added back: rewards are rescaled but not shifted, since a shift would pay or charge for
// every token, that is for length.
//
// variance is objective.Variance (biased, sum/N: lm-human-preferences, and what the training loop uses) or
// objective.BesselVariance (sum/(N-1): TRL).
func Whiten(x []float64, variance func([]float64) float64, keepMean bool) []float64 {
	mean, scale := objective.Mean(x), 1/math.Sqrt(variance(x)+whitenFloor)
	back := 0.0
	if keepMean {
		back = mean
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = (v-mean)*scale + back
	}
	return out
}
