package labeling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
)

// everyKey is every key that a terminal sends without a modifier, and those with ctrl.
func everyKey() []tea.KeyMsg {
	var out []tea.KeyMsg
	for k := tea.KeyType(-100); k < 128; k++ {
		if name := k.String(); name != "" && k != tea.KeyRunes {
			out = append(out, tea.KeyMsg{Type: k})
		}
	}
	for r := '!'; r <= '~'; r++ {
		out = append(out, keyMsg(string(r)))
	}
	return append(out, keyMsg(" "))
}

// namedKeys are the keys that a help text names in its column of keys, up to a heading.
func namedKeys(help, upTo string) []string {
	help, _, _ = strings.Cut(help, "\n"+upTo+"\n")
	var out []string
	for _, l := range strings.Split(help, "\n") {
		if !strings.HasPrefix(l, "  ") {
			continue // a heading
		}
		for _, name := range strings.Fields(ansi.Truncate(l, 2+keyColumn, "")) {
			first, last, isRange := strings.Cut(name, "–")
			if !isRange {
				out = append(out, name)
				continue
			}
			for d := first[0]; d <= last[0]; d++ {
				out = append(out, string(d))
			}
		}
	}
	return out
}

// What the help names is what the program answers to, no less and no more: every key is pressed, in every mode, with the usual keys
// and with others.
func TestTheHelpNamesEveryKey(t *testing.T) {
	idle := []string{"does nothing", "has no meaning here", "there are 4 answers", "ratings go from"}
	custom := map[string]string{
		"left_much": "2", "left_clearly": "3", "left_somewhat": "4", "left_slightly": "0", "redo": "1", "tie": "space .",
		"next_axis": "N tab", "pane": "tab P", "quit": "Q", "clear": "\\",
	}
	for _, keys := range []map[string]string{nil, custom} {
		s := modeStore(t)
		for seq := int64(1); seq <= 4; seq++ {
			b := newBench(t, s, helpColumns-1, 24)
			b.m.keys = boundTo(t, keys)
			task, err := b.m.ss.Task(context.Background(), seq)
			if err != nil {
				t.Fatal(err)
			}
			b.m.show(task)
			help := b.m.helpText()
			named := namedKeys(help, "In a line of text")
			for _, k := range everyKey() {
				x := *b.m
				x.Update(k)
				answers := !slices.ContainsFunc(idle, func(s string) bool { return strings.Contains(x.status, s) })
				if name := keyName(k.String()); answers != slices.Contains(named, name) {
					t.Errorf("mode %s: %s is answered: %v, but not in the help, or the other way round: %q\n%s", task.Item.mode(), name, answers, x.status, help)
				}
			}
			_, typing, _ := strings.Cut(help, "\nIn a line of text\n")
			named = namedKeys(typing, "")
			for _, k := range everyKey() {
				e := newEditor("", "so it")
				e.at = 2
				if name := k.String(); e.key(name) && !slices.Contains(named, keyName(name)) || (name == "enter" || name == "esc") && !slices.Contains(named, name) {
					t.Errorf("%s is answered in a line of text, and not in the help", name)
				}
			}
		}
	}
}

