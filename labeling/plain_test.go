package labeling

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inLines runs the program in lines of text, on a clock that goes on by ten seconds whenever it is looked at: an item that is judged by
// the first line typed took ten seconds.
func inLines(t *testing.T, s *Store, opt Options, lines ...string) string {
	t.Helper()
	var out strings.Builder
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	opt.Annotator, opt.Out, opt.Environ = "ann", &out, []string{"TERM=dumb"}
	opt.In = strings.NewReader(strings.Join(lines, "\n") + "\n")
	opt.Now = func() time.Time { at = at.Add(10 * time.Second); return at }
	if err := Run(context.Background(), s, opt); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// lacks reports the texts that are not in an output in this order.
func lacks(t *testing.T, out string, want ...string) {
	t.Helper()
	rest := out
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Errorf("no %q, in this order, in\n%s", w, out)
			return
		}
		rest = after
	}
}

// Lines of text say how far one is, with each judgement, and the pace when it is asked for and at the goal.
func TestPlainTellsPaceAndGoal(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 20)
	out := inLines(t, s, Options{Sitting: 9}, "=", "x", "=", "=", "b", "m", "u", "q")
	lacks(t, out, "0 of 9 this sitting. Type a key", "Saved: tie. 1 of 9 this sitting.\n", "Saved: can't say. 2 of 9 this sitting.\n", "Saved: both bad. 5 of 9 this sitting.\n",
		"5 of 9 this sitting, 360 an hour, median 10 s, 40 s left.\nYour judgements\n", "undone: both bad (item 5).\n")
	if strings.Count(out, "an hour") != 1 || strings.Contains(out, "goal") {
		t.Errorf("the pace is said unasked:\n%s", out)
	}
	out = inLines(t, s, Options{Sitting: 3}, "=", "=", "u", "=", "=", "[", "b", "q")
	lacks(t, out, "0 of 3 this sitting, median 10 s. Type", "2 of 3 this sitting.\n", "undone: tie", "2 of 3 this sitting.\n", "3 of 3 this sitting.\nThe goal of this sitting is reached, 360 an hour, median 10 s; q quits.\n",
		"You chose: tie.", "Saved: both bad. 3 of 3 this sitting.\n")
	if strings.Count(out, "is reached") != 1 {
		t.Errorf("the goal is reached more than once:\n%s", out)
	}
	out = inLines(t, s, Options{Goal: 15}, "1", "2", "1", "2", "1", "2", "1", "m", "q")
	lacks(t, out, "7 of 15 (20 in the store) judged, 360 an hour, median 10 s, 80 s left. Type", "Saved: first clearly better. 9 of 15 (20 in the store).\n",
		"14 of 15 (20 in the store) judged, first 7 in a row, 360 an hour, median 10 s, 10 s left.\n")
}

// Reasons are ticked by their numbers, listed, and said when the item comes again; so are comments.
func TestPlainReasons(t *testing.T) { onBackends(t, testPlainReasons) }

func testPlainReasons(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 2)
	opt := Options{Tags: []string{"rude", "wrong", "too long"}}
	out := inLines(t, s, opt, "t", "t 1 3", "t 1 9", "t 1 2", "c so  it is", "1", "[", "q")
	lacks(t, out, "Reasons: 1 rude; 2 wrong; 3 too long.\n", "Reasons: 1 rude, ticked; 2 wrong; 3 too long, ticked.\n", "t N, with N from 1 to 3, ticks or unticks that reason; nothing was changed.\n",
		"Reasons: 1 rude; 2 wrong, ticked; 3 too long, ticked.\n", "Comment saved.", "Item 2.", "Item 1.", "Your comment: so  it is\n", "Your reasons: too long, wrong.\n")
	js, err := s.Judgements(context.Background())
	if err != nil || len(js) != 1 || !cmp.Equal(js[0].Tags, []string{"too long", "wrong"}) || js[0].Note != "so  it is" {
		t.Errorf("%+v, %v", js, err)
	}
	lacks(t, inLines(t, s, Options{}, "t 1", "q"), "This store has no list of reasons; c TEXT is a comment.\n")
}

