package labeling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"go.uber.org/goleak"
)

// screenOf is an emulated screen with every use under a lock (the package's own safe one leaves some methods without).
type screenOf struct {
	mu  sync.Mutex
	emu *vt.Emulator
}

func (s *screenOf) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emu.Write(p)
}

func (s *screenOf) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emu.String()
}

func (s *screenOf) Resize(w, h int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emu.Resize(w, h)
}

// terminal runs the whole program on an emulated screen.
type terminal struct {
	t    *testing.T
	emu  *screenOf
	keys io.WriteCloser
	done chan error
}

func startTerminal(ctx context.Context, t *testing.T, s *Store, w, h int, opt Options) *terminal {
	t.Helper()
	in, keys, err := os.Pipe() // a file, as a terminal is: what the program starts can have it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	emu := &screenOf{emu: vt.NewEmulator(w, h)}
	emu.Write([]byte("\x1b[20h")) // a newline begins a line, as a terminal's driver makes it
	opt.Annotator, opt.In, opt.Out, opt.Width, opt.Height = "ann", in, emu, w, h
	if opt.Environ == nil {
		opt.Environ = []string{"TERM=xterm-256color"}
	}
	x := &terminal{t, emu, keys, make(chan error, 1)}
	go func() { x.done <- Run(ctx, s, opt) }()
	return x
}

func (x *terminal) screen() string {
	lines := strings.Split(x.emu.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return strings.Join(lines, "\n")
}

// await waits until the screen shows a text.
func (x *terminal) await(text string) {
	x.t.Helper()
	x.awaitThat(fmt.Sprintf("%q", text), func(screen string) bool { return strings.Contains(screen, text) })
}

// awaitGone waits until the screen no longer shows a text.
func (x *terminal) awaitGone(text string) {
	x.t.Helper()
	x.awaitThat(fmt.Sprintf("no %q", text), func(screen string) bool { return !strings.Contains(screen, text) })
}

// awaitThat waits until the screen is as ok wants it.
func (x *terminal) awaitThat(what string, ok func(screen string) bool) {
	x.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok(x.screen()) {
			return
		}
	}
	x.t.Fatalf("the screen never showed %s:\n%s", what, x.screen())
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.keys, keys); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) end() error {
	x.t.Helper()
	select {
	case err := <-x.done:
		x.keys.Close()
		return err
	case <-time.After(30 * time.Second):
		x.t.Fatal("the program does not end")
		return nil
	}
}

func TestProgramOnATerminal(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := openTest(t, filepath.Join(t.TempDir(), "l.db"))
	defer s.Close()
	addPairs(t, s, 100)
	resize := make(chan [2]int)
	x := startTerminal(context.Background(), t, s, 100, 30, Options{Seed: 3, Resize: resize})
	x.await("item 1")
	x.await("0 of 100")
	x.press("1")
	x.await("✓ 1 left much better")
	x.await("question 2")
	x.emu.Resize(80, 24)
	resize <- [2]int{80, 24}
	x.await("Upper · 1–4")
	x.press("u")
	x.await("undone: upper much better (item 1)")
	x.await("question 1")
	x.press(strings.Repeat("5=", 50)) // a hundred items, as fast as the keys come
	x.await("Nothing is left to judge")
	x.await("100 of 100")
	x.press("q")
	if err := x.end(); err != nil {
		t.Fatal(err)
	}
	js, err := s.Judgements(context.Background())
	if err != nil || len(js) != 100 {
		t.Fatalf("%d judgements, %v", len(js), err)
	}
	// What was on the screen is what is in the export: 5 means that the answer shown lower is slightly better.
	swapped := 0
	for i, j := range js {
		want := Win
		if i%2 == 1 {
			want = Tie
		}
		if j.Event.Choice != want || j.Item.Seq != int64(i+1) {
			t.Fatalf("judgement %d is %+v", i, j.Event)
		}
		if want == Win && (j.Event.Ranking[0] != j.Event.Shown[1] || j.Event.Strength != Slightly) {
			t.Fatalf("judgement %d: ranking %v of %v", i, j.Event.Ranking, j.Event.Shown)
		}
		swapped += j.Event.Shown[0]
	}
	// Sides are fair coins: 100 of them lie within 50 ± 20 with a chance of 1 - 4e-5 (and the seed is fixed).
	if swapped < 30 || swapped > 70 {
		t.Errorf("%d of 100 items were swapped", swapped)
	}
}

