package labeling

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The whole program on a terminal, with an editor that is a shell script: e opens the answer that was chosen, the one ranked
// first, the one in focus whatever was chosen, the only one; where none of these says which, it asks. What the editor leaves
// is a demonstration, and a pair that wins over what it found.
func TestEditOpensTheBetterAnswer(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir, ctx := t.TempDir(), context.Background()
	script := filepath.Join(dir, "ed.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n{ printf 'better: '; cat \"$1\"; } > \"$1.new\" && mv \"$1.new\" \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, filepath.Join(dir, "l.db"))
	defer s.Close()
	ranked := Item{Mode: Rank, Prompt: Prompt{Text: "question 6"}}
	for _, word := range []string{"first", "second", "third"} {
		ranked.Answers = append(ranked.Answers, Answer{Text: word + " answer 6"})
	}
	single := Item{Mode: Single, Prompt: Prompt{Text: "question 5"}, Answers: []Answer{{Text: "only answer 5"}}}
	items := []Item{pair(1), pair(2), pair(3), pair(4), single, ranked, pair(7)}
	if _, err := s.AddItems(ctx, items); err != nil {
		t.Fatal(err)
	}
	x := startTerminal(ctx, t, s, 80, 30, Options{Seed: 4, Editor: script}) // the seed turns the pairs that the test needs turned
	const left, right = "\x1b[D", "\x1b[C"
	var want []string // the texts that are to be edited, by item
	for i, c := range []struct {
		judge, edit  string // keys; the item stays on the screen where judge is none
		asks, turned bool
		at           int // where on the screen the answer is that is to be edited, from 0
	}{
		{"8", "e", false, false, 1},
		{"1", "e", false, false, 0},
		{"=", "e2", true, true, 1},
		{"8", "\te", false, true, 0}, // the focus is on the upper one
		{"+", "e", false, false, 0},
		{"312\r", "e", false, false, 2},
		{"", "e1", true, false, 0},
	} {
		question := fmt.Sprint("question ", i+1)
		x.await(question)
		seen := answersSeen(x.screen(), i+1)
		if want = append(want, seen[c.at]); strings.HasPrefix(seen[0], "first") && c.turned {
			t.Fatalf("item %d is not turned: which answer is stored first says which is shown first", i+1)
		}
		if c.judge != "" {
			x.press(c.judge)
			x.awaitGone(question)
			x.press(left)
			x.await("you chose: ")
			x.await(question)
		}
		if c.asks {
			x.press(c.edit[:1])
			x.await("edit which answer?")
			c.edit = c.edit[1:]
		}
		x.press(c.edit)
		x.await("edited: a demonstration, and a pair that it wins")
		x.press(right)
	}
	x.press("q")
	if err := x.end(); err != nil {
		t.Fatal(err)
	}
	demos, _ := exportText(t, s, Demos)
	trl, _ := exportText(t, s, TRL)
	var rows []string
	for i, text := range want {
		rows = append(rows, fmt.Sprintf(`{"prompt":"question %d","completion":"better: %s"}`, i+1, text))
		if pair := fmt.Sprintf(`{"prompt":"question %d","chosen":"better: %s","rejected":"%s","margin":0}`+"\n", i+1, text, text); !strings.Contains(trl, pair) {
			t.Errorf("no pair %s in\n%s", pair, trl)
		}
	}
	if demos != lines(rows...) {
		t.Errorf("demonstrations\n%swant\n%s", demos, lines(rows...))
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".*edit*")); len(files) > 0 {
		t.Errorf("files left behind: %v", files)
	}
}

// answersSeen are the answers of item n on a screen, from the top.
func answersSeen(screen string, n int) []string {
	var out []string
	for _, l := range strings.Split(screen, "\n") {
		if l = strings.TrimSpace(l); strings.HasSuffix(l, fmt.Sprint("answer ", n)) {
			out = append(out, l)
		}
	}
	return out
}
