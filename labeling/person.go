package labeling

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"plumb/internal/stats"
)

// Person is how one person judges.
type Person struct {
	Name   string  `json:"name"`
	Judged int     `json:"judged"`
	Ties   float64 `json:"ties"` // share of ties among preferences and ties

	Left      int     `json:"left"`       // preferences for what was shown left, or upper
	Right     int     `json:"right"`      // for what was shown right, or lower
	PositionP float64 `json:"position_p"` // of so uneven a split if sides did not matter (exact, two-sided)
	Longer    int     `json:"longer"`     // preferences for the longer answer, in characters
	Shorter   int     `json:"shorter"`
	LengthP   float64 `json:"length_p"` // of so uneven a split if length did not matter

	Repeats    int            `json:"repeats"`    // items judged a second time
	Consistent int            `json:"consistent"` // of them, with the same side (or tie, or verdict) as the first time
	Gold       int            `json:"gold"`       // items judged of which the answer is known
	GoldRight  int            `json:"gold_right"` // of them, judged as known
	Others     int            `json:"with_others"`
	Same       int            `json:"with_others_same"` // of the comparisons with others' choices on the same item, the same side
	Seconds    stats.Number   `json:"median_seconds"`
	Fast       []int64        `json:"fast"` // items judged much faster than this person's usual, see outliers
	Slow       []int64        `json:"slow"`
	Streak     int            `json:"streak"`   // longest run of preferences for one side
	StreakP    float64        `json:"streak_p"` // of a run as long, or longer, if each side were a fair coin
	Fatigue    []Stretch      `json:"fatigue"`
	Choices    map[string]int `json:"choices"`
}

// Stretch is a part of a person's sittings: the judgements From to To of each sitting.
type Stretch struct {
	From    int          `json:"from"`
	To      int          `json:"to"` // 0: to the end
	N       int          `json:"n"`
	Seconds stats.Number `json:"median_seconds"`
	Ties    stats.Number `json:"ties"` // share of ties among preferences and ties
	Same    stats.Number `json:"same"` // share of comparisons with others' choices that are the same
}

// stretchEnds are where the parts of the fatigue curve end.
var stretchEnds = [...]int{25, 50, 100, 200}

