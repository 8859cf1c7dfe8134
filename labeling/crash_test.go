package labeling

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"modernc.org/sqlite"

	"plumb/internal/pgurl"
)

// TestMain lets the test binary play the program that gets killed, and one of several at work.
func TestMain(m *testing.M) {
	if place := os.Getenv("LABELING_RACE_STORE"); place != "" {
		raceChild(place, os.Getenv("LABELING_RACE_NAME"))
		return
	}
	if path := os.Getenv("LABELING_CRASH_STORE"); path != "" {
		crashChild(path, os.Getenv("LABELING_CRASH_AT"), strings.Fields(os.Getenv("LABELING_CRASH_KEYS")))
		return
	}
	os.Exit(m.Run())
}

// crashKeys is what the person types on pairs, and modeKeys on an item of each mode; each key writes once.
const (
	crashKeys = "1 8 u r = u b s x u u r 5"
	modeKeys  = "3 1 u 2 4 enter u enter - u + 4 2 u 5 1"
)

// crashChild labels by keys, says every key that the screen acknowledged, and kills itself at the n-th write: in a file, a
// row about to change or a transaction about to commit; on a server, a statement about to be sent.
func crashChild(path, at string, keys []string) {
	n, err := strconv.Atoi(at)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		panic(err)
	}
	s.db.SetMaxOpenConns(1)
	writes := 0
	step := func() {
		if writes++; writes == n {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {} // never go on past the kill
		}
	}
	onWrites(s, step)
	ss, err := s.NewSession(SessionConfig{Annotator: "ann", Seed: 1})
	if err != nil {
		panic(err)
	}
	m, err := newModel(ctx, ss, Options{Width: 80, Height: 24})
	if err != nil {
		panic(err)
	}
	m.Update(m.Init()())
	for _, k := range keys {
		_, cmd := m.Update(keyMsg(k))
		var msg tea.Msg = cmd()
		m.Update(msg)
		m.View()
		step() // the moment between the commit and the screen
		fmt.Printf("ack %s\n", k)
	}
	fmt.Println("end")
}

// onWrites calls step before each write of a store that has one connection.
func onWrites(s *Store, step func()) {
	if pgurl.Is(s.Path()) {
		bind := s.d.bind
		s.d.bind = func(query string, args []any) (string, []any) {
			if verb, _, _ := strings.Cut(query, " "); verb == "INSERT" || verb == "UPDATE" || verb == "DELETE" {
				step()
			}
			return bind(query, args)
		}
		return
	}
	c, err := s.db.Conn(context.Background())
	if err != nil {
		panic(err)
	}
	err = c.Raw(func(dc any) error {
		h := dc.(sqlite.HookRegisterer)
		h.RegisterPreUpdateHook(func(sqlite.SQLitePreUpdateData) { step() })
		h.RegisterCommitHook(func() int32 { step(); return 0 })
		return nil
	})
	if err := errors.Join(err, c.Close()); err != nil {
		panic(err)
	}
}

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

func crashStore(t *testing.T, path string, items ...Item) {
	t.Helper()
	s := openTest(t, path)
	if len(items) == 0 {
		addPairs(t, s, 6)
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// runCrash runs the child and returns how many keys it acknowledged, and whether it came to the end.
func runCrash(t *testing.T, path string, at int, keys string) (acks int, end bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LABELING_CRASH_STORE="+path, "LABELING_CRASH_AT="+strconv.Itoa(at), "LABELING_CRASH_KEYS="+keys)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		switch {
		case strings.HasPrefix(sc.Text(), "ack "):
			acks++
		case sc.Text() == "end":
			end = true
		}
	}
	err = cmd.Wait()
	if killed := err != nil && strings.Contains(err.Error(), "killed"); killed == end {
		t.Fatalf("killed at write %d: %v, end %v", at, err, end)
	}
	return acks, end
}

// TestKilledAtEveryWrite kills the program with SIGKILL at every single write in turn. The store then holds every key that
// was acknowledged, in order and undamaged, and at most one key more; and work goes on from there. A server, to which a kill
// is a connection that ends, is spared four of five, which are made with PLUMB_LOAD=1: no key writes five times, so that
// every write of a key has its turn.
func TestKilledAtEveryWrite(t *testing.T) {
	onBackends(t, func(t *testing.T) {
		t.Run("pairs", func(t *testing.T) { killAtEveryWrite(t, crashKeys) })
		t.Run("modes", func(t *testing.T) { killAtEveryWrite(t, modeKeys, modeItems()...) })
	})
}

func killAtEveryWrite(t *testing.T, typed string, items ...Item) {
	keys, whole := strings.Fields(typed), newPlace(t)
	crashStore(t, whole, items...)
	if acks, end := runCrash(t, whole, -1, typed); !end || acks != len(keys) {
		t.Fatalf("undisturbed: %d acks, end %v", acks, end)
	}
	ws := openTest(t, whole)
	evs, err := ws.Events(context.Background())
	ws.Close()
	if err != nil || len(evs) != len(keys) {
		t.Fatalf("%d events of %d keys, %v", len(evs), len(keys), err)
	}
	want := normalise(evs)
	fresh := newPlace(t)
	crashStore(t, fresh, items...)
	next, last, stride := copies(t, fresh), 0, 1
	if testsServer(t) && os.Getenv("PLUMB_LOAD") == "" {
		stride = 5
	}
	for at := 1; ; at += stride {
		path := next()
		acks, end := runCrash(t, path, at, typed)
		s := openTest(t, path)
		checkStore(t, s)
		evs, err := s.Events(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if n := len(evs); n < acks || n > acks+1 {
			t.Errorf("killed at write %d: %d keys acknowledged, %d in the store", at, acks, n)
		}
		if diff := cmp.Diff(want[:len(evs)], normalise(evs), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("killed at write %d: %s", at, diff)
		}
		// The next sitting goes on: what was done can be undone.
		b := newBench(t, s, 80, 24)
		for range evs {
			b.press("u")
		}
		if n := b.m.progress.Decided; n != 0 {
			t.Errorf("killed at write %d: %d judgements left after undoing all", at, n)
		}
		s.Close()
		if end {
			last = at
			break
		}
	}
	// Each key changes at least the log and the acts, commits and is acknowledged; a server changes the acts by itself.
	if last < 4*len(keys) && !testsServer(t) || last < 2*len(keys) {
		t.Errorf("only %d writes were killed", last)
	}
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
	path := filepath.Join(dir, "l.db")
	crashStore(t, path)
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
