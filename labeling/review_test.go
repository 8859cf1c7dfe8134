package labeling

import (
	"context"
	"fmt"
	"slices"
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

// differingStore has seven pairs. Ann and bob differ on the second (who wins), the fourth (a tie, both bad) and the sixth; they
// agree on the others, in strength not, and can't say is no disagreement. The seventh only ann has judged.
func differingStore(t *testing.T) *Store {
	t.Helper()
	bob := []Decision{Prefer(0, Slightly), Prefer(1, Much), {Choice: CantSay}, {Choice: BothBad}, {Choice: Tie}, Prefer(0, Much)}
	ann := []Decision{Prefer(0, Much), Prefer(0, Much), Prefer(1, Clearly), {Choice: Tie}, {Choice: Tie}, Prefer(1, Much), Prefer(0, Much)}
	return sayings(t, 7, []string{"ann", "bob"}, func(who string, i int, _ *Task) (Decision, float64, bool) {
		if who == "ann" {
			return ann[i], 4, true
		}
		if i == len(bob) {
			return Decision{}, 0, false
		}
		return bob[i], 4, true
	})
}

// Items that people disagree on are asked for, in the order they were added, of everyone who has not judged them; the others are
// not.
func TestOrderByDisagreement(t *testing.T) { onBackends(t, testOrderByDisagreement) }

func testOrderByDisagreement(t *testing.T) {
	s, ctx, q := differingStore(t), context.Background(), Queue{Order: Disagreement}
	next := func(ss *Session) int64 {
		t.Helper()
		task, err := ss.Resume(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if task == nil {
			return 0
		}
		return task.Item.Seq
	}
	// Two at once get different ones.
	cyd, dan := session(t, s, "cyd", q), session(t, s, "dan", q)
	if a, b := next(cyd), next(dan); a != 2 || b != 4 {
		t.Errorf("items %d and %d, want 2 and 4", a, b)
	}
	for _, ss := range []*Session{cyd, dan} {
		if err := ss.release(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []string{"cyd", "dan"} { // who has judged them before disagrees or not: they stay disputed
		got := walk(t, session(t, s, who, q), 9, func(task *Task) {
			if task.Pick != string(Disagreement) {
				t.Errorf("item %d is picked for %q", task.Item.Seq, task.Pick)
			}
		})
		if !slices.Equal(got, []int64{2, 4, 6}) {
			t.Errorf("%s is asked for %v, want the three that ann and bob differ on", who, got)
		}
	}
	if got := walk(t, session(t, s, "ann", q), 9, nil); got != nil {
		t.Errorf("ann is asked again for %v", got)
	}
	// What is taken back is asked for again, in its place.
	ss := session(t, s, "cyd", q)
	for range 2 {
		if _, err := ss.Undo(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := next(ss); got != 4 {
		t.Errorf("after taking back 6 and 4: item %d", got)
	}
}

// With a share of random items the disputed ones come in turn with those drawn by chance, for everyone alike.
func TestDisagreementAndChance(t *testing.T) { onBackends(t, testDisagreementAndChance) }

func testDisagreementAndChance(t *testing.T) {
	s := sayings(t, 7, []string{"ann", "bob"}, func(who string, i int, _ *Task) (Decision, float64, bool) {
		return Prefer(index(who == "bob" && i%2 == 0), Clearly), 4, true
	})
	// By their content hashes (digits 9 to 16; below 8 is half of all) 2, 1, 7, 4 and 6 are random, in this order; of the
	// disputed 1, 3, 5 and 7 that leaves 3 and 5.
	want := []int64{3, 2, 5, 1, 7, 4, 6}
	for i, draw := range []string{"1b6c8e6d", "0f60efd6", "a3c0dab9", "69d42e45", "f1f12b9c", "6b8b3deb", "30083af3"} {
		if got := pair(i + 1).ContentHash()[8:16]; got != draw {
			t.Fatalf("item %d has the digits %s, not %s: the order by hand is of other items", i+1, got, draw)
		}
	}
	for seed, who := range []string{"eve", "fay"} {
		ss, err := s.NewSession(SessionConfig{Annotator: who, Seed: uint64(seed), Queue: Queue{Order: Disagreement, Random: 0.5}})
		if err != nil {
			t.Fatal(err)
		}
		got := walk(t, ss, 9, func(task *Task) {
			if random := task.Item.Seq != 3 && task.Item.Seq != 5; (task.Pick == "random") != random {
				t.Errorf("item %d is picked for %q", task.Item.Seq, task.Pick)
			}
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s is asked for %v, want %v", who, got, want)
		}
	}
}
