package labeling

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// modeItems are an item of each mode.
func modeItems() []Item {
	answers := func(n int) (out []Answer) {
		for i := range n {
			out = append(out, Answer{Text: fmt.Sprintf("the answer %c\n\n| tool | speed |\n|:-----|------:|\n| **a** | %d |\n| `b` | 10 |", 'A'+i, i), Model: fmt.Sprint("m", i)})
		}
		return out
	}
	return []Item{
		{Mode: Rank, Prompt: Prompt{Text: "Which tools are there?"}, Answers: answers(4)},
		{Mode: Single, Prompt: Prompt{Text: "Is this fine?"}, Answers: []Answer{{Text: "It is *quite* fine, see [the manual](http://x.y)."}}},
		{Mode: Rate, Prompt: Prompt{Text: "How good is this?"}, Answers: []Answer{{Text: "# So\n\n> good\n\n1. one\n2. two"}}},
		pair(4),
	}
}

func modeStore(t *testing.T) *Store {
	t.Helper()
	s := newTestStore(t)
	if _, err := s.AddItems(context.Background(), modeItems()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScreensOfTheModes(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {100, 30}, {190, 45}} {
		name := func(s string) string { return fmt.Sprintf("%s-%dx%d", s, size[0], size[1]) }
		b := newBench(t, modeStore(t), size[0], size[1])
		b.press("3", "1")
		b.golden(name("rank"))
		b.press("2", "enter")
		b.golden(name("single"))
		b.press("+", "4", "5")
		b.golden(name("rate"))
		b.press("?")
		b.golden(name("rate-help"))
		b.press("esc", "2", "1", "m")
		b.golden(name("panel"))
	}
	b := newBench(t, modeStore(t), 60, 12) // too little room for four answers: one by one
	b.golden("rank-crowded")
	b.press("tab", "tab", "tab")
	b.golden("rank-crowded-3")
}

// Every digit of an order is written down: it is undone one by one, also in a later sitting, and confirmed by enter.
func TestRankingByKeys(t *testing.T) { onBackends(t, testRankingByKeys) }

func testRankingByKeys(t *testing.T) {
	s, ctx := modeStore(t), context.Background()
	b := newBench(t, s, 100, 30)
	shown := b.m.task.Shown
	b.press("3", "3", "1", "9") // twice the same, and one that is not there
	if got := b.m.placed(); !cmp.Equal(got, []int{shown[2], shown[0]}) {
		t.Fatalf("order %v of %v", got, shown)
	}
	b.press("enter")
	if !strings.Contains(b.m.status, "2 answers have no place yet") {
		t.Errorf("status %q", b.m.status)
	}
	b = newBench(t, s, 100, 30) // another sitting finds the order as it was
	if got := b.m.placed(); !cmp.Equal(got, []int{shown[2], shown[0]}) || !cmp.Equal(b.m.task.Shown, shown) {
		t.Fatalf("after a restart: order %v, shown %v", got, b.m.task.Shown)
	}
	b.press("u", "2", "u", "u", "r", "r", "4", "enter")
	if b.m.task.Item.Seq != 2 {
		t.Fatalf("on item %d: %q", b.m.task.Item.Seq, b.m.status)
	}
	js, err := s.Judgements(ctx)
	want := []int{shown[2], shown[1], shown[3], shown[0]}
	if err != nil || len(js) != 1 || !cmp.Equal(js[0].Event.Ranking, want) {
		t.Fatalf("%v, want the ranking %v: %v", js, want, err)
	}
	// The pairs of the ranking: by hand, six of them, the earlier place wins, one group, no margin.
	var pairs []string
	group := map[string]bool{}
	err = s.EachLabel(ctx, func(j Judgement) error {
		c, r, ok := j.Pair()
		if !ok || j.Label() != 1 || j.Margin() != 0 || j.Item.Group == "" {
			t.Errorf("pair %+v", j)
		}
		group[j.Item.Group] = true
		pairs = append(pairs, j.Item.Answers[c].Model+">"+j.Item.Answers[r].Model)
		return nil
	})
	m := func(i int) string { return js[0].Item.Answers[want[i]].Model }
	all := []string{m(0) + ">" + m(1), m(0) + ">" + m(2), m(0) + ">" + m(3), m(1) + ">" + m(2), m(1) + ">" + m(3), m(2) + ">" + m(3)}
	if diff := cmp.Diff(all, pairs); err != nil || diff != "" || len(group) != 1 {
		t.Errorf("%v %v %s", err, group, diff)
	}
	if n, err := s.Trainable(ctx); err != nil || n != 6 {
		t.Errorf("trainable %d, %v", n, err)
	}
	// Taken back, the order is there to be changed.
	b.press("u")
	if b.m.task.Item.Seq != 1 || len(b.m.placed()) != 3 || b.m.task.Judged != nil {
		t.Errorf("after undo: item %d, order %v", b.m.task.Item.Seq, b.m.placed())
	}
}

func TestSingleAndRatingByKeys(t *testing.T) { onBackends(t, testSingleAndRatingByKeys) }

func testSingleAndRatingByKeys(t *testing.T) {
	s, ctx := modeStore(t), context.Background()
	b := newBench(t, s, 80, 24)
	b.press("=") // all equal
	b.press("1", "d", "b")
	if b.m.task.Item.Mode != Rate || !strings.Contains(b.m.status, "bad") {
		t.Fatalf("mode %s, %q", b.m.task.Item.Mode, b.m.status)
	}
	b.press("4", "tab", "9", "2") // helpful 4, harmless left out, honest 2
	b = newBench(t, s, 80, 24)
	if diff := cmp.Diff(map[string]int{"helpful": 4, "honest": 2}, b.m.ratings()); diff != "" || b.m.axis != 1 {
		t.Fatalf("axis %d: %s", b.m.axis, diff)
	}
	b.press("u", "enter")
	js, err := s.Judgements(ctx)
	if err != nil || len(js) != 3 {
		t.Fatal(js, err)
	}
	if js[0].Event.Choice != Tie || js[1].Event.Choice != Bad || !cmp.Equal(js[2].Event.Data.Ratings, map[string]int{"helpful": 4}) {
		t.Errorf("%+v", js)
	}
	b.press("left", "5", "5")        // the two that are missing
	b.press("left", "tab", "1", "m") // one key changes a number at once
	js, _ = s.Judgements(ctx)
	if diff := cmp.Diff(map[string]int{"helpful": 4, "harmless": 1, "honest": 5}, js[2].Event.Data.Ratings); diff != "" {
		t.Log(b.screen())
		t.Error(diff)
	}
	got, x := exportText(t, s, KTO)
	if want := `{"prompt":"Is this fine?","completion":"It is *quite* fine, see [the manual](http://x.y).","label":false}` + "\n"; got != want || x.LeftOut["rank"] != 1 || x.LeftOut["rated"] != 1 {
		t.Errorf("%s%v", got, x)
	}
}

// An editor is any program that changes a file: here a shell script. The better answer goes to it, what it leaves is a
// demonstration and a pair, and undo takes both back.
func TestEditing(t *testing.T) { onBackendsInTurn(t, testEditing) }

func testEditing(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 2)
	script := filepath.Join(t.TempDir(), "ed.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf 'better: ' | cat - \"$1\" > \"$1.new\" && mv \"$1.new\" \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 80, 24)
	b.m.opt.Editor = script
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	path := ""
	run := func(position int) { // what the program does between the key and the message that the editor has ended
		t.Helper()
		answer := b.m.task.Shown[position]
		var err error
		if path, err = b.m.ss.editPath(b.m.task.Item.Seq, answer); err != nil {
			t.Fatal(err)
		}
		r := &editRun{Cmd: exec.Command(script, path), path: path, text: b.m.task.Item.Answers[answer].String()}
		if err := r.Run(); err != nil {
			t.Fatal(err)
		}
		b.send(edited{answer, path, nil})
	}
	b.press("e")
	if !b.m.choosing || !strings.Contains(b.screen(), "edit which answer? 1 upper  2 lower") {
		t.Fatal(b.screen())
	}
	b.press("esc")
	run(1)
	want := b.m.task.Answer(1).Text
	if !strings.Contains(b.m.status, "a demonstration") {
		t.Fatal(b.m.status)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*edit*")); len(left) > 0 {
		t.Errorf("files left behind: %v", left)
	}
	demos, _ := exportText(t, s, Demos)
	if demos != `{"prompt":"question 1","completion":"better: `+want+`"}`+"\n" {
		t.Error(demos)
	}
	trl, _ := exportText(t, s, TRL)
	if trl != `{"prompt":"question 1","chosen":"better: `+want+`","rejected":"`+want+`","margin":0}`+"\n" {
		t.Error(trl)
	}
	if n, err := s.Trainable(ctx); err != nil || n != 1 {
		t.Errorf("trainable %d, %v", n, err)
	}
	// A merge keeps the edit with its answer, though the other store has the answers the other way round.
	other := newTestStore(t)
	swapped := pair(1)
	swapped.Answers[0], swapped.Answers[1] = swapped.Answers[1], swapped.Answers[0]
	if _, err := other.AddItems(ctx, []Item{swapped}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Merge(ctx, s); err != nil {
		t.Fatal(err)
	}
	if there, _ := exportText(t, other, TRL); there != trl {
		t.Errorf("after the merge: %s", there)
	}
	b.press("u")
	if trl, _ := exportText(t, s, TRL); trl != "" {
		t.Errorf("after undo: %s", trl)
	}
	b.m.opt.Editor = ""
	b.press("tab", "e")
	if !strings.Contains(b.m.status, "EDITOR") {
		t.Error(b.m.status)
	}
	b.send(edited{0, "nowhere", fmt.Errorf("exit status 1")})
	if !strings.Contains(b.m.status, "its text is kept in nowhere") {
		t.Error(b.m.status)
	}
}

// The editor gets the terminal, not a pipe that ends in it.
func TestTheEditorGetsTheTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "tty"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := inTurns(f, nil)
	if _, past := out.(io.StringWriter); past {
		t.Error("strings are written past the turns")
	}
	r := &editRun{Cmd: exec.Command("true")}
	r.SetStdout(out)
	if r.Stdout != any(f) {
		t.Errorf("the editor's output is %T", r.Stdout)
	}
}

// A comment that was being typed is there again after the program was killed; given up it is gone.
func TestTypingSurvives(t *testing.T) { onBackends(t, testTypingSurvives) }

func testTypingSurvives(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 2)
	b := newBench(t, s, 80, 24)
	b.press("c", "s", "o", " ", "x", "backspace")
	b = newBench(t, s, 80, 24)
	if !strings.Contains(b.screen(), "a comment is not finished; c goes on") {
		t.Error(b.screen())
	}
	b.press("c")
	if got := string(b.m.input.text); got != "so " {
		t.Fatalf("%q", got)
	}
	b.press("a", "enter")
	if b.m.task.Note != "so a" || b.m.task.Typing != "" {
		t.Errorf("note %q, typing %q", b.m.task.Note, b.m.task.Typing)
	}
	b.press("c", "z", "esc")
	b = newBench(t, s, 80, 24)
	if b.m.task.Note != "so a" || b.m.task.Typing != "" {
		t.Errorf("after giving up: note %q, typing %q", b.m.task.Note, b.m.task.Typing)
	}
}

// Rendered and raw show the same lines, so a toggle keeps the place.
func TestRawKeepsThePlace(t *testing.T) {
	s := newTestStore(t)
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "- **line %d** of `code`\n", i)
	}
	if _, err := s.AddItems(context.Background(), []Item{{Prompt: Prompt{Text: "p"}, Answers: []Answer{{Text: text.String()}, {Text: "b"}}}}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, s, 100, 20)
	b.press("pgdown", "pgdown", "down")
	b.press("w")
	raw := b.screen()
	b.press("w")
	rendered := b.screen()
	for i := range 60 {
		r := strings.Contains(raw, fmt.Sprintf("**line %d**", i))
		if w := strings.Contains(rendered, fmt.Sprintf("• line %d ", i)); w != r {
			t.Errorf("line %d: raw %v, rendered %v", i, r, w)
		}
	}
}
