package labeling

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// walk judges items as they come until none is left or fn says stop, and returns their places in the order they came.
func walk(t *testing.T, ss *Session, most int, fn func(*Task)) []int64 {
	t.Helper()
	ctx := context.Background()
	task, err := ss.Resume(ctx)
	var out []int64
	for ; err == nil && task != nil && len(out) < most; task, err = ss.Next(ctx, task.Item.Seq) {
		out = append(out, task.Item.Seq)
		if fn != nil {
			fn(task)
		}
		if _, err := ss.Judge(ctx, task, task.Decide(0, Much), time.Second, Data{}); err != nil {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func session(t *testing.T, s *Store, who string, q Queue) *Session {
	t.Helper()
	ss, err := s.NewSession(SessionConfig{Annotator: who, Seed: 1, Queue: q})
	if err != nil {
		t.Fatal(err)
	}
	return ss
}

// The order by scores, by hand: Δ of three models, standard deviations 0, 1 and 2, means 3, 1 and -2.
func TestOrderByScores(t *testing.T) { onBackends(t, testOrderByScores) }

func testOrderByScores(t *testing.T) {
	ctx := context.Background()
	store := func() *Store {
		s := newTestStore(t)
		addPairs(t, s, 4) // the fourth has no scores and is not asked
		for model, deltas := range map[string][3]float64{"a": {3, 0, -4}, "b": {3, 1, -2}, "c": {3, 2, 0}} {
			var list []Scored
			for i, d := range deltas {
				list = append(list, Scored{int64(i + 1), []float64{d + 7, 7}})
			}
			if n, err := s.AddScores(ctx, model, list); err != nil || n != 3 {
				t.Fatal(n, err)
			}
			if n, err := s.AddScores(ctx, model, list); err != nil || n != 0 {
				t.Errorf("again: %d, %v", n, err)
			}
		}
		return s
	}
	for order, want := range map[Order][]int64{Uncertain: {3, 2, 1}, Close: {2, 3, 1}} {
		s := store()
		var pick string
		got := walk(t, session(t, s, "ann", Queue{Order: order}), 9, func(task *Task) { pick = task.Pick })
		if !slices.Equal(got, want) || pick != string(order) {
			t.Errorf("%s: %v (%s), want %v", order, got, pick, want)
		}
		evs, err := s.Events(ctx)
		if err != nil || evs[0].Data.Pick != string(order) {
			t.Errorf("the log says %+v, %v", evs[0].Data, err)
		}
	}
	s := newTestStore(t)
	addPairs(t, s, 1)
	if _, err := session(t, s, "ann", Queue{Order: Close}).Resume(ctx); err == nil || !strings.Contains(err.Error(), "plumb label score") {
		t.Errorf("without scores: %v", err)
	}
	if _, err := s.AddScores(ctx, "m", []Scored{{1, []float64{1, 2}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := session(t, s, "ann", Queue{Order: Uncertain}).Resume(ctx); err == nil || !strings.Contains(err.Error(), "one model alone") {
		t.Errorf("with one model: %v", err)
	}
	for want, bad := range map[string]Scored{"has no item 9": {9, []float64{1, 2}}, "1 scores of 2": {1, []float64{1}}, "no number": {1, []float64{1, math.NaN()}}} {
		if _, err := s.AddScores(ctx, "m", []Scored{bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A share of the items is asked by chance, in the place that the share says, and is the same whatever the scores are.
func TestRandomItemsAreKeptApart(t *testing.T) { onBackends(t, testRandomItemsAreKeptApart) }

func testRandomItemsAreKeptApart(t *testing.T) {
	ctx := context.Background()
	random := func(sign float64) (picked []int64, places []int) {
		s := newTestStore(t)
		addPairs(t, s, 400)
		var list []Scored
		for i := range 400 {
			list = append(list, Scored{int64(i + 1), []float64{sign * float64(i*i%97), 0}})
		}
		if _, err := s.AddScores(ctx, "m", list); err != nil {
			t.Fatal(err)
		}
		n := 0
		walk(t, session(t, s, "ann", Queue{Order: Close, Random: 0.25}), 200, func(task *Task) {
			if n++; task.Pick == "random" {
				picked, places = append(picked, task.Item.Seq), append(places, n)
			}
		})
		return picked, places
	}
	a, places := random(1)
	b, _ := random(-3)
	if !slices.Equal(a, b) {
		t.Errorf("the random items depend on the scores: %v, %v", a, b)
	}
	// Every fourth of 200 is random; of 400 items about 100 are in the share (standard deviation 8.7), so they last.
	if len(places) != 50 || places[0] != 4 || places[49] != 200 {
		t.Errorf("places %v", places)
	}
	if slices.IsSorted(a) {
		t.Error("they come in the order they were added")
	}
}

func TestTagAndSource(t *testing.T) { onBackends(t, testTagAndSource) }

func testTagAndSource(t *testing.T) {
	s := newTestStore(t)
	var items []Item
	for i := range 6 {
		it := pair(i)
		it.Tags = []string{"all", fmt.Sprint("t", i%2)}
		it.Answers[i%2].Model = fmt.Sprint("m", i%3)
		items = append(items, it)
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	if got := walk(t, session(t, s, "ann", Queue{Tag: "t1", Source: "m1"}), 9, nil); !slices.Equal(got, []int64{2}) {
		t.Errorf("%v", got)
	}
	if got := walk(t, session(t, s, "ann", Queue{Tag: "t1"}), 9, nil); !slices.Equal(got, []int64{4, 6}) {
		t.Errorf("%v", got)
	}
	if got := walk(t, session(t, s, "ann", Queue{Source: "b"}), 9, nil); !slices.Equal(got, []int64{1, 3, 5}) {
		t.Errorf("%v", got)
	}
	if got := walk(t, session(t, s, "ann", Queue{Tag: "none"}), 9, nil); got != nil {
		t.Errorf("%v", got)
	}
}

// A fifth of 500 items needs two people, the rest one.
func TestOverlapShare(t *testing.T) { onBackends(t, testOverlapShare) }

func testOverlapShare(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 500)
	q := Queue{Overlap: 2, OverlapShare: 0.2}
	first, second := walk(t, session(t, s, "ann", q), 999, nil), walk(t, session(t, s, "bob", q), 999, nil)
	// Binomial(500, 0.2): 100 with a standard deviation of 8.9; 40 off is 4.5 of them, and the draw is a hash, always the same.
	if len(first) != 500 || len(second) < 60 || len(second) > 140 {
		t.Errorf("ann judged %d, bob %d", len(first), len(second))
	}
	if third := walk(t, session(t, s, "cyd", q), 999, nil); third != nil {
		t.Errorf("a third person got %v", third)
	}
}

// Repeats come after twenty others, once, look new, and leave the first judgement in force; undo goes back to them.
func TestHiddenRepeats(t *testing.T) { onBackends(t, testHiddenRepeats) }

func testHiddenRepeats(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 100)
	ss := session(t, s, "ann", Queue{Repeat: 0.3})
	seen, shown := map[int64]int{}, map[int64][]int{}
	n, again, turned := 0, 0, 0
	walk(t, ss, 999, func(task *Task) {
		n++
		at, known := seen[task.Item.Seq]
		if known != task.Again {
			t.Fatalf("item %d for the second time: %v, task says %v", task.Item.Seq, known, task.Again)
		}
		if known {
			again++
			if n-at <= repeatAfter || task.Judged != nil {
				t.Errorf("item %d comes back after %d, judged %v", task.Item.Seq, n-at, task.Judged)
			}
			if !slices.Equal(task.Shown, shown[task.Item.Seq]) {
				turned++
			}
		}
		seen[task.Item.Seq], shown[task.Item.Seq] = n, task.Shown
	})
	// 30 % of the 80 that have 20 after them: 24, standard deviation 4.1; the draw is a hash.
	if again < 10 || again > 40 || turned == 0 || turned == again {
		t.Errorf("%d repeats, %d on the other side", again, turned)
	}
	q, err := s.Quality(ctx)
	if err != nil || q.People[0].Judged != 100 || q.People[0].Repeats != again {
		t.Fatalf("%+v, %v", q.People, err)
	}
	// Always the left one: consistent where the side was the same.
	if got := q.People[0].Consistent; got != again-turned {
		t.Errorf("%d consistent of %d, %d were turned", got, again, turned)
	}
	if q.Own.N != again || q.Ceiling.N != 0 || !strings.Contains(q.Sentence(), "asked twice") {
		t.Errorf("%+v: %s", q.Own, q.Sentence())
	}
	b := newBench(t, s, 80, 24)
	for !b.m.busy && b.m.task == nil || b.m.task != nil && !b.m.task.Again {
		before := b.m.task
		b.press("u")
		if b.m.task == before && b.m.status == "nothing left to undo" {
			t.Fatal("no repeat was undone")
		}
	}
	if b.m.task.Judged != nil || strings.Contains(b.screen(), "you chose") {
		t.Errorf("the repeat shows what was chosen:\n%s", b.screen())
	}
}

// Gold comes to everyone, one in five here, whatever others did, and is measured.
func TestGold(t *testing.T) { onBackends(t, testGold) }

func testGold(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 20)
	file := strings.Builder{}
	for i := range 3 {
		fmt.Fprintf(&file, `{"prompt":"known %d","chosen":"right","rejected":"wrong"}`+"\n", i)
	}
	for i, want := range []int{3, 0} {
		got, err := s.Import(ctx, strings.NewReader(file.String()), "g.jsonl", ImportOptions{Gold: true})
		if err != nil || got.Gold != want || got.Judged != 0 {
			t.Fatalf("import %d: %+v, %v", i, got, err)
		}
	}
	for _, who := range []string{"ann", "bob"} {
		var places []int
		n := 0
		walk(t, session(t, s, who, Queue{GoldEvery: 5, Overlap: 2}), 99, func(task *Task) {
			if n++; strings.HasPrefix(task.Item.Prompt.Text, "known") {
				places = append(places, n)
				if task.Pick != "gold" {
					t.Errorf("pick %q", task.Pick)
				}
			}
		})
		if !slices.Equal(places, []int{5, 10, 15}) || n != 23 {
			t.Errorf("%s: gold at %v of %d", who, places, n)
		}
	}
	q, err := s.Quality(ctx)
	if err != nil || q.People[0].Gold != 3 {
		t.Fatalf("%+v, %v", q.People, err)
	}
	right := 0 // always the left answer: right where that was "right"
	for seq := int64(21); seq <= 23; seq++ {
		task, err := session(t, s, "ann", Queue{}).Task(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		right += index(task.Answer(0).Text == "right")
	}
	if q.People[0].GoldRight != right {
		t.Errorf("%d right, counted %d", q.People[0].GoldRight, right)
	}
	// A merge brings gold and scores along, in the order of the answers there.
	if _, err := s.AddScores(ctx, "m", []Scored{{21, []float64{1, 2}}}); err != nil {
		t.Fatal(err)
	}
	other := newTestStore(t)
	it, err := s.Item(ctx, 21)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{it.Answers[0].Text, it.Answers[1].Text}
	it.Answers[0], it.Answers[1] = it.Answers[1], it.Answers[0]
	if _, err := other.AddItems(ctx, []Item{it}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := other.Merge(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	golds, err := other.Golds(ctx)
	if err != nil || len(golds) != 3 {
		t.Fatalf("%v, %v", golds, err)
	}
	there, err := other.Item(ctx, 1)
	if err != nil || there.Answers[golds[1].Decision.Ranking[0]].Text != "right" {
		t.Errorf("%+v of %+v, %v", golds[1], there, err)
	}
	scores, err := other.Scores(ctx, 1)
	if err != nil || len(scores) != 1 || scores[0].Scores[slices.IndexFunc(there.Answers, func(a Answer) bool { return a.Text == texts[1] })] != 2 {
		t.Errorf("scores %v, %v", scores, err)
	}
}

func TestReshape(t *testing.T) {
	list := []Labelled{{Item: pair(1)}, {Item: pair(2)}, {Item: Item{Prompt: pair(1).Prompt, Answers: []Answer{{Text: "third"}, {Text: "first answer 1"}}}}}
	for mode, want := range map[Mode]string{
		Single:  "first answer 1|second answer 1|third|first answer 2|second answer 2",
		Rate:    "first answer 1|second answer 1|third|first answer 2|second answer 2",
		Rank:    "first answer 1,second answer 1,third|first answer 2,second answer 2",
		Compare: "first answer 1,second answer 1|first answer 2,second answer 2|third,first answer 1",
	} {
		got, left, err := Reshape(list, mode)
		var items []string
		for _, l := range got {
			var as []string
			for _, a := range l.Item.Answers {
				as = append(as, a.Text)
			}
			items = append(items, strings.Join(as, ","))
			if err := l.Item.check(); err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(want, strings.Join(items, "|")); diff != "" || err != nil || len(left) > 0 {
			t.Errorf("%s: %v %v %s", mode, err, left, diff)
		}
	}
	if _, _, err := Reshape(list, "guess"); err == nil {
		t.Error("an unknown mode was taken")
	}
	var many []Labelled
	for i := range 12 {
		many = append(many, Labelled{Item: Item{Mode: Single, Prompt: Prompt{Text: "p"}, Answers: []Answer{{Text: fmt.Sprint(i)}}}})
	}
	got, left, err := Reshape(many, Rank)
	if err != nil || len(got) != 1 || len(got[0].Item.Answers) != 9 || left["an answer past the 9th to one prompt"] != 3 {
		t.Errorf("%v %v %v", got, left, err)
	}
}

func TestQueueRefuses(t *testing.T) { onBackends(t, testQueueRefuses) }

func testQueueRefuses(t *testing.T) {
	s := newTestStore(t)
	for _, q := range []Queue{{Order: "best"}, {Random: 1.5}, {Repeat: -1}, {OverlapShare: math.NaN()}, {Overlap: -1}} {
		if _, err := s.NewSession(SessionConfig{Annotator: "a", Queue: q}); err == nil {
			t.Errorf("%+v was taken", q)
		}
	}
}
