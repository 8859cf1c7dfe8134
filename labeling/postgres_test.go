package labeling

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/internal/pgserver"
)

func TestPositional(t *testing.T) {
	named := []any{sql.Named("who", "ann"), sql.Named("now", 7), sql.Named("unused", 1)}
	for _, c := range []struct {
		query string
		args  []any
		want  string
		out   []any
	}{
		{`a = ? AND b = ?`, []any{1, 2}, `a = $1 AND b = $2`, []any{1, 2}},
		{`a = ?1, b = ?2 WHERE ?2 > ?1`, []any{"x", "y"}, `a = $1, b = $2 WHERE $2 > $1`, []any{"x", "y"}},
		{`x > :now AND w = :who OR n < :now`, named, `x > $1 AND w = $2 OR n < $1`, []any{7, "ann"}},
		{`a::json ->> 'who?' = ? AND 'it''s :who' <> :who`, []any{3, named[0]}, `a::json ->> 'who?' = $1 AND 'it''s :who' <> $2`, []any{3, "ann"}},
		{`SELECT 1`, nil, `SELECT 1`, nil},
	} {
		got, out := positional(c.query, c.args)
		if got != c.want || !slices.Equal(out, c.out) {
			t.Errorf("%s: %s with %v, want %s with %v", c.query, got, out, c.want, c.out)
		}
	}
}

// No error of opening a store names the password.
func TestPasswordsAreNotShown(t *testing.T) {
	for _, raw := range []string{
		"postgres://ann:s3cret#x@db/labels", "postgres://ann:s3cret/x@db/labels", "postgres://ann:12/s3cret@db/labels", "postgres://ann:1?s3cret@db/labels",
		"postgres://ann:%s3cret@db/labels", "postgres://ann:s3cret\x7f@db/labels", "postgres://ann@db/labels?sslpassword=s3cret", "postgres://db:s3cret",
		"postgres://ann:s3cret@db:port/labels", "postgres://ann:s3cret@db/labels?sslmode=never", "postgres://ann:s3cret@db/labels?connect_timeout=soon",
		"postgres://ann:s3cret@db/labels?a=%s3cret", "postgres://ann:s3cret@127.0.0.1:1/labels",
	} {
		s, err := Open(context.Background(), raw)
		if err == nil {
			s.Close()
			t.Errorf("%q was opened", raw)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is in %q", err)
		}
	}
}

// What is wrong with the server is said on one line, with what to do, and without the password.
func TestServersThatCannotBeUsed(t *testing.T) {
	srv := pgserver.Shared(t)
	if err := srv.Create("latin", "LATIN1"); err != nil {
		t.Fatal(err)
	}
	place := newSchema(t, srv)
	wrong := strings.Replace(place, url.QueryEscape(pgserver.Password)[:5], "wrong", 1)
	if wrong == place {
		t.Fatal("the password is written otherwise in the URL")
	}
	missing := t.TempDir()
	for _, c := range []struct{ place, want string }{
		{"postgres://ann:" + "pw-h1dd@127.0.0.1:1/labels", "cannot be reached"},
		{"postgres://ann:" + "pw-h1dd@/labels?host=" + missing, "cannot be reached"},
		{wrong, "lets this user not in"},
		{srv.URL("nowhere"), "createdb"},
		{srv.URL("latin"), "encoding is LATIN1"},
		{srv.URL("labels") + "&search_path=nowhere", "CREATE SCHEMA"},
	} {
		start := time.Now()
		s, err := Open(context.Background(), c.place)
		if err == nil {
			s.Close()
			t.Errorf("%s was opened", c.want)
			continue
		}
		text := err.Error()
		if !strings.Contains(text, c.want) || strings.Contains(text, "pw-h1dd") || strings.Contains(text, "\n") || !strings.HasPrefix(text, "open label store postgres://") {
			t.Errorf("want %q: %s", c.want, text)
		}
		if took := time.Since(start); took > 2*reachTime {
			t.Errorf("%s took %v", c.want, took)
		}
	}
	s := openTest(t, place)
	defer s.Close()
	_, err := s.Item(context.Background(), 7)
	if err == nil || strings.Contains(err.Error(), "pw-h1dd") || strings.Contains(s.Path(), "pw-h1dd") {
		t.Errorf("%v, %s", err, s.Path())
	}
}