// people measures each person, by name.
func people(ev evidence) []Person {
	by := map[string][]said{}
	others := map[int64][]said{}
	for _, x := range ev.said {
		by[x.Annotator] = append(by[x.Annotator], x)
		others[x.Item] = append(others[x.Item], x)
	}
	var out []Person
	for name, xs := range by {
		slices.SortStableFunc(xs, func(a, b said) int {
			if a.before(b.Event) {
				return -1
			}
			return 1
		})
		out = append(out, person(name, xs, ev, others))
	}
	slices.SortFunc(out, func(a, b Person) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// person measures one; xs are their judgements in the order of time.
func person(name string, xs []said, ev evidence, others map[int64][]said) Person {
	p := Person{Name: name, Judged: len(xs), Choices: map[string]int{}}
	var sides []bool // true for left
	for _, x := range xs {
		p.Choices[string(x.Choice)]++
		if y, ok := ev.repeats[Place{name, x.Item}]; ok {
			p.Repeats++
			p.Consistent += index(!differ(x.Event, y.Event) && (x.Choice == CantSay) == (y.Choice == CantSay))
		}
		if g, ok := ev.gold[x.Item]; ok && x.Choice != CantSay {
			p.Gold++
			p.GoldRight += index(side(x.Event) == side(Event{Decision: g.Decision}))
		}
		n, same := withOthers(x, others[x.Item])
		p.Others, p.Same = p.Others+n, p.Same+same
		if x.Choice != Win || len(x.runes) != 2 {
			continue
		}
		if len(x.Shown) == 2 {
			left := x.Shown[0] == x.Ranking[0]
			sides = append(sides, left)
			p.Left, p.Right = p.Left+index(left), p.Right+index(!left)
		}
		won, lost := x.runes[x.Ranking[0]], x.runes[x.Ranking[1]]
		p.Longer, p.Shorter = p.Longer+index(won > lost), p.Shorter+index(won < lost)
	}
	p.Ties = tieShare(p.Choices[string(Tie)], p.Choices[string(Win)])
	p.PositionP, p.LengthP = stats.SignTest(p.Left, p.Right), stats.SignTest(p.Longer, p.Shorter)
	p.Streak = longestRun(sides)
	p.StreakP = runChance(len(sides), p.Streak)
	p.Seconds, p.Fast, p.Slow = times(xs)
	p.Fatigue = fatigue(xs, others)
	return p
}

func tieShare(ties, wins int) float64 {
	if ties+wins == 0 {
		return 0
	}
	return float64(ties) / float64(ties+wins)
}

// withOthers compares a choice with those of others on the same item.
func withOthers(x said, all []said) (n, same int) {
	if x.Choice == CantSay {
		return 0, 0
	}
	for _, y := range all {
		if y.Annotator != x.Annotator && y.Choice != CantSay {
			n++
			same += index(!differ(x.Event, y.Event))
		}
	}
	return n, same
}

// longestRun is the length of the longest run of equal values.
func longestRun(xs []bool) int {
	longest, run := 0, 0
	for i, x := range xs {
		if i == 0 || x != xs[i-1] {
			run = 0
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// runChance is the probability that n fair coins show a run of `run` equal sides or more. Whether a coin shows the side of
// the one before is a fair coin itself, so it is the probability of run-1 successes in a row among n-1; at is the
// probability of being at so many successes in a row without having had that many. For runs beyond a hundred it is the
// expected number of such runs' beginnings, which bounds it from above and is below 10⁻²⁰ for any number of labels.
func runChance(n, run int) float64 {
	if n == 0 || run <= 1 {
		return 1
	}
	if run > 100 {
		return math.Ldexp(float64(n-run+2), -run)
	}
	at := make([]float64, run-1)
	at[0] = 1
	reached := 0.0
	for range n - 1 {
		next := make([]float64, run-1)
		for k, p := range at {
			next[0] += p / 2
			if k+1 == run-1 {
				reached += p / 2
			} else {
				next[k+1] += p / 2
			}
		}
		at = next
	}
	return reached
}

// times are the median seconds of a choice, and the items that took a person much less or much longer than usual: a
// modified z-score 0.6745 (x - median)/MAD of the logarithm of the time beyond ±3.5 (Iglewicz and Hoaglin 1993).
func times(xs []said) (median stats.Number, fast, slow []int64) {
	var seconds, logs []float64
	var timed []said
	for _, x := range xs {
		if x.Elapsed > 0 {
			seconds, timed = append(seconds, x.Elapsed.Seconds()), append(timed, x)
			logs = append(logs, math.Log(x.Elapsed.Seconds()))
		}
	}
	if len(logs) == 0 {
		return stats.Number(math.NaN()), nil, nil
	}
	mid := stats.Quantile(logs, 0.5)
	off := make([]float64, len(logs))
	for i, l := range logs {
		off[i] = math.Abs(l - mid)
	}
	mad := stats.Quantile(off, 0.5)
	for i, l := range logs {
		z := 0.6745 * (l - mid) / mad
		switch {
		case mad == 0:
		case z < -3.5:
			fast = append(fast, timed[i].Item)
		case z > 3.5:
			slow = append(slow, timed[i].Item)
		}
	}
	return stats.Number(stats.Quantile(seconds, 0.5)), fast, slow
}

// fatigue cuts each sitting into stretches and puts those of all sittings together; it leaves the empty ones out.
func fatigue(xs []said, others map[int64][]said) []Stretch {
	type part struct {
		seconds          []float64
		n, ties, wins    int
		compared, agreed int
	}
	parts := make([]part, len(stretchEnds)+1)
	place := map[string]int{}
	for _, x := range xs {
		if x.Elapsed == 0 {
			continue // of an import
		}
		place[x.Session]++
		p := &parts[sort.SearchInts(stretchEnds[:], place[x.Session])]
		p.n++
		p.seconds = append(p.seconds, x.Elapsed.Seconds())
		p.ties, p.wins = p.ties+index(x.Choice == Tie), p.wins+index(x.Choice == Win)
		n, same := withOthers(x, others[x.Item])
		p.compared, p.agreed = p.compared+n, p.agreed+same
	}
	var out []Stretch
	from := 1
	for i, p := range parts {
		s := Stretch{From: from, N: p.n, Seconds: stats.Number(stats.Quantile(p.seconds, 0.5))}
		if i < len(stretchEnds) {
			s.To = stretchEnds[i]
			from = s.To + 1
		}
		s.Ties = stats.Number(float64(p.ties) / float64(p.ties+p.wins))
		s.Same = stats.Number(float64(p.agreed) / float64(p.compared))
		if p.n > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Lines says in words how a person judges.
func (p Person) Lines() []string {
	var out []string
	add := func(name, format string, args ...any) {
		out = append(out, fmt.Sprintf("  %-14s ", name)+fmt.Sprintf(format, args...))
	}
	add("judged", "%d%s", p.Judged, shares(p.Choices, p.Judged))
	if s := float64(p.Seconds); s > 0 {
		add("time", "median %s%s", say(time.Duration(s*float64(time.Second))), outliersText(p.Fast, p.Slow))
	}
	if n := p.Left + p.Right; n > 0 {
		add("position", "left or upper %s of %d, p = %s", share(p.Left, n), n, pText(p.PositionP))
		add("streak", "%d in a row on one side, p = %s", p.Streak, pText(p.StreakP))
	}
	if n := p.Longer + p.Shorter; n > 0 {
		add("length", "the longer one %s of %d, p = %s", share(p.Longer, n), n, pText(p.LengthP))
	}
	if p.Repeats > 0 {
		ci := stats.Wilson(float64(p.Consistent), float64(p.Repeats), 0.95)
		add("asked twice", "the same %s of %d (%.0f to %.0f %%)", share(p.Consistent, p.Repeats), p.Repeats, 100*ci.Low, 100*ci.High)
	}
	if p.Gold > 0 {
		ci := stats.Wilson(float64(p.GoldRight), float64(p.Gold), 0.95)
		add("gold", "right %s of %d (%.0f to %.0f %%)", share(p.GoldRight, p.Gold), p.Gold, 100*ci.Low, 100*ci.High)
	}
	if p.Others > 0 {
		add("with others", "the same %s of %d", share(p.Same, p.Others), p.Others)
	}
	for i, s := range p.Fatigue {
		name := ""
		if i == 0 {
			name = "in a sitting"
		}
		span := fmt.Sprintf("%d–%d", s.From, s.To)
		if s.To == 0 {
			span = fmt.Sprintf("from %d", s.From)
		}
		line := fmt.Sprintf("%-9s %4d judged, median %s", span, s.N, say(time.Duration(float64(s.Seconds)*float64(time.Second))))
		if !math.IsNaN(float64(s.Ties)) {
			line += fmt.Sprintf(", ties %.0f %%", 100*float64(s.Ties))
		}
		if !math.IsNaN(float64(s.Same)) {
			line += fmt.Sprintf(", as others %.0f %%", 100*float64(s.Same))
		}
		add(name, "%s", line)
	}
	return out
}

func share(k, n int) string { return fmt.Sprintf("%.0f %%", 100*float64(k)/float64(n)) }

// shares lists the choices with their part of all, most frequent first.
func shares(choices map[string]int, n int) string {
	var names []string
	for c := range choices {
		names = append(names, c)
	}
	sort.Slice(names, func(i, j int) bool {
		if choices[names[i]] != choices[names[j]] {
			return choices[names[i]] > choices[names[j]]
		}
		return names[i] < names[j]
	})
	var parts []string
	for _, c := range names {
		parts = append(parts, fmt.Sprintf("%s %s", strings.ReplaceAll(c, "_", " "), share(choices[c], n)))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

func outliersText(fast, slow []int64) string {
	var out string
	for _, o := range []struct {
		word  string
		items []int64
	}{{"unusually fast", fast}, {"unusually slow", slow}} {
		if len(o.items) == 0 {
			continue
		}
		var names []string
		for i, seq := range o.items {
			if i == 5 {
				names = append(names, "…")
				break
			}
			names = append(names, fmt.Sprint(seq))
		}
		out += fmt.Sprintf("; %d %s (items %s)", len(o.items), o.word, strings.Join(names, ", "))
	}
	return out
}

func pText(p float64) string {
	if p < 0.001 {
		return "< 0.001"
	}
	return fmt.Sprintf("%.3f", p)
}
