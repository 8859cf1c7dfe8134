package labeling

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"maps"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// dialect is all that one database does otherwise than the other. The rest of the store is one text of SQL in words that both
// understand, with SQLite's parameters: ?, ?1 and :name.
type dialect struct {
	goose      goose.Dialect
	look       func(ctx context.Context, s *Store, create bool) (content, error) // says what a database holds
	migrations func() (fs.FS, error)
	bind       func(query string, args []any) (string, []any) // puts parameters into the database's own form
	begin      *sql.TxOptions
	lock       string // first statement of a writing transaction, where BEGIN alone does not keep other writers out
	measure    string // what has the database count its rows while and after many are written: it chooses its ways by that
	prepares   bool   // the driver reads a statement anew at each use unless it is prepared

	// Of item i: how many answers it has, and its tags and its answers as rows whose column is t.value.
	answerCount, tagRows, answerRows string
}

// onSQLite is a store in one file. Its transactions begin immediately (see openFile), which keeps other writers out.
func onSQLite() dialect {
	return dialect{
		goose:       goose.DialectSQLite3,
		look:        lookSQLite,
		migrations:  func() (fs.FS, error) { return fs.Sub(migrations, "migrations") },
		bind:        func(query string, args []any) (string, []any) { return query, args },
		prepares:    true,
		answerCount: `json_array_length(i.answers)`,
		tagRows:     `json_each(i.tags) t`,
		answerRows:  `json_each(i.answers) t`,
	}
}

// onPostgres is a store on a server. One writer at a time, as in SQLite, is what makes places in the queue dense, times
// increasing and leases exclusive; the lock is of the schema, and ends with the transaction. What is acknowledged is on the
// disk, also where the server is set up to be careless. After the lock each statement has to see what others committed
// before it, whatever isolation the server is set up for.
func onPostgres() dialect {
	return dialect{
		goose:      goose.DialectPostgres,
		look:       lookPostgres,
		migrations: postgresMigrations,
		bind:       positional,
		begin:      &sql.TxOptions{Isolation: sql.LevelReadCommitted},
		lock: `SELECT pg_advisory_xact_lock(` + strconv.Itoa(applicationID) + `, hashtext(current_schema())),
			set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`,
		measure:     `ANALYZE items, undecided, sessions, events, actions, scores, gold`,
		answerCount: `json_array_length(i.answers::json)`,
		tagRows:     `json_array_elements_text(i.tags::json) t(value)`,
		answerRows:  `json_array_elements(i.answers::json) t(value)`,
	}
}

// positional turns ?, ?1 and :name into $1, $2, ... and puts the arguments into that order. Text in quotes and casts (::) stay.
func positional(query string, args []any) (string, []any) {
	var b strings.Builder
	var out []any
	var plain []any
	place, names := map[string]int{}, map[string]any{}
	for _, a := range args {
		if n, ok := a.(sql.NamedArg); ok {
			names[n.Name] = n.Value
		} else {
			plain = append(plain, a)
		}
	}
	put := func(key string, value any) {
		if place[key] == 0 {
			out = append(out, value)
			place[key] = len(out)
		}
		b.WriteString("$" + strconv.Itoa(place[key]))
	}
	next := 0
	for i := 0; i < len(query); {
		c, end := query[i], i+1
		switch {
		case c == '\'':
			for end < len(query) && query[end] != '\'' {
				end++
			}
			end = min(end+1, len(query))
			b.WriteString(query[i:end])
		case c == ':' && strings.HasPrefix(query[i:], "::"):
			end++
			b.WriteString("::")
		case c == ':' || c == '?':
			for end < len(query) && (query[end] >= 'a' && query[end] <= 'z' || query[end] >= '0' && query[end] <= '9') {
				end++
			}
			key := query[i+1 : end]
			if c == ':' {
				value, ok := names[key]
				if !ok {
					panic("labeling: positional: no argument named " + key)
				}
				put(key, value)
				break
			}
			if key == "" {
				next++
				key = strconv.Itoa(next)
			}
			n, err := strconv.Atoi(key)
			if err != nil || n > len(plain) {
				panic("labeling: positional: no argument " + key)
			}
			put(key, plain[n-1])
		default:
			b.WriteByte(c)
		}
		i = end
	}
	return b.String(), out
}

