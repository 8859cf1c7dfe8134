package labeling

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"go.uber.org/goleak"
)

// manyLines are n lines that say which they are: "word 00", "word 01" and so on.
func manyLines(word string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s %02d\n", word, i)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// linesSeen are the numbers of the lines of a word that the screen shows, in their order on it.
func linesSeen(screen, word string) []int {
	var out []int
	for _, m := range regexp.MustCompile(`\b`+word+` (\d\d)\b`).FindAllStringSubmatch(screen, -1) {
		n, _ := strconv.Atoi(m[1])
		out = append(out, n)
	}
	return out
}

// counting counts n numbers from one on.
func counting(first, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = first + i
	}
	return out
}

// longStore has one pair: a prompt of so many lines, and two answers of so many.
func longStore(t *testing.T, prompt, answers int) *Store {
	t.Helper()
	s := newTestStore(t)
	it := Item{Prompt: Prompt{Text: manyLines("prompt", prompt)}, Answers: []Answer{{Text: manyLines("one", answers)}, {Text: manyLines("two", answers)}}}
	if _, err := s.AddItems(context.Background(), []Item{it}); err != nil {
		t.Fatal(err)
	}
	return s
}

// A folded prompt keeps two rows and says how many it hides; unfolded it is there as far as the screen goes. The place in it, and
// those in the answers, stay through both.
func TestFoldingThePrompt(t *testing.T) {
	for _, c := range []struct{ w, h, small int }{{100, 80, 4}, {80, 90, 3}} { // side by side, stacked; small: rows of the prompt at 20 lines
		b := newBench(t, longStore(t, 20, 40), c.w, c.h)
		check := func(what string, rows []int, marks ...string) {
			t.Helper()
			v := b.screen()
			if got := linesSeen(v, "prompt"); !slices.Equal(got, rows) {
				t.Errorf("%d wide, %s: rows %v of the prompt, want %v", c.w, what, got, rows)
			}
			title := strings.Split(v, "\n")[1]
			for _, m := range marks {
				if !strings.Contains(title, m) {
					t.Errorf("%d wide, %s: no %q in %q", c.w, what, m, title)
				}
			}
			if strings.Contains(title, "(folded)") != b.m.folded {
				t.Errorf("%d wide, %s: folded %v: %q", c.w, what, b.m.folded, title)
			}
		}
		check("at first", counting(0, 20))
		b.press("f")
		check("folded", []int{0, 1}, "Prompt (folded)", " ↓18 ")
		b.press("tab", "tab", "tab", "down", "down", "down", "down", "down")
		check("scrolled", []int{5, 6}, " ↑5 ↓13 ")
		b.press("f")
		check("unfolded", counting(0, 20))
		b.press("f")
		check("folded again", []int{5, 6}, " ↑5 ↓13 ")
		b.send(tea.WindowSizeMsg{Width: c.w, Height: 20})
		b.press("tab", "down", "down") // the answers
		b.press("f")
		check("unfolded in a small window", counting(5, c.small), " ↑5 ")
		if got := linesSeen(b.screen(), "one"); len(got) == 0 || got[0] != 2 {
			t.Errorf("%d wide: the answer is at %v, want 2", c.w, got)
		}
		b.press("f")
		check("folded in a small window", []int{5, 6}, " ↑5 ↓13 ")
		if got := linesSeen(b.screen(), "one"); got[0] != 2 {
			t.Errorf("%d wide: the answer is at %v, want 2", c.w, got)
		}
	}
}

