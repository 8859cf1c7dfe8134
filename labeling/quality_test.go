package labeling

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"plumb/internal/stats"
)

// unitsOf reads observers' values, one string an observer, '.' for missing, into tallies of the values 1..values (or a..).
func unitsOf(values int, first byte, observers ...string) []tally {
	units := make([]tally, len(observers[0]))
	for i := range units {
		units[i] = make(tally, values)
		for _, o := range observers {
			if o[i] != '.' {
				units[i][o[i]-first]++
			}
		}
	}
	return units
}

// The worked examples of Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", with the results printed there.
func TestAlphaAgainstPublishedExamples(t *testing.T) {
	for _, c := range []struct {
		name  string
		units []tally
		δ     metric
		want  float64
	}{
		{"A: binary, two observers", unitsOf(2, '0', "0100000010", "1110010000"), nominal, 0.095},
		{"B: nominal, two observers", unitsOf(5, 'a', "aabbdcccedda", "babbbccceddd"), nominal, 0.692},
		{"C: nominal, four observers, missing values", unitsOf(5, '1', "123321412...", "1233224125.3", ".3332342251.", "12332441251."), nominal, 0.743},
		{"C: ordinal", unitsOf(5, '1', "123321412...", "1233224125.3", ".3332342251.", "12332441251."), ordinal, 0.815},
	} {
		if got := alpha(c.units, c.δ); math.Abs(got-c.want) > 0.0005 { // printed with three digits
			t.Errorf("%s: %.4f, want %.3f", c.name, got, c.want)
		}
	}
	if got := alpha(unitsOf(2, '0', "0000", "0000"), nominal); !math.IsNaN(got) {
		t.Errorf("one value only: %v", got)
	}
	e := alphaOf(unitsOf(5, '1', "123321412...", "1233224125.3", ".3332342251.", "12332441251."), nominal)
	if v := float64(e.Value); e.N != 11 || float64(e.Low) > v || float64(e.High) < v || e.Low < 0 || e.High > 1 { // unit 12 has one value
		t.Errorf("%+v", e)
	}
}

// By hand, the table of Cohen's κ that every textbook has: 20 both yes, 5 and 10 apart, 15 both no: (0.7 - 0.5)/(1 - 0.5).
func TestKappaByHand(t *testing.T) {
	var a, b []int
	for _, c := range []struct{ n, a, b int }{{20, 1, 1}, {5, 1, 0}, {10, 0, 1}, {15, 0, 0}} {
		for range c.n {
			a, b = append(a, c.a), append(b, c.b)
		}
	}
	k, same := kappaOf(a, b)
	if math.Abs(float64(k.Value)-0.4) > 1e-12 || math.Abs(same-0.7) > 1e-12 || k.Low >= 0.4 || k.High <= 0.4 {
		t.Errorf("%+v, same %v", k, same)
	}
}

// ceiling by hand: agreement 0.82 = q² + (1-q)² has q = 0.9; and no mixture of items gets a model above it.
func TestCeiling(t *testing.T) {
	if got := ceiling(0.82); math.Abs(got-0.9) > 1e-12 {
		t.Errorf("ceiling(0.82) = %v", got)
	}
	if ceiling(1) != 1 || ceiling(0.5) != 0.5 || ceiling(0.3) != 0.5 {
		t.Error("ends", ceiling(1), ceiling(0.5), ceiling(0.3))
	}
	rapid.Check(t, func(t *rapid.T) {
		qs := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 20).Draw(t, "qs")
		agree, best := 0.0, 0.0
		for _, q := range qs {
			agree += (q*q + (1-q)*(1-q)) / float64(len(qs))
			best += max(q, 1-q) / float64(len(qs))
		}
		if c := ceiling(agree); best > c+1e-9 {
			t.Fatalf("a model reaches %v where the ceiling is %v", best, c)
		}
	})
}

// The chance of a run against counting all sequences of twelve coins.
func TestRunChanceByCounting(t *testing.T) {
	const n = 12
	for run := 1; run <= n; run++ {
		hits := 0
		for x := range 1 << n {
			coins := make([]bool, n)
			for i := range coins {
				coins[i] = bits.Len(uint(x>>i&1)) == 1
			}
			hits += index(longestRun(coins) >= run)
		}
		if got, want := runChance(n, run), float64(hits)/(1<<n); math.Abs(got-want) > 1e-12 {
			t.Errorf("a run of %d: %v, counted %v", run, got, want)
		}
	}
}

