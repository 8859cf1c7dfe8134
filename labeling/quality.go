package labeling

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"plumb/internal/stats"
)

// Quality is how good the judgements of a store are.
type Quality struct {
	Items       int            `json:"items"`
	Decided     int            `json:"decided"`
	Trainable   int            `json:"trainable"`
	Choices     map[string]int `json:"choices"`
	Edited      int            `json:"edited"`      // edited answers in force
	Disputed    int            `json:"disputed"`    // items that people disagree on
	Adjudicated int            `json:"adjudicated"` // items with an adjudication in force
	Ties        float64        `json:"ties"`        // share of ties among preferences and ties
	People      []Person       `json:"people"`
	Pairs       []Agreed       `json:"pairs"`   // of each two people with an item in common
	Alphas      []Alpha        `json:"alphas"`  // of all people together
	Ceiling     Estimate       `json:"ceiling"` // of the accuracy of any model, from people who judged the same items
	Own         Estimate       `json:"ceiling_of_repeats"`
}

// Agreed is how far two people agree on what is better, ties, and both bad.
type Agreed struct {
	A     string       `json:"a"`
	B     string       `json:"b"`
	Same  stats.Number `json:"same"`
	Kappa Estimate     `json:"kappa"`
}

// Alpha is Krippendorff's α of one thing that people say of items.
type Alpha struct {
	Of string `json:"of"`
	Estimate
}

// said is one choice as the measures need it.
type said struct {
	Event
	mode  Mode
	runes []int // lengths of the stored answers
}

func saidOf(j Judgement) said {
	s := said{Event: j.Event, mode: j.Item.mode()}
	for _, a := range j.Item.Answers {
		s.runes = append(s.runes, utf8.RuneCountInString(a.String()))
	}
	return s
}

// inForceRepeats is a view of the repeated judgements in force.
const inForceRepeats = `(SELECT x.* FROM actions a JOIN events x ON x.id = a.event WHERE a.kind = 'repeat' AND a.undone = 0)`

// evidence is all that the measures are made of.
type evidence struct {
	said    []said // judgements in force, by item and person
	repeats map[Place]said
	gold    map[int64]Gold
}

func (s *Store) evidence(ctx context.Context) (evidence, error) {
	ev := evidence{repeats: map[Place]said{}}
	err := s.EachJudgement(ctx, func(j Judgement) error {
		ev.said = append(ev.said, saidOf(j))
		return nil
	})
	if err != nil {
		return ev, err
	}
	err = s.each(ctx, inForceRepeats, `true`, nil, func(j Judgement) error {
		ev.repeats[Place{j.Event.Annotator, j.Item.Seq}] = saidOf(j)
		return nil
	})
	if err != nil {
		return ev, err
	}
	ev.gold, err = s.Golds(ctx)
	return ev, err
}

// Quality measures the judgements in force.
func (s *Store) Quality(ctx context.Context) (Quality, error) {
	var q Quality
	ev, err := s.evidence(ctx)
	if err != nil {
		return q, err
	}
	if q.Items, q.Decided, err = s.Count(ctx); err != nil {
		return q, fmt.Errorf("count %s: %w", s.path, err)
	}
	if q.Trainable, err = s.Trainable(ctx); err != nil {
		return q, err
	}
	err = s.row(ctx, `SELECT (SELECT count(*) FROM actions WHERE kind = 'edit' AND undone = 0),
		(SELECT count(DISTINCT item) FROM actions WHERE kind = 'adjudicate' AND undone = 0)`).Scan(&q.Edited, &q.Adjudicated)
	if err != nil {
		return q, fmt.Errorf("count %s: %w", s.path, err)
	}
	q.Choices = map[string]int{}
	for _, x := range ev.said {
		q.Choices[string(x.Choice)]++
	}
	if n := q.Choices[string(Win)] + q.Choices[string(Tie)]; n > 0 {
		q.Ties = float64(q.Choices[string(Tie)]) / float64(n)
	}
	q.People = people(ev)
	q.Disputed = disputed(ev.said)
	q.Pairs = agreements(ev.said)
	q.Alphas = alphas(ev.said)
	q.Ceiling = ceilingOf(agreedShares(ev.said))
	q.Own = ceilingOf(repeatedShares(ev))
	return q, nil
}

// disputed counts the items that people differ on.
func disputed(all []said) int {
	n := 0
	eachItem(all, func(xs []said) {
		for i, a := range xs {
			for _, b := range xs[:i] {
				if differ(a.Event, b.Event) {
					n++
					return
				}
			}
		}
	})
	return n
}

// eachItem calls fn with the choices on each item; all is ordered by item.
func eachItem(all []said, fn func([]said)) {
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to].Item == all[from].Item {
			to++
		}
		fn(all[from:to])
		from = to
	}
}

// comparison is what a person says of two answers i < j of an item: +s for the first with strength s (at least 1), -s for
// the second, 0 for a tie; ok is false where they say nothing of the two.
func (x said) comparison(i, j int) (v int, ok bool) {
	switch x.Choice {
	case Tie:
		return 0, true
	case Win:
		s := max(1, x.Strength)
		if slices.Index(x.Ranking, i) > slices.Index(x.Ranking, j) {
			s = -s
		}
		return s, true
	}
	return 0, false
}

