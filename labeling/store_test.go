package labeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pressly/goose/v3"
	"pgregory.net/rapid"
)

func openTest(t interface {
	Helper()
	Fatal(...any)
}, path string,
) *Store {
	t.Helper()
	s, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// emptyStore is the bytes of a store without items: copying them is quicker than migrating each of hundreds.
func emptyStore(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty.db")
	openTest(t, path).Close()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// scratchStore opens a fresh copy of a store for one run of a property. It need not survive a power cut.
func scratchStore(t *rapid.T, raw []byte, path string) *Store {
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, path)
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
		t.Fatal(err)
	}
	return s
}

func newTestStore(t *testing.T) *Store {
	t.Helper()
	s := openTest(t, filepath.Join(t.TempDir(), "labels.db"))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func pair(n int) Item {
	return Item{
		Prompt:  Prompt{Text: fmt.Sprintf("question %d", n)},
		Answers: []Answer{{Text: fmt.Sprintf("first answer %d", n), Source: "a"}, {Text: fmt.Sprintf("second answer %d", n), Source: "b"}},
	}
}

func addPairs(t *testing.T, s *Store, n int) {
	t.Helper()
	var items []Item
	for i := 1; i <= n; i++ {
		items = append(items, pair(i))
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
}

func TestAddItemsIsIdempotent(t *testing.T) {
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

func TestBadItemsAreRefusedWhole(t *testing.T) {
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

func TestOpenRefusesForeignFiles(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 300)), 0o644); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE t (x)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	newer := filepath.Join(dir, "newer ?#%.db") // also a name that needs escaping
	s := openTest(t, newer)
	if _, err := s.db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(newer); err != nil {
		t.Errorf("the store is not where it was asked to be: %v", err)
	}
	for path, want := range map[string]string{text: "not a SQLite file", other: "another program", newer: "newer plumb", dir: "a folder"} {
		if s, err := Open(ctx, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s): %v, want %q", filepath.Base(path), err, want)
			if err == nil {
				s.Close()
			}
		}
	}
}

// A store of the first schema is brought up to date with all that is in it, once.
func TestOpenMigrates(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "old.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(`INSERT INTO items (hash, mode, grp, prompt, answers, tags, meta) VALUES ('aa', 'compare', '', '"q"', '[{"text":"x"},{"text":"y"}]', '[]', '{}');
		INSERT INTO sessions VALUES ('s', 'ann', '1', 'tui', 0);
		INSERT INTO events (session, n, at, annotator, kind, item, shown, choice, ranking, strength, ms, data, target_session, target_n)
		VALUES ('s', 1, 7, 'ann', 'judge', 1, '[1,0]', 'win', '[1,0]', 4, 9000, '{}', '', 0)`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := openTest(t, path)
		js, err := s.Judgements(ctx)
		if err != nil || len(js) != 1 || js[0].Event.Strength != Much {
			t.Errorf("%+v, %v", js, err)
		}
		if g, err := s.Golds(ctx); err != nil || len(g) != 0 {
			t.Errorf("%v, %v", g, err)
		}
		s.Close()
	}
}

func TestTheLogCannotBeChanged(t *testing.T) {
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
		`UPDATE gold SET choice = 'tie'`, `DELETE FROM gold`, `UPDATE scores SET scores = '[]'`, `DELETE FROM scores`,
	} {
		if _, err := s.db.Exec(q); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", q, err)
		}
	}
}

// Something new forgets what could be redone, and the order shown stays what it was the first time.
func TestRedoAfterSomethingNew(t *testing.T) {
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

// clock is a clock that sometimes goes backwards, as real ones do.
type clock struct {
	at   time.Time
	step func() time.Duration
}

func (c *clock) now() time.Time {
	c.at = c.at.Add(c.step())
	return c.at
}

func same(t *rapid.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s: fold of the log (-) and store (+) differ:\n%s", what, diff)
	}
}

// checkFold compares everything the store says with the fold of its log.
func checkFold(t *rapid.T, s *Store, who string, items int) {
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
func checkLabels(t *rapid.T, s *Store, st State) {
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
func TestStoreIsTheFoldOfItsLog(t *testing.T) {
	dir, empty := t.TempDir(), emptyStore(t)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		runs++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", runs))
		s := scratchStore(t, empty, path)
		defer func() { s.Close() }()
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
			switch op := rapid.SampledFrom([]string{"judge", "judge", "tie", "later", "note", "tags", "draft", "edit", "repeat", "adjudicate", "undo", "undo", "undo", "redo", "restart"}).Draw(t, "op"); op {
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
			case "adjudicate":
				ss.review = true
				e, err = ss.Judge(ctx, task, task.Decide(0, Clearly), time.Second, Data{})
				ss.review = false
			case "restart":
				sessions = map[string]*Session{}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, path)
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
