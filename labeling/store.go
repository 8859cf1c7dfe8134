package labeling

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Store is one label store: a queue of items and the log of what people did with them. It is safe for concurrent use, also
// by several processes.
type Store struct {
	db   *sql.DB
	d    dialect
	path string // of the file, or the server's URL without a password: what may be shown
}

// Close closes the store; that of a file folds the write-ahead log into it.
func (s *Store) Close() error { return s.db.Close() }

// Path is where the store lies, as it may be shown: a path, or a URL without a password.
func (s *Store) Path() string { return s.path }

// Added says what AddItems did.
type Added struct {
	Seqs     []int64 // place of each given item, new or old; 0 for a pair of equal answers
	New      int     // items that were not there
	Existing int     // items that were there already
	Same     int     // pairs left out because both answers are the same text
}

// AddItems appends items to the queue in one transaction. Items already there (by content hash) stay as they are.
func (s *Store) AddItems(ctx context.Context, items []Item) (Added, error) {
	var res Added
	err := s.tx(ctx, func(tx *batch) error {
		res = Added{}
		for i, it := range items {
			if err := addItem(ctx, tx, it, &res); err != nil {
				return fmt.Errorf("item %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		return Added{}, fmt.Errorf("add items to %s: %w", s.path, err)
	}
	return res, nil
}

// addItem adds one item within a transaction.
func addItem(ctx context.Context, tx *batch, it Item, res *Added) error {
	switch err := it.check(); {
	case errors.Is(err, ErrSame):
		res.Same++
		res.Seqs = append(res.Seqs, 0)
		return nil
	case err != nil:
		return err
	}
	hash := it.ContentHash()
	var seq int64
	switch err := tx.row(ctx, `SELECT seq FROM items WHERE hash = ?`, hash).Scan(&seq); {
	case err == nil:
		res.Existing++
		res.Seqs = append(res.Seqs, seq)
		return nil
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	prompt, err := marshal(it.Prompt)
	if err != nil {
		return err
	}
	answers, err := marshal(it.Answers)
	if err != nil {
		return err
	}
	tags, err := marshal(append([]string{}, it.Tags...))
	if err != nil {
		return err
	}
	meta := "{}"
	if len(it.Meta) > 0 {
		meta = string(it.Meta)
	}
	err = tx.row(ctx, `INSERT INTO items (seq, hash, mode, grp, prompt, answers, tags, meta)
		VALUES ((SELECT coalesce(max(seq), 0) + 1 FROM items), ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
		hash, string(it.mode()), it.Group, string(prompt), string(answers), string(tags), meta).Scan(&seq)
	if err != nil {
		return err
	}
	res.New++
	res.Seqs = append(res.Seqs, seq)
	return nil
}

// Item reads one item by its place in the queue.
func (s *Store) Item(ctx context.Context, seq int64) (Item, error) {
	it, err := scanItem(s.row(ctx, `SELECT `+itemColumns+` FROM items i WHERE i.seq = ?`, seq))
	if errors.Is(err, sql.ErrNoRows) {
		return Item{}, fmt.Errorf("%s has no item %d", s.path, seq)
	}
	return it, err
}

// Count is the number of items and of those that anyone has decided. Items are never deleted, so the last place is their number.
func (s *Store) Count(ctx context.Context) (items, decided int, err error) {
	var undecided int
	err = s.row(ctx, `SELECT (SELECT coalesce(max(seq), 0) FROM items), (SELECT count(*) FROM undecided)`).Scan(&items, &undecided)
	return items, items - undecided, err
}

const itemColumns = `i.seq, i.hash, i.mode, i.grp, i.prompt, i.answers, i.tags, i.meta`

type scanner interface{ Scan(dst ...any) error }

func scanItem(row scanner, more ...any) (Item, error) {
	var it Item
	var prompt, answers, tags, meta string
	if err := row.Scan(append([]any{&it.Seq, &it.Hash, &it.Mode, &it.Group, &prompt, &answers, &tags, &meta}, more...)...); err != nil {
		return Item{}, err
	}
	for _, f := range []struct {
		text string
		dst  any
	}{{prompt, &it.Prompt}, {answers, &it.Answers}, {tags, &it.Tags}} {
		if err := json.Unmarshal([]byte(f.text), f.dst); err != nil {
			return Item{}, fmt.Errorf("item %d of the store is damaged: %w", it.Seq, err)
		}
	}
	if meta != "{}" {
		it.Meta = json.RawMessage(meta)
	}
	if len(it.Tags) == 0 {
		it.Tags = nil
	}
	return it, nil
}
