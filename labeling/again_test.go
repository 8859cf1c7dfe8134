package labeling

import (
	"context"
	"slices"
	"testing"
	"time"
)

// What is said of an item shown a second time stays apart from what was said the first time, also while it is typed.
func TestSecondReasonsStayApart(t *testing.T) { onBackends(t, testSecondReasonsStayApart) }

func testSecondReasonsStayApart(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 1)
	ss, err := s.NewSession(SessionConfig{Annotator: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	see := func(again bool) *Task {
		t.Helper()
		task, err := ss.task(ctx, 1, again)
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	for _, again := range []bool{false, true} {
		word := map[bool]string{false: "first", true: "second"}[again]
		if _, err := ss.Judge(ctx, see(again), Decision{Choice: Tie}, time.Second, Data{}); err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Note(ctx, see(again), word); err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Tag(ctx, see(again), []string{word}); err != nil {
			t.Fatal(err)
		}
		if err := ss.Type(ctx, see(again), word+" more"); err != nil {
			t.Fatal(err)
		}
	}
	check := func(again bool, note, typing string, tags ...string) {
		t.Helper()
		if task := see(again); task.Note != note || task.Typing != typing || !slices.Equal(task.Tags, tags) {
			t.Errorf("again %v: note %q, typing %q, tags %v; want %q, %q, %v", again, task.Note, task.Typing, task.Tags, note, typing, tags)
		}
	}
	check(false, "first", "first more", "first")
	check(true, "second", "second more", "second")
	js, err := s.Judgements(ctx)
	if err != nil || len(js) != 1 || js[0].Note != "first" || !slices.Equal(js[0].Tags, []string{"first"}) {
		t.Errorf("%v, %v", js, err)
	}
	for range 2 { // the second tags, the second note
		e, err := ss.Undo(ctx)
		if err != nil || e == nil {
			t.Fatal(e, err)
		}
		if back, err := ss.taskOf(ctx, *e); err != nil || !back.Again {
			t.Errorf("undone %s shows the first time: %v", e.Kind, err)
		}
	}
	check(false, "first", "first more", "first")
	check(true, "", "second more")
	if _, err := ss.Note(ctx, see(true), "third"); err != nil {
		t.Fatal(err)
	}
	check(false, "first", "first more", "first")
	check(true, "third", "")
}

// An act on an item shown a second time that is redone while the item is shown as the first time shows it as the second time again:
// what is chosen then is what stands there.
func TestRedoShowsTheItemAsItWas(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 12)
	ss, err := s.NewSession(SessionConfig{Annotator: "ann", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	turned := 0
	for seq := range int64(12) {
		first, err := ss.Task(ctx, seq+1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Judge(ctx, first, Decision{Choice: Tie}, time.Second, Data{}); err != nil {
			t.Fatal(err)
		}
		again, err := ss.taskAgain(ctx, seq+1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Note(ctx, again, "hm"); err != nil {
			t.Fatal(err)
		}
		if first.Shown[0] != again.Shown[0] {
			turned++
		}
		b := newBench(t, s, 80, 24)
		b.press("u")
		if !b.m.task.Again || b.m.task.Item.Seq != seq+1 {
			t.Fatalf("item %d, again %v", b.m.task.Item.Seq, b.m.task.Again)
		}
		step := []string{"left", "right"}
		if seq == 0 {
			step = []string{"right", "left"}
		}
		b.press(step...)
		if b.m.task.Again || b.m.task.Item.Seq != seq+1 {
			t.Fatalf("item %d, again %v", b.m.task.Item.Seq, b.m.task.Again)
		}
		b.press("r")
		if b.m.panes[1].text != b.m.task.Answer(0).String() {
			t.Errorf("item %d: the screen shows %q first, the task %q", seq+1, b.m.panes[1].text, b.m.task.Answer(0))
		}
	}
	if turned == 0 || turned == 12 {
		t.Fatalf("%d of 12 on the other side", turned)
	}
}
