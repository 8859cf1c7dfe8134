package labeling

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func same(t failing, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s: fold of the log (-) and store (+) differ:\n%s", what, diff)
	}
}

// checkFold compares everything the store says with the fold of its log.
func checkFold(t failing, s *Store, who string, items int) {
	ctx := context.Background()
	evs, err := s.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	st := Fold(evs)
	js, err := s.Judgements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[Place]Event{}
	for _, j := range js {
		p := Place{j.Event.Annotator, j.Item.Seq}
		got[p] = j.Event
		same(t, "note", st.Notes[p].Data.Note, j.Note)
		same(t, "tags", st.Tags[p].Data.Tags, j.Tags)
	}
	same(t, "judgements", st.Judged, got)
	checkLabels(t, s, st)
	ss, err := s.NewSession(SessionConfig{Annotator: who, Queue: Queue{Overlap: 9}})
	if err != nil {
		t.Fatal(err)
	}
	for seq := int64(1); seq <= int64(items); seq++ {
		task, err := ss.Task(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		e, judged := st.Judged[Place{who, seq}]
		if judged != (task.Judged != nil) || judged && task.Judged.Ref != e.Ref {
			t.Fatalf("item %d: task says %v, fold says %v", seq, task.Judged, e)
		}
	}
}

// checkLabels compares what training takes, the repeats and the drafts with the fold.
func checkLabels(t failing, s *Store, st State) {
	ctx := context.Background()
	want, got := map[Ref]bool{}, map[Ref]bool{}
	for p, e := range st.Judged {
		if _, ruled := st.Ruled[p.Item]; !ruled {
			want[e.Ref] = true
		}
	}
	for _, e := range st.Ruled {
		want[e.Ref] = true
	}
	for _, es := range st.Edits {
		for _, e := range es {
			want[e.Ref] = true
		}
	}
	comparisons := 0
	err := s.EachLabel(ctx, func(j Judgement) error {
		if _, _, ok := j.Pair(); ok {
			comparisons++
		}
		got[j.Event.Ref] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "labels", want, got)
	if n, err := s.Trainable(ctx); err != nil || n != comparisons {
		t.Fatalf("%d trainable, %d comparisons, %v", n, comparisons, err)
	}
	ev, err := s.evidence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	again := map[Place]Event{}
	for p, x := range ev.repeats {
		again[p] = x.Event
	}
	for p := range again { // the newest of several counts
		if e := st.Second[p]; e.Ref != again[p].Ref {
			t.Fatalf("repeat of %v: fold %v, store %v", p, e.Ref, again[p].Ref)
		}
	}
	if len(again) != len(st.Second) {
		t.Fatalf("%d repeats, %d in the fold", len(again), len(st.Second))
	}
	for p, e := range st.Drafts {
		ss, err := s.NewSession(SessionConfig{Annotator: p.Annotator})
		if err != nil {
			t.Fatal(err)
		}
		task, err := ss.Task(ctx, p.Item)
		if err != nil {
			t.Fatal(err)
		}
		judged, isJudged := st.Judged[p]
		open := !isJudged || judged.before(e)
		if open != (task.Draft != nil) || open && task.Draft.Ref != e.Ref {
			t.Fatalf("draft of %v: fold %v, store %v", p, e, task.Draft)
		}
	}
}

// Any sequence of acts by two people, in sessions that end and begin again on a clock that jumps, leaves the store in the
// state that the fold of its log defines; undo returns acts in reverse order without limit and redo puts them back.
func TestStoreIsTheFoldOfItsLog(t *testing.T) { onBackends(t, testStoreIsTheFoldOfItsLog) }

func testStoreIsTheFoldOfItsLog(t *testing.T) {
	scratch := newScratch(t)
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		s := scratch.empty(t)
		const items = 4
		for i := 1; i <= items; i++ {
			if _, err := s.AddItems(ctx, []Item{pair(i)}); err != nil {
				t.Fatal(err)
			}
		}
		c := &clock{time.Unix(1700000000, 0), func() time.Duration {
			return time.Duration(rapid.IntRange(-3000, 5000).Draw(t, "tick")) * time.Millisecond
		}}
		sessions := map[string]*Session{}
		undo, redo := map[string][]Ref{}, map[string][]Ref{} // the model: two stacks
		for range rapid.IntRange(1, 25).Draw(t, "acts") {
			who := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "who")
			if sessions[who] == nil {
				ss, err := s.NewSession(SessionConfig{Annotator: who, Now: c.now})
				if err != nil {
					t.Fatal(err)
				}
				sessions[who] = ss
			}
			ss := sessions[who]
			task, err := ss.Task(ctx, int64(rapid.IntRange(1, items).Draw(t, "item")))
			if err != nil {
				t.Fatal(err)
			}
			var e Event
			switch op := rapid.SampledFrom([]string{"judge", "judge", "tie", "later", "note", "tags", "draft", "edit", "repeat", "note again", "tags again", "adjudicate", "undo", "undo", "undo", "redo", "restart"}).Draw(t, "op"); op {
			case "judge":
				e, err = ss.Judge(ctx, task, task.Decide(rapid.IntRange(0, 1).Draw(t, "side"), rapid.IntRange(1, 4).Draw(t, "strength")), time.Second, Data{})
			case "tie":
				e, err = ss.Judge(ctx, task, Decision{Choice: Tie}, time.Second, Data{})
			case "later":
				e, err = ss.Later(ctx, task, time.Second)
			case "note":
				e, err = ss.Note(ctx, task, rapid.SampledFrom([]string{"because", "unclear"}).Draw(t, "note"))
			case "tags":
				e, err = ss.Tag(ctx, task, []string{"rude"})
			case "draft":
				e, err = ss.Draft(ctx, task, task.Shown[:rapid.IntRange(0, 2).Draw(t, "placed")], nil, time.Second)
			case "edit":
				e, err = ss.Edit(ctx, task, rapid.IntRange(0, 1).Draw(t, "answer"), rapid.SampledFrom([]string{"new", "newer"}).Draw(t, "text"), time.Second)
			case "repeat":
				if task, err = ss.taskAgain(ctx, task.Item.Seq); err == nil {
					e, err = ss.Judge(ctx, task, task.Decide(0, Much), time.Second, Data{})
				}
			case "note again":
				if task, err = ss.taskAgain(ctx, task.Item.Seq); err == nil {
					e, err = ss.Note(ctx, task, "on second thoughts")
				}
			case "tags again":
				if task, err = ss.taskAgain(ctx, task.Item.Seq); err == nil {
					e, err = ss.Tag(ctx, task, []string{"long"})
				}
			case "adjudicate":
				ss.review = true
				e, err = ss.Judge(ctx, task, task.Decide(0, Clearly), time.Second, Data{})
				ss.review = false
			case "restart":
				sessions = map[string]*Session{}
				s = scratch.reopen(t)
			default:
				from, to, turn := undo, redo, ss.Undo
				if op == "redo" {
					from, to, turn = redo, undo, ss.Redo
				}
				act, err := turn(ctx)
				if err != nil {
					t.Fatal(err)
				}
				n := len(from[who])
				if (act == nil) != (n == 0) {
					t.Fatalf("%s gave %v with %d acts on the stack", op, act, n)
				}
				if act != nil {
					if act.Ref != from[who][n-1] {
						t.Fatalf("%s gave %v, want %v", op, act.Ref, from[who][n-1])
					}
					from[who], to[who] = from[who][:n-1], append(to[who], act.Ref)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.N > 0 {
				undo[who], redo[who] = append(undo[who], e.Ref), nil
			}
		}
		for _, who := range []string{"ann", "bob"} {
			checkFold(t, s, who, items)
		}
	})
}