// A server that takes the connection and says nothing is given up.
func TestAServerThatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	_, err = Open(context.Background(), "postgres://ann@"+l.Addr().String()+"/labels?sslmode=disable&connect_timeout=1")
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") || time.Since(start) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// Both databases have the same tables, views and columns in the same order: what SELECT * means is the same.
func TestSchemasAreTheSame(t *testing.T) {
	columns := func(place, query string) map[string][]string {
		s := openTest(t, place)
		defer s.Close()
		rows, err := s.rows(context.Background(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		out := map[string][]string{}
		for rows.Next() {
			var table, column string
			if err := rows.Scan(&table, &column); err != nil {
				t.Fatal(err)
			}
			out[table] = append(out[table], column)
		}
		delete(out, "goose_db_version")
		return out
	}
	file := columns(filepath.Join(t.TempDir(), "l.db"), `SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`)
	server := columns(newSchema(t, pgserver.Shared(t)), `SELECT table_name::text, column_name::text FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name <> 'label_store' ORDER BY table_name, ordinal_position`)
	if diff := cmp.Diff(file, server); diff != "" || len(file) < 10 {
		t.Errorf("in a file (-) and on a server (+): %s", diff)
	}
}

// A server that was restarted, or that dropped the connection, costs at most a key pressed again.
func TestConnectionsThatEnd(t *testing.T) {
	onServer(t, func(t *testing.T) {
		s := newTestStore(t)
		addPairs(t, s, 3)
		b := newBench(t, s, 80, 24)
		b.press("1")
		end := func() {
			execOn(t, pgserver.Shared(t).URL("labels"), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plumb'`)
		}
		end()
		time.Sleep(1100 * time.Millisecond) // a connection idle for a second is looked at before it is used
		b.press("2")
		if !strings.Contains(b.screen(), "question 3") {
			t.Errorf("the key was not taken:\n%s", b.screen())
		}
		end()
		for range 2 * connections {
			b.press("8") // at once: the broken connections are found one after the other
			if b.m.progress.Decided == 3 {
				break
			}
		}
		evs, err := s.Events(context.Background())
		if err != nil || b.m.progress.Decided != 3 || len(evs) < 3 {
			t.Errorf("%d decided, %d events, %v", b.m.progress.Decided, len(evs), err)
		}
	})
}

// forgetful is a proxy of a server that, while it is set, forwards a commit and loses the answer to it.
func forgetful(t *testing.T, to string) (dir string, lose *atomic.Bool) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "plumb-proxy-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	lose = &atomic.Bool{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", filepath.Join(to, ".s.PGSQL.5432"))
			if err != nil {
				c.Close()
				return
			}
			var deaf atomic.Bool
			go func() { // to the server
				defer s.Close()
				buf := make([]byte, 1<<16)
				for {
					n, err := c.Read(buf)
					if lose.Load() && strings.Contains(string(buf[:n]), "commit\x00") {
						deaf.Store(true)
					}
					if _, werr := s.Write(buf[:n]); err != nil || werr != nil {
						return
					}
				}
			}()
			go func() { // and back
				defer c.Close()
				buf := make([]byte, 1<<16)
				for {
					n, err := s.Read(buf)
					if n > 0 && deaf.Load() || err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return dir, lose
}

// A key whose commit was not answered is said not to be saved, though it may be; work goes on, and the log stays sound.
func TestTheAnswerToACommitIsLost(t *testing.T) {
	onServer(t, func(t *testing.T) {
		place := newPlace(t)
		u, err := url.Parse(place)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		dir, lose := forgetful(t, q.Get("host"))
		q.Set("host", dir)
		u.RawQuery = q.Encode()
		s := openTest(t, u.String())
		defer s.Close()
		addPairs(t, s, 2)
		b := newBench(t, s, 80, 24)
		b.press("1")
		lose.Store(true)
		b.press("8")
		lose.Store(false)
		if v := b.screen(); !strings.Contains(v, "press the key again") || !strings.Contains(v, "question 2") {
			t.Fatalf("the screen says\n%s", v)
		}
		b.press("2")
		evs, err := s.Events(context.Background())
		if err != nil || len(evs) != 3 || evs[1].Strength != Much || evs[2].N != 3 {
			t.Fatalf("%+v, %v", evs, err)
		}
		js, err := s.Judgements(context.Background())
		if err != nil || len(js) != 2 || js[1].Event.Strength != Clearly || b.m.progress.Decided != 2 {
			t.Errorf("%+v, %v; %d decided", js, err, b.m.progress.Decided)
		}
	})
}

// After an import the server knows how much there is, and need not guess which way to an item is short.
func TestImportsAreCounted(t *testing.T) {
	onServer(t, func(t *testing.T) {
		s := newTestStore(t)
		for _, n := range []int{10, manyWrites + 10} {
			addPairs(t, s, n)
			var known float64
			if err := s.row(context.Background(), `SELECT reltuples FROM pg_class WHERE oid = 'items'::regclass`).Scan(&known); err != nil || (n > 10) != (known == float64(n)) {
				t.Errorf("%d items, the server knows of %v, %v", n, known, err)
			}
		}
	})
}

// Two stores in schemas of one database know nothing of each other.
func TestSchemasAreApart(t *testing.T) {
	onServer(t, func(t *testing.T) {
		a, b := newTestStore(t), newTestStore(t)
		addPairs(t, a, 3)
		if n, _, err := b.Count(context.Background()); err != nil || n != 0 {
			t.Errorf("%d items, %v", n, err)
		}
	})
}

// The migrations are read whole, whoever reads them.
func TestTranslatedMigrations(t *testing.T) {
	dir, err := postgresMigrations()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil || len(names) != schemaVersion {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		f, err := dir.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"STRICT", "INTEGER", "PRAGMA", "RAISE(", "OR IGNORE"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s still says %s", name, word)
			}
		}
	}
}
