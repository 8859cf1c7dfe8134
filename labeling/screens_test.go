package labeling

import (
	"context"
	"fmt"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"
)

func TestScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {100, 30}, {160, 50}} {
		name := func(s string) string { return fmt.Sprintf("%s-%dx%d", s, size[0], size[1]) }
		b := newBench(t, screenStore(t), size[0], size[1])
		b.golden(name("first"))
		b.press("?")
		b.golden(name("help"))
		b.press("esc", "2", "d")
		b.golden(name("differences"))
		b.press("c")
		for _, r := range "so – 安" {
			b.press(string(r))
		}
		b.press("enter", "t", "2", "enter", "esc")
		b.golden(name("comment"))
		b.press("=", "b", "x", "8", "4", "5")
		b.golden(name("end"))
		b.press("u", "left", "left", "left", "left", "left", "left", "i")
		b.golden(name("info"))
	}
}

func TestScreensOfEveryKind(t *testing.T) {
	b := newBench(t, newTestStore(t), 80, 24)
	b.golden("empty")
	b.press("1", "u", "?", "q")
	b = newBench(t, screenStore(t), 80, 24)
	b.press("z", "down", "down")
	b.golden("zoom")
	b.press("tab", "tab", "tab")
	b.golden("zoom-prompt")
	b.press("z", "v", "g")
	b.golden("guidelines")
	b.press("1") // closes the overlay and chooses nothing
	b.golden("side-80")
	if n := b.m.progress.Decided; n != 0 {
		t.Errorf("a key in an overlay judged %d items", n)
	}
	b.press("/", "m", "o", "o", "n", "enter")
	b.golden("search")
	b = newBench(t, screenStore(t), 40, 10)
	b.golden("smallest")
	b.send(tea.WindowSizeMsg{Width: 20, Height: 5})
	if v := b.m.View(); !strings.Contains(v, "make it 30 x 10") {
		t.Errorf("a tiny window says %q", v)
	}
}

// What is on the top of each pane comes back whatever sizes the window had meanwhile, and stays in view in all of them.
func TestResizingKeepsThePlace(t *testing.T) {
	s := newTestStore(t)
	long := func(w string) string {
		var b strings.Builder
		for i := range 400 {
			fmt.Fprintf(&b, "%s%03d ", w, i)
		}
		return b.String()
	}
	if _, err := s.AddItems(context.Background(), []Item{{Prompt: Prompt{Text: long("p")}, Answers: []Answer{{Text: long("a")}, {Text: long("b")}}}}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 100, 30)
	b.press("pgdown", "down", "tab", "tab", "tab", "pgdown")
	before := b.screen()
	var tops []int
	for _, p := range b.m.panes {
		if p.anchor == 0 {
			t.Fatal("a pane was not scrolled")
		}
		tops = append(tops, p.anchor)
	}
	for _, size := range [][2]int{{80, 24}, {31, 10}, {200, 20}, {10, 3}, {150, 30}, {99, 40}, {100, 30}} {
		b.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		if size[0] < minWidth {
			continue
		}
		b.screen()
		for i, p := range b.m.panes {
			r := p.rows[p.top()]
			bottom := p.rows[min(p.top()+p.height, len(p.rows))-1]
			if tops[i] < r.from || tops[i] >= bottom.to {
				t.Errorf("%v: pane %d shows bytes %d to %d, the place was %d", size, i, r.from, bottom.to, tops[i])
			}
		}
	}
	if diff := cmp.Diff(before, b.screen()); diff != "" {
		t.Error(diff)
	}
}