// category is what can be agreed on of two answers, whatever the strength: 0 the first, 1 the second, 2 tie, 3 both bad.
func (x said) category(i, j int) (c int, ok bool) {
	if x.Choice == BothBad {
		return 3, true
	}
	v, ok := x.comparison(i, j)
	switch {
	case v > 0:
		return 0, ok
	case v < 0:
		return 1, ok
	}
	return 2, ok
}

const categories = 4

// answerPairs are the pairs of answers that an item's choices say something of.
func (x said) answerPairs() [][2]int {
	var out [][2]int
	for i := range x.runes {
		for j := i + 1; j < len(x.runes); j++ {
			out = append(out, [2]int{i, j})
		}
	}
	return out
}

// agreements are κ and the share of equal choices of each two people who judged the same items.
func agreements(all []said) []Agreed {
	type lists struct{ a, b []int }
	both := map[[2]string]*lists{}
	add := func(who [2]string, v, w int) {
		l := both[who]
		if l == nil {
			l = &lists{}
			both[who] = l
		}
		l.a, l.b = append(l.a, v), append(l.b, w)
	}
	eachItem(all, func(xs []said) { // ordered by person within an item
		for i, x := range xs {
			for _, y := range xs[i+1:] {
				who := [2]string{x.Annotator, y.Annotator}
				if x.mode == Single && x.Choice != CantSay && y.Choice != CantSay {
					add(who, categories+index(x.Choice == Good), categories+index(y.Choice == Good))
				}
				for _, p := range x.answerPairs() {
					v, okV := x.category(p[0], p[1])
					w, okW := y.category(p[0], p[1])
					if okV && okW {
						add(who, v, w)
					}
				}
			}
		}
	})
	var out []Agreed
	for who, l := range both {
		k, same := kappaOf(l.a, l.b)
		out = append(out, Agreed{who[0], who[1], stats.Number(same), k})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].A+"\x00"+out[i].B < out[j].A+"\x00"+out[j].B })
	return out
}

func index(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// alphas are Krippendorff's α of what all people say: which answer is better (nominal), how much (ordinal), good or bad
// (nominal), and the rating of each axis (ordinal).
func alphas(all []said) []Alpha {
	var choice, strength, good []tally
	axes := map[string][]tally{}
	eachItem(all, func(xs []said) {
		for _, p := range xs[0].answerPairs() {
			c, s := make(tally, categories), make(tally, 2*Much+1)
			for _, x := range xs {
				if v, ok := x.category(p[0], p[1]); ok {
					c[v]++
				}
				if v, ok := x.comparison(p[0], p[1]); ok {
					s[v+Much]++
				}
			}
			choice, strength = append(choice, c), append(strength, s)
		}
		g := make(tally, 2)
		rated := map[string]tally{}
		for _, x := range xs {
			if x.Choice == Good || x.Choice == Bad {
				g[index(x.Choice == Good)]++
			}
			for axis, v := range x.Data.Ratings {
				if rated[axis] == nil {
					rated[axis] = make(tally, MaxRating)
				}
				rated[axis][v-1]++
			}
		}
		good = append(good, g)
		for axis, t := range rated {
			axes[axis] = append(axes[axis], t)
		}
	})
	var out []Alpha
	add := func(of string, units []tally, δ metric) {
		if a := alphaOf(units, δ); a.N > 0 {
			out = append(out, Alpha{of, a})
		}
	}
	add("which is better", choice, nominal)
	add("how much better", strength, ordinal)
	add("good or bad", good, nominal)
	for _, axis := range slices.Sorted(maps.Keys(axes)) {
		add("rating of "+axis, axes[axis], ordinal)
	}
	return out
}

// agreedShares is, for each pair of answers that two or more people prefer one of, the share of pairs of people who prefer
// the same.
func agreedShares(all []said) []float64 {
	var out []float64
	eachItem(all, func(xs []said) {
		for _, p := range xs[0].answerPairs() {
			n := [2]float64{}
			for _, x := range xs {
				if v, ok := x.comparison(p[0], p[1]); ok && v != 0 {
					n[index(v < 0)]++
				}
			}
			if m := n[0] + n[1]; m >= 2 {
				out = append(out, (n[0]*(n[0]-1)+n[1]*(n[1]-1))/(m*(m-1)))
			}
		}
	})
	return out
}

// repeatedShares is, for each pair of answers that one person preferred one of twice, whether it was the same one.
func repeatedShares(ev evidence) []float64 {
	var out []float64
	for _, x := range ev.said {
		y, ok := ev.repeats[Place{x.Annotator, x.Item}]
		if !ok {
			continue
		}
		for _, p := range x.answerPairs() {
			v, okV := x.comparison(p[0], p[1])
			w, okW := y.comparison(p[0], p[1])
			if okV && okW && v != 0 && w != 0 {
				out = append(out, float64(index(v > 0 == (w > 0))))
			}
		}
	}
	return out
}

// Sentence says what the labels allow a model to reach; "" where nothing was judged twice.
func (q Quality) Sentence() string {
	e, how := q.Ceiling, "of several people"
	if e.N == 0 {
		e, how = q.Own, "of one person, asked twice"
	}
	if e.N == 0 {
		return ""
	}
	return fmt.Sprintf("With these labels no reward model can be measured above %s %% (%s to %s; %d pairs with preferences %s).",
		percent(e.Value), percent(e.Low), percent(e.High), e.N, how)
}

func percent(v stats.Number) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*float64(v)), ".0")
}
