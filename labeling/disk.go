package labeling

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// roomFor gives an error of a full disk the sentence a person needs; others stay.
func (s *Store) roomFor(err error) error {
	if !diskFull(err) {
		return err
	}
	return fmt.Errorf("the disk is full: free some space and do it again (nothing of this was written, what was acknowledged is there): %s: %w", s.path, err)
}

// diskFull reports whether there was no room for what a database was to write. SQLite says so of its files in several ways.
func diskFull(err error) bool {
	var file *sqlite.Error
	if errors.As(err, &file) {
		switch file.Code() {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE:
			return true
		}
	}
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "53100" // disk_full
}

// whole gives an error of writing an export the sentence a person needs where the disk it goes to is full.
func whole(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: free some space and export again (what was written is not whole, the store is as it was): %w", err)
	}
	return err
}
