package labeling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// OnServer says whether a store's name is the URL of a PostgreSQL database, and not a file.
func OnServer(store string) bool {
	return strings.HasPrefix(store, "postgres://") || strings.HasPrefix(store, "postgresql://")
}

// reachTime is how long a server may take to answer, where the URL does not say (connect_timeout).
const reachTime = 10 * time.Second

// address is a database's URL taken apart.
type address struct {
	shown    string // without the password
	password string
	has      bool // a password stands in the URL
}

// errURL says nothing of the URL itself: what could not be read may be a password.
var errURL = errors.New("of a URL that cannot be read: want postgres://USER@HOST:PORT/DATABASE; in a password, write : / ? # @ % and the space as %3A %2F %3F %23 %40 %25 %20")

func parseAddress(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Fragment != "" || u.User == nil && strings.Contains(raw, "@") {
		return address{}, errURL
	}
	var p address
	if u.User != nil {
		if p.password, p.has = u.User.Password(); p.has {
			u.User = url.User(u.User.Username())
		}
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return address{}, errURL
	}
	if q.Has("sslpassword") {
		return address{}, errors.New("of a URL with sslpassword: give it in the environment, as PGSSLPASSWORD")
	}
	if q.Has("password") {
		p.password, p.has = q.Get("password"), true
		q.Del("password")
		u.RawQuery = q.Encode()
	}
	p.shown = u.String()
	return p, nil
}

// openServer connects to nothing yet. The driver reads a URL without the password, so that none of its errors can name it.
func openServer(raw string) (*Store, error) {
	p, err := parseAddress(raw)
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig(p.shown)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.shown, err)
	}
	if p.has {
		c.Password = p.password
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = reachTime
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "plumb"
	}
	return &Store{db: stdlib.OpenDB(*c), d: onPostgres(), path: p.shown}, nil
}

// lookPostgres says whose schema this is: the first of the search path, which the URL may name (?search_path=TEAM).
func lookPostgres(ctx context.Context, s *Store, _ bool) (content, error) {
	if err := s.db.PingContext(ctx); err != nil {
		return holdsNothing, unreachable(err)
	}
	var schema *string
	var encoding string
	var marked bool
	var tables int
	err := s.row(ctx, `SELECT current_schema(), current_setting('server_encoding'), to_regclass(quote_ident(current_schema()) || '.label_store') IS NOT NULL,
		(SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> 'goose_db_version')`).
		Scan(&schema, &encoding, &marked, &tables)
	switch {
	case err != nil:
		return holdsNothing, err
	case schema == nil:
		return holdsNothing, errors.New("no schema of its search path exists: CREATE SCHEMA makes one")
	case encoding != "UTF8":
		return holdsNothing, fmt.Errorf("the database's encoding is %s, and not every answer can be written in it: createdb --encoding UTF8 --template template0 makes another", encoding)
	case marked:
		var id int64
		if err := s.row(ctx, `SELECT application_id FROM label_store`).Scan(&id); err == nil && id == applicationID {
			return holdsStore, nil
		}
		return holdsOther, nil
	case tables > 0:
		return holdsNothing, fmt.Errorf("schema %s holds tables of another program: name an empty database, or a schema of its own with ?search_path=SCHEMA", *schema)
	}
	return holdsNothing, nil
}

// unreachable says why there is no connection, on one line.
func unreachable(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000":
			return fmt.Errorf("the server lets this user not in: %s (the password may stand in PGPASSWORD or in ~/.pgpass)", refused.Message)
		case "3D000":
			return fmt.Errorf("%s: createdb makes it", refused.Message)
		}
		return fmt.Errorf("the server refuses: %s", refused.Message)
	}
	return fmt.Errorf("the server cannot be reached: %w", oneLine{err})
}

// oneLine is an error whose text is put on one line.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

func (e oneLine) Unwrap() error { return e.error }

// postgresMigrations are the migrations in PostgreSQL's words. They are written once, for SQLite; only the forms that
// postgresDDL knows differ, and what it does not know fails on the server.
func postgresMigrations() (fs.FS, error) {
	dir, err := fs.Sub(migrations, "migrations")
	return translated{dir}, err
}

type translated struct{ fs.FS }

func (t translated) Open(name string) (fs.File, error) {
	f, err := t.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return f, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return translatedFile{f, strings.NewReader(postgresDDL(string(text)))}, nil
}

type translatedFile struct {
	fs.File
	text io.Reader
}

func (f translatedFile) Read(p []byte) (int, error) { return f.text.Read(p) }

// postgresDDL turns a migration into PostgreSQL's words: the mark of the file into a table, 64-bit integers, text that is
// ordered by its bytes whatever the server's language, and triggers into functions that are called once a row, or, where
// they refuse, once a statement (TRUNCATE too).
func postgresDDL(text string) string {
	for _, r := range []struct{ from, to string }{
		{`PRAGMA application_id = (\d+);`, `CREATE TABLE label_store (application_id BIGINT NOT NULL); INSERT INTO label_store VALUES ($1);`},
		{`(?m)^\) STRICT;`, `);`},
		{`\) STRICT;`, `);`},
		{`(?m)^(  id +)INTEGER PRIMARY KEY`, `${1}BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY`},
		{`\bINTEGER\b`, `BIGINT`},
		{`\bREAL\b`, `DOUBLE PRECISION`},
		{`\bTEXT\b`, `TEXT COLLATE "C"`},
		{`(?s)INSERT OR IGNORE INTO ([^;]*);`, `INSERT INTO $1 ON CONFLICT DO NOTHING;`},
		{
			`CREATE TRIGGER (\w+) BEFORE (\w+) ON (\w+) BEGIN SELECT RAISE\(ABORT, ('[^']*')\); END;`,
			`CREATE FUNCTION $1() RETURNS trigger LANGUAGE plpgsql AS $$$$ BEGIN RAISE EXCEPTION $4; END $$$$; CREATE TRIGGER $1 BEFORE $2 ON $3 EXECUTE FUNCTION $1();`,
		},
		{`BEFORE DELETE ON`, `BEFORE DELETE OR TRUNCATE ON`},
		{
			`(?s)CREATE TRIGGER (\w+) AFTER INSERT ON (\w+)( WHEN ([^\n]*))? BEGIN\n(.*?)\nEND;`,
			"CREATE FUNCTION $1() RETURNS trigger LANGUAGE plpgsql AS $$$$ BEGIN\n$5\nRETURN NULL; END $$$$; CREATE TRIGGER $1 AFTER INSERT ON $2 FOR EACH ROW WHEN (${4}) EXECUTE FUNCTION $1();",
		},
		{`WHEN \(\)`, ``},
	} {
		text = regexp.MustCompile(r.from).ReplaceAllString(text, r.to)
	}
	return text
}
