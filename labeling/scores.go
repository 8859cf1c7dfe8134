package labeling

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Scored is what one model gives the answers of an item.
type Scored struct {
	Item   int64
	Scores []float64 // one an answer, in the order they are stored
}

// AddScores records what a model gives the answers of items, in one transaction. Only what changed is written, so that
// scoring twice writes once.
func (s *Store) AddScores(ctx context.Context, model string, list []Scored) (added int, err error) {
	err = s.tx(ctx, func(tx *batch) error {
		added = 0
		for _, sc := range list {
			it, err := scanItem(tx.row(ctx, `SELECT `+itemColumns+` FROM items i WHERE i.seq = ?`, sc.Item))
			if errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("the store has no item %d", sc.Item)
			}
			if err != nil {
				return fmt.Errorf("item %d: %w", sc.Item, err)
			}
			if len(sc.Scores) != len(it.Answers) {
				return fmt.Errorf("item %d: %d scores of %d answers", sc.Item, len(sc.Scores), len(it.Answers))
			}
			for _, v := range sc.Scores {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return fmt.Errorf("item %d: the score %v is no number", sc.Item, v)
				}
			}
			text, err := marshal(sc.Scores)
			if err != nil {
				return err
			}
			ok, err := putScores(ctx, tx, sc.Item, model, time.Now().UnixMicro(), string(text))
			if err != nil {
				return err
			}
			if ok {
				added++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("scores into %s: %w", s.path, err)
	}
	return added, nil
}

// putScores appends a row unless it says what is there already.
func putScores(ctx context.Context, tx *batch, item int64, model string, at int64, text string) (bool, error) {
	var old string
	err := tx.row(ctx, `SELECT scores FROM scores WHERE item = ? AND model = ? ORDER BY id DESC LIMIT 1`, item, model).Scan(&old)
	if err == nil && old == text {
		return false, nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	err = tx.exec(ctx, `INSERT INTO scores (item, model, at, scores) VALUES (?, ?, ?, ?)`, item, model, at, text)
	return err == nil, err
}

// newestScores is the row in force of each item and model.
const newestScores = `SELECT x.item, x.model, x.at, x.scores FROM scores x
	WHERE x.id = (SELECT max(y.id) FROM scores y WHERE y.item = x.item AND y.model = x.model)`

// ModelScores are the scores of one model.
type ModelScores struct {
	Model  string
	Scores []float64
}

// Scores reads what the models gave an item's answers, by the model's name.
func (s *Store) Scores(ctx context.Context, seq int64) ([]ModelScores, error) {
	var out []ModelScores
	err := s.eachScores(ctx, newestScores+` AND x.item = ? ORDER BY x.model`, []any{seq}, func(_ int64, m ModelScores, _ int64) error {
		out = append(out, m)
		return nil
	})
	return out, err
}

func (s *Store) eachScores(ctx context.Context, query string, args []any, fn func(item int64, m ModelScores, at int64) error) error {
	rows, err := s.rows(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read the scores of %s: %w", s.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var item, at int64
		var m ModelScores
		var text string
		if err := rows.Scan(&item, &m.Model, &at, &text); err != nil {
			return fmt.Errorf("read the scores of %s: %w", s.path, err)
		}
		if err := json.Unmarshal([]byte(text), &m.Scores); err != nil {
			return fmt.Errorf("scores of item %d are damaged: %w", item, err)
		}
		if err := fn(item, m, at); err != nil {
			return err
		}
	}
	return rows.Err()
}

// deltas are r(answer 0) - r(answer 1) of every model, for each item of two answers. For a ranking it is the smallest
// distance of two neighbours in the model's own order.
func (s *Store) deltas(ctx context.Context) (map[int64][]float64, error) {
	out := map[int64][]float64{}
	err := s.eachScores(ctx, newestScores+` ORDER BY x.item, x.model`, nil, func(item int64, m ModelScores, _ int64) error {
		if d, ok := delta(m.Scores); ok {
			out[item] = append(out[item], d)
		}
		return nil
	})
	return out, err
}

func delta(scores []float64) (float64, bool) {
	switch len(scores) {
	case 0, 1:
		return 0, false
	case 2:
		return scores[0] - scores[1], true
	}
	least := math.Inf(1)
	for i, a := range scores {
		for _, b := range scores[:i] {
			least = min(least, math.Abs(a-b))
		}
	}
	return least, true
}

// Gold is what is known of an item beforehand.
type Gold struct {
	Item     int64
	Source   string
	Decision Decision
}

// putGold records what is known of an item, unless it is recorded already.
func putGold(ctx context.Context, tx *batch, item, at int64, source string, d Decision) (bool, error) {
	ranking, err := marshal(append([]int{}, d.Ranking...))
	if err != nil {
		return false, err
	}
	var choice, old string
	err = tx.row(ctx, `SELECT choice, ranking FROM gold WHERE item = ? ORDER BY id DESC LIMIT 1`, item).Scan(&choice, &old)
	if err == nil && choice == string(d.Choice) && old == string(ranking) {
		return false, nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	err = tx.exec(ctx, `INSERT INTO gold (item, at, source, choice, ranking) VALUES (?, ?, ?, ?, ?)`, item, at, source, string(d.Choice), string(ranking))
	return err == nil, err
}

// Golds reads what is known of items.
func (s *Store) Golds(ctx context.Context) (map[int64]Gold, error) {
	rows, err := s.rows(ctx, `SELECT item, source, choice, ranking FROM gold ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the gold of %s: %w", s.path, err)
	}
	defer rows.Close()
	out := map[int64]Gold{}
	for rows.Next() {
		var g Gold
		var ranking string
		if err := rows.Scan(&g.Item, &g.Source, &g.Decision.Choice, &ranking); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(ranking), &g.Decision.Ranking); err != nil {
			return nil, fmt.Errorf("gold of item %d is damaged: %w", g.Item, err)
		}
		out[g.Item] = g
	}
	return out, rows.Err()
}
