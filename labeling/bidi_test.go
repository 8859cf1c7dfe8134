package labeling

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/bidi"
)

// unmarked is a line without the marks that keep directions apart.
func unmarked(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(ltrIsolate+rtlIsolate+anyIsolate+endIsolate+ltrMark, r) {
			return -1
		}
		return r
	}, s)
}

// reordered is a line as a terminal shows it that knows the bidirectional algorithm and takes the direction of each line from its
// first letter. The directions of the runs are golang.org/x/text's. It does not say their levels, which follow from the isolates they
// lie in; rules L1 and
// L2 are done here. Marks are left out, and brackets not mirrored.
func reordered(t *testing.T, line string) string {
	t.Helper()
	var p bidi.Paragraph
	if _, err := p.SetString(line); err != nil {
		t.Fatal(err)
	}
	o, err := p.Order()
	if err != nil {
		t.Fatal(err)
	}
	odd := map[int]bool{}
	for i := range o.NumRuns() {
		r := o.Run(i)
		from, to := r.Pos()
		for k := from; k <= to; k++ {
			odd[k] = r.Direction() == bidi.RightToLeft
		}
	}
	type letter struct {
		r     rune
		level int
	}
	var letters []letter
	rs := []rune(line)
	around := []int{0} // levels of the paragraph and of the isolates that are open
	if odd[0] {
		around[0] = 1
	}
	for i, r := range rs {
		top := around[len(around)-1]
		switch string(r) {
		case ltrIsolate:
			around = append(around, top+2-top%2)
			continue
		case rtlIsolate:
			around = append(around, top+1+top%2)
			continue
		case anyIsolate:
			next := top + 2 - top%2
			if runsLeft(string(rs[i+1:]), 0) {
				next = top + 1 + top%2
			}
			around = append(around, next)
			continue
		case endIsolate:
			around = around[:len(around)-1]
			continue
		case ltrMark:
			continue
		}
		level := top
		if odd[i] != (level%2 == 1) {
			level++
		}
		letters = append(letters, letter{r, level})
	}
	for i := len(letters) - 1; i >= 0 && letters[i].r == ' '; i-- {
		letters[i].level = around[0] // rule L1
	}
	for level := 9; level > 0; level-- {
		for i := 0; i < len(letters); {
			k := i
			for k < len(letters) && letters[k].level >= level {
				k++
			}
			slices.Reverse(letters[i:k])
			i = k + 1
		}
	}
	var b strings.Builder
	for _, l := range letters {
		b.WriteRune(l.r)
	}
	return b.String()
}

