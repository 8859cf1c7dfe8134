package reward

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/run"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: %g, want %g", what, got, want)
	}
}

// Values by hand: at n = 1, 4, 16 the errors 0.5, 0.3, 0.2 are 0.1 + 0.4/√n.
func TestFitCurveByHand(t *testing.T) {
	f := FitCurve([]float64{1, 4, 16}, []float64{0.5, 0.7, 0.8})
	near(t, "exponent", f.Exponent, 0.5, 1e-9)
	near(t, "floor", f.Floor, 0.1, 1e-9)
	near(t, "scale", f.Scale, 0.4, 1e-9)
	near(t, "accuracy at 64", f.Accuracy(64), 0.85, 1e-9)
}

// Curves of the law are found again from several trainings a size, whatever their order.
func TestFitCurveFindsTheLaw(t *testing.T) {
	for _, want := range []Fit{{0.2, 0.9, 0.5}, {0, 1.1, 0.3}, {0.05, 4, 1}, {0.1, 0.5, 0.1}} {
		var n, a []float64
		for _, k := range []float64{2000, 250, 250, 500, 260, 1000} {
			n, a = append(n, k), append(a, want.Accuracy(k))
		}
		got := FitCurve(n, a)
		near(t, "exponent", got.Exponent, want.Exponent, 1e-9)
		near(t, "floor", got.Floor, want.Floor, 1e-9)
		near(t, "scale", got.Scale, want.Scale, 1e-7)
	}
}

// Beyond the bounds the nearest curve within them is taken. By hand: errors of n⁻²/2 at 1, 4, 16 want an exponent above 1 and a
// floor below 0; with 1 and 0, Σxy/Σx² = (0.5 + 0.03125/4 + 0.001953125/16)/(1 + 1/16 + 1/256) = 0.476305.
func TestFitCurveStaysWithinItsBounds(t *testing.T) {
	f := FitCurve([]float64{1, 4, 16}, []float64{0.5, 1 - 0.03125, 1 - 0.001953125})
	if f.Exponent != 1 || f.Floor != 0 {
		t.Errorf("%+v", f)
	}
	near(t, "scale", f.Scale, 0.476305, 1e-6)
	for _, falling := range [][]float64{{0.7, 0.6, 0.5}, {0.6, 0.6, 0.6}} {
		f = FitCurve([]float64{10, 20, 40}, falling)
		near(t, "accuracy of a curve that does not rise", f.Accuracy(1000), 0.6, 1e-9)
		near(t, "gain", f.gain(40, 1000), 0, 1e-9)
	}
}

// By hand: squares around the means 0.63, 0.71, 0.76 are 0.002, 0.0004, 0.0002, of 3 + 3 + 1 degrees of freedom.
func TestTrainingStd(t *testing.T) {
	var points []Point
	for part, as := range map[int][]float64{8: {0.6, 0.62, 0.64, 0.66}, 4: {0.7, 0.7, 0.72, 0.72}, 2: {0.75, 0.77}, 1: {0.8}} {
		for _, a := range as {
			points = append(points, Point{Part: part, Accuracy: a})
		}
	}
	near(t, "pooled deviation", trainingStd(points), math.Sqrt(0.0026/7), 1e-12)
}

func TestStepsOfTheExtrapolation(t *testing.T) {
	for now, want := range map[int][]int{
		40: {40}, 180: {100, 180, 300}, 300: {100, 300}, 2250: {300, 1000, 2250, 3000}, 60_000: {3000, 10_000, 30_000, 60_000, 100_000},
	} {
		if got := steps(now); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %v, want %v", now, got, want)
		}
	}
}

// invented are outcomes of models whose chance to be right follows the law, on pairs some of which all of them find hard.
func invented(law Fit, held []Pair, seed uint64) []outcome {
	var out []outcome
	for i, p := range pointsToDo() {
		p.Pairs = 2000 / p.Part
		right := make([]float64, len(held))
		for j := range held {
			// One uniform for all models with probability ½, else one of each model's own: the mean is the law's.
			u := rng.At(seed, 1, uint64(j), 0)
			if rng.At(seed, 2, uint64(j), 0) < 0.5 {
				u = rng.At(seed, 3, uint64(j), uint64(i))
			}
			if u < law.Accuracy(float64(p.Pairs)) {
				right[j] = 1
			}
		}
		var all []int
		for j := range held {
			all = append(all, j)
		}
		p.Accuracy = mean(right, all)
		out = append(out, outcome{p, right})
	}
	return out
}

