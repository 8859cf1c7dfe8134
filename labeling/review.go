package labeling

import (
	"context"
	"fmt"
)

// Opinion is what one person said of an item, for a reviewer.
type Opinion struct {
	Annotator string
	Event     Event
	Note      string
	Tags      []string
}

// side is what of a judgement two people can differ in: who wins, not by how much.
func side(e Event) string {
	if e.Choice == Win && len(e.Ranking) > 0 {
		return fmt.Sprint(e.Ranking)
	}
	return string(e.Choice)
}

// Disputes are the items of which people's judgements in force differ, in the order of the queue. Can't say differs with
// nobody, and ratings only by two steps or more on an axis.
func (s *Store) Disputes(ctx context.Context) ([]int64, error) {
	var out []int64
	var seq int64
	var held []Event
	flush := func() {
		for i, e := range held {
			for _, f := range held[:i] {
				if differ(e, f) {
					out = append(out, seq)
					return
				}
			}
		}
	}
	const several = `e.item IN (SELECT item FROM actions WHERE kind = 'judge' AND undone = 0 GROUP BY item HAVING count(DISTINCT annotator) > 1)`
	err := s.each(ctx, `judgements`, several, nil, func(j Judgement) error {
		if j.Item.Seq != seq {
			flush()
			seq, held = j.Item.Seq, nil
		}
		held = append(held, j.Event)
		return nil
	})
	flush()
	return out, err
}

func differ(e, f Event) bool {
	if e.Choice == CantSay || f.Choice == CantSay {
		return false
	}
	if e.Choice != Rated || f.Choice != Rated {
		return side(e) != side(f)
	}
	for axis, v := range e.Data.Ratings {
		if w, ok := f.Data.Ratings[axis]; ok && (v-w > 1 || w-v > 1) {
			return true
		}
	}
	return false
}

// ruled says whether an item is adjudicated.
func (s *Store) ruled(ctx context.Context, item int64) (yes bool, err error) {
	err = s.row(ctx, `SELECT EXISTS (SELECT 1 FROM actions WHERE item = ? AND kind = 'adjudicate' AND undone = 0)`, item).Scan(&yes)
	return yes, err
}

// findDisputes looks once for what there is to adjudicate.
func (ss *Session) findDisputes(ctx context.Context) error {
	if ss.disputes != nil {
		return nil
	}
	seqs, err := ss.s.Disputes(ctx)
	ss.disputes = append([]int64{}, seqs...)
	return err
}

// countDisputes is the number of disagreements, and of those adjudicated.
func (ss *Session) countDisputes(ctx context.Context) (all, ruled int, err error) {
	if err := ss.findDisputes(ctx); err != nil {
		return 0, 0, err
	}
	for _, seq := range ss.disputes {
		yes, err := ss.s.ruled(ctx, seq)
		if err != nil {
			return 0, 0, err
		}
		ruled += index(yes)
	}
	return len(ss.disputes), ruled, nil
}

// nextDispute is the next item to adjudicate after place `after`.
func (ss *Session) nextDispute(ctx context.Context, after int64) (*Task, error) {
	if err := ss.findDisputes(ctx); err != nil {
		return nil, err
	}
	for _, later := range []bool{true, false} {
		for _, seq := range ss.disputes {
			if (seq > after) != later {
				continue
			}
			ruled, err := ss.s.ruled(ctx, seq)
			if err != nil {
				return nil, fmt.Errorf("next disagreement: %w", err)
			}
			if !ruled {
				return ss.Task(ctx, seq)
			}
		}
	}
	return nil, nil
}

// opinions are the judgements in force of everyone on an item.
func (s *Store) opinions(ctx context.Context, seq int64) ([]Opinion, error) {
	var out []Opinion
	err := s.each(ctx, `judgements`, `e.item = ?`, []any{seq}, func(j Judgement) error {
		out = append(out, Opinion{j.Event.Annotator, j.Event, j.Note, j.Tags})
		return nil
	})
	return out, err
}