// Two Hebrew answers beside each other stay where they are under the bidirectional algorithm, and each reads from the right. Without the
// marks, the columns would be exchanged. The pictures are drawn by hand.
func TestColumnsKeepTheirSides(t *testing.T) {
	for _, c := range []struct {
		name                string
		left, right, screen string // screen: what such a terminal shows of the two columns of nine cells
	}{
		{"hebrew", "אבג", "דהו", " גבא       │ והד       "},
		{"arabic", "ابج", "دهو", " جبا       │ وهد       "},
		{"left to right first", "abc", "דהו", " abc       │ והד       "},
		{"right to left first", "אבג", "abc", " גבא       │ abc       "},
		{"numbers at the bar", "אבג 12", "34 דהו", " 12 גבא    │ והד 34    "},
		{"sentences", "אב, גד.", "(דה) ו!", " .דג ,בא   │ !ו )הד(   "},
		{"as wide as the columns", "אבגדהוזחט", "יכלמנסעפצ", " טחזוהדגבא │ צפעסנמלכי "},
		{"english within", "אב ok ג", "do ה it", " ג ok בא   │ do ה it   "},
		{"two rows of a paragraph", "אבגדה wxyz דהו", "ab", " הדגבא     │ ab        \n והד wxyz  │           "},
		{"code", "```\n# אב x\n```", "ab", " ╌╌╌       │ ab        \n # בא x    │           "},
	} {
		s := newTestStore(t)
		item := Item{Prompt: Prompt{Text: "p"}, Answers: []Answer{{Text: c.left}, {Text: c.right}}}
		if _, err := s.AddItems(context.Background(), []Item{item}); err != nil {
			t.Fatal(err)
		}
		b := newBench(t, s, 100, 30)
		b.m.task.Shown = []int{0, 1}
		b.m.lay(false)
		for i := range b.m.panes {
			b.m.panes[i].wrapTo(9)
			b.m.panes[i].height = strings.Count(c.screen, "\n") + 1
		}
		var got, bare []string
		for _, l := range b.m.columns(func(int) bool { return false })[1:] {
			l = ansi.Strip(l)
			got = append(got, reordered(t, l))
			bare = append(bare, reordered(t, unmarked(l)))
			if w := ansi.StringWidth(l); w != 1+9+3+9+1 {
				t.Errorf("%s: a line is %d cells wide: %q", c.name, w, l)
			}
		}
		if diff := cmp.Diff(c.screen, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if c.name == "hebrew" && !strings.Contains(bare[0], "והד │") {
			t.Errorf("without marks the columns stay: %q; then this test shows nothing", bare[0])
		}
	}
}

// Stacked, with a table, with names and axes of others: what belongs together stays together.
func TestLinesKeepTheirOrder(t *testing.T) {
	doc := documentOf("| שם | n |\n|---|---|\n| אבג | 12 |\n| דה | 3 |", false)
	p := pane{}
	p.set(doc, 0)
	p.wrapTo(9)
	p.height = 4
	var got []string
	for _, l := range p.lines(&looksOn{}) {
		got = append(got, strings.TrimRight(reordered(t, ansi.Strip(l)), " "))
	}
	if diff := cmp.Diff([]string{"םש  │ n", "────┼───", "גבא │ 12", "הד  │ 3"}, got); diff != "" {
		t.Errorf("a table: %s", diff)
	}

	s := newTestStore(t)
	items := []Item{{Mode: Rate, Prompt: Prompt{Text: "p"}, Answers: []Answer{{Text: "a"}}}}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 80, 24)
	b.m.opt.Axes, b.m.opt.Tags = []string{"אבג", "דהו"}, []string{"גס", "שגוי"}
	b.press("4", "2")
	b.press("left", "t", "2")
	line := func(part string) string {
		t.Helper()
		for _, l := range strings.Split(ansi.Strip(b.m.View()), "\n") {
			if strings.Contains(l, part) {
				return reordered(t, l)
			}
		}
		t.Fatalf("no line with %q", part)
		return ""
	}
	if l := line("bad to good"); !strings.HasPrefix(l, " ▸גבא 4  והד 2 ") {
		t.Errorf("axes: %q", l)
	}
	if l := line("reasons:"); !strings.HasPrefix(l, " reasons: 1 [ ] סג  2 [✓] יוגש  ") {
		t.Errorf("reasons: %q", l)
	}
	if l := reordered(t, aTeamOf("שרה").lines(60)[1]); !strings.HasPrefix(l, " הרש ") {
		t.Errorf("team: %q", l)
	}
}

// aTeamOf is a team of one who has been here.
func aTeamOf(name string) teamView {
	v := aTeam(0)
	v.people = v.people[:1]
	v.people[0].Annotator = name
	return v
}

// On a terminal that knows nothing of directions the marks change nothing, and text without right-to-left letters has none.
func TestMarksAreNotSeen(t *testing.T) {
	s := newTestStore(t)
	item := Item{Prompt: Prompt{Text: "שלום"}, Answers: []Answer{{Text: "אבג, דה " + strings.Repeat("ו", 200)}, {Text: "مرحبا بالعالم " + strings.Repeat("ز", 200)}}, Tags: []string{"תג"}}
	if _, err := s.AddItems(context.Background(), []Item{item}); err != nil {
		t.Fatal(err)
	}
	show := func(view string) string {
		emu := vt.NewEmulator(100, 30)
		if _, err := emu.WriteString(strings.ReplaceAll(view, "\n", "\r\n")); err != nil {
			t.Fatal(err)
		}
		return emu.String()
	}
	for _, size := range [][2]int{{100, 30}, {80, 24}} {
		b := newBench(t, s, size[0], size[1])
		b.press("c", "ש")
		b.screen() // every line is as wide as the screen
		view := b.m.View()
		for _, mark := range []string{rtlIsolate, anyIsolate, endIsolate} {
			if !strings.Contains(view, mark) {
				t.Errorf("%v: no %U on the screen", size, []rune(mark))
			}
		}
		if diff := cmp.Diff(show(unmarked(view)), unmarked(show(view))); diff != "" {
			t.Errorf("%v: the marks show: %s", size, diff)
		}
	}
	b := newBench(t, modeStore(t), 100, 30)
	if v := b.m.View(); v != unmarked(v) {
		t.Error("marks without need")
	}
	if got := closed(fit(isolated("אבגדהו"), 4)); got != anyIsolate+"אבג…"+endIsolate {
		t.Errorf("cut: %q", got)
	}
}
