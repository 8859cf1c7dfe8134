package labeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"pgregory.net/rapid"

	"plumb/internal/pgserver"
	"plumb/internal/pgurl"
)

// onBackends runs a test on stores in files and on stores on a server, at the same time: what they do is mostly to wait, for
// the disk and for the server.
func onBackends(t *testing.T, test func(*testing.T)) {
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t) })
	t.Run(serverTests, func(t *testing.T) { t.Parallel(); pgserver.Shared(t); test(t) })
}

// onBackendsInTurn is onBackends for tests that measure time or set variables of the environment.
func onBackendsInTurn(t *testing.T, test func(*testing.T)) {
	t.Run("sqlite", test)
	onServer(t, test)
}

// onServer runs a test on stores on a server.
func onServer(t *testing.T, test func(*testing.T)) {
	t.Run(serverTests, func(t *testing.T) { pgserver.Shared(t); test(t) })
}

// serverTests is the name of the part of a test whose stores lie on a server, by which the functions below know it.
const serverTests = "postgres"

func testsServer(t testing.TB) bool {
	return slices.Contains(strings.Split(t.Name(), "/"), serverTests)
}

// places numbers the database's schemas.
var places atomic.Int64

// newPlace is where a store can be made that no other test sees: a file, or a schema of the server's database.
func newPlace(t testing.TB) string {
	t.Helper()
	if !testsServer(t) {
		return filepath.Join(t.TempDir(), "labels.db")
	}
	return newSchema(t, pgserver.Shared(t))
}

// newSchema makes an empty schema and is its URL.
func newSchema(t testing.TB, srv *pgserver.Server) string {
	t.Helper()
	if _, err := blankSchema(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprint("store", places.Add(1))
	execOn(t, srv.URL("labels"), "CREATE SCHEMA "+name)
	return schemaURL(srv, name)
}

func schemaURL(srv *pgserver.Server, name string) string {
	return srv.URL("labels") + "&search_path=" + name
}

// blankName is the schema that holds an empty store.
const blankName = "blank"

// blankSchema makes the server's database and is the SQL that makes an empty store in it, which takes a third of the time of
// migrating one.
var blankSchema = sync.OnceValues(func() (string, error) {
	srv, err := pgserver.Running()
	if err != nil {
		return "", err
	}
	if err := srv.Create("labels", ""); err != nil {
		return "", err
	}
	db, err := sql.Open("pgx", srv.URL("labels"))
	if err != nil {
		return "", err
	}
	_, err = db.Exec("CREATE SCHEMA " + blankName)
	if err := errors.Join(err, db.Close()); err != nil {
		return "", err
	}
	s, err := Open(context.Background(), schemaURL(srv, blankName))
	if err != nil {
		return "", err
	}
	if err := s.Close(); err != nil {
		return "", err
	}
	return srv.Dump("labels", blankName)
})

// blankFile is an empty store in a file.
var blankFile = sync.OnceValues(func() (raw []byte, err error) {
	dir, err := os.MkdirTemp("", "labeling-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "blank.db")
	s, err := Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// newBlank is the place of a new store that is empty.
func newBlank(t testing.TB) string {
	t.Helper()
	if !testsServer(t) {
		raw, err := blankFile()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "labels.db")
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	srv := pgserver.Shared(t)
	dump, err := blankSchema()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprint("store", places.Add(1))
	execOn(t, srv.URL("labels"), renamed(dump, blankName, name))
	return schemaURL(srv, name)
}

// renamed is the dump of a schema under another name.
func renamed(dump, from, to string) string {
	return regexp.MustCompile(`\b`+from+`\b`).ReplaceAllLiteralString(dump, to)
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
	s := openTest(t, newBlank(t))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// scratch is a store for the runs of a property, empty at the start of each. In a file it is a new one, which need not
// survive a power cut. On a server its tables are emptied and the connection stays: to make them, and to plan every statement
// anew, is most of the time of a run.
type scratch struct {
	dir   string // of the files
	place string
	runs  int
	admin *sql.DB
	clear string // SQL that empties the store on the server
	s     *Store
}

func newScratch(t *testing.T) *scratch {
	t.Helper()
	x := &scratch{dir: t.TempDir()}
	t.Cleanup(func() {
		if x.s != nil {
			x.s.Close()
		}
	})
	if !testsServer(t) {
		return x
	}
	srv, place := pgserver.Shared(t), newBlank(t)
	schema := place[strings.LastIndex(place, "=")+1:]
	x.clear = `SET session_replication_role = replica; DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '` + schema + `' AND tablename NOT IN ('label_store', 'goose_db_version')
		LOOP EXECUTE 'DELETE FROM ` + schema + `.' || quote_ident(name); END LOOP; END $$`
	var err error
	if x.admin, err = sql.Open("pgx", srv.URL("labels")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.admin.Close() })
	x.place, x.s = place, openTest(t, place)
	return x
}

// empty is the store for the next run.
func (x *scratch) empty(r *rapid.T) *Store {
	if x.admin != nil {
		if _, err := x.admin.Exec(x.clear); err != nil {
			r.Fatal(err)
		}
		return x.s
	}
	raw, err := blankFile()
	if err != nil {
		r.Fatal(err)
	}
	x.runs++
	x.place = filepath.Join(x.dir, fmt.Sprint(x.runs, ".db"))
	if err := os.WriteFile(x.place, raw, 0o644); err != nil {
		r.Fatal(err)
	}
	return x.open(r, x.place)
}

// reopen is the store of this run, closed and opened again.
func (x *scratch) reopen(r *rapid.T) *Store {
	return x.open(r, x.place)
}

func (x *scratch) open(r *rapid.T, place string) *Store {
	if x.s != nil {
		if err := x.s.Close(); err != nil {
			r.Fatal(err)
		}
	}
	x.s = openTest(r, place)
	if x.admin == nil {
		x.s.db.SetMaxOpenConns(1)
		if _, err := x.s.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
			r.Fatal(err)
		}
	}
	return x.s
}

// copies gives a function that makes a copy of a closed store, as it is now, and says where: for tests that want hundreds of
// the same, where migrating each would be most of their time.
func copies(t *testing.T, of string) func() (place string) {
	t.Helper()
	if pgurl.Is(of) {
		return copiesOnServer(t, of)
	}
	raw, err := os.ReadFile(of)
	if err != nil {
		t.Fatal(err)
	}
	dir, n := t.TempDir(), 0
	return func() string {
		n++
		path := filepath.Join(dir, fmt.Sprint(n, ".db"))
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func copiesOnServer(t *testing.T, of string) func() string {
	t.Helper()
	srv := pgserver.Shared(t)
	at, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	schema := at.Query().Get("search_path")
	dump, err := srv.Dump("labels", schema)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", srv.URL("labels"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return func() string {
		to := fmt.Sprint("store", places.Add(1))
		if _, err := db.Exec(renamed(dump, schema, to)); err != nil {
			t.Fatalf("copy of %s: %v", schema, err)
		}
		return schemaURL(srv, to)
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
