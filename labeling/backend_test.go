package labeling

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"pgregory.net/rapid"

	"plumb/internal/pgserver"
	"plumb/internal/pgurl"
)

// backendEnv says to the helpers below where the stores of a test lie: on a server for "postgres", else in files.
const backendEnv = "LABELING_TEST_BACKEND"

// onBackends runs a test on stores in files and on stores on a server.
func onBackends(t *testing.T, test func(*testing.T)) {
	t.Run("sqlite", test)
	t.Run("postgres", func(t *testing.T) { onServer(t, test) })
}

func onServer(t *testing.T, test func(*testing.T)) {
	pgserver.Shared(t)
	t.Setenv(backendEnv, "postgres")
	test(t)
}

func testsServer() bool { return os.Getenv(backendEnv) == "postgres" }

// places numbers the databases' schemas.
var places atomic.Int64

// newPlace is where a store can be made that no other test sees: a file, or a schema of the test's database.
func newPlace(t testing.TB) string {
	t.Helper()
	if !testsServer() {
		return filepath.Join(t.TempDir(), "labels.db")
	}
	return newSchema(t, pgserver.Shared(t))
}

// newSchema makes an empty schema and is its URL.
func newSchema(t testing.TB, srv *pgserver.Server) string {
	t.Helper()
	n := places.Add(1)
	if n == 1 {
		srv.Create(t, "labels", "")
	}
	name := fmt.Sprint("store", n)
	execOn(t, srv.URL("labels"), "CREATE SCHEMA "+name)
	return srv.URL("labels") + "&search_path=" + name
}

// execOn runs a statement on a database, apart from any store.
func execOn(t testing.TB, place, statement string) {
	t.Helper()
	driver := "sqlite"
	if pgurl.Is(place) {
		driver = "pgx"
	}
	db, err := sql.Open(driver, place)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func openTest(t interface {
	Helper()
	Fatal(...any)
}, place string,
) *Store {
	t.Helper()
	s, err := Open(context.Background(), place)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newTestStore(t *testing.T) *Store {
	t.Helper()
	s := openTest(t, newPlace(t))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newScratch gives a function that makes an empty store for one run of a property, and where it lies. That in a file is a
// copy, which is quicker than migrating each of hundreds, and need not survive a power cut.
func newScratch(t *testing.T) func(*rapid.T) (s *Store, place string) {
	t.Helper()
	if testsServer() {
		srv := pgserver.Shared(t)
		return func(r *rapid.T) (*Store, string) {
			place := newSchema(t, srv)
			return openTest(r, place), place
		}
	}
	dir, runs := t.TempDir(), 0
	blank := filepath.Join(dir, "blank.db")
	openTest(t, blank).Close()
	raw, err := os.ReadFile(blank)
	if err != nil {
		t.Fatal(err)
	}
	return func(r *rapid.T) (*Store, string) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs, ".db"))
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			r.Fatal(err)
		}
		s := openTest(r, path)
		s.db.SetMaxOpenConns(1)
		if _, err := s.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
			r.Fatal(err)
		}
		return s, path
	}
}

func pair(n int) Item {
	return Item{
		Prompt:  Prompt{Text: fmt.Sprintf("question %d", n)},
		Answers: []Answer{{Text: fmt.Sprintf("first answer %d", n), Source: "a"}, {Text: fmt.Sprintf("second answer %d", n), Source: "b"}},
	}
}

func addPairs(t *testing.T, s *Store, n int) {
	t.Helper()
	var items []Item
	for i := 1; i <= n; i++ {
		items = append(items, pair(i))
	}
	if _, err := s.AddItems(context.Background(), items); err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that sometimes goes backwards, as real ones do.
type clock struct {
	at   time.Time
	step func() time.Duration
}

func (c *clock) now() time.Time {
	c.at = c.at.Add(c.step())
	return c.at
}