// rows runs a query outside of any transaction.
func (s *Store) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	query, args = s.d.bind(query, args)
	return s.db.QueryContext(ctx, query, args...)
}

// row runs a query for one row outside of any transaction.
func (s *Store) row(ctx context.Context, query string, args ...any) *sql.Row {
	query, args = s.d.bind(query, args)
	return s.db.QueryRowContext(ctx, query, args...)
}

// manyWrites is from how many on a transaction is an import: people's keys write a few rows.
const manyWrites = 1000

// tx runs fn in one transaction, with no other writer beside it.
func (s *Store) tx(ctx context.Context, fn func(*batch) error) error {
	return s.roomFor(s.transact(ctx, fn))
}

func (s *Store) transact(ctx context.Context, fn func(*batch) error) error {
	tx, err := s.db.BeginTx(ctx, s.d.begin)
	if err != nil {
		return err
	}
	b := &batch{tx: tx, d: s.d, stmts: map[string]*sql.Stmt{}, each: map[string]int{}}
	if s.d.lock != "" {
		_, err = tx.ExecContext(ctx, s.d.lock)
	}
	if err == nil {
		err = fn(b)
	}
	if err == nil && b.writes >= manyWrites {
		err = b.measure(ctx)
	}
	if err != nil {
		if rb := tx.Rollback(); rb != nil && !errors.Is(rb, sql.ErrTxDone) {
			return errors.Join(err, rb)
		}
		return err
	}
	return tx.Commit()
}

// batch is a transaction that prepares each statement once, where reading the same SQL again is most of the cost of a row.
// The statements are closed with the transaction.
type batch struct {
	tx       *sql.Tx
	d        dialect
	stmts    map[string]*sql.Stmt
	writes   int            // statements that do not only read
	each     map[string]int // how many of them each was
	measured map[string]int // each, when the database last counted its rows
}

// before counts a statement that is to run. A server keeps to the way it found when it met a statement first; where a table
// was empty or short then, that way reads all of the table for each row, however long it gets. So the server looks again when
// a statement has written many rows, and each time their number has doubled.
func (b *batch) before(ctx context.Context, query string) error {
	if strings.HasPrefix(query, "SELECT") {
		return nil
	}
	n := b.each[query]
	b.each[query]++
	b.writes++
	if n < max(manyWrites, 2*b.measured[query]) {
		return nil
	}
	return b.measure(ctx)
}

func (b *batch) measure(ctx context.Context) error {
	b.measured = maps.Clone(b.each)
	if b.d.measure == "" {
		return nil
	}
	_, err := b.tx.ExecContext(ctx, b.d.measure)
	return err
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

func (b *batch) exec(ctx context.Context, query string, args ...any) error {
	if err := b.before(ctx, query); err != nil {
		return err
	}
	query, args = b.d.bind(query, args)
	if !b.d.prepares {
		_, err := b.tx.ExecContext(ctx, query, args...)
		return err
	}
	st, err := b.prepare(ctx, query)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(ctx, args...)
	return err
}

func (b *batch) row(ctx context.Context, query string, args ...any) scanner {
	if err := b.before(ctx, query); err != nil {
		return broken{err}
	}
	query, args = b.d.bind(query, args)
	if !b.d.prepares {
		return b.tx.QueryRowContext(ctx, query, args...)
	}
	st, err := b.prepare(ctx, query)
	if err != nil {
		return broken{err}
	}
	return st.QueryRowContext(ctx, args...)
}

// broken is the row of a query that could not be run.
type broken struct{ err error }

func (b broken) Scan(...any) error { return b.err }