// sayings is a store of n pairs in which people say what fn tells: of item i (from 0) a decision and seconds, ok false for nothing.
func sayings(t *testing.T, n int, who []string, fn func(who string, i int, task *Task) (Decision, float64, bool)) *Store {
	t.Helper()
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, n)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, w := range who {
		ss, err := s.NewSession(SessionConfig{Annotator: w, Seed: 1, Now: func() time.Time { at = at.Add(time.Second); return at }})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			task, err := ss.Task(ctx, int64(i+1))
			if err != nil {
				t.Fatal(err)
			}
			d, seconds, ok := fn(w, i, task)
			if !ok {
				continue
			}
			if _, err := ss.Judge(ctx, task, d, time.Duration(seconds*float64(time.Second)), Data{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// One person always takes the left answer, one always the longer one ("second answer" has a letter more than "first
// answer"), and both are found out; a third is fair.
func TestBiasesAreFound(t *testing.T) { onBackends(t, testBiasesAreFound) }

func testBiasesAreFound(t *testing.T) {
	s := sayings(t, 60, []string{"fair", "lefty", "longy"}, func(who string, i int, task *Task) (Decision, float64, bool) {
		switch who {
		case "lefty":
			return task.Decide(0, Much), 5, true
		case "longy":
			return Prefer(index(strings.HasPrefix(task.Item.Answers[1].Text, "second")), Much), 10 + float64(i%7), true
		}
		if i == 3 {
			return Prefer(i%2, 1), 0.1, true // out of the way: 5 to 11 s are usual
		}
		if i%10 == 9 {
			return Decision{Choice: Tie}, 5, true
		}
		return Prefer(i%2, 1), 5 + float64(i%7), true
	})
	q, err := s.Quality(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	fair, lefty, longy := q.People[0], q.People[1], q.People[2]
	// 60 of 60 on one side: p = 2 · 2^-60.
	if lefty.Left != 60 || math.Abs(lefty.PositionP-math.Exp2(-59)) > 1e-30 || lefty.Streak != 60 || lefty.StreakP > 1e-15 || lefty.StreakP <= 0 {
		t.Errorf("lefty: %+v", lefty)
	}
	if longy.Longer != 60 || longy.LengthP > 1e-15 || longy.PositionP < 1e-4 {
		t.Errorf("longy: %+v", longy)
	}
	if fair.PositionP < 0.01 || fair.LengthP < 0.01 || math.Abs(fair.Ties-0.1) > 1e-12 || !cmp.Equal(fair.Fast, []int64{4}) || len(fair.Slow) > 0 {
		t.Errorf("fair: %+v", fair)
	}
	// Three stretches of the sitting: 25, 25 and 10 judgements; every tenth is a tie, so 2, 3 and 1 of them.
	var got []string
	for _, f := range fair.Fatigue {
		got = append(got, fmt.Sprintf("%d-%d %d %.3f", f.From, f.To, f.N, float64(f.Ties)))
	}
	if diff := cmp.Diff([]string{"1-25 25 0.080", "26-50 25 0.120", "51-100 10 0.100"}, got); diff != "" {
		t.Error(diff)
	}
}

// Two people who agree on nine of ten pairs and one who says the same twice, with what follows counted by hand.
func TestAgreementOfPeople(t *testing.T) { onBackends(t, testAgreementOfPeople) }

func testAgreementOfPeople(t *testing.T) {
	ctx := context.Background()
	s := sayings(t, 50, []string{"ann", "bob"}, func(who string, i int, _ *Task) (Decision, float64, bool) {
		w := i % 2
		if who == "bob" && i%10 == 0 {
			w = 1 - w
		}
		return Prefer(w, Clearly), 3, true
	})
	q, err := s.Quality(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Agreement 0.9: ceiling (1 + sqrt(0.8))/2 = 0.9472.
	if len(q.Pairs) != 1 || math.Abs(float64(q.Pairs[0].Same)-0.9) > 1e-12 || q.Disputed != 5 || math.Abs(float64(q.Ceiling.Value)-0.947214) > 1e-6 {
		t.Errorf("%+v", q)
	}
	if !strings.Contains(q.Sentence(), "no reward model can be measured above 94.7 %") {
		t.Error(q.Sentence())
	}
	// κ: ann says 25 and 25, bob 30 and 20 (the disputed are items 0, 10, .. where ann says 0): p_e = ½, κ = 0.8.
	if k := q.Pairs[0].Kappa; math.Abs(float64(k.Value)-0.8) > 1e-12 {
		t.Errorf("κ %+v", k)
	}
	for _, a := range q.Alphas {
		if !(a.Low <= a.Value && a.Value <= a.High) {
			t.Errorf("%+v", a)
		}
	}
	// A reviewer rules on one; it wins in exports and the judgements stay.
	ss, err := s.NewSession(SessionConfig{Annotator: "eve", Review: true})
	if err != nil {
		t.Fatal(err)
	}
	task, err := ss.Resume(ctx)
	if err != nil || task.Item.Seq != 1 || len(task.Opinions) != 2 {
		t.Fatalf("%+v, %v", task, err)
	}
	if _, err := ss.Judge(ctx, task, Prefer(1, Slightly), time.Second, Data{}); err != nil {
		t.Fatal(err)
	}
	if next, err := ss.Next(ctx, 1); err != nil || next.Item.Seq != 11 {
		t.Errorf("next %+v, %v", next, err)
	}
	count := func() (n int, by string) {
		err := s.EachLabel(ctx, func(j Judgement) error {
			if j.Item.Seq == 1 {
				n++
				by += j.Event.Annotator
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, by
	}
	if n, by := count(); n != 1 || by != "eve" {
		t.Errorf("%d labels by %s", n, by)
	}
	if js, err := s.Judgements(ctx); err != nil || len(js) != 100 {
		t.Errorf("%d judgements, %v", len(js), err)
	}
	if _, err := ss.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if n, by := count(); n != 2 || by != "annbob" {
		t.Errorf("after undo: %d labels by %s", n, by)
	}
}

func TestNumbersInJSON(t *testing.T) {
	s := newTestStore(t)
	q, err := s.Quality(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := marshal(q); err != nil || !strings.Contains(string(b), `"value":null`) || q.Sentence() != "" {
		t.Errorf("%s, %v", b, err)
	}
	if e := (Estimate{Value: stats.Number(math.NaN())}); e.String() != "not defined (0)" {
		t.Error(e)
	}
}
