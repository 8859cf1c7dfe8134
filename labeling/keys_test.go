package labeling

import (
	"context"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"pgregory.net/rapid"
)

func TestKeysCanBeBound(t *testing.T) {
	km, err := newKeymap(map[string]string{"left_much": "a", "tie": "space .", "page_down": "pgdown"})
	if err != nil {
		t.Fatal(err)
	}
	if km.byKey["a"] != actMuchLeft || km.byKey[" "] != actTie || km.byKey["."] != actTie || km.byKey["1"] != "" {
		t.Errorf("%v", km.byKey)
	}
	for name, keys := range map[string]string{"no_such": "a", "left_much": "q", "tie": "", "next_axis": "u", "undo": "ctrl+c"} {
		if _, err := newKeymap(map[string]string{name: keys}); err == nil {
			t.Errorf("%s: %q was taken", name, keys)
		}
	}
	// The screen says what is bound, wherever it names a key.
	s := newTestStore(t)
	if _, err := s.AddItems(context.Background(), append([]Item{pair(1)}, modeItems()[2])); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 160, 50)
	b.m.keys = boundTo(t, map[string]string{
		"left_much": "a", "right_somewhat": "F", "tie": "space .", "help": "H", "pane": "P", "next_axis": "N", "undo": "U", "up": "K", "quit": "Q", "good": "+",
	})
	says := func(b *bench, yes, no []string) {
		t.Helper()
		v := b.screen()
		for _, want := range yes {
			if !strings.Contains(v, want) {
				t.Errorf("no %q on\n%s", want, v)
			}
		}
		for _, wrong := range no {
			if strings.Contains(v, wrong) {
				t.Errorf("%q on\n%s", wrong, v)
			}
		}
	}
	says(b, []string{"· a 2 3 4 ─", "· 5 F 7 8 ─", "◂ a much better  2 clearly", "5 slightly  F somewhat", "space tie", "U undo", "H help", "Q quit", "↓/K scroll", "P pane"},
		[]string{"1–4", "5–8", "= tie", "u undo", "? help", "q quit", "tab pane"})
	b.press("?")
	says(b, []string{"? does nothing; H lists the keys"}, nil)
	b.press("H")
	says(b, []string{"a 2 3 4         left better, a most", "5 F 7 8         right better, 8 most", "space .         tie", "U ", "P               what to scroll", "H               this help", "Q ctrl+c        quit"},
		[]string{"=  ", "u bksp", "tab", "? h"})
	b.press("esc", "a")
	says(b, []string{"✓ a left much better", "N next", "P pane", "1–5 bad to good"}, []string{"tab"})
	b.press("H")
	says(b, []string{"N               next axis", "P               what to scroll"}, []string{"tab"})
	b.press("esc", "N", "4", "P")
	if b.m.axis != 2 || b.m.focus == onAnswers || b.m.ratings()["harmless"] != 4 {
		t.Errorf("axis %d, focus %d, ratings %v", b.m.axis, b.m.focus, b.m.ratings())
	}
}

// boundTo is the keymap of what a recipe binds.
func boundTo(t *testing.T, custom map[string]string) keymap {
	t.Helper()
	km, err := newKeymap(custom)
	if err != nil {
		t.Fatal(err)
	}
	return km
}

// What could not be written is said, stays on the screen, and the keys that were meant for the next item are forgotten.
func TestAKeyThatIsNotSaved(t *testing.T) { onBackends(t, testAKeyThatIsNotSaved) }

func testAKeyThatIsNotSaved(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 3)
	b := newBench(t, s, 80, 24)
	full, free := `CREATE TRIGGER no_room BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END;`, `DROP TRIGGER no_room`
	if testsServer(t) {
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

// A person may sit at two screens. What one takes back the other has done, and the count of both is the store's.
func TestTwoSittingsOfOnePerson(t *testing.T) { onBackends(t, testTwoSittingsOfOnePerson) }

func testTwoSittingsOfOnePerson(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 2)
	a, b := newBench(t, s, 80, 24), newBench(t, s, 80, 24)
	says := func(x *bench, want string) {
		t.Helper()
		if v := x.screen(); !strings.Contains(v, want) {
			t.Errorf("no %q on\n%s", want, v)
		}
	}
	b.press("1")
	a.press("u") // of what b did, which a has not counted
	says(a, "0 of 2")
	a.press("r")
	says(a, "1 of 2")
	b.press("2")
	says(b, "2 of 2")
	a.press("u", "u", "1") // takes both back, and judges the first
	says(a, "1 of 2")
	b.press("left", "left", "1") // judges an item that b took for decided
	b.press("right", "1")
	says(b, "2 of 2")
	if n := b.m.progress.Decided; n != 2 {
		t.Errorf("%d of 2 decided", n)
	}
}

// The count on the screen is not older than some seconds, whoever else decides.
func TestTheCountFollowsOthers(t *testing.T) { onBackends(t, testTheCountFollowsOthers) }

func testTheCountFollowsOthers(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 9)
	b := newBench(t, s, 100, 30)
	bob, err := s.NewSession(SessionConfig{Annotator: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []int64{7, 8, 9} {
		task, err := bob.Task(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.Judge(ctx, task, Decision{Choice: Tie}, time.Second, Data{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{" 1 of 9 ", " 5 of 9 "} { // after 4 s and after 8
		b.press("1")
		if head, _, _ := strings.Cut(b.screen(), "\n"); !strings.HasPrefix(head, want) {
			t.Errorf("after %d keys the screen says %q, want %q", i+1, head, want)
		}
	}
	b.press("u")
	if head, _, _ := strings.Cut(b.screen(), "\n"); !strings.HasPrefix(head, " 4 of 9 ") {
		t.Errorf("after the undo the screen says %q", head)
	}
}

// Whatever keys come, also while the store is busy, the screen is whole, and what it says is what the log says.
func TestAnyKeysOnTheScreen(t *testing.T) { onBackends(t, testAnyKeysOnTheScreen) }

func testAnyKeysOnTheScreen(t *testing.T) {
	scratch := newScratch(t)
	rapid.Check(t, func(t *rapid.T) {
		s := scratch.empty(t)
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
