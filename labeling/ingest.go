package labeling

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"time"
)

// Labelled is an item together with what someone said of it elsewhere. Decision is in terms of Item.Answers and nil for an
// item that is only to be put in the queue.
type Labelled struct {
	Item      Item
	Annotator string
	Decision  *Decision
	Data      Data
	Gold      bool // Decision is what is known of the item, to measure people by, and no judgement
}

// Ingested says what came of a list of labelled items.
type Ingested struct {
	Added
	Judged int // judgements recorded
	Known  int // judgements that were in force already
	Gold   int // items of which it was not known yet
}

// AddLabelled adds items and judgements made elsewhere (by a file, by a program) in one transaction. A judgement already in
// force is not recorded again, so adding twice adds once.
func (s *Store) AddLabelled(ctx context.Context, list []Labelled) (Ingested, error) {
	i := 0
	return s.ingest(ctx, func() (Labelled, error) {
		if i == len(list) {
			return Labelled{}, io.EOF
		}
		i++
		return list[i-1], nil
	})
}

// ingest takes labelled items from next until io.EOF. Any error leaves the store as it was.
func (s *Store) ingest(ctx context.Context, next func() (Labelled, error)) (Ingested, error) {
	var res Ingested
	sessions := map[string]*Session{}
	err := s.tx(ctx, func(tx *batch) error {
		for {
			l, err := next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.ingestOne(ctx, tx, sessions, l, &res); err != nil {
				return fmt.Errorf("record %d: %w", len(res.Seqs), err)
			}
		}
	})
	if err != nil {
		return Ingested{}, fmt.Errorf("add to %s: %w", s.path, err)
	}
	return res, nil
}

func (s *Store) ingestOne(ctx context.Context, tx *batch, sessions map[string]*Session, l Labelled, res *Ingested) error {
	if l.Decision != nil {
		if l.Annotator == "" && !l.Gold {
			return errors.New("a judgement without a name of who made it")
		}
		if l.Gold && l.Decision.Choice == Rated {
			return errors.New("ratings cannot be gold: people are measured by what they say is better; import them without --gold")
		}
		if err := l.Decision.check(l.Item, l.Data); err != nil {
			return err
		}
	}
	given := l.Item.Answers
	l.Item.Answers = canonical(given)
	if err := addItem(ctx, tx, l.Item, &res.Added); err != nil {
		return err
	}
	seq := res.Seqs[len(res.Seqs)-1]
	if l.Decision == nil || seq == 0 {
		return nil
	}
	stored, err := scanItem(tx.row(ctx, `SELECT `+itemColumns+` FROM items i WHERE i.seq = ?`, seq))
	if err != nil {
		return err
	}
	d := *l.Decision
	d.Ranking = nil
	for _, i := range l.Decision.Ranking {
		text := given[i].String()
		d.Ranking = append(d.Ranking, slices.IndexFunc(stored.Answers, func(a Answer) bool { return a.String() == text }))
	}
	if l.Gold {
		fresh, err := putGold(ctx, tx, seq, time.Now().UnixMicro(), l.Annotator, d)
		if fresh {
			res.Gold++
		}
		return err
	}
	now, err := scanEvent(tx.row(ctx, `SELECT `+eventColumns+` FROM actions a JOIN events e ON e.id = a.event
		WHERE a.item = ? AND a.kind = 'judge' AND a.undone = 0 AND a.annotator = ? ORDER BY a.at DESC, a.event DESC LIMIT 1`, seq, l.Annotator))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && now.Choice == d.Choice && slices.Equal(now.Ranking, d.Ranking) && now.Strength == d.Strength && sameMargin(now.Decision.Margin, d.Margin) && maps.Equal(now.Data.Ratings, l.Data.Ratings) {
		res.Known++
		return nil
	}
	ss := sessions[l.Annotator]
	if ss == nil {
		if ss, err = s.NewSession(SessionConfig{Annotator: l.Annotator, Origin: "import"}); err != nil {
			return err
		}
		sessions[l.Annotator] = ss
	}
	if ss.ref.N, _, err = ss.insert(ctx, tx, Event{Kind: Judge, Item: seq, Decision: d, Data: l.Data}); err != nil {
		return err
	}
	res.Judged++
	return nil
}

func sameMargin(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// canonical orders answers by the hash of their text, so that the place of an answer in the store says nothing about where
// it came from (files list the chosen one first).
func canonical(as []Answer) []Answer {
	out := slices.Clone(as)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := sha256.Sum256([]byte(out[i].String())), sha256.Sum256([]byte(out[j].String()))
		return string(a[:]) < string(b[:])
	})
	return out
}
