package labeling

import (
	"context"
	"fmt"
)

// inForceEdits is a view of the edits in force, as each takes it.
const inForceEdits = `(SELECT x.* FROM actions a JOIN events x ON x.id = a.event WHERE a.kind = 'edit' AND a.undone = 0)`

// EachLabel calls fn with what the judgements amount to for training, in the order of the queue: of an item with an
// adjudication that one, else everyone's; a ranking of k answers as its k(k-1)/2 pairs, best first, of one Item.Group and
// with the margin 0, or as so many ties; and, after the rest, each edited answer as a pair in which it wins over the answer it was made of.
// Pairs of rankings and of edits have items of their own, with the place (Seq) of the item they came of and no hash.
func (s *Store) EachLabel(ctx context.Context, fn func(Judgement) error) error {
	err := s.each(ctx, `labels`, `true`, nil, func(j Judgement) error {
		r := j.Event.Ranking
		switch {
		case len(j.Item.Answers) <= 2:
			return fn(j)
		case j.Event.Choice == Tie:
			r = j.Event.Shown
		case j.Event.Choice != Win:
			return fn(j)
		}
		for i := range r {
			for k := i + 1; k < len(r); k++ {
				if err := fn(j.derived(j.Item.Answers[r[i]], j.Item.Answers[r[k]])); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.eachEdit(ctx, func(j Judgement) error {
		ed := j.Event.Data.Edit
		return fn(j.derived(Answer{Text: ed.Text, Source: "edit", Model: j.Event.Annotator}, j.Item.Answers[ed.Answer]))
	})
}

// eachEdit calls fn with every edit in force.
func (s *Store) eachEdit(ctx context.Context, fn func(Judgement) error) error {
	return s.each(ctx, inForceEdits, `true`, nil, func(j Judgement) error {
		if ed := j.Event.Data.Edit; ed == nil || ed.Answer < 0 || ed.Answer >= len(j.Item.Answers) {
			return fmt.Errorf("edit %s/%d names no answer of item %d", j.Event.Session, j.Event.N, j.Item.Seq)
		}
		return fn(j)
	})
}

// derived is a preference that follows from j.
func (j Judgement) derived(winner, loser Answer) Judgement {
	out := j
	out.Item.Group, out.Item.Mode, out.Item.Hash, out.Item.Answers = j.group(), Compare, "", []Answer{winner, loser}
	out.Event.Shown, out.Event.Decision = nil, Prefer(0, 0)
	if j.Event.Choice == Tie {
		out.Event.Decision = Decision{Choice: Tie}
	}
	return out
}

// group is what the pairs that come of one item share.
func (j Judgement) group() string {
	if j.Item.Group != "" {
		return j.Item.Group
	}
	return j.Item.Hash[:16]
}

// Trainable is the number of comparisons that a reward model learns from: preferences and ties, those of rankings and edits
// included.
func (s *Store) Trainable(ctx context.Context) (int, error) {
	var n int
	err := s.row(ctx, `SELECT (SELECT coalesce(sum(`+s.d.answerCount+` * (`+s.d.answerCount+` - 1) / 2), 0)
			FROM labels l JOIN items i ON i.seq = l.item WHERE l.choice IN ('win', 'tie'))
		+ (SELECT count(*) FROM actions WHERE kind = 'edit' AND undone = 0)`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count judgements of %s: %w", s.path, err)
	}
	return n, nil
}
