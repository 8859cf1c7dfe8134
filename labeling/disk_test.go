package labeling

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/internal/smalldisk"
)

// labelUntil judges until that fails and returns what was acknowledged, and the error.
func labelUntil(t *testing.T, ss *Session) (acknowledged []Event, failed error) {
	t.Helper()
	ctx := context.Background()
	task, err := ss.Resume(ctx)
	for ; err == nil && task != nil && len(acknowledged) < 1000; task, err = ss.Next(ctx, task.Item.Seq) {
		e, err := ss.Judge(ctx, task, task.Decide(0, Much), time.Second, Data{})
		if err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, e)
	}
	return acknowledged, err
}

func saysFull(t *testing.T, what string, err error, path string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error on a full disk", what)
		return
	}
	for _, want := range []string{path, "full", "free some space"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %q, want one that says %q", what, err, want)
		}
	}
}

// A key that found no room is not acknowledged, says so on the screen, and costs nothing else: what was acknowledged is there
// while the disk is full, with a program that starts anew, and afterwards.
func TestFullDiskLosesNothingAcknowledged(t *testing.T) {
	ctx := context.Background()
	dir := smalldisk.New(t, 2<<20)
	path := filepath.Join(dir, "labels.db")
	s := openTest(t, path)
	addPairs(t, s, 500)
	free := smalldisk.Fill(t, dir, 512<<10)
	ss := session(t, s, "ann", Queue{})
	acknowledged, err := labelUntil(t, ss)
	saysFull(t, "judge", err, path)
	if len(acknowledged) < 3 {
		t.Fatalf("only %d labels before the disk was full", len(acknowledged))
	}
	_, err = s.AddItems(ctx, []Item{pair(2001)})
	saysFull(t, "add items", err, path)
	holds := func(s *Store, when string, want []Event) {
		t.Helper()
		checkStore(t, s)
		evs, err := s.Events(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(normalise(want), normalise(evs)); diff != "" {
			t.Errorf("%s, acknowledged (-) and in the store (+): %s", when, diff)
		}
		if n, _, err := s.Count(ctx); err != nil || n != 500 {
			t.Errorf("%s: %d items, %v", when, n, err)
		}
	}
	holds(s, "on the full disk", acknowledged)
	s.Close() // what of the log has no room in the file stays in the log
	s = openTest(t, path)
	holds(s, "opened on the full disk", acknowledged)
	b := newBench(t, s, 80, 24)
	b.press("1")
	if v := b.screen(); !strings.Contains(v, "the disk is full: free some space, then press the key again") || b.m.progress.Decided != len(acknowledged) {
		t.Errorf("%d decided on the screen, which says\n%s", b.m.progress.Decided, v)
	}
	free()
	b.press("1")
	if n := b.m.progress.Decided; n != len(acknowledged)+1 {
		t.Errorf("the key pressed again: %d decided, want %d", n, len(acknowledged)+1)
	}
	all, err := s.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	holds(s, "after space was freed", append(acknowledged, all[len(all)-1]))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A store that finds no room to be made, opened or filled says so, and not that its file is damaged.
func TestFullDiskWhenOpening(t *testing.T) {
	ctx := context.Background()
	dir := smalldisk.New(t, 1<<20)
	path := filepath.Join(dir, "labels.db")
	s := openTest(t, path)
	addPairs(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free := smalldisk.Fill(t, dir, 0)
	for _, place := range []string{path, filepath.Join(dir, "new.db")} {
		s, err := Open(ctx, place)
		if err == nil {
			s.Close()
		}
		saysFull(t, "open", err, place)
		if strings.Contains(err.Error(), "not a SQLite file") {
			t.Errorf("%v", err)
		}
	}
	free()
	s = openTest(t, path)
	defer s.Close()
	if n, _, err := s.Count(ctx); err != nil || n != 3 {
		t.Errorf("%d items, %v", n, err)
	}
	openTest(t, filepath.Join(dir, "new.db")).Close()
}

// Pairs and merges that do not fit are not there in part.
func TestFullDiskTakesAllOrNothing(t *testing.T) {
	ctx := context.Background()
	const n = 40
	var items []Item
	var pairs []Labelled
	for i := range n {
		it := pair(1000 + i)
		it.Answers[0].Text += strings.Repeat(" and so on", 800)
		items, pairs = append(items, it), append(pairs, Labelled{Item: it})
	}
	other := newTestStore(t)
	if _, err := other.AddItems(ctx, items); err != nil {
		t.Fatal(err)
	}
	if got, err := labelUntil(t, session(t, other, "bob", Queue{})); err != nil || len(got) != n {
		t.Fatal(len(got), err)
	}
	for what, fill := range map[string]func(*Store) error{
		"merge": func(s *Store) error { _, err := s.Merge(ctx, other); return err },
		"pairs": func(s *Store) error { _, err := s.AddLabelled(ctx, pairs); return err },
	} {
		t.Run(what, func(t *testing.T) {
			dir := smalldisk.New(t, 4<<20)
			path := filepath.Join(dir, "labels.db")
			s := openTest(t, path)
			defer s.Close()
			addPairs(t, s, 3)
			free := smalldisk.Fill(t, dir, 96<<10)
			saysFull(t, what, fill(s), path)
			if got, decided, err := s.Count(ctx); err != nil || got != 3 || decided != 0 {
				t.Errorf("%d items, %d decided, %v", got, decided, err)
			}
			checkStore(t, s)
			free()
			if err := fill(s); err != nil {
				t.Errorf("after space was freed: %v", err)
			}
			if got, _, err := s.Count(ctx); err != nil || got != n+3 {
				t.Errorf("after space was freed: %d items, %v", got, err)
			}
		})
	}
}
