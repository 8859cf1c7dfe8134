package optim

import "math"

// Norm is the Euclidean norm of a gradient, in float64. It is NaN or infinite exactly when an element is.
func Norm(grads []float32) float64 {
	sum := 0.0
	for _, g := range grads {
		sum += float64(g) * float64(g)
	}
	return math.Sqrt(sum)
}

// Clip scales grads so that their norm is at most limit, by min(1, limit/(norm+1e-6)) as torch does, and returns the norm before.
// A limit of 0 means none. A norm that is not finite leaves grads as they are: the caller skips such a step.
func Clip(grads []float32, limit float64) (norm float64) {
	norm = Norm(grads)
	factor := limit / (norm + 1e-6)
	if limit <= 0 || math.IsNaN(norm) || math.IsInf(norm, 0) || factor >= 1 {
		return norm
	}
	Scale(grads, factor)
	return norm
}

// Scale multiplies every element by factor.
func Scale(grads []float32, factor float64) {
	f := float32(factor)
	for i := range grads {
		grads[i] *= f
	}
}
