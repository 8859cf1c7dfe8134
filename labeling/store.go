package labeling

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	applicationID = 1347177805
	schemaVersion = 3 // number of the newest migration
)

// Store is one label store: a queue of items and the log of what people did with them. It is safe for concurrent use, also
// by several processes.
type Store struct {
	db   *sql.DB
	path string
}

// Open opens the store at path, makes it if it is not there, and brings an older schema up to date. A file that is not a
// label store, or that a newer version wrote, is refused.
func Open(ctx context.Context, path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open label store %s: %w", path, err)
	}
	if st, err := os.Stat(abs); err == nil && st.IsDir() {
		return nil, fmt.Errorf("open label store %s: it is a folder", path)
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open label store %s: %w", path, err)
	}
	db.SetMaxOpenConns(4)
	s := &Store{db: db, path: path}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open label store %s: %w", path, err), db.Close())
	}
	return s, nil
}

// prepare checks whose file this is and migrates it. The check of the version alone is what a store in daily use pays.
func (s *Store) prepare(ctx context.Context) error {
	var id, tables int
	if err := s.db.QueryRowContext(ctx, `SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_master)`).Scan(&id, &tables); err != nil {
		return fmt.Errorf("not a SQLite file that can be read: %w", err)
	}
	if id != applicationID && tables > 0 {
		// Another process may be between making goose's table and the first migration.
		var foreign int
		const q = `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT IN ('goose_db_version', 'sqlite_sequence')`
		if err := s.db.QueryRowContext(ctx, q).Scan(&foreign); err != nil {
			return err
		}
		if foreign > 0 {
			return errors.New("it is a SQLite database of another program")
		}
	}
	if id == applicationID {
		var version int
		err := s.db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
		switch {
		case err != nil:
			return err
		case version == schemaVersion:
			return nil
		case version > schemaVersion:
			return fmt.Errorf("its schema is version %d, this program knows up to %d: a newer plumb wrote it", version, schemaVersion)
		}
	}
	return s.migrate(ctx)
}

func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	var up error
	for range 5 { // two processes may make the same new store at once: the second finds the work done
		p, err := goose.NewProvider(goose.DialectSQLite3, s.db, dir)
		if err != nil {
			return err
		}
		if _, up = p.Up(ctx); up == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return up
}

// Close folds the write-ahead log into the file and closes it.
func (s *Store) Close() error { return s.db.Close() }

// Path is the path the store was opened with.
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
	r, err := tx.exec(ctx, `INSERT INTO items (hash, mode, grp, prompt, answers, tags, meta) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		hash, string(it.mode()), it.Group, string(prompt), string(answers), string(tags), meta)
	if err != nil {
		return err
	}
	if seq, err = r.LastInsertId(); err != nil {
		return err
	}
	res.New++
	res.Seqs = append(res.Seqs, seq)
	return nil
}

// Item reads one item by its place in the queue.
func (s *Store) Item(ctx context.Context, seq int64) (Item, error) {
	it, err := scanItem(s.db.QueryRowContext(ctx, `SELECT `+itemColumns+` FROM items i WHERE i.seq = ?`, seq))
	if errors.Is(err, sql.ErrNoRows) {
		return Item{}, fmt.Errorf("%s has no item %d", s.path, seq)
	}
	return it, err
}

// Count is the number of items and of those that anyone has decided. Items are never deleted, so the last place is their number.
func (s *Store) Count(ctx context.Context) (items, decided int, err error) {
	var undecided int
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT coalesce(max(seq), 0) FROM items), (SELECT count(*) FROM undecided)`).Scan(&items, &undecided)
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

// tx runs fn in one immediate transaction.
func (s *Store) tx(ctx context.Context, fn func(*batch) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	b := &batch{tx: tx, stmts: map[string]*sql.Stmt{}}
	if err := fn(b); err != nil {
		if rb := tx.Rollback(); rb != nil && !errors.Is(rb, sql.ErrTxDone) {
			return errors.Join(err, rb)
		}
		return err
	}
	return tx.Commit()
}

// batch is a transaction that prepares each statement once: reading the same SQL again is most of the cost of a row. The
// statements are closed with the transaction.
type batch struct {
	tx    *sql.Tx
	stmts map[string]*sql.Stmt
}

func (b *batch) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if st := b.stmts[query]; st != nil {
		return st, nil
	}
	st, err := b.tx.PrepareContext(ctx, query)
	if err == nil {
		b.stmts[query] = st
	}
	return st, err
}

func (b *batch) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	st, err := b.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

func (b *batch) row(ctx context.Context, query string, args ...any) scanner {
	st, err := b.prepare(ctx, query)
	if err != nil {
		return broken{err}
	}
	return st.QueryRowContext(ctx, args...)
}

// broken is the row of a query that could not be prepared.
type broken struct{ err error }

func (b broken) Scan(...any) error { return b.err }
