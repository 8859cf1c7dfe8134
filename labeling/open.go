package labeling

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"plumb/internal/pgurl"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	applicationID = 1347177805 // "PLUM" + 1
	schemaVersion = 3          // number of the newest migration
)

// connections is how many a store holds at most; all are kept while it is open.
const connections = 4

// Open opens the store at path, or at a URL postgres://..., makes it if it is not there, and brings an older schema up to
// date. A file or a database that is not a label store, or that a newer version wrote, is refused. No error names a password.
func Open(ctx context.Context, path string) (*Store, error) { return open(ctx, path, true) }

// OpenExisting is Open that makes no store: where there is none, the error is fs.ErrNotExist.
func OpenExisting(ctx context.Context, path string) (*Store, error) { return open(ctx, path, false) }

func open(ctx context.Context, path string, create bool) (*Store, error) {
	connect := openFile
	if pgurl.Is(path) {
		connect = openServer
	}
	s, err := connect(path)
	if err != nil {
		return nil, fmt.Errorf("open label store: %w", err)
	}
	s.db.SetMaxOpenConns(connections)
	s.db.SetMaxIdleConns(connections)
	if err := s.prepare(ctx, create); err != nil {
		return nil, errors.Join(fmt.Errorf("open label store %s: %w", s.path, s.roomFor(err)), s.db.Close())
	}
	return s, nil
}

func openFile(path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Store{db: db, d: onSQLite(), path: path}, nil
}

// content is what a database was found to hold.
type content int

const (
	holdsNothing content = iota
	holdsStore
	holdsOther // what another program put there
)

// prepare checks whose database this is and migrates it. The check of the version alone is what a store in daily use pays.
func (s *Store) prepare(ctx context.Context, create bool) error {
	holds, err := s.d.look(ctx, s, create)
	if err != nil {
		return err
	}
	switch holds {
	case holdsOther:
		return errors.New("it is a database of another program")
	case holdsNothing:
		if !create {
			return fmt.Errorf("%w: it holds no label store", fs.ErrNotExist)
		}
	case holdsStore:
		var version int
		err := s.row(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
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

// lookSQLite says whose file this is; by its application_id, not by its name.
func lookSQLite(ctx context.Context, s *Store, create bool) (content, error) {
	switch st, err := os.Stat(s.path); {
	case errors.Is(err, fs.ErrNotExist) && !create:
		return holdsNothing, syscall.ENOENT
	case err == nil && st.IsDir():
		return holdsNothing, errors.New("it is a folder")
	}
	var id, tables int
	if err := s.row(ctx, `SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_master)`).Scan(&id, &tables); err != nil {
		if diskFull(err) {
			return holdsNothing, err
		}
		return holdsNothing, fmt.Errorf("not a SQLite file that can be read: %w", err)
	}
	if id == applicationID {
		return holdsStore, nil
	}
	if tables == 0 {
		return holdsNothing, nil
	}
	// Another process may be between making goose's table and the first migration.
	err := s.row(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT IN ('goose_db_version', 'sqlite_sequence')`).Scan(&tables)
	if err != nil || tables == 0 {
		return holdsNothing, err
	}
	return holdsOther, nil
}

func (s *Store) migrate(ctx context.Context) error {
	dir, err := s.d.migrations()
	if err != nil {
		return err
	}
	if s.d.lock != "" { // while this transaction is open, no other process migrates
		tx, err := s.db.BeginTx(ctx, s.d.begin)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // it has written nothing
		if _, err := tx.ExecContext(ctx, s.d.lock); err != nil {
			return err
		}
	}
	var up error
	for range 5 { // two processes may make the same new file at once: the second finds the work done
		p, err := goose.NewProvider(s.d.goose, s.db, dir)
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
