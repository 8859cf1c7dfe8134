package labeling

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"
)

// paceWindow is the number of last judgements that the pace is measured on; longPause is the most that one of them counts,
// since a longer time is a cup of coffee.
const (
	paceWindow = 50
	longPause  = 3 * time.Minute
)

// longStreak is from how many choices of one side in a row on the screen says so: a fair coin is in such a run one time in 64. Said
// of shorter ones, it would only make people alternate.
const longStreak = 7

// Progress is how far the work is and how fast one person does it.
type Progress struct {
	Items   int             // in the store; for a reviewer, those that people disagree on
	Decided int             // of them decided by anyone; for a reviewer, adjudicated
	Recent  []time.Duration // how long this person's last judgements took, oldest first, at most paceWindow
	Sides   []int           // which of two answers shown each of them preferred: 0 left or upper, 1 right or lower, -1 neither
}

// Progress counts the store, or a reviewer's disagreements, and reads this person's pace.
func (ss *Session) Progress(ctx context.Context) (Progress, error) {
	var p Progress
	var err error
	if ss.review {
		p.Items, p.Decided, err = ss.countDisputes(ctx)
	} else {
		p.Items, p.Decided, err = ss.s.Count(ctx)
	}
	if err != nil {
		return p, fmt.Errorf("count %s: %w", ss.s.path, err)
	}
	rows, err := ss.s.rows(ctx, `SELECT `+eventColumns+` FROM actions a JOIN events e ON e.id = a.event
		WHERE a.annotator = ? AND a.kind IN ('judge', 'repeat', 'adjudicate') AND a.undone = 0 ORDER BY a.at DESC LIMIT ?`, ss.annotator, paceWindow)
	if err != nil {
		return p, fmt.Errorf("read the pace of %s: %w", ss.annotator, err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return p, err
		}
		p.Recent, p.Sides = append(p.Recent, e.Elapsed), append(p.Sides, sideOf(e))
	}
	slices.Reverse(p.Recent)
	slices.Reverse(p.Sides)
	return p, rows.Err()
}

// sideOf is which of two answers shown a judgement prefers: 0 left or upper, 1 right or lower; -1 where it does neither.
func sideOf(e Event) int {
	if e.Choice != Win || len(e.Shown) != 2 || len(e.Ranking) == 0 {
		return -1
	}
	return slices.Index(e.Shown, e.Ranking[0])
}

// decided says whether anyone's judgement of an item is in force; for a reviewer, whether it is adjudicated.
func (ss *Session) decided(ctx context.Context, item int64) (bool, error) {
	if ss.review {
		return ss.s.ruled(ctx, item)
	}
	var yes bool
	err := ss.s.row(ctx, `SELECT NOT EXISTS (SELECT 1 FROM undecided WHERE item = ?)`, item).Scan(&yes)
	return yes, err
}

// add notes one more judgement of the person.
func (p *Progress) add(took time.Duration, side int) {
	p.Recent, p.Sides = append(slices.Clip(p.Recent), took), append(slices.Clip(p.Sides), side)
	if n := len(p.Recent); n > paceWindow {
		p.Recent, p.Sides = p.Recent[n-paceWindow:], p.Sides[n-paceWindow:]
	}
}

// drop takes the last one back.
func (p *Progress) drop() {
	if n := len(p.Recent); n > 0 {
		p.Recent, p.Sides = p.Recent[:n-1], p.Sides[:n-1]
	}
}

// Streak is the side of the last preferences and how many in a row were for it; other choices between them do not count.
func (p Progress) Streak() (side, n int) {
	for _, s := range slices.Backward(p.Sides) {
		switch {
		case s < 0:
		case n == 0 || s == side:
			side, n = s, n+1
		default:
			return side, n
		}
	}
	return side, n
}

// Median is the median time of a judgement; false while there are none.
func (p Progress) Median() (time.Duration, bool) {
	n := len(p.Recent)
	if n == 0 {
		return 0, false
	}
	s := append([]time.Duration(nil), p.Recent...)
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	return (s[(n-1)/2] + s[n/2]) / 2, true
}

// PerHour is the number of judgements an hour at the recent pace; false before five of them, when it says nothing yet.
func (p Progress) PerHour() (float64, bool) {
	var sum time.Duration
	for _, d := range p.Recent {
		sum += min(d, longPause)
	}
	if len(p.Recent) < 5 || sum <= 0 {
		return 0, false
	}
	return float64(len(p.Recent)) / sum.Hours(), true
}

// Left is the time to the goal (0: all items) at the recent pace.
func (p Progress) Left(goal int) (time.Duration, bool) {
	rate, ok := p.PerHour()
	todo := p.goal(goal) - p.Decided
	if !ok || todo <= 0 {
		return 0, false
	}
	return time.Duration(float64(todo) / rate * float64(time.Hour)), true
}

func (p Progress) goal(goal int) int {
	if goal <= 0 || goal > p.Items {
		return p.Items
	}
	return goal
}

// advance is how far a person is, in words.
type advance struct {
	done, goal int
	count      string
	pace       []string
}

// tell says how far the work is, or this sitting of sat judgements where it has a goal; sides are the names of two answers.
func (o Options) tell(p Progress, sat int, sides []string) advance {
	t := advance{done: p.Decided, goal: p.goal(o.Goal)}
	t.count = fmt.Sprintf("%d of %d", t.done, t.goal)
	if o.Review {
		t.count += " adjudicated"
	}
	if t.goal < p.Items {
		t.count += fmt.Sprintf(" (%d in the store)", p.Items)
	}
	left, known := p.Left(o.Goal)
	rate, steady := p.PerHour()
	if o.Sitting > 0 {
		t.done, t.goal = sat, o.Sitting
		t.count = fmt.Sprintf("%d of %d this sitting", t.done, t.goal)
		if todo := o.Sitting - sat; steady && todo > 0 {
			left, known = time.Duration(float64(todo)/rate*float64(time.Hour)), true
		} else {
			known = false
		}
	}
	if side, n := p.Streak(); n >= longStreak && len(sides) == 2 {
		t.pace = append(t.pace, fmt.Sprintf("%s %d in a row", sides[side], n))
	}
	if steady {
		t.pace = append(t.pace, fmt.Sprintf("%.0f an hour", rate))
	}
	if d, ok := p.Median(); ok {
		t.pace = append(t.pace, "median "+say(d))
	}
	if known {
		t.pace = append(t.pace, say(left)+" left")
	}
	return t
}

// say is a duration as people say it.
func say(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 90*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 36*time.Hour:
		m := int(d.Round(time.Minute).Minutes())
		return fmt.Sprintf("%d h %d min", m/60, m%60)
	}
	h := int(d.Round(time.Hour).Hours())
	return fmt.Sprintf("%d d %d h", h/24, h%24)
}
