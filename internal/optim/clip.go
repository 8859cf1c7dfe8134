package optim

import (
	"math"

	"plumb/internal/kernels"
)

// Norm is the Euclidean norm of a gradient, summed in float64. It is NaN or infinite exactly when an element is.
func Norm(pool *kernels.Pool, grads []float32) float64 { return math.Sqrt(pool.SumSquares(grads)) }

// Clip scales grads so that their norm is at most limit, by min(1, limit/(norm+1e-6)) as torch does, and returns the norm
// before. A limit of 0 means none. A norm that is not finite leaves grads as they are: the caller skips such a step.
func Clip(pool *kernels.Pool, grads []float32, limit float64) (norm float64) {
	norm = Norm(pool, grads)
	factor := limit / (norm + 1e-6)
	if limit <= 0 || math.IsNaN(norm) || math.IsInf(norm, 0) || factor >= 1 {
		return norm
	}
	pool.Scale(grads, float32(factor), grads)
	return norm
}