// The footer has whole keys only, as many as there is room for, and on a large screen all that do something.
func TestTheFooterFillsItsWidth(t *testing.T) {
	s := modeStore(t)
	for seq := int64(1); seq <= 4; seq++ {
		b := newBench(t, s, 100, 30)
		b.press("o", fmt.Sprint(seq), "enter", "/", "a", "enter")
		mode := b.m.mode()
		var all []string // every entry, as it is in full
		for _, k := range b.m.otherKeys() {
			if p := ansi.Strip(b.m.keyPart(k)); p != "" {
				all = append(all, p)
			}
		}
		for w := minWidth; w <= 200; w++ {
			b.send(tea.WindowSizeMsg{Width: w, Height: 30})
			lines := strings.Split(ansi.Strip(b.m.View()), "\n")
			line := lines[len(lines)-1]
			shown := strings.Split(strings.TrimSpace(line), "  ")
			room := w - ansi.StringWidth(strings.TrimRight(line, " "))
			for _, p := range all {
				if !slices.Contains(shown, p) && 2+ansi.StringWidth(p) <= room {
					t.Errorf("%s, %d cells: %q would fit into %q", mode, w, p, line)
				}
			}
			for _, p := range shown {
				if !slices.Contains(all, p) {
					t.Errorf("%s, %d cells: %q is not whole in %q", mode, w, p, line)
				}
			}
		}
		b.send(tea.WindowSizeMsg{Width: 160, Height: 50})
		v := ansi.Strip(b.m.View())
		footer := strings.Join(strings.Split(v, "\n")[46:], "  ")
		words := strings.FieldsFunc(footer, func(r rune) bool { return r == ' ' || r == '▸' || r == '◂' })
		for _, bd := range b.m.keys.bindings {
			if bd.act == "" || !helps(bd.act, mode) || bd.act == actInfo || mode == Single && bd.act == actBothBad || b.m.answers() != 2 && bd.act == actDiff || b.m.answers() == 1 && bd.act == actLayout {
				continue
			}
			name := b.m.keyOf(bd.act)
			if !slices.ContainsFunc(words, func(w string) bool {
				return w == name || strings.HasPrefix(w, name+"/") || strings.HasSuffix(w, "/"+name)
			}) {
				t.Errorf("%s: %s, %s, is not in the footer of a large screen:\n%s", mode, name, bd.act, footer)
			}
		}
	}
}

// In ratings tab is the next axis and nothing else, and p goes from the answer to the prompt; footer and help say so.
func TestTabIsTheNextAxisOfARating(t *testing.T) {
	s := newTestStore(t)
	if _, err := s.AddItems(context.Background(), modeItems()[2:3]); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 80, 24)
	b.press("tab")
	if b.m.axis != 1 || b.m.focus != onAnswers {
		t.Errorf("after tab: axis %d, focus %d", b.m.axis, b.m.focus)
	}
	b.press("p")
	if b.m.axis != 1 || b.m.focus != b.m.onPrompt() {
		t.Errorf("after p: axis %d, focus %d", b.m.axis, b.m.focus)
	}
	v := b.screen()
	if !strings.Contains(v, "tab next") || !strings.Contains(v, "p pane") || strings.Contains(v, "tab pane") {
		t.Error(v)
	}
	b.press("?")
	v = b.screen()
	if !strings.Contains(v, "  tab             next axis") || !strings.Contains(v, "  p               what to scroll") || strings.Count(v, "tab") != 1 {
		t.Error(v)
	}
}

// An item is found by its number and by the beginning of its name, also from where nothing is left.
func TestGoTo(t *testing.T) { onBackends(t, testGoTo) }

func testGoTo(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 12)
	it, err := s.Item(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 80, 24)
	at := func(name string, want int64, status string) {
		t.Helper()
		b.press("o")
		for _, r := range name {
			b.press(string(r))
		}
		b.press("enter")
		got := int64(0)
		if b.m.task != nil {
			got = b.m.task.Item.Seq
		}
		if got != want || !strings.Contains(b.m.status, status) {
			t.Errorf("%s: item %d, want %d; %q", name, got, want, b.m.status)
		}
	}
	at("12", 12, "")
	at(strings.ToUpper(it.Hash[:8]), 7, "")
	at(it.Hash[:3], 7, "there is no item "+it.Hash[:3])
	at("13", 7, "there is no item 13")
	at("", 7, "")
	b.press("o", "1", "esc")
	if b.m.task.Item.Seq != 7 || b.m.input != nil {
		t.Error("esc did not give it up")
	}
	at("1", 1, "")
	b.press("1", "left")
	if !strings.Contains(b.screen(), "question 1") {
		t.Error(b.screen())
	}
	for range 12 {
		b.press("=")
	}
	if b.m.task != nil {
		t.Fatalf("item %d is left", b.m.task.Item.Seq)
	}
	at("99", 0, "there is no item 99")
	at("4", 4, "you chose: tie")
}
