package reward

import (
	"context"
	"math"
	"slices"
	"testing"

	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// scoreAlone is the score of one text that goes through the model by itself.
func scoreAlone(t *testing.T, m *model.Model, a *peft.Adapter, ids []int32) float64 {
	t.Helper()
	s, err := m.ScoresOf(context.Background(), tensor.NewInferenceTape(m.Pool()), a, [][]int32{ids}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return float64(s[0])
}

// found is a pair whose better side has more tokens than the other by so many, and is scored higher or lower.
func found(t *testing.T, m *model.Model, a *peft.Adapter, number, longer int, right bool, better float64) Pair {
	t.Helper()
	r := rng.New(77, uint64(number))
	text := func(n int) []int32 {
		ids := []int32{5, 6}
		for range n {
			ids = append(ids, int32(3+r.IntN(m.Vocab-3)))
		}
		return ids
	}
	for range 1000 {
		p := Pair{Chosen: text(5 + max(longer, 0)), Rejected: text(5 - min(longer, 0)), Better: better}
		if scoreAlone(t, m, a, p.Chosen) > scoreAlone(t, m, a, p.Rejected) == right {
			return p
		}
	}
	t.Fatal("the model scores no such pair")
	return Pair{}
}

// Nine pairs and two ties, by hand: five are right and one of equal scores is half right; the longer side is the better in four, and
// two have equal lengths. Ties would add two to both.
func TestMeasureCounts(t *testing.T) {
	m := openModel(t)
	a := newAdapter(t, m, 0)
	var pairs []Pair
	for i, c := range []struct {
		longer int
		right  bool
		better float64
	}{
		{2, true, 1}, {1, true, 1}, {-3, true, 1}, {0, true, 1}, {4, true, 1}, {1, true, 0.5}, {2, false, 1}, {-1, false, 1}, {-2, false, 1}, {3, true, 0.5},
	} {
		pairs = append(pairs, found(t, m, a, i, c.longer, c.right, c.better))
	}
	pairs = append(pairs, Pair{Chosen: []int32{4, 9, 9}, Rejected: []int32{4, 9, 9}, Better: 1})
	got, err := Measure(context.Background(), m, a, pairs, 30)
	if err != nil {
		t.Fatal(err)
	}
	loss, gap, mean := 0.0, 0.0, 0.0
	var chosen, rejected []float64
	for _, p := range pairs {
		c, r := scoreAlone(t, m, a, p.Chosen), scoreAlone(t, m, a, p.Rejected)
		chosen, rejected = append(chosen, c), append(rejected, r)
		loss -= (p.Better*math.Log(1/(1+math.Exp(r-c))) + (1-p.Better)*math.Log(1/(1+math.Exp(c-r)))) / 11
		gap, mean = gap+(c-r)/11, mean+(c+r)/22
	}
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"pairs", float64(got.N), 9},
		{"accuracy", got.Accuracy, 5.5 / 9},
		{"longer wins", got.LongerWins, 5.0 / 9},
		// The roots p of (p - 5.5/9)^2 = z^2 p(1-p)/9 with z = 1.959964 (Wilson 1927).
		{"lower end", got.Interval.Low, 0.30917610230423637},
		{"upper end", got.Interval.High, 0.8465694424914205},
		{"loss", got.Loss, loss},
		{"gap", got.Gap, gap},
		{"mean reward", got.MeanReward, mean},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
	if !slices.Equal(got.Chosen, chosen) || !slices.Equal(got.Rejected, rejected) {
		t.Error("the scores are not those of the texts alone")
	}
}
