package labeling

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAddItemsIsIdempotent(t *testing.T) { onBackends(t, testAddItemsIsIdempotent) }

func testAddItemsIsIdempotent(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	swapped := pair(1)
	swapped.Answers[0], swapped.Answers[1] = swapped.Answers[1], swapped.Answers[0]
	swapped.Answers[0].Source = "elsewhere"
	same := Item{Prompt: Prompt{Text: "q"}, Answers: []Answer{{Text: "x"}, {Text: "x"}}}
	got, err := s.AddItems(ctx, []Item{pair(1), pair(2), swapped, same, pair(1)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Added{Seqs: []int64{1, 2, 1, 0, 1}, New: 2, Existing: 2, Same: 1}, got); diff != "" {
		t.Error(diff)
	}
	seed, lp := uint64(1<<63+5), -12.5
	full := Item{
		Prompt:  Prompt{Messages: []Message{{"user", "hi <b>"}, {"assistant", "ho"}, {"user", "more"}}},
		Answers: []Answer{{Text: "a", Seed: &seed, LogProb: &lp, Model: "m", Meta: []byte(`{"t":1}`)}, {Turns: []Message{{"assistant", "b"}, {"user", "c"}}}},
		Tags:    []string{"x", "y"}, Meta: []byte(`{"k":"v"}`), Group: "g",
	}
	if got, err = s.AddItems(ctx, []Item{full}); err != nil {
		t.Fatal(err)
	}
	back, err := s.Item(ctx, got.Seqs[0])
	if err != nil {
		t.Fatal(err)
	}
	full.Seq, full.Mode, full.Hash = 3, Compare, full.ContentHash()
	if diff := cmp.Diff(full, back); diff != "" {
		t.Error(diff)
	}
}

func TestBadItemsAreRefusedWhole(t *testing.T) { onBackends(t, testBadItemsAreRefusedWhole) }

func testBadItemsAreRefusedWhole(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	for want, bad := range map[string]Item{
		"unknown mode":   {Mode: "guess", Answers: pair(1).Answers},
		"needs 2 to 2":   {Answers: []Answer{{Text: "a"}}},
		"valid UTF-8":    {Prompt: Prompt{Text: "\xff"}, Answers: pair(1).Answers},
		"not a JSON obj": {Meta: []byte("[1]"), Answers: pair(1).Answers},
	} {
		_, err := s.AddItems(ctx, []Item{pair(1), bad})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "item 1") {
			t.Errorf("error %v, want one about item 1: %s", err, want)
		}
	}
	if n, _, _ := s.Count(ctx); n != 0 {
		t.Errorf("%d items left behind by refused batches", n)
	}
}

func TestTheLogCannotBeChanged(t *testing.T) { onBackends(t, testTheLogCannotBeChanged) }

func testTheLogCannotBeChanged(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 1)
	ss, _ := s.NewSession(SessionConfig{Annotator: "ann"})
	task, err := ss.Resume(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ss.Judge(ctx, task, Decision{Choice: Tie}, time.Second, Data{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddScores(ctx, "m", []Scored{{1, []float64{1, 2}}}); err != nil {
		t.Fatal(err)
	}
	d := Prefer(0, 0)
	if _, err := s.AddLabelled(ctx, []Labelled{{Item: task.Item, Decision: &d, Gold: true}}); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`UPDATE events SET choice = 'win'`, `DELETE FROM events`, `UPDATE items SET prompt = '"x"'`, `DELETE FROM items`,
		`UPDATE sessions SET annotator = 'eve'`, `DELETE FROM sessions`,
		`UPDATE gold SET choice = 'tie'`, `DELETE FROM gold`, `UPDATE scores SET scores = '[]'`, `DELETE FROM scores`, `TRUNCATE events CASCADE`,
	} {
		if !testsServer(t) && strings.HasPrefix(q, "TRUNCATE") {
			continue // SQLite has no such statement
		}
		if _, err := s.db.Exec(q); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", q, err)
		}
	}
}

// Something new forgets what could be redone, and the order shown stays what it was the first time.
func TestRedoAfterSomethingNew(t *testing.T) { onBackends(t, testRedoAfterSomethingNew) }

func testRedoAfterSomethingNew(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 2)
	ss, _ := s.NewSession(SessionConfig{Annotator: "ann", Seed: 1})
	do := func(seq int64) *Task {
		t.Helper()
		task, err := ss.Task(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Judge(ctx, task, task.Decide(0, Much), 0, Data{}); err != nil {
			t.Fatal(err)
		}
		return task
	}
	first := do(1)
	if act, err := ss.Undo(ctx); err != nil || act == nil || act.Item != 1 {
		t.Fatal(act, err)
	}
	do(2)
	if act, err := ss.Redo(ctx); err != nil || act != nil {
		t.Errorf("redo brought back %+v, %v", act, err)
	}
	for seed := range uint64(20) { // another seed now; the item was seen already
		again, _ := s.NewSession(SessionConfig{Annotator: "ann", Seed: seed})
		if task, err := again.Task(ctx, 1); err != nil || task.Shown[0] != first.Shown[0] {
			t.Fatalf("seed %d shows %v, it was %v (%v)", seed, task.Shown, first.Shown, err)
		}
	}
	if act, err := ss.Undo(ctx); err != nil || act.Item != 2 {
		t.Errorf("%+v, %v", act, err)
	}
	if act, err := ss.Undo(ctx); err != nil || act != nil {
		t.Errorf("%+v, %v", act, err)
	}
}

// People come in the order of the bytes of their names, in whatever language a server is set up: exports do not depend on it.
func TestNamesAreOrderedByTheirBytes(t *testing.T) { onBackends(t, testNamesAreOrderedByTheirBytes) }

func testNamesAreOrderedByTheirBytes(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	want := []string{"Zoe", "ann", "b-n", "bdn", "Ömer"}
	for _, name := range []string{"bdn", "Ömer", "ann", "Zoe", "b-n"} {
		d := Prefer(0, Much)
		if _, err := s.AddLabelled(ctx, []Labelled{{Item: pair(1), Annotator: name, Decision: &d}}); err != nil {
			t.Fatal(err)
		}
	}
	var judged, present []string
	js, err := s.Judgements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range js {
		judged = append(judged, j.Event.Annotator)
	}
	ps, err := s.Presences(ctx, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		present = append(present, p.Annotator)
	}
	if diff := cmp.Diff(want, judged) + cmp.Diff(want, present); diff != "" {
		t.Error(diff)
	}
}
