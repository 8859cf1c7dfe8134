package labeling

import (
	"context"
	"strings"
	"testing"
)

// agreedStore has ten pairs that ann and bob judged: ann prefers the first answer of items 1 to 5 clearly, and the second of the
// rest; bob says the same, but that item 1 has the second one better, and item 2 the first one by much.
func agreedStore(t *testing.T) *Store {
	t.Helper()
	return sayings(t, 10, []string{"ann", "bob"}, func(who string, i int, _ *Task) (Decision, float64, bool) {
		d := Prefer(index(i >= 5), Clearly)
		switch {
		case who == "bob" && i == 0:
			d = Prefer(1, Clearly)
		case who == "bob" && i == 1:
			d = Prefer(0, Much)
		}
		return d, 4, true
	})
}

// The panel says how far people agree, against numbers by hand.
//
// κ: the same on 9 of 10; ann says first 5 times and bob 4, so p_e = (5·4 + 5·6)/100 = 0.5 and κ = (0.9 - 0.5)/0.5 = 0.8.
//
// α of which is better: of 20 values 9 are first and 11 second, one unit has both: 1 - 19·2/(2·9·11) = 0.808.
//
// α of how much: values -3, 3 and 4 come 11, 8 and 1 times, so the ordinal δ² are 9.5² of -3 and 3, 4.5² of 3 and 4, and 14²
// of -3 and 4; one unit has -3 and 3, one 3 and 4: 1 - 19·2(9.5² + 4.5²)/(2(11·8·9.5² + 8·1·4.5² + 11·1·14²)) = 0.795.
//
// The sentence: people agree on 0.9, so a model is right on (1 + √0.8)/2 = 94.7 % at most. Of ten draws from the ten pairs the
// share has its 2.5 % and 97.5 % quantiles at 0.7 and 1 (binomial: at most six agree with 1.3 %, seven with 7 %; all ten with
// 35 %), which are 81.6 % and 100 %.
func TestPanelAgreement(t *testing.T) {
	const alphas = "\n  α of everyone  0.808 (|; 10), which is better\n  α of everyone  0.795 (|; 10), how much better\n"
	const sentence = "With these labels no reward model can be measured above 94.7 % (81.6 to 100; 10 pairs with preferences of several people)."
	s := agreedStore(t)
	for who, want := range map[string]string{
		"ann": "judged         10: win 100 %|Agreement\n  κ with bob     0.800 (|; 10)" + alphas + "|" + sentence,
		"bob": "with others    the same 90 % of 10|Agreement\n  κ with ann     0.800 (|; 10)" + alphas + "|" + sentence,
		"eve": "Your judgements\n  none yet|Agreement" + alphas + "|" + sentence, // who has judged nothing
	} {
		b := newBenchFor(t, s, 160, 40, SessionConfig{Annotator: who})
		b.press("m")
		v := strings.ReplaceAll(b.screen(), "\n ", "\n") // as the panel's text is
		rest := v
		for _, part := range strings.Split(want, "|") {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s: no %q, or not in its place, in\n%s", who, part, v)
				break
			}
			rest = after
		}
		if strings.Contains(v, "κ with "+who) || who == "eve" && strings.Contains(v, "κ") {
			t.Errorf("%s: agreement with oneself, or of others:\n%s", who, v)
		}
		b.press("m") // any key closes it
		if b.m.over != noOverlay {
			t.Errorf("%s: the panel stays", who)
		}
	}
}

// The panel is of now: a judgement that another person makes meanwhile is in it when it is opened again.
func TestPanelIsLive(t *testing.T) {
	s, ctx := agreedStore(t), context.Background()
	b := newBenchFor(t, s, 160, 40, SessionConfig{Annotator: "ann"})
	open := func(want string) {
		t.Helper()
		b.press("m")
		if v := b.screen(); !strings.Contains(v, want) {
			t.Errorf("no %q in\n%s", want, v)
		}
		b.press("esc")
	}
	open("κ with bob     0.800 (")
	ss, err := s.NewSession(SessionConfig{Annotator: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	task, err := ss.Task(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ss.Judge(ctx, task, Prefer(0, Clearly), 0, Data{}); err != nil { // as ann does: they agree on all
		t.Fatal(err)
	}
	open("κ with bob     1.000 (1.000 to 1.000; 10)")
}
