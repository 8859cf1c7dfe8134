package labeling

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
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

// However a text is wrapped, its rows hold every character once and in order, none is wider than asked, and paint and
// measure agree about it.
func TestWrap(t *testing.T) {
	st := newStyles(Options{Out: &strings.Builder{}}.renderer(), true)
	rapid.Check(t, func(t *rapid.T) {
		s := visible(rapid.OneOf(rapid.String(), rapid.StringMatching(`([a-z]{1,12}[ \-\t]{0,3}|潮の満|e\x{301}|👩‍👩‍👧|\n){0,30}`)).Draw(t, "text"))
		width := rapid.IntRange(2, 40).Draw(t, "width")
		rows := wrap(s, width)
		at := 0
		for _, r := range rows {
			gap := s[at:r.from]
			if gap != "" && gap != "\n" {
				t.Fatalf("%q between rows of %q", gap, s)
			}
			at = r.to
			line := paint(s, r, []span{{r.from, r.from + 3, diffLook}}, &st.text, width, true)
			if w := ansi.StringWidth(line); w != width {
				t.Fatalf("row %q is %d wide, not %d", ansi.Strip(line), w, width)
			}
			if strings.ContainsAny(ansi.Strip(line), "\t\n\x1b") {
				t.Fatalf("row %q", line)
			}
			// Nothing but spaces hangs over the edge.
			shown := strings.TrimRight(ansi.Strip(line), " ")
			if shown != "" {
				if lead := strings.Repeat(" ", r.indent); !strings.HasPrefix(shown, lead) {
					t.Fatalf("row %q is not indented by %d", shown, r.indent)
				}
				shown = shown[r.indent:]
			}
			if want := strings.TrimRight(s[r.from:r.to], " \t"); !strings.Contains(want, "\t") && shown != want {
				t.Fatalf("row shows %q of %q", shown, want)
			}
		}
		if at != len(s) {
			t.Fatalf("the rows of %q end at %d", s, at)
		}
	})
}

func TestWrapBreaksWhereReadersExpect(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three", 7, "one two|three"},
		{"one two", 3, "one|two"},
		{"well-known fact", 6, "well-|known|fact"},
		{"- one two three", 9, "- one two|  three"}, // a list goes on under its text
		{"12. one two", 12, "12. one two"},
		{"12. one two six", 13, "12. one two|    six"},
		{"• onetwothree", 9, "• onetwot|  hree"}, // not broken behind the mark
		{"a -b", 3, "a|-b"},                      // a hyphen that begins a word is no place to break
		{"aaaaaaaaaa", 4, "aaaa|aaaa|aa"},
		{"ab cd漢字", 6, "ab cd|漢字"},
		{"漢字漢", 5, "漢字|漢"},
		{"a\n\nb\n", 9, "a||b|"},
		{"x\ty", 9, "x\ty"},
		{"", 9, ""},
	} {
		var got []string
		for _, r := range wrap(c.text, c.width) {
			got = append(got, strings.Repeat(" ", r.indent)+strings.TrimRight(c.text[r.from:r.to], " "))
		}
		if g := strings.Join(got, "|"); g != c.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.width, g, c.want)
		}
	}
}

func TestVisibleIsHarmless(t *testing.T) {
	got := visible("a\x1b[31mred\r\nb\x07\u202eevil\u0085 \xff ok\tö")
	if want := "a␛[31mred\nb␇[U+202E]evil[U+0085] \ufffd ok\tö"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWordDiff(t *testing.T) {
	a, b := "The cat sat on the mat.", "The dog sat on a red mat."
	words := func(s string, spans []span) (out []string) {
		for _, sp := range spans {
			out = append(out, s[sp.from:sp.to])
		}
		return out
	}
	inA, inB := wordDiff(a, b)
	if diff := cmp.Diff([][]string{{"cat", "the"}, {"dog", "a red"}}, [][]string{words(a, inA), words(b, inB)}); diff != "" {
		t.Error(diff)
	}
}

func TestPace(t *testing.T) {
	p := Progress{Items: 1000, Decided: 100}
	for _, s := range []int{10, 20, 30, 600, 20} { // 600 s counts as a pause of 180
		p.add(time.Duration(s) * time.Second)
	}
	// 5 in 10+20+30+180+20 = 260 s is 69.23 an hour; 900 left take 13 h; the median is 20 s.
	if r, ok := p.PerHour(); !ok || r < 69.22 || r > 69.24 {
		t.Errorf("%v an hour", r)
	}
	if d, _ := p.Median(); d != 20*time.Second {
		t.Errorf("median %v", d)
	}
	if d, _ := p.Left(0); say(d) != "13 h 0 min" {
		t.Errorf("left %v", say(d))
	}
	if d, _ := p.Left(200); say(d) != "87 min" { // 100 left: 1.444 h
		t.Errorf("left %v", say(d))
	}
}

func TestKeysCanBeBound(t *testing.T) {
	km, err := newKeymap(map[string]string{"left_much": "a", "tie": "space .", "page_down": "pgdown"})
	if err != nil {
		t.Fatal(err)
	}
	if km.byKey["a"] != actMuchLeft || km.byKey[" "] != actTie || km.byKey["."] != actTie || km.byKey["1"] != "" {
		t.Errorf("%v", km.byKey)
	}
	for name, keys := range map[string]string{"no_such": "a", "left_much": "q", "tie": ""} {
		if _, err := newKeymap(map[string]string{name: keys}); err == nil {
			t.Errorf("%s: %q was taken", name, keys)
		}
	}
}

// What could not be written is said, stays on the screen, and the keys that were meant for the next item are forgotten.
func TestAKeyThatIsNotSaved(t *testing.T) { onBackends(t, testAKeyThatIsNotSaved) }

func testAKeyThatIsNotSaved(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 3)
	b := newBench(t, s, 80, 24)
	full, free := `CREATE TRIGGER no_room BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END;`, `DROP TRIGGER no_room`
	if testsServer() {
		full, free = postgresDDL(full), free+` ON events`
	}
	if _, err := s.db.Exec(full); err != nil {
		t.Fatal(err)
	}
	b.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("112")})
	if v := b.screen(); !strings.Contains(v, "question 1") || !strings.Contains(v, "disk full") || !strings.Contains(v, "press the key again") {
		t.Errorf("the screen says\n%s", v)
	}
	if _, err := s.db.Exec(free); err != nil {
		t.Fatal(err)
	}
	b.press("8")
	evs, err := s.Events(context.Background())
	if err != nil || len(evs) != 1 || evs[0].Strength != Much || b.m.progress.Decided != 1 {
		t.Errorf("%+v, %v", evs, err)
	}
}