// The 95 % interval of an extrapolation has the law's own gain in it in about 95 of 100 cases; with 40, 33 or fewer would
// happen to a true 95 % once in 2000 times (binomial).
func TestExtrapolationHasTheTruthInItsInterval(t *testing.T) {
	law := Fit{0.15, 2.5, 0.4}
	held := make([]Pair, 300)
	for i := range held {
		held[i] = Pair{Prompt: string(rune('a' + i/2)), Better: 1}
	}
	truth, hits := law.gain(2000, 2000), 0
	const worlds = 40
	for w := range worlds {
		c := newCurve(invented(law, held, uint64(w)), held, 1)
		g := c.More[len(c.More)-2]
		if g.Pairs != 2000 || c.HeldPairs != 300 || c.HeldPrompts != 150 {
			t.Fatalf("%+v of %d pairs, %d prompts", g, c.HeldPairs, c.HeldPrompts)
		}
		if g.Interval.Low <= truth && truth <= g.Interval.High {
			hits++
		}
		if !(g.SE > 0) || g.Interval.Low > g.Points || g.Points > g.Interval.High {
			t.Errorf("world %d: %+v", w, g)
		}
	}
	t.Logf("%d of %d", hits, worlds)
	if hits <= 33 {
		t.Errorf("the truth, %.2f points, lies in %d of %d intervals", truth, hits, worlds)
	}
}

// The draws of held-out prompts are the same for every model: where all say the same of each pair, there is no gain and no
// doubt about it, however uncertain the accuracy itself is.
func TestExtrapolationIsPaired(t *testing.T) {
	held := make([]Pair, 60)
	same := make([]float64, len(held))
	for i := range held {
		held[i] = Pair{Prompt: string(rune('a' + i)), Better: 1}
		same[i] = float64(i % 2)
	}
	held[7].Better, same[7] = 0.5, -1
	var done []outcome
	for _, p := range pointsToDo() {
		p.Pairs, p.Accuracy = 800/p.Part, 29./59
		done = append(done, outcome{p, same})
	}
	c := newCurve(done, held, 1)
	if c.HeldPairs != 59 || c.HeldPrompts != 59 {
		t.Errorf("%d pairs of %d prompts count, 59 are no ties", c.HeldPairs, c.HeldPrompts)
	}
	for _, g := range c.More {
		if math.Abs(g.Points) > 1e-9 || g.SE > 1e-9 {
			t.Errorf("%+v", g)
		}
	}
}

func TestSubsetsLieInEachOther(t *testing.T) {
	pairs := invent(120, 40)
	differ := false
	for chain := range 4 {
		in := map[string]bool{}
		for i, part := range []int{8, 4, 2, 1} {
			got := subset(pairs, part, 5, chain)
			// 40 prompts of 3 pairs each.
			if len(got) != 120/part || countPrompts(got) != 40/part {
				t.Errorf("chain %d, 1/%d: %d pairs of %d prompts", chain, part, len(got), countPrompts(got))
			}
			now := map[string]bool{}
			for _, p := range got {
				now[p.Prompt] = true
			}
			for p := range in {
				if !now[p] {
					t.Errorf("chain %d: prompt %q is in a smaller subset and not in 1/%d", chain, p, part)
				}
			}
			in = now
			if i == 0 {
				differ = differ || !reflect.DeepEqual(got, subset(pairs, part, 5, 0))
			}
		}
	}
	if !differ {
		t.Error("all chains draw the same")
	}
	if all := subset(pairs, 1, 5, 3); !reflect.DeepEqual(all, pairs) {
		t.Error("the whole is not in its order")
	}
}

