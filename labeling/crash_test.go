package labeling

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"plumb/internal/pgurl"
)

// normal is an event without what differs between runs: session, number, time.
type normal struct {
	Kind   Kind
	Item   int64
	Choice Choice
	Target int // position of the target in the log, from 1
}

func normalise(evs []Event) []normal {
	at := map[Ref]int{}
	var out []normal
	for i, e := range evs {
		at[e.Ref] = i + 1
		out = append(out, normal{e.Kind, e.Item, e.Choice, at[e.Target]})
	}
	return out
}

// killed is a sitting that is killed at each of its writes in turn, on a store with items and with what was said of them before.
type killed struct {
	name string
	crash
	items []Item
	said  []judged
}

// killedSittings have every kind of event in them.
func killedSittings() []killed {
	keys := func(who, typed string) crash { return crash{Annotator: who, Keys: strings.Fields(typed)} }
	pairs := killed{name: "pairs", crash: keys("ann", "1 8 u r = u b s x u u r 5"), items: pairsFrom(1, 6)}
	modes := killed{name: "modes", crash: keys("ann", "3 1 u 2 4 enter u enter - u + 4 2 u 5 1"), items: modeItems()}
	// The first of 21 items comes again: a comment and a reason, the choice, undo, redo. Then one that is new, edited and put
	// off; another with a comment and a reason; the second again.
	again := killed{name: "again", crash: keys("ann", "c h enter t 2 esc 1 u r editor s c o enter t 1 esc = x"), items: pairsFrom(1, 23)}
	again.Repeat = 1
	for seq := range int64(21) {
		again.said = append(again.said, judged{"ann", seq + 1, Prefer(0, Much)})
	}
	// Three disagreements; the last comment is not finished.
	review := killed{name: "review", crash: keys("eve", "8 u r = c w enter t 1 esc c n o"), items: pairsFrom(1, 3)}
	review.Review = true
	for seq := range int64(3) {
		review.said = append(review.said, judged{"ann", seq + 1, Prefer(0, Much)}, judged{"bob", seq + 1, Decision{Choice: Tie}})
	}
	return []killed{pairs, modes, again, review}
}

func pairsFrom(first, n int) []Item {
	out := make([]Item, n)
	for i := range out {
		out[i] = pair(first + i)
	}
	return out
}

