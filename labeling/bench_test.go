package labeling

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden screens")

// bench is a model without a terminal: keys in, commands run at once, screens out.
type bench struct {
	t  failing
	m  *model
	at time.Time
}

func newBench(t *testing.T, s *Store, w, h int) *bench {
	t.Helper()
	return newBenchFor(t, s, w, h, SessionConfig{Annotator: "ann", Seed: 7})
}

// newBenchFor is a bench whose session asks what c says.
func newBenchFor(t *testing.T, s *Store, w, h int, c SessionConfig) *bench {
	t.Helper()
	b := &bench{t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	opt := Options{
		Annotator: c.Annotator, Seed: c.Seed, Review: c.Review, Width: w, Height: h, Environ: []string{"TERM=xterm"}, Tags: []string{"rude", "wrong", "too long"},
		Guidelines: "# How to judge\n\nTake the answer a **careful** person would rather get.",
	}
	c.Now = func() time.Time { return b.at }
	ss, err := s.NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	if b.m, err = newModel(context.Background(), ss, opt); err != nil {
		t.Fatal(err)
	}
	b.send(b.m.Init()())
	return b
}

func (b *bench) send(msg tea.Msg) {
	for msg != nil {
		_, cmd := b.m.Update(msg)
		if cmd == nil {
			return
		}
		if msg = cmd(); msg == (tea.QuitMsg{}) {
			return
		}
	}
}

func keyMsg(k string) tea.KeyMsg {
	for _, t := range []tea.KeyType{
		tea.KeyEnter, tea.KeyEsc, tea.KeyTab, tea.KeyBackspace, tea.KeyUp, tea.KeyDown, tea.KeyLeft, tea.KeyRight, tea.KeyHome, tea.KeyEnd,
		tea.KeyPgUp, tea.KeyPgDown, tea.KeyCtrlC, tea.KeyCtrlU, tea.KeyCtrlW, tea.KeySpace, tea.KeyDelete,
	} {
		if t.String() == k || t == tea.KeySpace && k == " " {
			m := tea.KeyMsg{Type: t}
			if t == tea.KeySpace {
				m.Runes = []rune{' '}
			}
			return m
		}
	}
	return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
}

// press sends keys, a few seconds apart.
func (b *bench) press(keys ...string) {
	for _, k := range keys {
		b.at = b.at.Add(4 * time.Second)
		b.send(keyMsg(k))
	}
}

// screen is the text of the screen; every line must be exactly as wide as the screen.
func (b *bench) screen() string {
	b.t.Helper()
	return wholeScreen(b.t, b.m.View(), b.m.w, b.m.h)
}

// wholeScreen is the text of a view that fills a screen of w x h cells exactly.
func wholeScreen(t failing, view string, w, h int) string {
	t.Helper()
	lines := strings.Split(view, "\n")
	if len(lines) != h {
		t.Fatalf("%d lines on a screen of %d:\n%s", len(lines), h, view)
	}
	for i, l := range lines {
		if n := ansi.StringWidth(l); n != w {
			t.Fatalf("line %d is %d cells wide on a screen of %d: %q", i, n, w, ansi.Strip(l))
		}
		lines[i] = strings.TrimRight(ansi.Strip(l), " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func (b *bench) golden(name string) {
	b.t.Helper()
	compareGolden(b.t, name, b.screen())
}

// failing is what of a test, or of rapid's, a check needs.
type failing interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// compareGolden compares a screen with the file that holds it.
func compareGolden(t failing, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Fatalf("%s:\n%s", name, diff)
	}
}

const madeUp = "The **tide** comes from the pull of the moon.\n\n```go\nfor i := range 3 {\n\tfmt.Println(i)\n}\n```\n\n- 潮の満ち引きは月の引力によって起こります。\n- e\u0301tude, naïve, 👩‍👩‍👧 family, שלום\n- a_very_long_identifier_without_any_place_to_break_it_that_goes_on_and_on_for_more_than_a_line\n\tone\ttab\ttwo"

func screenStore(t *testing.T) *Store {
	t.Helper()
	s := newTestStore(t)
	talk := Prompt{Messages: []Message{
		{"system", "You explain things to children."},
		{"user", "What is the sea?"},
		{"assistant", "The sea is a great deal of salt water. " + strings.Repeat("It is wide and deep. ", 30)},
		{"user", "And why does it go up and down twice a day?"},
	}}
	items := []Item{
		{Prompt: talk, Answers: []Answer{{Text: madeUp, Model: "big", Source: "policy"}, {Text: "Because of the moon, mostly; the sun helps.", Model: "small", Source: "sft"}}, Tags: []string{"science"}},
		{Prompt: Prompt{Text: "Write a haiku."}, Answers: []Answer{{Text: "An old silent pond\nA frog jumps into the pond\nSplash! Silence again."}, {Text: "An old quiet pond\nA frog jumps in the water\nSplash! Silence again."}}},
		pair(3), pair(4), pair(5), pair(6), pair(7),
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	return s
}