// Keys in one message are keys one after the other; pasted text is text to a comment and nothing to the screen.
func TestKeysInOneMessage(t *testing.T) { onBackends(t, testKeysInOneMessage) }

func testKeysInOneMessage(t *testing.T) {
	s := screenStore(t)
	b := newBench(t, s, 80, 24)
	b.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("1=chmu")}) // two choices, then a comment being typed
	if got := string(b.m.input.text); got != "hmu" || b.m.progress.Decided != 2 {
		t.Errorf("comment %q after %d choices", got, b.m.progress.Decided)
	}
	b.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("see\n1=8\x1b[0m"), Paste: true})
	b.press("enter")
	if got := b.m.task.Note; got != "hmusee 1=8[0m" {
		t.Errorf("note %q", got)
	}
	b.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("123"), Paste: true})
	if b.m.progress.Decided != 2 {
		t.Error("pasted text judged items")
	}
}

// Whatever keys come, also while the store is busy, the screen is whole, and what it says is what the log says.
func TestAnyKeysOnTheScreen(t *testing.T) { onBackends(t, testAnyKeysOnTheScreen) }

func testAnyKeysOnTheScreen(t *testing.T) {
	scratch := newScratch(t)
	rapid.Check(t, func(t *rapid.T) {
		s, _ := scratch(t)
		defer s.Close()
		if _, err := s.AddItems(context.Background(), append(modeItems()[:3], pair(1), pair(2))); err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		ss, err := s.NewSession(SessionConfig{Annotator: "ann", Now: func() time.Time { b.at = b.at.Add(time.Second); return b.at }})
		if err != nil {
			t.Fatal(err)
		}
		if b.m, err = newModel(context.Background(), ss, Options{Width: 80, Height: 24, Tags: []string{"x"}, Out: &strings.Builder{}, Environ: []string{}}); err != nil {
			t.Fatal(err)
		}
		b.send(b.m.Init()())
		keys := rapid.SliceOfN(rapid.SampledFrom(strings.Fields("1 2 3 4 4 5 8 = b x + - s u u u r r left right c t / n d w v z f y i g m e ? tab p down pgdown end esc enter enter backspace ö 安")), 1, 30).Draw(t, "keys")
		for i := 0; i < len(keys); {
			// Several keys arrive before the command of the first is done.
			n := min(rapid.IntRange(1, 4).Draw(t, "burst"), len(keys)-i)
			var cmds []tea.Cmd
			for _, k := range keys[i : i+n] {
				if _, cmd := b.m.Update(keyMsg(k)); cmd != nil {
					cmds = append(cmds, cmd)
				}
			}
			if len(cmds) > 1 {
				t.Fatal("two commands on the store at once")
			}
			for _, cmd := range cmds {
				b.send(cmd())
			}
			i += n
			b.screen()
		}
		evs, err := s.Events(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		st := Fold(evs)
		if got, want := b.m.progress.Decided, len(st.Judged); got != want {
			t.Fatalf("the header says %d, the log %d", got, want)
		}
		if task := b.m.task; task != nil {
			e, judged := st.Judged[Place{"ann", task.Item.Seq}]
			if judged != (task.Judged != nil) || judged && e.Ref != task.Judged.Ref {
				t.Fatalf("the screen says %v, the log %v", task.Judged, e)
			}
			if d, ok := st.Drafts[Place{"ann", task.Item.Seq}]; (ok && (!judged || e.before(d))) != (task.Draft != nil) || task.Draft != nil && task.Draft.Ref != d.Ref {
				t.Fatalf("the screen says draft %v, the log %v", task.Draft, d)
			}
			if st.Notes[Place{"ann", task.Item.Seq}].Data.Note != task.Note {
				t.Fatalf("the screen says note %q", task.Note)
			}
		}
		checkFold(t, s, "ann", 5)
	})
}
