package labeling

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// labelledStore holds one item of each choice, judged by ann; the second item's judgement was made, undone and made anew.
func labelledStore(t *testing.T) *Store {
	t.Helper()
	s, ctx := newTestStore(t), context.Background()
	chat := Item{
		Prompt:  Prompt{Messages: []Message{{"system", "Be <brief>."}, {"user", "Hi & bye?"}}},
		Answers: []Answer{{Text: "Hello.", Source: "m1"}, {Text: "Good\nday — 你好", Source: "m2"}},
		Tags:    []string{"chat"},
	}
	if _, err := s.AddItems(ctx, []Item{pair(1), chat, pair(3), pair(4), pair(5), pair(6)}); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ss, err := s.NewSession(SessionConfig{Annotator: "ann", Now: func() time.Time { at = at.Add(time.Second); return at }})
	if err != nil {
		t.Fatal(err)
	}
	do := func(seq int64, d Decision) {
		t.Helper()
		task, err := ss.Task(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		task.Shown = []int{1, 0}
		if _, err := ss.Judge(ctx, task, d, 1500*time.Millisecond, Data{}); err != nil {
			t.Fatal(err)
		}
	}
	do(1, Prefer(0, Much))
	do(2, Prefer(0, Clearly))
	if _, err := ss.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	do(2, Prefer(1, Somewhat))
	do(3, Decision{Choice: Tie})
	do(4, Decision{Choice: BothBad})
	do(5, Decision{Choice: CantSay})
	do(6, Prefer(1, Slightly))
	return s
}

func exportText(t *testing.T, s *Store, f Format) (string, Exported) {
	t.Helper()
	var b bytes.Buffer
	x, err := s.Export(context.Background(), &b, f)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), x
}

func lines(ls ...string) string { return strings.Join(ls, "\n") + "\n" }

// The expected rows are written by hand from the formats' own documentation (TRL: dataset formats; margin as in Llama 2).
func TestExportTRL(t *testing.T) { onBackends(t, testExportTRL) }

func testExportTRL(t *testing.T) {
	got, x := exportText(t, labelledStore(t), TRL)
	want := lines(
		`{"prompt":"question 1","chosen":"first answer 1","rejected":"second answer 1","margin":1}`,
		`{"prompt":[{"role":"system","content":"Be <brief>."},{"role":"user","content":"Hi & bye?"}],"chosen":[{"role":"assistant","content":"Good\nday — 你好"}],"rejected":[{"role":"assistant","content":"Hello."}],"margin":0.3333333333333333}`,
		`{"prompt":"question 6","chosen":"second answer 6","rejected":"first answer 6","margin":0}`,
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Exported{Rows: 3, Text: 2, Conversations: 1, LeftOut: map[string]int{"tie": 1, "both_bad": 1, "cant_say": 1}}, x); diff != "" {
		t.Error(diff)
	}
}

func TestExportKTO(t *testing.T) { onBackends(t, testExportKTO) }

