package labeling

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// Judgement is what one person holds of one item now.
type Judgement struct {
	Item  Item
	Event Event // the judgement in force
	Note  string
	Tags  []string
}

// Margin is the margin for training: the source's own where an import gave one, else from the strength; 0 for a tie.
func (j Judgement) Margin() float64 {
	if j.Event.Choice != Win {
		return 0
	}
	if j.Event.Margin != nil {
		return *j.Event.Margin
	}
	return Margin(j.Event.Strength)
}

// Pair is chosen and rejected answer, as indexes of Item.Answers; for a tie they are 0 and 1. ok is false for judgements
// that train nothing: both bad, can't say, and modes other than a comparison. A ranking has several pairs: see EachLabel.
func (j Judgement) Pair() (chosen, rejected int, ok bool) {
	if len(j.Item.Answers) != 2 {
		return 0, 0, false
	}
	switch j.Event.Choice {
	case Win:
		return j.Event.Ranking[0], j.Event.Ranking[1], true
	case Tie:
		return 0, 1, true
	}
	return 0, 0, false
}

// Label is the probability that answer Pair().chosen is the better one, as the loss takes it: 1, or 1/2 for a tie.
func (j Judgement) Label() float64 {
	if j.Event.Choice == Tie {
		return 0.5
	}
	return 1
}

// Judgements gives every judgement in force, ordered by item and then by person. People who judged the same item give one
// judgement each.
func (s *Store) Judgements(ctx context.Context) ([]Judgement, error) {
	var out []Judgement
	err := s.EachJudgement(ctx, func(j Judgement) error {
		out = append(out, j)
		return nil
	})
	return out, err
}

// EachJudgement calls fn with every judgement in force, in the order of Judgements, holding one at a time.
func (s *Store) EachJudgement(ctx context.Context, fn func(Judgement) error) error {
	return s.each(ctx, `judgements`, `true`, nil, fn)
}

// each calls fn with the events of a view of judgements that meet a condition on e (the event) and i (its item).
func (s *Store) each(ctx context.Context, view, where string, args []any, fn func(Judgement) error) error {
	const last = `(SELECT x.data FROM actions b JOIN events x ON x.id = b.event WHERE b.item = e.item AND b.undone = 0
		AND b.annotator = e.annotator AND b.kind = '%s' ORDER BY b.at DESC, b.event DESC LIMIT 1)`
	q := `SELECT ` + itemColumns + `, ` + fmt.Sprintf(last, Note) + `, ` + fmt.Sprintf(last, Tag) + `, ` + eventColumns + `
		FROM ` + view + ` e JOIN items i ON i.seq = e.item WHERE ` + where + ` ORDER BY e.item, e.annotator, e.at`
	rows, err := s.rows(ctx, q, args...)
	if err != nil {
		return fmt.Errorf("read judgements of %s: %w", s.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		j, err := scanJudgement(rows)
		if err != nil {
			return fmt.Errorf("read judgements of %s: %w", s.path, err)
		}
		if err := fn(j); err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanJudgement(rows *sql.Rows) (j Judgement, err error) {
	var note, tags sql.NullString
	var row eventRow
	if j.Item, err = scanItem(rows, append([]any{&note, &tags}, row.columns()...)...); err != nil {
		return j, err
	}
	if j.Event, err = row.event(); err != nil {
		return j, err
	}
	for _, col := range []sql.NullString{note, tags} {
		var d Data
		if !col.Valid {
			continue
		}
		if err := json.Unmarshal([]byte(col.String), &d); err != nil {
			return j, fmt.Errorf("note of item %d is damaged: %w", j.Item.Seq, err)
		}
		if d.Note != "" {
			j.Note = d.Note
		}
		if d.Tags != nil {
			j.Tags = d.Tags
		}
	}
	return j, nil
}
