// Package stats is the arithmetic of reports: means with standard errors, proportions with intervals, win rates with sign
// tests, paired bootstrap, and how diverse or repetitive texts are. Pure functions over float64; distributions come from
// gonum, random draws from the counter-based generator, so that a report is the same each time it is made.
package stats

import (
	"encoding/json"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"plumb/internal/rng"
)

// Number is a float64 that JSON has as null where it is not finite.
type Number float64

// MarshalJSON writes null for NaN and the infinities.
func (n Number) MarshalJSON() ([]byte, error) {
	if x := float64(n); math.IsNaN(x) || math.IsInf(x, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads null as NaN.
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// Mean is a sample mean with its standard error s/√n, s with n-1. SE is NaN for fewer than two values, and Value for none.
type Mean struct {
	N         int
	Value, SE float64
}

// MeanOf summarises xs.
func MeanOf(xs []float64) Mean {
	n := float64(len(xs))
	m := sum(xs) / n
	v := 0.0
	for _, x := range xs {
		v += (x - m) * (x - m)
	}
	return Mean{len(xs), m, math.Sqrt(v / (n - 1) / n)}
}

// Std is the standard deviation with n-1.
func Std(xs []float64) float64 { return MeanOf(xs).SE * math.Sqrt(float64(len(xs))) }

func sum(xs []float64) float64 {
	s := 0.0
	for _, x := range xs {
		s += x
	}
	return s
}

// Quantile is the q-quantile of xs by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996, the
// default of numpy). NaN for no values.
func Quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Clone(xs)
	slices.Sort(s)
	h := q * float64(len(s)-1)
	i := min(int(h), len(s)-1)
	if i+1 >= len(s) {
		return s[i]
	}
	return s[i] + (h-float64(i))*(s[i+1]-s[i])
}

// Interval is a two-sided confidence interval.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Wilson is the score interval of a proportion of k in n at the given level (Wilson 1927).
func Wilson(k, n float64, level float64) Interval {
	z := distuv.UnitNormal.Quantile(0.5 + level/2)
	p := k / n
	den := 1 + z*z/n
	mid := (p + z*z/(2*n)) / den
	half := z / den * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return Interval{max(mid-half, 0), min(mid+half, 1)} // Only rounding can lead outside.
}

// ClopperPearson is the exact interval of a proportion of k in n.
func ClopperPearson(k, n int, level float64) Interval {
	a := (1 - level) / 2
	out := Interval{0, 1}
	if k > 0 {
		out.Low = distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.Quantile(a)
	}
	if k < n {
		out.High = distuv.Beta{Alpha: float64(k + 1), Beta: float64(n - k)}.Quantile(1 - a)
	}
	return out
}

// WinRate sums up paired outcomes: 1 the first wins, ½ a tie, 0 the second wins.
type WinRate struct {
	Wins, Ties, Losses int
	Rate               float64 // ties count ½
	SE                 float64 // of the mean outcome
	SignP              float64 // exact two-sided sign test, ties dropped
}

// WinRateOf summarises outcomes.
func WinRateOf(outcomes []float64) WinRate {
	var w WinRate
	for _, o := range outcomes {
		switch o {
		case 1:
			w.Wins++
		case 0:
			w.Losses++
		default:
			w.Ties++
		}
	}
	m := MeanOf(outcomes)
	w.Rate, w.SE, w.SignP = m.Value, m.SE, SignTest(w.Wins, w.Losses)
	return w
}

// SignTest is the exact two-sided p-value of wins against losses under a fair coin: the probability of every outcome that is
// no more likely than the one seen. 1 when there is none.
func SignTest(wins, losses int) float64 {
	n := wins + losses
	if n == 0 {
		return 1
	}
	// Under p = ½ the distribution is symmetric, so the two tails are equal.
	k := max(wins, losses)
	tail := 0.0
	for i := k; i <= n; i++ {
		tail += math.Exp(logChoose(n, i) - float64(n)*math.Ln2)
	}
	return min(1, 2*tail)
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// PairedT is Student's test of mean(a-b) = 0 over pairs: t, its two-sided p, and the interval of the mean difference.
// With fewer than two pairs, or no variation, all are NaN.
func PairedT(a, b []float64, level float64) (t, p float64, ci Interval) {
	if len(a) != len(b) {
		panic("stats: PairedT: length mismatch")
	}
	d := make([]float64, len(a))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	m := MeanOf(d)
	if !(m.SE > 0) {
		return math.NaN(), math.NaN(), Interval{math.NaN(), math.NaN()}
	}
	dist := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(len(d) - 1)}
	t = m.Value / m.SE
	half := dist.Quantile(0.5+level/2) * m.SE
	return t, 2 * dist.CDF(-math.Abs(t)), Interval{m.Value - half, m.Value + half}
}

// Bootstrap is the percentile interval of the mean of xs (Efron 1979): draws resamples of the values, keyed by seed. For a
// paired comparison xs are the differences, or the outcomes, of the pairs. NaN bounds for no values.
func Bootstrap(xs []float64, draws int, level float64, seed uint64) Interval {
	if len(xs) == 0 {
		return Interval{math.NaN(), math.NaN()}
	}
	means := make([]float64, draws)
	r := rng.New(seed, 0xB007)
	for d := range means {
		s := 0.0
		for range xs {
			s += xs[r.IntN(len(xs))]
		}
		means[d] = s / float64(len(xs))
	}
	a := (1 - level) / 2
	return Interval{Quantile(means, a), Quantile(means, 1-a)}
}
