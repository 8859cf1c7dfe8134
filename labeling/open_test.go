package labeling

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pressly/goose/v3"

	"plumb/internal/pgurl"
)

func TestOpenRefusesForeignFiles(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 300)), 0o644); err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(dir, "named ?#%.db") // needs escaping
	openTest(t, named).Close()
	if _, err := os.Stat(named); err != nil {
		t.Errorf("the store is not where it was asked to be: %v", err)
	}
	for path, want := range map[string]string{text: "not a SQLite file", dir: "a folder"} {
		if s, err := Open(ctx, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s): %v, want %q", filepath.Base(path), err, want)
			if err == nil {
				s.Close()
			}
		}
	}
}

func TestOpenRefusesForeignStores(t *testing.T) { onBackends(t, testOpenRefusesForeignStores) }

func testOpenRefusesForeignStores(t *testing.T) {
	ctx := context.Background()
	other, newer, blank := newPlace(t), newPlace(t), newPlace(t)
	execOn(t, other, `CREATE TABLE t (x INTEGER)`)
	openTest(t, newer).Close()
	execOn(t, newer, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, `+map[bool]string{true: "true", false: "1"}[testsServer(t)]+`)`)
	for place, want := range map[string]string{other: "another program", newer: "newer plumb"} {
		if s, err := Open(ctx, place); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			if err == nil {
				s.Close()
			}
		}
	}
	for range 2 { // looking for a store makes none
		if _, err := OpenExisting(ctx, blank); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("where there is no store: %v", err)
		}
	}
	openTest(t, blank).Close()
	s, err := OpenExisting(ctx, blank)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// Several processes may make the same store at once.
func TestOpenAtOnce(t *testing.T) { onBackends(t, testOpenAtOnce) }

func testOpenAtOnce(t *testing.T) {
	place := newPlace(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(context.Background(), place)
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

// A store of the first schema is brought up to date with all that is in it, once.
func TestOpenMigrates(t *testing.T) { onBackends(t, testOpenMigrates) }

func testOpenMigrates(t *testing.T) {
	ctx, place := context.Background(), newPlace(t)
	connect := openFile
	if pgurl.Is(place) {
		connect = openServer
	}
	old, err := connect(place)
	if err != nil {
		t.Fatal(err)
	}
	first, err := old.d.migrations()
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(old.d.goose, old.db, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	_, err = old.db.Exec(`INSERT INTO items (seq, hash, mode, grp, prompt, answers, tags, meta) VALUES (1, 'aa', 'compare', '', '"q"', '[{"text":"x"},{"text":"y"}]', '[]', '{}');
		INSERT INTO sessions VALUES ('s', 'ann', '1', 'tui', 0);
		INSERT INTO events (session, n, at, annotator, kind, item, shown, choice, ranking, strength, ms, data, target_session, target_n)
		VALUES ('s', 1, 7, 'ann', 'judge', 1, '[1,0]', 'win', '[1,0]', 4, 9000, '{}', '', 0)`)
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := openTest(t, place)
		js, err := s.Judgements(ctx)
		if err != nil || len(js) != 1 || js[0].Event.Strength != Much {
			t.Errorf("%+v, %v", js, err)
		}
		if g, err := s.Golds(ctx); err != nil || len(g) != 0 {
			t.Errorf("%v, %v", g, err)
		}
		s.Close()
	}
}
