package labeling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// teamView is who does what at one time.
type teamView struct {
	at             time.Time
	items, decided int
	people         []teammate
	measured       time.Time // when pace and agreement were measured
}

// teammate is one person of it.
type teammate struct {
	Presence
	here int // sittings at this server
	measured
}

// measured is what takes all judgements to know.
type measured struct {
	perHour      float64 // 0 before it says anything
	others, same int     // comparisons with others' choices on the same item; of them, the same side
}

// measureEvery is how old pace and agreement may be while people judge: they are read from every judgement of the store.
const measureEvery = 30 * time.Second

// team keeps what was measured between two looks.
type team struct {
	store   *Store
	here    func() map[string]int // sittings by name
	now     func() time.Time
	judged  int // at the last measurement
	at      time.Time
	measure map[string]measured
}

// look reads who does what now; those who are here come first, then by name.
func (t *team) look(ctx context.Context) (teamView, error) {
	v := teamView{at: t.now()}
	who, err := t.store.Presences(ctx, v.at)
	if err != nil {
		return v, err
	}
	if v.items, v.decided, err = t.store.Count(ctx); err != nil {
		return v, fmt.Errorf("count %s: %w", t.store.path, err)
	}
	judged := 0
	here := t.here()
	for _, p := range who {
		judged += p.Judged
		v.people = append(v.people, teammate{Presence: p, here: here[p.Annotator]})
		delete(here, p.Annotator)
	}
	for name, n := range here { // who has not done anything yet
		v.people = append(v.people, teammate{Presence: Presence{Annotator: name}, here: n})
	}
	if t.measure == nil || judged != t.judged && v.at.Sub(t.at) >= measureEvery {
		if t.measure, err = measureTeam(ctx, t.store); err != nil {
			return v, err
		}
		t.judged, t.at = judged, v.at
	}
	v.measured = t.at
	for i, p := range v.people {
		v.people[i].measured = t.measure[p.Annotator]
	}
	slices.SortFunc(v.people, func(a, b teammate) int {
		return cmp.Or(min(b.here, 1)-min(a.here, 1), cmp.Compare(a.Annotator, b.Annotator))
	})
	return v, nil
}

// measureTeam is each person's pace over their last judgements, as they see it themselves, and agreement with others.
func measureTeam(ctx context.Context, s *Store) (map[string]measured, error) {
	ev, err := s.evidence(ctx)
	if err != nil {
		return nil, err
	}
	by, others := map[string][]said{}, map[int64][]said{}
	for _, x := range ev.said {
		by[x.Annotator] = append(by[x.Annotator], x)
		others[x.Item] = append(others[x.Item], x)
	}
	out := map[string]measured{}
	for name, xs := range by {
		slices.SortFunc(xs, func(a, b said) int {
			if a.before(b.Event) {
				return -1
			}
			return 1
		})
		var m measured
		var pace Progress
		for _, x := range xs {
			pace.add(x.Elapsed, sideOf(x.Event))
			n, same := withOthers(x, others[x.Item])
			m.others, m.same = m.others+n, m.same+same
		}
		m.perHour, _ = pace.PerHour()
		out[name] = m
	}
	return out, nil
}

// ago is a time before another in one word.
func ago(then, now time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return "never"
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", max(d, 0).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}