// store is where the sitting begins, closed.
func (k killed) store(t *testing.T) (place string) {
	t.Helper()
	place = newBlank(t)
	s := openTest(t, place)
	tell(t, s, k.items, k.said...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return place
}

// events reads the log of a store that is closed, and what it holds.
func events(t *testing.T, place string) ([]Event, string) {
	t.Helper()
	s := openTest(t, place)
	defer s.Close()
	evs, err := s.Events(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return evs, holding(s)
}

// TestKilledAtEveryWrite kills the program with SIGKILL at every single write in turn. The store then holds every key that
// was acknowledged, in order and undamaged, and at most one key more; and work goes on from there. A server, to which a kill
// is a connection that ends, is spared four of five, which are made with PLUMB_LOAD=1: no key writes five times, so that
// every write of a key has its turn.
func TestKilledAtEveryWrite(t *testing.T) {
	onBackends(t, func(t *testing.T) {
		for _, k := range killedSittings() {
			t.Run(k.name, func(t *testing.T) { killAtEveryWrite(t, k) })
		}
	})
}

func killAtEveryWrite(t *testing.T, k killed) {
	fresh := k.store(t)
	next := copies(t, fresh)
	was, begin := events(t, fresh)
	k.Store = next()
	acks, end := k.run(t)
	if !end || len(acks) != len(k.Keys) {
		t.Fatalf("undisturbed: %d acks, end %v", len(acks), end)
	}
	evs, _ := events(t, k.Store)
	want, states := normalise(evs), append([]string{begin}, acks...) // before the first key, and after each
	last, stride := 0, 1
	if testsServer(t) && os.Getenv("PLUMB_LOAD") == "" {
		stride = 5
	}
	for at := 1; ; at += stride {
		k.Store, k.At = next(), at
		acks, end := k.run(t)
		now := checkKilled(t, k, was, want)
		if n := len(acks); now != states[n] && (end || now != states[n+1]) {
			t.Errorf("killed at write %d: %d keys acknowledged, the store holds %s; undisturbed it held %v", at, n, now, states)
		} else if n > 0 && acks[n-1] != states[n] {
			t.Errorf("to be killed at write %d: after %d keys the store holds %s, and %s undisturbed", at, n, acks[n-1], states[n])
		}
		if end {
			last = at
			break
		}
	}
	// Each key that is an event changes at least the log and the acts, commits and is acknowledged; a server changes the acts by
	// itself.
	if n := len(evs) - len(was); last < 4*n && !testsServer(t) || last < 2*n || n == 0 {
		t.Errorf("only %d writes of %d events were killed", last, n)
	}
}

// checkKilled looks at the store that a killed sitting left: it is whole, and its log is the beginning of want, in which the
// events that were there before are followed by those of the sitting. The next sitting goes on: what was done can be undone.
func checkKilled(t *testing.T, k killed, was []Event, want []normal) (holds string) {
	t.Helper()
	s := openTest(t, k.Store)
	defer s.Close()
	quicken(s)
	checkStore(t, s)
	checkFold(t, s, k.Annotator, len(k.items))
	holds = holding(s)
	evs, err := s.Events(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:len(evs)], normalise(evs), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("killed at write %d: %s", k.At, diff)
	}
	before := Fold(was)
	decided := len(before.Judged)
	if k.Review {
		decided = len(before.Ruled)
	}
	b := newBenchFor(t, s, 80, 24, k.session())
	for range len(Fold(evs).Undo[k.Annotator]) - len(before.Undo[k.Annotator]) {
		b.press("u")
	}
	if n := b.m.progress.Decided; n != decided {
		t.Errorf("killed at write %d: %d judgements after undoing all of the sitting, %d before it", k.At, n, decided)
	}
	return holds
}

// checkStore is SQLite's own check, and the fold of the log against the derived table.
func checkStore(t *testing.T, s *Store) {
	t.Helper()
	ok := "ok"
	if !pgurl.Is(s.Path()) {
		if err := s.db.QueryRow(`PRAGMA integrity_check`).Scan(&ok); err != nil || ok != "ok" {
			t.Errorf("integrity: %s, %v", ok, err)
		}
	}
	evs, err := s.Events(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	js, err := s.Judgements(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := map[Place]Event{}
	for _, j := range js {
		got[Place{j.Event.Annotator, j.Item.Seq}] = j.Event
	}
	if diff := cmp.Diff(Fold(evs).Judged, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestPowerCutAtEveryByteOfTheLog cuts the write-ahead log after every so many bytes, as if the machine had stopped there:
// what remains is always a prefix of what was done, never something else and never an unreadable store.
func TestPowerCutAtEveryByteOfTheLog(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	path := killed{items: pairsFrom(1, 6)}.store(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := openTest(t, path)
	defer s.Close()
	ss, err := s.NewSession(SessionConfig{Annotator: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		task, err := ss.Resume(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Judge(ctx, task, task.Decide(0, Much), time.Second, Data{}); err != nil {
			t.Fatal(err)
		}
	}
	evs, err := s.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := normalise(evs)
	wal, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for cut := 0; cut <= len(wal); cut = min(cut+1999, max(len(wal), cut+1)) {
		p := filepath.Join(dir, fmt.Sprintf("cut%d.db", cut))
		if err := os.WriteFile(p, before, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p+"-wal", wal[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		c := openTest(t, p)
		checkStore(t, c)
		evs, err := c.Events(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(evs) < most {
			t.Errorf("cut at %d: %d events, fewer than with less of the log", cut, len(evs))
		}
		most = len(evs)
		if diff := cmp.Diff(want[:len(evs)], normalise(evs), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("cut at %d: %s", cut, diff)
		}
		c.Close()
	}
	if most != 4 {
		t.Errorf("the whole log gives %d events", most)
	}
}
