package labeling

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A lease keeps an item from others until it ends, is renewed by keys, and goes with whoever leaves.
func TestLeases(t *testing.T) { onBackends(t, testLeases) }

func testLeases(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 3)
	at := time.Unix(1_700_000_000, 0)
	sit := func(name string, q Queue) *Session {
		ss, err := s.NewSession(SessionConfig{Annotator: name, Queue: q, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		return ss
	}
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
	ann, bob, cyd, dan := sit("ann", Queue{}), sit("bob", Queue{}), sit("cyd", Queue{Random: 0.5}), sit("dan", Queue{})
	if a, b, c, d := next(ann), next(bob), next(cyd), next(dan); a != 1 || b != 2 || c != 3 || d != 0 {
		t.Fatalf("items %d, %d, %d, %d", a, b, c, d)
	}
	eve := sit("eve", Queue{Overlap: 2})
	if got := next(eve); got != 1 {
		t.Errorf("with an overlap of two: item %d", got)
	}
	if err := eve.release(ctx); err != nil {
		t.Fatal(err)
	}
	at = at.Add(9 * time.Minute)
	task, _ := bob.Task(ctx, 2)
	if _, err := bob.Note(ctx, task, "hm"); err != nil { // renews
		t.Fatal(err)
	}
	at = at.Add(2 * time.Minute)
	if got := next(dan); got != 1 {
		t.Errorf("ann's lease is over: item %d", got)
	}
	if err := bob.release(ctx); err != nil {
		t.Fatal(err)
	}
	if got := next(ann); got != 2 {
		t.Errorf("bob has left: item %d", got)
	}
}

// Who finds all items held by others is told so, and gets one when another leaves.
func TestWaitingForAnItem(t *testing.T) { onBackends(t, testWaitingForAnItem) }

func testWaitingForAnItem(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 1)
	b := newBench(t, s, 80, 24)
	c := newBenchFor(t, s, 80, 24, SessionConfig{Annotator: "bob"})
	if v := c.screen(); !strings.Contains(v, "Nothing is free for you now, bob") {
		t.Fatal(v)
	}
	c.press("right")
	if !strings.Contains(c.m.status, "still nothing") {
		t.Error(c.m.status)
	}
	if err := b.m.ss.release(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.press("right")
	if c.m.task == nil || c.m.task.Item.Seq != 1 {
		t.Error(c.screen())
	}
}

// Who comes back before their lost sitting has ended keeps the item when it ends: nobody else is given it.
func TestALostSittingTakesNoLeaseAway(t *testing.T) { onBackends(t, testALostSittingTakesNoLeaseAway) }

func testALostSittingTakesNoLeaseAway(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 2)
	at := time.Unix(1_700_000_000, 0)
	sit := func(name string, want int64) *Session {
		t.Helper()
		ss, err := s.NewSession(SessionConfig{Annotator: name, Now: func() time.Time { at = at.Add(time.Second); return at }})
		if err != nil {
			t.Fatal(err)
		}
		task, err := ss.Resume(ctx)
		if err != nil || (task == nil) != (want == 0) || task != nil && task.Item.Seq != want {
			t.Fatalf("%s gets %+v, want item %d; %v", name, task, want, err)
		}
		return ss
	}
	lost := sit("ann", 1)
	back := sit("ann", 1)
	if err := lost.release(ctx); err != nil {
		t.Fatal(err)
	}
	bob := sit("bob", 2)
	sit("cyd", 0)
	task, err := back.Task(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.release(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := back.Judge(ctx, task, Decision{Choice: Tie}, 0, Data{}); err != nil {
		t.Fatal(err)
	}
	if err := back.release(ctx); err != nil { // what it has itself renewed it gives back
		t.Fatal(err)
	}
	if who, err := s.Presences(ctx, at); err != nil || who[0].Item != 0 {
		t.Errorf("%+v, %v", who, err)
	}
	sit("cyd", 2)
}
