package reward

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"plumb/internal/rng"
	"plumb/internal/stats"
)

// Curve is accuracy against the number of pairs trained on, and what more of them would give.
type Curve struct {
	HeldPairs   int     `json:"held_pairs"`   // that are no ties
	HeldPrompts int     `json:"held_prompts"` // they belong to
	Points      []Point `json:"points"`       // every training, smallest size first
	Fit         Fit     `json:"fit"`
	TrainingStd float64 `json:"training_std"` // standard deviation of the accuracy between trainings on as many prompts, pooled
	More        []Gain  `json:"more"`
}

// Fit is the power law error(n) = Floor + Scale·n^-Exponent of the share of held-out pairs judged wrongly by a model trained
// on n pairs.
type Fit struct {
	Floor    float64 `json:"floor"`    // at least 0
	Scale    float64 `json:"scale"`    // at least 0
	Exponent float64 `json:"exponent"` // leastExponent to greatestExponent
}

// The exponents that are tried. A small one is a straight line over log n; 1 is the fastest that learning without noise is
// known to be, ½ that with noise.
const (
	leastExponent    = 0.1
	greatestExponent = 1.0
	exponentSteps    = 90
)

// Gain is what more pairs to train on would give.
type Gain struct {
	Pairs    int            `json:"pairs"`    // more than there are
	Accuracy float64        `json:"accuracy"` // then
	Points   float64        `json:"points"`   // more accuracy than now by the fit, in percentage points
	SE       float64        `json:"se"`       // of Points
	Interval stats.Interval `json:"interval"` // of Points, 95 %
}

// Accuracy is what the fit says of a model trained on n pairs.
func (f Fit) Accuracy(n float64) float64 { return 1 - f.Floor - f.Scale*math.Pow(n, -f.Exponent) }

// FitCurve fits the power law to accuracies of models trained on n pairs each by least squares. The inverse power law with an
// offset is what Figueroa et al. 2012 (BMC Medical Informatics and Decision Making 12:8) extrapolate classifiers' learning
// curves with, by weighted nonlinear least squares, and what the review of Viering and Loog 2023 (IEEE TPAMI 45(6)) finds
// well supported. Four sizes carry its three numbers only within bounds, so the exponent is bounded, where it is tried in
// steps of 0.01, and floor and scale, which are linear given the exponent, are not below 0: a curve never falls. A size that
// was trained several times counts as often.
func FitCurve(n, accuracy []float64) Fit {
	if len(n) != len(accuracy) {
		panic("reward: FitCurve: length mismatch")
	}
	var best Fit
	least := math.Inf(1)
	x, wrong := make([]float64, len(n)), make([]float64, len(n))
	for i, a := range accuracy {
		wrong[i] = 1 - a
	}
	for k := range exponentSteps + 1 {
		f := Fit{Exponent: leastExponent + (greatestExponent-leastExponent)*float64(k)/exponentSteps}
		for i := range x {
			x[i] = math.Pow(n[i], -f.Exponent)
		}
		f.Floor, f.Scale = stat.LinearRegression(x, wrong, nil, false)
		if !(f.Scale > 0) { // flat, or falling accuracy
			f.Floor, f.Scale = stat.Mean(wrong, nil), 0
		}
		if f.Floor < 0 { // through the origin instead
			_, f.Scale = stat.LinearRegression(x, wrong, nil, true)
			f.Floor = 0
		}
		sum := 0.0
		for i := range x {
			d := wrong[i] - f.Floor - f.Scale*x[i]
			sum += d * d
		}
		if sum < least {
			least, best = sum, f
		}
	}
	return best
}

// newCurve fits what was measured. The error of an extrapolation has two sources, and each of the draws has both: which
// prompts happened to be held out (resampled, the same ones for every model, so that what all models find hard cancels), and
// which prompts and order a model happened to be trained on (a normal error of the pooled deviation between trainings of one
// size). What the law itself gets wrong beyond the points is not in it.
func newCurve(done []outcome, held []Pair, seed uint64) *Curve {
	groups := byPrompt(held)
	c := &Curve{HeldPrompts: len(groups)}
	all := slices.Concat(groups...)
	c.HeldPairs = len(all)
	n, accuracy := make([]float64, len(done)), make([]float64, len(done))
	most := 0
	for i, o := range done {
		c.Points = append(c.Points, o.Point)
		n[i], accuracy[i] = float64(o.Pairs), mean(o.Right, all)
		most = max(most, o.Pairs)
	}
	c.Fit, c.TrainingStd = FitCurve(n, accuracy), trainingStd(c.Points)
	for _, k := range steps(most) {
		c.More = append(c.More, Gain{Pairs: k})
	}
	gains := make([][]float64, len(c.More))
	r := rng.New(seed, curveStream, math.MaxUint64)
	drawn := make([]float64, len(done))
	for range curveDraws {
		var sample []int
		for range groups {
			sample = append(sample, groups[r.IntN(len(groups))]...)
		}
		for i, o := range done {
			drawn[i] = mean(o.Right, sample) + c.TrainingStd*r.Norm()
		}
		f := FitCurve(n, drawn)
		for i, g := range c.More {
			gains[i] = append(gains[i], f.gain(most, g.Pairs))
		}
	}
	for i := range c.More {
		g := &c.More[i]
		g.Accuracy = c.Fit.Accuracy(float64(most + g.Pairs))
		g.Points = c.Fit.gain(most, g.Pairs)
		g.SE = stats.Std(gains[i])
		g.Interval = stats.Interval{Low: stats.Quantile(gains[i], 0.025), High: stats.Quantile(gains[i], 0.975)}
	}
	return c
}

// gain is how many percentage points of accuracy more pairs give beyond now.
func (f Fit) gain(now, more int) float64 {
	return 100 * (f.Accuracy(float64(now+more)) - f.Accuracy(float64(now)))
}

// byPrompt are the places of the held-out pairs that count, those of a prompt together.
func byPrompt(held []Pair) [][]int {
	var out [][]int
	at := map[string]int{}
	for i, p := range held {
		if p.Better == 0.5 {
			continue
		}
		g, ok := at[p.Prompt]
		if !ok {
			g = len(out)
			at[p.Prompt] = g
			out = append(out, nil)
		}
		out[g] = append(out[g], i)
	}
	return out
}

// trainingStd is the standard deviation of accuracy between trainings on as many prompts, pooled over the sizes: the root of
// the sum of squares within sizes over its degrees of freedom. It is the same for all sizes here, as that of the largest is
// not known from one training; it is rather smaller there.
func trainingStd(points []Point) float64 {
	by := map[int][]float64{}
	for _, p := range points {
		by[p.Part] = append(by[p.Part], p.Accuracy)
	}
	squares, freedom := 0.0, 0
	for _, s := range sizes { // in a fixed order, so that the sum has the same bits
		m := stat.Mean(by[s.Part], nil)
		for _, a := range by[s.Part] {
			squares += (a - m) * (a - m)
		}
		freedom += max(len(by[s.Part])-1, 0)
	}
	if freedom == 0 {
		return 0
	}
	return math.Sqrt(squares / float64(freedom))
}

// steps are the numbers of further pairs a curve speaks of: round ones up to twice what there is, and as many again.
func steps(now int) []int {
	out := []int{now}
	for _, k := range []int{100, 300, 1000, 3000, 10_000, 30_000, 100_000} {
		if k <= 2*now && k != now && 20*k >= now {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
