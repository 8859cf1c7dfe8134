package labeling

import (
	"math"
	"slices"

	"plumb/internal/rng"
	"plumb/internal/stats"
)

// Estimate is a number with its 95 % interval and the units it was measured on; Value is NaN where there are none.
type Estimate struct {
	Value stats.Number `json:"value"`
	Low   stats.Number `json:"low"`
	High  stats.Number `json:"high"`
	N     int          `json:"n"`
}

// nothing is an estimate without data.
func nothing() Estimate {
	nan := stats.Number(math.NaN())
	return Estimate{nan, nan, nan, 0}
}

// metric is the squared difference δ² between values c and k, given how often each value occurs among those that can be
// paired (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section E).
type metric func(count []float64, c, k int) float64

// nominal: two values are the same or not.
func nominal(_ []float64, c, k int) float64 {
	if c == k {
		return 0
	}
	return 1
}

// ordinal: (Σ_{g=c..k} n_g - (n_c + n_k)/2)².
func ordinal(count []float64, c, k int) float64 {
	if c > k {
		c, k = k, c
	}
	d := -(count[c] + count[k]) / 2
	for g := c; g <= k; g++ {
		d += count[g]
	}
	return d * d
}

// tally are the values that the people who judged a unit gave it: how often each value, of which there are few.
type tally []float64

// alpha is Krippendorff's α = 1 - D_o/D_e of units with at least two values each; NaN where it is not defined, as with
// fewer than two different values in all.
func alpha(units []tally, δ metric) float64 {
	if len(units) == 0 {
		return math.NaN()
	}
	values := len(units[0])
	o := make([]float64, values*values) // coincidences o_ck
	for _, u := range units {
		m := 0.0
		for _, n := range u {
			m += n
		}
		if m < 2 {
			continue
		}
		for c, nc := range u {
			for k, nk := range u {
				if c == k {
					nk--
				}
				o[c*values+k] += nc * nk / (m - 1)
			}
		}
	}
	count, n := make([]float64, values), 0.0
	for i, v := range o {
		count[i/values] += v
		n += v
	}
	observed, expected := 0.0, 0.0
	for c := range values {
		for k := range values {
			d := δ(count, c, k)
			observed += o[c*values+k] * d
			expected += count[c] * count[k] * d
		}
	}
	if expected == 0 {
		return math.NaN()
	}
	return 1 - (n-1)*observed/expected
}

// bootstrapDraws resamples of the units are made, fewer where there are so many units that it would take long.
const bootstrapDraws = 1000

// alphaOf is α with the percentile interval of a bootstrap over units (Efron 1979). Krippendorff's own bootstrap resamples
// differences as if they were independent; people's values of one unit are not, so units are drawn here.
func alphaOf(units []tally, δ metric) Estimate {
	units = slices.DeleteFunc(slices.Clone(units), func(u tally) bool {
		m := 0.0
		for _, n := range u {
			m += n
		}
		return m < 2
	})
	a := alpha(units, δ)
	if math.IsNaN(a) {
		e := nothing()
		e.N = len(units)
		return e
	}
	low, high := resampled(len(units), func(pick []int) float64 {
		sample := make([]tally, len(pick))
		for i, p := range pick {
			sample[i] = units[p]
		}
		return alpha(sample, δ)
	})
	return Estimate{stats.Number(a), low, high, len(units)}
}

// resampled is the 95 % percentile interval of a statistic over n units drawn with replacement. Draws in which the
// statistic is not defined are left out.
func resampled(n int, statistic func(pick []int) float64) (low, high stats.Number) {
	r := rng.New(1, 0x1abe1)
	var got []float64
	pick := make([]int, n)
	for range max(100, min(bootstrapDraws, 20_000_000/n)) {
		for i := range pick {
			pick[i] = r.IntN(n)
		}
		if v := statistic(pick); !math.IsNaN(v) {
			got = append(got, v)
		}
	}
	return stats.Number(stats.Quantile(got, 0.025)), stats.Number(stats.Quantile(got, 0.975))
}

// kappa is Cohen's κ = (p_o - p_e)/(1 - p_e) of two people's values of the same units (Cohen 1960), and p_o.
func kappa(a, b []int) (k, same float64) {
	n := float64(len(a))
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	countA, countB := map[int]float64{}, map[int]float64{}
	for i := range a {
		countA[a[i]]++
		countB[b[i]]++
		if a[i] == b[i] {
			same += 1 / n
		}
	}
	chance := 0.0
	for v, c := range countA {
		chance += c * countB[v] / (n * n)
	}
	if chance == 1 {
		return math.NaN(), same
	}
	return (same - chance) / (1 - chance), same
}

// kappaOf is κ with a bootstrap interval over the units.
func kappaOf(a, b []int) (k Estimate, same float64) {
	value, same := kappa(a, b)
	k = nothing()
	k.N = len(a)
	if math.IsNaN(value) {
		return k, same
	}
	k.Value = stats.Number(value)
	x, y := make([]int, len(a)), make([]int, len(a))
	k.Low, k.High = resampled(len(a), func(pick []int) float64 {
		for i, p := range pick {
			x[i], y[i] = a[p], b[p]
		}
		v, _ := kappa(x, y)
		return v
	})
	return k, same
}

// ceiling is the highest accuracy that a model can have against labels of which two agree with the probability a. If an
// item's labels are drawn independently and prefer one side with the probability q, two agree with q² + (1-q)² and the best
// guess is right with max(q, 1-q) = (1 + sqrt(2a - 1))/2; that is concave in a, so by Jensen's inequality the mean agreement
// over items bounds the mean accuracy. At or below ½, labels say nothing.
func ceiling(a float64) float64 {
	if !(a > 0.5) {
		if math.IsNaN(a) {
			return a
		}
		return 0.5
	}
	return (1 + math.Sqrt(2*a-1)) / 2
}

// ceilingOf bounds accuracy by the share of agreement of each item judged more than once.
func ceilingOf(agreed []float64) Estimate {
	if len(agreed) == 0 {
		return nothing()
	}
	ci := stats.Bootstrap(agreed, bootstrapDraws, 0.95, 1)
	mean := stats.MeanOf(agreed).Value
	return Estimate{stats.Number(ceiling(mean)), stats.Number(ceiling(ci.Low)), stats.Number(ceiling(ci.High)), len(agreed)}
}
