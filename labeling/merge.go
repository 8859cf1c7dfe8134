package labeling

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Merged says what Merge brought in.
type Merged struct {
	Items  int // items that were not there
	Events int // events that were not there
}

// Merge adds everything in src to the store: items by content, events by name, each once however often it is done. The
// result does not depend on the order of merges, except for the places in the queue. src is not changed.
func (s *Store) Merge(ctx context.Context, src *Store) (Merged, error) {
	var m Merged
	err := s.tx(ctx, func(tx *batch) error {
		m = Merged{}
		return mergeStore(ctx, tx, src, &m)
	})
	if err != nil {
		return Merged{}, fmt.Errorf("merge %s into %s: %w", src.path, s.path, err)
	}
	return m, nil
}

// mergeStore merges within a transaction.
func mergeStore(ctx context.Context, tx *batch, src *Store, m *Merged) error {
	seqs, err := mergeItems(ctx, tx, src, m)
	if err != nil {
		return err
	}
	if err := mergeSessions(ctx, tx, src); err != nil {
		return err
	}
	if err := mergeEvents(ctx, tx, src, seqs, m); err != nil {
		return err
	}
	return mergeKnown(ctx, tx, src, seqs)
}

// merged is an item's place here and, for each of its answers in src, the answer's index here.
type merged struct {
	seq    int64
	answer []int
}

// translate turns indexes of answers there into indexes here.
func (to merged) translate(list []int) error {
	for i, a := range list {
		if a < 0 || a >= len(to.answer) {
			return fmt.Errorf("names answer %d, which is not there", a)
		}
		list[i] = to.answer[a]
	}
	return nil
}

func mergeItems(ctx context.Context, tx *batch, src *Store, m *Merged) (map[int64]merged, error) {
	rows, err := src.rows(ctx, `SELECT `+itemColumns+` FROM items i ORDER BY i.seq`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	seqs := map[int64]merged{}
	for rows.Next() {
		it, err := scanItem(rows)
		if err != nil {
			return nil, err
		}
		var res Added
		if err := addItem(ctx, tx, it, &res); err != nil {
			return nil, fmt.Errorf("item %d: %w", it.Seq, err)
		}
		to := merged{seq: res.Seqs[0]}
		here := it
		if res.New == 0 {
			if here, err = scanItem(tx.row(ctx, `SELECT `+itemColumns+` FROM items i WHERE i.seq = ?`, to.seq)); err != nil {
				return nil, err
			}
		}
		m.Items += res.New
		used := make([]bool, len(here.Answers))
		for _, a := range it.Answers {
			for i, b := range here.Answers {
				if !used[i] && a.String() == b.String() {
					to.answer, used[i] = append(to.answer, i), true
					break
				}
			}
		}
		seqs[it.Seq] = to
	}
	return seqs, rows.Err()
}

func mergeSessions(ctx context.Context, tx *batch, src *Store) error {
	rows, err := src.rows(ctx, `SELECT id, annotator, seed, origin, started FROM sessions ORDER BY started, id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, annotator, seed, origin string
		var started int64
		if err := rows.Scan(&id, &annotator, &seed, &origin, &started); err != nil {
			return err
		}
		if err := tx.exec(ctx, `INSERT INTO sessions (id, annotator, seed, origin, started) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			id, annotator, seed, origin, started); err != nil {
			return err
		}
	}
	return rows.Err()
}

func mergeEvents(ctx context.Context, tx *batch, src *Store, seqs map[int64]merged, m *Merged) error {
	rows, err := src.rows(ctx, `SELECT `+eventColumns+` FROM events e ORDER BY e.at, e.session, e.n`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return err
		}
		var known int
		if err := tx.row(ctx, `SELECT count(*) FROM events WHERE session = ? AND n = ?`, e.Session, e.N).Scan(&known); err != nil {
			return err
		}
		if known > 0 {
			continue
		}
		to, ok := seqs[e.Item]
		if !ok {
			return fmt.Errorf("event %s/%d names item %d, which is not there", e.Session, e.N, e.Item)
		}
		e.Item = to.seq
		for _, list := range [][]int{e.Shown, e.Ranking} {
			if err := to.translate(list); err != nil {
				return fmt.Errorf("event %s/%d %w", e.Session, e.N, err)
			}
		}
		if ed := e.Data.Edit; ed != nil {
			at := []int{ed.Answer}
			if err := to.translate(at); err != nil {
				return fmt.Errorf("event %s/%d %w", e.Session, e.N, err)
			}
			ed.Answer = at[0]
		}
		if err := insertEvent(ctx, tx, e); err != nil {
			return fmt.Errorf("event %s/%d: %w", e.Session, e.N, err)
		}
		m.Events++
	}
	return rows.Err()
}

// mergeKnown brings in gold, and scores where this store has none of that model.
func mergeKnown(ctx context.Context, tx *batch, src *Store, seqs map[int64]merged) error {
	golds, err := src.Golds(ctx)
	if err != nil {
		return err
	}
	for _, seq := range slices.Sorted(maps.Keys(golds)) {
		g, to := golds[seq], seqs[seq]
		var known bool
		if err := tx.row(ctx, `SELECT EXISTS (SELECT 1 FROM gold WHERE item = ?)`, to.seq).Scan(&known); err != nil || known {
			if err != nil {
				return err
			}
			continue
		}
		if err := to.translate(g.Decision.Ranking); err != nil {
			return fmt.Errorf("gold of item %d %w", seq, err)
		}
		if _, err := putGold(ctx, tx, to.seq, time.Now().UnixMicro(), g.Source, g.Decision); err != nil {
			return err
		}
	}
	return src.eachScores(ctx, newestScores+` ORDER BY x.item, x.model`, nil, func(seq int64, m ModelScores, at int64) error {
		to := seqs[seq]
		here := make([]float64, len(m.Scores))
		for i, v := range m.Scores {
			k := []int{i}
			if err := to.translate(k); err != nil || k[0] >= len(here) {
				return fmt.Errorf("scores of item %d name answer %d, which is not there", seq, i)
			}
			here[k[0]] = v
		}
		var known bool
		if err := tx.row(ctx, `SELECT EXISTS (SELECT 1 FROM scores WHERE item = ? AND model = ?)`, to.seq, m.Model).Scan(&known); err != nil || known {
			return err
		}
		text, err := marshal(here)
		if err != nil {
			return err
		}
		_, err = putScores(ctx, tx, to.seq, m.Model, at, string(text))
		return err
	})
}