// copied is what a terminal that got out has on its clipboard (OSC 52).
func copied(t *testing.T, out string) string {
	t.Helper()
	code, ok := strings.CutPrefix(out, "\x1b]52;c;")
	if !ok {
		t.Fatalf("%q is nothing for the clipboard", out)
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(code, "\a"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is copied is the text as it was written, of what has the focus; nothing where that is both answers.
func TestCopy(t *testing.T) {
	s := newTestStore(t)
	talk := Prompt{Messages: []Message{{"system", "Be *brief*."}, {"user", "Why?\nSay it."}}}
	items := []Item{
		{Prompt: talk, Answers: []Answer{{Text: "**one**\n\n- 安"}, {Text: "# two"}}},
		{Mode: Single, Prompt: Prompt{Text: "So?"}, Answers: []Answer{{Text: "`so`"}}},
		{Mode: Rank, Prompt: Prompt{Text: "And?"}, Answers: []Answer{{Text: "*a*"}, {Text: "*b*"}, {Text: "*c*"}}},
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 100, 30)
	var out strings.Builder
	b.m.opt.Out = &out
	b.press("y")
	if out.Len() > 0 || b.m.status != "which text? tab goes to one, then y" {
		t.Errorf("without a focus %q is copied, %q", out.String(), b.m.status)
	}
	text := func(i int) string { return items[b.m.task.Item.Seq-1].Answers[b.m.task.Shown[i]].Text }
	check := func(what, want string, keys ...string) {
		t.Helper()
		out.Reset()
		b.press(keys...)
		if got := copied(t, out.String()); got != want {
			t.Errorf("%s: %q is copied, want %q", what, got, want)
		}
		if v := b.screen(); !strings.Contains(v, what+" is copied, if the terminal allows it") {
			t.Errorf("no word of %s being copied on\n%s", what, v)
		}
	}
	check("the left answer", text(0), "tab", "y")
	check("the right answer", text(1), "tab", "y")
	check("the prompt", "▌system\nBe *brief*.\n\n▌user\nWhy?\nSay it.", "tab", "y")
	b.press("right")
	check("the answer", "`so`", "y")
	b.press("right")
	check("answer 2", text(1), "tab", "tab", "y")
	b.m.opt.Out = fullDisk{}
	b.press("y")
	if v := b.screen(); !strings.Contains(v, "press the key again: disk full") {
		t.Errorf("a terminal that takes nothing:\n%s", v)
	}
	if evs, err := s.Events(context.Background()); err != nil || len(evs) > 0 {
		t.Errorf("copying wrote %v, %v", evs, err)
	}
}

// The wheel moves what the keys move, by three rows, and lines of a page over the screen; buttons do nothing.
func TestWheel(t *testing.T) {
	b := newBench(t, longStore(t, 40, 60), 100, 30)
	b.m.opt.Guidelines = manyLines("rule", 60)
	tops := func() (out [3]int) {
		for i, word := range []string{"prompt", "one", "two"} {
			out[i] = linesSeen(b.screen(), word)[0]
		}
		return out
	}
	turn := func(want [3]int, buttons ...tea.MouseButton) {
		t.Helper()
		for _, button := range buttons {
			b.send(tea.MouseMsg{X: 3, Y: 9, Button: button, Action: tea.MouseActionPress})
		}
		if got := tops(); got != want {
			t.Errorf("after %v the panes are at %v, want %v", buttons, got, want)
		}
	}
	const up, down = tea.MouseButtonWheelUp, tea.MouseButtonWheelDown
	turn([3]int{0, 6, 6}, down, down)
	turn([3]int{0, 3, 3}, up)
	turn([3]int{0, 0, 0}, up, up)
	b.press("tab", "tab", "tab")
	turn([3]int{3, 0, 0}, down)
	turn([3]int{3, 0, 0}, tea.MouseButtonLeft, tea.MouseButtonRight, tea.MouseButtonMiddle, tea.MouseButtonWheelLeft)
	b.press("g")
	b.send(tea.MouseMsg{Button: down, Action: tea.MouseActionPress})
	if got := linesSeen(b.screen(), "rule"); got[0] != 3 {
		t.Errorf("the guidelines are at %v, want 3", got)
	}
	b.press("esc")
	turn([3]int{3, 0, 0})
	if b.m.progress.Decided != 0 || b.m.busy {
		t.Error("the mouse judged something")
	}
}

// The whole program asks for the mouse only where it is wanted, reads its wheel, and hands the clipboard's text to the terminal.
func TestMouseAndClipboardOnATerminal(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := openTest(t, filepath.Join(t.TempDir(), "l.db"))
	defer s.Close()
	it := Item{Mode: Single, Prompt: Prompt{Text: "p"}, Answers: []Answer{{Text: manyLines("one", 60)}}}
	if _, err := s.AddItems(context.Background(), []Item{it}); err != nil {
		t.Fatal(err)
	}
	for _, mouse := range []bool{true, false} {
		var rec strings.Builder
		x := startTerminal(context.Background(), t, s, 80, 24, Options{Mouse: mouse, Record: &rec})
		x.await("one 00")
		if mouse {
			x.press("\x1b[<65;10;10M") // the wheel, down, as terminals say it (SGR)
			x.await("↑3")
		}
		x.press("y")
		x.await("the answer is copied")
		x.press("q")
		if err := x.end(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(rec.String(), `\u001b[?1002h`); got != mouse {
			t.Errorf("mouse %v: asked for %v", mouse, got)
		}
		if text := base64.StdEncoding.EncodeToString([]byte(it.Answers[0].Text)); !strings.Contains(rec.String(), `\u001b]52;c;`+text) {
			t.Error("the terminal did not get the text for its clipboard")
		}
	}
}

// n goes from hit to hit in the order the texts are read, scrolls each into view, and begins anew behind the last one and on the
// next item.
func TestSearchNext(t *testing.T) {
	s := newTestStore(t)
	answer := func(word string) Answer {
		return Answer{Text: strings.NewReplacer(word+" 10", word+" 10 moon", word+" 50", word+" 50 MOON").Replace(manyLines(word, 60))}
	}
	items := []Item{
		{Prompt: Prompt{Text: "Of the Moon?"}, Answers: []Answer{answer("one"), answer("two")}},
		{Prompt: Prompt{Text: "And the sun?"}, Answers: []Answer{answer("three"), {Text: "four"}}},
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 120, 30)
	words := []string{"one", "two"}
	left, right := words[b.m.task.Shown[0]], words[b.m.task.Shown[1]]
	check := func(key, status, word string, line int) {
		t.Helper()
		b.press(key)
		v := b.screen()
		if !strings.Contains(v, status) {
			t.Errorf("%s: no %q on\n%s", key, status, v)
		}
		if word != "" && !slices.Contains(linesSeen(v, word), line) {
			t.Errorf("%s: line %d of %q is not in view:\n%s", key, line, word, v)
		}
	}
	check("n", "nothing is searched for; / begins", "", 0)
	b.press("/", "m", "o", "o", "n")
	check("enter", `1 of 5 × "moon", prompt`, "", 0)
	check("n", `2 of 5 × "moon", left`, left, 10)
	check("n", `3 of 5 × "moon", left`, left, 50)
	if got := linesSeen(b.screen(), right); got[0] != 0 {
		t.Errorf("the right answer moved to %v", got)
	}
	check("n", `4 of 5 × "moon", right`, right, 10)
	check("n", `5 of 5 × "moon", right`, right, 50)
	check("n", `1 of 5 × "moon", prompt`, "", 0)
	b.press("right")
	check("n", `1 of 2 × "moon", `, "three", 10)
	check("n", `2 of 2 × "moon", `, "three", 50)
	b.press("esc")
	check("n", "nothing is searched for", "", 0)
	b.press("/", "z")
	check("enter", `"z" is not in this item`, "", 0)
}