// A recording has the same bytes as the screen got, and says how large it was.
func TestRecording(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "l.db"))
	defer s.Close()
	addPairs(t, s, 2)
	var rec strings.Builder
	x := startTerminal(context.Background(), t, s, 90, 25, Options{Record: &rec})
	x.await("item 1")
	x.press("1")
	x.await("✓ 1 upper much better")
	want := x.screen()
	x.press("q")
	if err := x.end(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(rec.String()), "\n")
	if !strings.HasPrefix(lines[0], `{"version": 2, "width": 90, "height": 25, `) {
		t.Error(lines[0])
	}
	again := &terminal{t: t, emu: &screenOf{emu: vt.NewEmulator(90, 25)}}
	again.emu.Write([]byte("\x1b[20h"))
	shown := false
	last := 0.0
	for _, l := range lines[1:] {
		var event [3]any
		if err := json.Unmarshal([]byte(l), &event); err != nil || event[1] != "o" || event[0].(float64) < last {
			t.Fatalf("%s: %v", l, err)
		}
		last = event[0].(float64)
		again.emu.Write([]byte(event[2].(string)))
		shown = shown || again.screen() == want
	}
	if !shown {
		t.Errorf("played again, the recording never shows\n%s", want)
	}
	x = startTerminal(context.Background(), t, s, 90, 25, Options{Record: fullDisk{}})
	x.await("item 2")
	x.press("q")
	if err := x.end(); err == nil || !strings.Contains(err.Error(), "recording: disk full") {
		t.Error(err)
	}
}

// fullDisk is a disk that is full.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// A second sitting finds the work of the first, undo included, and several may go on at once.
func TestUndoAcrossSittings(t *testing.T) { onBackendsInTurn(t, testUndoAcrossSittings) }

func testUndoAcrossSittings(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := openTest(t, newPlace(t))
	defer s.Close()
	addPairs(t, s, 5)
	x := startTerminal(context.Background(), t, s, 80, 24, Options{})
	x.await("item 1")
	x.press("12q")
	if err := x.end(); err != nil {
		t.Fatal(err)
	}
	x = startTerminal(context.Background(), t, s, 80, 24, Options{})
	x.await("item 3")
	y := startTerminal(context.Background(), t, s, 120, 40, Options{Environ: []string{"NO_COLOR=1", "TERM=xterm"}})
	y.await("item 3")
	x.press("uu")
	x.await("undone: upper much better (item 1)")
	x.press("uu")
	x.await("nothing left to undo")
	y.press("8")
	y.await("right much better")
	x.press("rq")
	y.press("q")
	if err := errors.Join(x.end(), y.end()); err != nil {
		t.Fatal(err)
	}
}

func TestCancelledContextEndsTheProgram(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := openTest(t, filepath.Join(t.TempDir(), "l.db"))
	defer s.Close()
	addPairs(t, s, 1)
	for _, plain := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		x := startTerminal(ctx, t, s, 80, 24, Options{Plain: plain})
		x.await("question 1")
		cancel()
		if err := x.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("plain %v: %v", plain, err)
		}
	}
}

func TestPlain(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := openTest(t, filepath.Join(t.TempDir(), "l.db"))
	defer s.Close()
	addPairs(t, s, 3)
	var out strings.Builder
	in := strings.NewReader("zz\n8\nc it is\n=\nu\nu\nr\nu\n?\nx\n4\nb\nq\n")
	err := Run(context.Background(), s, Options{Annotator: "ann", In: in, Out: &out, Environ: []string{"TERM=dumb"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"zz" means nothing here`, "Saved: second much better.", "Comment saved.", "Saved: tie.", "undone: tie (item 2).", "undone: comment (item 2).", "redone: comment (item 2)", "Nothing is left to judge."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape codes on a dumb terminal")
	}
	js, err := s.Judgements(context.Background())
	var got []string
	for _, j := range js {
		got = append(got, describe(j.Event, plainSides(nil)))
	}
	if want := "second much better|can't say|first slightly better"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
}

// NO_COLOR takes the colours and leaves bold and underline; nothing else than the sixteen colours is ever used.
func TestColours(t *testing.T) {
	for _, env := range []string{"NO_COLOR=1", "TERM=xterm"} {
		s := newTestStore(t)
		addPairs(t, s, 1)
		ss, _ := s.NewSession(SessionConfig{Annotator: "ann"})
		m, err := newModel(context.Background(), ss, Options{Width: 80, Height: 24, Environ: []string{env}, Out: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		m.Update(m.Init()())
		m.Update(keyMsg("d"))
		v := m.View()
		colour := strings.Contains(v, "\x1b[1;4;34m") || strings.Contains(v, "36m")
		if want := env != "NO_COLOR=1"; colour != want {
			t.Errorf("%s: colour %v\n%q", env, colour, v)
		}
		if !strings.Contains(v, "\x1b[1;4") {
			t.Errorf("%s: the differences are not marked", env)
		}
		if strings.Contains(v, "38;5;") || strings.Contains(v, "38;2;") {
			t.Errorf("%s: more than sixteen colours", env)
		}
	}
}
