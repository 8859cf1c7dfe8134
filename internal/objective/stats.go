package objective

import "math"

// Mean is the one mean of the project over tokens, rows or pairs: what a mask excludes is not in x. 0 for none.
func Mean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// Variance is the biased variance, sum (x-mean)^2 / N, in two passes. 0 for none.
func Variance(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	_, v := spread(len(x), func(i int) float64 { return x[i] })
	return v
}

// spread is the mean and the biased variance of n > 0 values, each asked for twice: they need not be kept.
func spread(n int, at func(i int) float64) (mean, variance float64) {
	for i := range n {
		mean += at(i)
	}
	mean /= float64(n)
	for i := range n {
		off := at(i) - mean
		variance += off * off
	}
	return mean, variance / float64(n)
}

// BesselVariance is sum (x-mean)^2 / (N-1), 0 for fewer than two.
func BesselVariance(x []float64) float64 {
	n := float64(len(x))
	if n < 2 {
		return 0
	}
	return Variance(x) * n / (n - 1)
}

// PolicyStats are the health metrics of one policy step, over its real tokens.
type PolicyStats struct {
	ApproxKLK1         float64 // mean(old - new), nats per token
	ApproxKL           float64 // mean((new - old)^2)/2: TRL's approxkl
	ApproxKLK3         float64 // mean(ratio - 1 - log ratio)
	ClipFrac           float64 // share of tokens where the clipped branch is the larger: TRL's clipfrac
	ClipFracRatio      float64 // share of tokens whose ratio is outside the range, whatever the advantage's sign
	ClipFracLower      float64 // share of tokens where the dual clip binds
	Ratio, RatioVar    float64 // mean and biased variance
	RatioMax, RatioMin float64
}

// PolicyHealth computes them from log-probabilities and advantages, all [N].
func PolicyHealth(policyLogp, oldLogp, advantages []float64, c Clipping) PolicyStats {
	if len(policyLogp) != len(oldLogp) || len(policyLogp) != len(advantages) {
		panic("objective: PolicyHealth: length mismatch")
	}
	if len(policyLogp) == 0 {
		return PolicyStats{}
	}
	var s PolicyStats
	n := float64(len(policyLogp))
	s.RatioMax, s.RatioMin = math.Inf(-1), math.Inf(1)
	for i, lp := range policyLogp {
		d, cost := lp-oldLogp[i], -advantages[i]
		ratio := math.Exp(d)
		clipped := min(max(ratio, 1-c.Low), 1+c.High)
		s.ApproxKLK1 -= d / n
		s.ApproxKL += d * d / 2 / n
		s.ApproxKLK3 += (ratio - 1 - d) / n
		s.ClipFrac += share(cost*clipped > cost*ratio, n)
		s.ClipFracRatio += share(ratio != clipped, n)
		s.ClipFracLower += share(c.Dual > 0 && cost > 0 && max(cost*ratio, cost*clipped) > cost*c.Dual, n)
		s.RatioMax, s.RatioMin = max(s.RatioMax, ratio), min(s.RatioMin, ratio)
	}
	s.Ratio, s.RatioVar = spread(len(policyLogp), func(i int) float64 { return math.Exp(policyLogp[i] - oldLogp[i]) })
	return s
}

// share is one element's part of a share of n.
func share(holds bool, n float64) float64 {
	if holds {
		return 1 / n
	}
	return 0
}

// ValueStats are the health metrics of one critic step, over its real tokens.
type ValueStats struct {
	ClipFrac     float64 // share of tokens where the clipped error is the larger
	Error        float64 // mean((V - R)^2)
	VarExplained float64 // 1 - var(R - V)/var(R), biased; NaN when the returns do not vary
}

// ValueHealth computes them; all slices [N].
func ValueHealth(values, oldValues, returns []float64, eps float64) ValueStats {
	var s ValueStats
	n := float64(len(values))
	for i, v := range values {
		clipped := min(max(v, oldValues[i]-eps), oldValues[i]+eps)
		plain, limited := v-returns[i], clipped-returns[i]
		s.ClipFrac += share(limited*limited > plain*plain, n)
		s.Error += plain * plain / n
	}
	s.VarExplained = VarExplained(values, returns)
	return s
}

// VarExplained is 1 - var(R - V)/var(R), with biased variances: 1 for a perfect critic, 0 for a constant one, below 0 for one
// worse than that. NaN when the returns do not vary.
func VarExplained(values, returns []float64) float64 {
	if len(values) != len(returns) {
		panic("objective: VarExplained: length mismatch")
	}
	v := Variance(returns)
	if v == 0 {
		return math.NaN()
	}
	_, unexplained := spread(len(values), func(i int) float64 { return returns[i] - values[i] })
	return 1 - unexplained/v
}