func TestCurveSaysWhatIsMissing(t *testing.T) {
	c := testConfig()
	pairs := invent(120, 40)
	ties := append([]Pair(nil), pairs[48:]...)
	for i := range ties {
		ties[i].Better = 0.5
	}
	for want, in := range map[string]CurveInputs{
		"19 held-out prompts have a pair that is no tie": {Train: pairs[:48], Held: pairs[48 : 48+57]},
		"0 held-out prompts":                             {Train: pairs[:48], Held: ties},
		"15 prompts to train on":                         {Train: pairs[:45], Held: pairs[48:]},
		"48 pairs to train on, and 1/8 of":               {Train: pairs[:48], Held: pairs[48:]},
	} {
		c := c
		if strings.HasPrefix(want, "48") {
			c.Batch = 7 // an eighth is 6
		}
		if err := enough(c, in); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s …", err, want)
		}
	}
}

// drawThrough draws a curve, interrupted (every > 0) or killed (every < 0) after that many steps, again and again.
func drawThrough(t *testing.T, m *model.Model, c Config, pairs []Pair, root string, every int) (*Curve, int) {
	t.Helper()
	for starts := 1; ; starts++ {
		d, err := run.Open(root, "test")
		if err != nil {
			t.Fatal(err)
		}
		st := d.Stage("curve")
		if _, err := st.Begin(run.Manifest{}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		stopping := &stopper{after: every, stop: stop}
		in := CurveInputs{Model: m, Train: pairs[:48], Held: pairs[48:], Seed: 1, Progress: func(string) Progress { return stopping }}
		in.Fresh = func(uint64) (*peft.Adapter, error) { return newAdapter(t, m, 0.1), nil }
		curve, err := func() (_ *Curve, err error) {
			defer func() {
				if r := recover(); r == errKilled {
					err = errKilled
				} else if r != nil {
					panic(r)
				}
			}()
			return DrawCurve(ctx, c, in, st)
		}()
		stop()
		if err == nil {
			err = st.Finish(len(curve.Points), nil)
		}
		d.Close()
		switch {
		case err == nil:
			return curve, starts
		case errors.Is(err, errKilled), errors.Is(err, context.Canceled):
			if starts > 100 {
				t.Fatal("it never ends")
			}
		default:
			t.Fatal(err)
		}
	}
}

// A curve that is cut off, in a training and between two, ends as one that was not; its point of all prompts is the stage's
// own model; nothing of the trainings is left.
func TestCurveGoesOnWhereItWasCutOff(t *testing.T) {
	m := openModel(t)
	c, pairs := testConfig(), invent(120, 40)
	whole, _ := drawThrough(t, m, c, pairs, t.TempDir(), 0)
	if len(whole.Points) != 11 {
		t.Fatalf("%d points", len(whole.Points))
	}
	a := newAdapter(t, m, 0.1)
	d, err := run.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	st := d.Stage("reward")
	if _, err := st.Begin(run.Manifest{}); err != nil {
		t.Fatal(err)
	}
	own, err := Train(context.Background(), c, Inputs{Model: m, Adapter: a, Train: pairs[:48], Held: pairs[48:], Seed: 1}, st)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	last := whole.Points[len(whole.Points)-1]
	if last.Accuracy != own.Held.Accuracy || last.Loss != own.Held.Loss || last.Pairs != 48 || last.Prompts != 16 {
		t.Errorf("the last point is %+v, the stage's model has %s, loss %g", last, own.Held, own.Held.Loss)
	}
	// 11 trainings have 4·1 + 4·2 + 2·4 + 8 = 28 steps.
	for _, every := range []int{3, -3, -5, 9} {
		root := t.TempDir()
		got, starts := drawThrough(t, m, c, pairs, root, every)
		if starts < 3 {
			t.Errorf("every %d: only %d starts", every, starts)
		}
		if !reflect.DeepEqual(got, whole) {
			t.Errorf("every %d: %+v, want %+v", every, got, whole)
		}
		if _, err := os.Stat(filepath.Join(root, "test", "curve", trainingsDir)); !os.IsNotExist(err) {
			t.Errorf("the trainings are still there: %v", err)
		}
	}
}
