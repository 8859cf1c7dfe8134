// Package pgserver starts a PostgreSQL server for tests, from the programs that the system has: Debian's, or those in the
// PATH. It listens on a unix socket only, forgets everything, and ends with the process that started it, however that ends.
// Tests only; nothing of the product imports it.
package pgserver

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb/internal/golden"
)

// User is the server's only user; Password is theirs, and made so that no test finds it by chance in what a program says.
const (
	User     = "labeler"
	Password = "pw-h1dd:n@ /%"
)

var errNone = errors.New("no PostgreSQL server on this machine, neither /usr/lib/postgresql/*/bin/initdb nor initdb in the PATH (Debian: apt-get install postgresql)")

// Server is a server that runs.
type Server struct {
	bin, dir string
	version  int                 // major, where the folder's name says it
	user     *syscall.Credential // nil: ours
	stdin    *os.File            // the server ends when this is closed, if only by the end of the process
}

// started is the one server of a test binary: making one takes seconds.
var started = sync.OnceValues(start)

// Shared is the server of this test binary. Where there is none to start, the test is skipped, and that is counted.
func Shared(t testing.TB) *Server {
	t.Helper()
	s, err := Running()
	if errors.Is(err, errNone) {
		golden.Need(t, "postgresql", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	golden.Need(t, "postgresql", nil)
	return s
}

// Running is Shared for what is made once for all tests.
func Running() (*Server, error) { return started() }

// URL is a database's URL, with the password.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(User, Password), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// Create makes an empty database; encoding "" is UTF8.
func (s *Server) Create(database, encoding string) error {
	if encoding == "" {
		encoding = "UTF8"
	}
	args := []string{"-h", s.dir, "-U", User, "-E", encoding, "-T", "template0", "--locale", "C"}
	if s.version >= 15 && encoding == "UTF8" { // an order of letters that is not that of their bytes
		args = append(args, "--locale-provider", "icu", "--icu-locale", "en")
	}
	if out, err := s.run("createdb", append(args, database)...); err != nil {
		return fmt.Errorf("createdb: %w: %s", err, out)
	}
	return nil
}

// Dump is the SQL that makes a schema of a database, with all that is in it.
func (s *Server) Dump(database, schema string) (string, error) {
	out, err := s.run("pg_dump", "-h", s.dir, "-U", User, "-n", schema, "--inserts", "--no-owner", database)
	if err != nil {
		return "", fmt.Errorf("pg_dump: %w: %s", err, out)
	}
	// Newer ones say \restrict and \unrestrict, which only psql knows.
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAllString(string(out), ""), nil
}

// run runs one of the server's programs as its user.
func (s *Server) run(program string, args ...string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "PGPASSWORD="+Password)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	return cmd.CombinedOutput()
}

// programs is the folder of the newest server's programs.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(filepath.Dir(a)) - version(filepath.Dir(b)) })
	if n := len(found); n > 0 {
		return filepath.Dir(found[n-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errNone
	}
	// A link leads to where the other programs are, too.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// version is the number in /usr/lib/postgresql/15/bin, and 0 where there is none.
func version(bin string) int {
	v, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return v
}

// ordinary is a user to run the server as where we are root, whom it refuses.
func ordinary() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("pgserver: there is no user postgres or nobody to run a server as")
}

// keep runs the server until its own standard input ends, then removes all of it.
const keep = `"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=200 >"$2/log" 2>&1 </dev/null &
pid=$!
cat >/dev/null
kill -QUIT $pid
wait $pid
cd / && rm -rf "$2"`

// inMemory is a file system in memory, and room what a server may want of it. Making tables takes a third of the time there.
const (
	inMemory = "/dev/shm"
	room     = 2 << 30
)

// place is where a server's folder is made. Not below TMPDIR: the path of a socket is short, and the server's user has to
// come to it.
func place() string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(inMemory, &fs); err == nil && uint64(fs.Bavail)*uint64(fs.Bsize) >= room {
		return inMemory
	}
	return "/tmp"
}

func start() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, version: version(bin)}
	if s.user, err = ordinary(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp(place(), "plumb-pg-"); err != nil {
		return nil, err
	}
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o600); err != nil {
		return nil, err
	}
	if s.user != nil {
		for _, p := range []string{s.dir, secret} {
			if err := os.Chown(p, int(s.user.Uid), int(s.user.Gid)); err != nil {
				return nil, err
			}
		}
	}
	if out, err := s.run("initdb", "-D", filepath.Join(s.dir, "data"), "-U", User, "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--locale", "C", "-N"); err != nil {
		return nil, fmt.Errorf("pgserver: initdb: %w: %s", err, out)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.stdin = write
	cmd := exec.Command("/bin/sh", "-c", keep, "sh", bin, s.dir)
	cmd.Dir, cmd.Stdin = s.dir, read
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user, Setpgid: true}
	if err := errors.Join(cmd.Start(), read.Close()); err != nil {
		return nil, err
	}
	if err := s.wait(); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return s, nil
}

// wait returns when the server takes connections.
func (s *Server) wait() error {
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := s.run("pg_isready", "-h", s.dir)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("pgserver: the server does not start: %w: %s%s", err, out, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
