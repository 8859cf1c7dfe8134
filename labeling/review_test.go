package labeling

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// disputedStore has two items that ann and bob judge differently, with ann's reason for one, and one they agree on.
func disputedStore(t *testing.T) *Store {
	t.Helper()
	s := sayings(t, 3, []string{"ann", "bob"}, func(who string, i int, task *Task) (Decision, float64, bool) {
		if who == "bob" && i < 2 {
			return Decision{Choice: Tie}, 3, true
		}
		return Prefer(0, Clearly), 4, true
	})
	ss, err := s.NewSession(SessionConfig{Annotator: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	task, err := ss.Task(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ss.Note(context.Background(), task, "it is the first"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReviewScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {100, 30}, {160, 50}} {
		b := newBenchFor(t, disputedStore(t), size[0], size[1], SessionConfig{Annotator: "eve", Seed: 7, Review: true})
		b.golden(fmt.Sprintf("review-%dx%d", size[0], size[1]))
		b.press("1", "=")
		b.golden(fmt.Sprintf("review-end-%dx%d", size[0], size[1]))
		b.press("u")
		if b.m.task == nil || b.m.task.Item.Seq != 2 || b.m.progress.Decided != 1 || b.m.task.Judged != nil {
			t.Errorf("after undo: %+v, %d decided", b.m.task, b.m.progress.Decided)
		}
		b.press("r")
		if b.m.task != nil || b.m.progress.Decided != 2 {
			t.Errorf("after redo: %+v, %d decided", b.m.task, b.m.progress.Decided)
		}
	}
}

// What models think is said after the choice, where it is asked for, and never before.
func TestOpinionAfterTheChoice(t *testing.T) { onBackends(t, testOpinionAfterTheChoice) }

func testOpinionAfterTheChoice(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 3)
	for _, m := range []string{"m1", "m2"} {
		if _, err := s.AddScores(ctx, m, []Scored{{1, []float64{2.5, 1}}, {2, []float64{0, 0.25}}, {3, []float64{1, 0}}}); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t, s, 100, 30)
	b.m.opt.Opinion = true
	for i, want := range []string{"so says 2 models (by 1.50)", "2 models would not (by 0.25)", "2 models: 1.00 apart"} {
		if before := b.screen(); strings.Contains(before, "models") && i == 0 {
			t.Errorf("before the choice:\n%s", before)
		}
		b.press("i")
		if b.m.over != noOverlay {
			t.Fatal("the scores are shown before the choice")
		}
		key := "="
		for side, a := range b.m.task.Shown {
			if a == 0 && i < 2 {
				key = []string{"1", "8"}[side] // the answer stored first
			}
		}
		b.press(key)
		if !strings.Contains(b.m.status, want) {
			t.Errorf("%q, want %q", b.m.status, want)
		}
	}
	b.press("left", "i")
	if v := b.screen(); !strings.Contains(v, "score         0.000 by m1") && !strings.Contains(v, "score         1.000 by m1") {
		t.Errorf("the scores are not shown:\n%s", v)
	}
}

// Setting aside ends nothing: a reviewer gets each disagreement until it is ruled on.
func TestReviewEndsOnlyWhenAllIsRuled(t *testing.T) { onBackends(t, testReviewEndsOnlyWhenAllIsRuled) }

func testReviewEndsOnlyWhenAllIsRuled(t *testing.T) {
	s := disputedStore(t)
	ss, err := s.NewSession(SessionConfig{Annotator: "eve", Review: true, Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	task, err := ss.Resume(ctx)
	for n := 0; n < 3 && err == nil && task != nil; n++ {
		if _, err = ss.Later(ctx, task, 0); err == nil { // setting aside goes to the other and comes back
			task, err = ss.Next(ctx, task.Item.Seq)
		}
	}
	if err != nil || task == nil || task.Item.Seq != 2 {
		t.Errorf("%+v, %v", task, err)
	}
}