// Items are gone to by their numbers and names.
func TestPlainGoesToItems(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 5)
	it, err := s.Item(context.Background(), 3)
	if err != nil {
		t.Fatal(err)
	}
	lacks(t, inLines(t, s, Options{}, "o 4", "]", "]", "left", "o "+it.Hash[:6], "o 77", "o", "q"),
		"Item 1.", "Item 4.", "Item 5.", "No item there.", "Item 4.", "Item 3.", "No item there.", "No item there.")
}

// The keys that are bound are the ones that are said and taken.
func TestPlainSaysWhatIsBound(t *testing.T) {
	s := newTestStore(t)
	if _, err := s.AddItems(context.Background(), append([]Item{pair(1), pair(2)}, modeItems()[:3]...)); err != nil {
		t.Fatal(err)
	}
	opt := Options{Keys: map[string]string{
		"left_much": "A", "left_slightly": "D", "right_slightly": "F", "right_much": "H", "tie": "space", "both_bad": "B", "cant_say": "X", "help": "W", "quit": "Q",
		"undo": "U", "note": "C", "good": "G", "bad": "Z",
	}, Axes: []string{"kind", "true"}}
	out := inLines(t, s, opt, "1", "W", "space", "H", "X", "G", "3 4", "W", "z", "Q")
	lacks(t, out, "judged. Type a key and Enter; W lists the keys.",
		"A first much better, D slightly, F second slightly better, H much, space tie, B both bad, X can't say.\n", `"1" means nothing here; W lists the keys.`,
		"\n  A         first much better\n", "\n  space     equally good\n", "\n  C TEXT    a comment\n", "\n  Q         quit",
		"Saved: tie.", "Saved: second much better.", "best first, as in 2 1 3; space all equal, B all bad, X can't say.\n", "Saved: can't say.", "G good, Z bad, X can't say.\n", "Saved: good.",
		"from 1 to 5 for each of kind, true, with spaces; X can't say.\n", "Saved: rated kind 3, true 4.", "Nothing is left", "U takes back the last key, Q quits.")
}

// The help in lines of text names what is answered, no less and no more.
func TestPlainHelpNamesEveryKey(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 100)
	for seq := range int64(4) {
		items := modeItems()
		if seq < 3 {
			if _, err := s.AddItems(ctx, items[seq:seq+1]); err != nil {
				t.Fatal(err)
			}
		}
		ss, err := s.NewSession(SessionConfig{Annotator: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		keys := boundTo(t, nil)
		var out strings.Builder
		p := &plain{ss: ss, opt: Options{Axes: DefaultAxes()}, keys: keys, out: bufio.NewWriter(&out), failed: make(chan error, 1)}
		p.failed <- io.EOF // nobody types a better answer
		at := 101 + seq    // the items of modes, then a pair
		if seq == 3 {
			at = 1
		}
		task, err := ss.Task(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		p.help(task)
		p.out.Flush()
		var acts []act
		for _, l := range strings.Split(out.String(), "\n")[1:] {
			if f := strings.Fields(l); len(f) > 0 {
				acts = append(acts, keys.typed(f[0]))
			}
		}
		for r := '!'; r <= '~'; r++ {
			out.Reset()
			if _, _, err := p.answer(ctx, task, string(r), time.Second); err != nil {
				t.Fatal(err)
			}
			p.out.Flush()
			digit := task.Item.mode() == Rank && r >= '1' && r <= '4' || task.Item.mode() == Single && r == 'b' // said by the hint, and another word for bad
			if answers := !strings.Contains(out.String(), "means nothing here"); answers != slices.Contains(acts, keys.typed(string(r))) && !digit {
				t.Errorf("mode %s: %c is answered: %v, but not in the help, or the other way round", task.Item.mode(), r, answers)
			}
		}
	}
}