func testExportKTO(t *testing.T) {
	got, _ := exportText(t, labelledStore(t), KTO)
	want := lines(
		`{"prompt":"question 1","completion":"first answer 1","label":true}`,
		`{"prompt":"question 1","completion":"second answer 1","label":false}`,
		`{"prompt":[{"role":"system","content":"Be <brief>."},{"role":"user","content":"Hi & bye?"}],"completion":[{"role":"assistant","content":"Good\nday — 你好"}],"label":true}`,
		`{"prompt":[{"role":"system","content":"Be <brief>."},{"role":"user","content":"Hi & bye?"}],"completion":[{"role":"assistant","content":"Hello."}],"label":false}`,
		`{"prompt":"question 4","completion":"first answer 4","label":false}`,
		`{"prompt":"question 4","completion":"second answer 4","label":false}`,
		`{"prompt":"question 6","completion":"second answer 6","label":true}`,
		`{"prompt":"question 6","completion":"first answer 6","label":false}`,
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExportLogAndDump(t *testing.T) { onBackends(t, testExportLogAndDump) }

func testExportLogAndDump(t *testing.T) {
	s := labelledStore(t)
	log, x := exportText(t, s, Log)
	if want := 6 + 8; x.Rows != want || strings.Count(log, "\n") != want {
		t.Errorf("%d rows, want %d (6 items, 7 judgements, 1 undo)", x.Rows, want)
	}
	for _, want := range []string{`"at":"2026-01-02T03:04:06Z"`, `"ms":1500`, `"kind":"undo"`, `"shown":[1,0]`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	var dump bytes.Buffer
	if err := s.Dump(context.Background(), &dump); err != nil {
		t.Fatal(err)
	}
	tail := lines(strings.Split(strings.TrimSpace(dump.String()), "\n")[6:9]...)
	want := lines(
		`{"type":"event","session":1,"n":1,"annotator":"ann","kind":"judge","item":1,"shown":[1,0],"choice":"win","ranking":[0,1],"strength":4}`,
		`{"type":"event","session":1,"n":2,"annotator":"ann","kind":"judge","item":2,"shown":[1,0],"choice":"win","ranking":[0,1],"strength":3}`,
		`{"type":"event","session":1,"n":3,"annotator":"ann","kind":"undo","item":2,"target":{"n":2,"session":1}}`,
	)
	if diff := cmp.Diff(want, tail); diff != "" {
		t.Error(diff)
	}
	a, err := s.Hash(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := labelledStore(t).Hash(context.Background()); a != b {
		t.Error("the same work twice gives two hashes")
	}
}

func TestMarginOfStrength(t *testing.T) {
	for strength, want := range map[int]float64{Much: 1, Clearly: 2.0 / 3, Somewhat: 1.0 / 3, Slightly: 0, 0: 0} {
		if got := Margin(strength); got != want {
			t.Errorf("Margin(%d) = %v, want %v", strength, got, want)
		}
	}
}

func TestMergeJoinsWithoutConflict(t *testing.T) { onBackends(t, testMergeJoinsWithoutConflict) }

func testMergeJoinsWithoutConflict(t *testing.T) {
	ctx := context.Background()
	work := func(place, who string, extra Item, picks ...int) *Store { // the same pairs, carried away and worked on
		s := openTest(t, place)
		t.Cleanup(func() { s.Close() })
		addPairs(t, s, 3)
		if _, err := s.AddItems(ctx, []Item{extra}); err != nil {
			t.Fatal(err)
		}
		ss, _ := s.NewSession(SessionConfig{Annotator: who, Queue: Queue{Overlap: 2}})
		for i, p := range picks {
			if i == 1 { // an undo and a redo on the way
				if act, err := ss.Undo(ctx); err != nil || act == nil {
					t.Fatal(act, err)
				}
				if act, err := ss.Redo(ctx); err != nil || act == nil {
					t.Fatal(act, err)
				}
			}
			task, err := ss.Resume(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ss.Judge(ctx, task, Prefer(p, Much), time.Second, Data{}); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	reversed := pair(8)
	reversed.Answers[0], reversed.Answers[1] = reversed.Answers[1], reversed.Answers[0]
	a, b := work(newPlace(t), "ann", pair(8), 0, 0), work(filepath.Join(t.TempDir(), "b.db"), "bob", reversed, 1, 1, 1, 0)
	m, err := a.Merge(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	if m.Items != 0 || m.Events != 6 { // bob: four judgements, an undo and a redo
		t.Errorf("%+v", m)
	}
	if again, err := a.Merge(ctx, b); err != nil || again.Events != 0 {
		t.Errorf("second time %+v, %v", again, err)
	}
	if _, err := b.Merge(ctx, a); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(summary(t, a), summary(t, b)); diff != "" {
		t.Errorf("the order of merging shows: %s", diff)
	}
	want := []string{
		`"question 1": win "first answer 1" > "second answer 1" by ann margin 1.00`,
		`"question 1": win "second answer 1" > "first answer 1" by bob margin 1.00`,
		`"question 2": win "first answer 2" > "second answer 2" by ann margin 1.00`,
		`"question 2": win "second answer 2" > "first answer 2" by bob margin 1.00`,
		`"question 3": win "second answer 3" > "first answer 3" by bob margin 1.00`,
		`"question 8": win "second answer 8" > "first answer 8" by bob margin 1.00`,
	}
	if diff := cmp.Diff(want, summary(t, a)); diff != "" {
		t.Error(diff)
	}
}

func TestTrainable(t *testing.T) { onBackends(t, testTrainable) }

func testTrainable(t *testing.T) {
	s := labelledStore(t)
	if n, err := s.Trainable(context.Background()); err != nil || n != 4 { // three preferences and a tie; both bad and can't say are not
		t.Errorf("%d, %v", n, err)
	}
	js, err := s.Judgements(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range js {
		c, r, ok := j.Pair()
		got = append(got, fmt.Sprintf("%d>%d %v label %v margin %.2f", c, r, ok, j.Label(), j.Margin()))
	}
	want := []string{
		"0>1 true label 1 margin 1.00", "1>0 true label 1 margin 0.33", "0>1 true label 0.5 margin 0.00",
		"0>0 false label 1 margin 0.00", "0>0 false label 1 margin 0.00", "1>0 true label 1 margin 0.00",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"label.store":   func(c *Config) { c.Store = "" },
		"label.min":     func(c *Config) { c.Min = -1 },
		"label.overlap": func(c *Config) { c.Overlap = 0 },
		"label.tags":    func(c *Config) { c.Tags = []string{"a", "a"} },
		"label.keys.no": func(c *Config) { c.Keys = map[string]string{"no": "n"} },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
