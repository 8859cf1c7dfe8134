package labeling

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	gossh "golang.org/x/crypto/ssh"
)

// served is a server at work.
type served struct {
	t     *testing.T
	store *Store
	dir   string
	addr  string
	stop  context.CancelFunc
	done  chan error
}

// keyPair makes a key pair and returns the private key's file.
func keyPair(t *testing.T, dir, name string) (file, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, name)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := gossh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(gossh.MarshalAuthorizedKey(p))) + " " + name + "\n"
}

func startServer(t *testing.T, items int, names []string, o ServeOptions) *served {
	t.Helper()
	sv := &served{t: t, dir: t.TempDir(), done: make(chan error, 1)}
	sv.store = openTest(t, newPlace(t))
	addPairs(t, sv.store, items)
	keys := "# who may come in\n\n"
	for _, n := range names {
		n, administrator := strings.CutPrefix(n, administratorOption+" ")
		_, public := keyPair(t, sv.dir, n)
		if administrator {
			public = administratorOption + " " + public
		}
		keys += public
	}
	o.Keys, o.HostKey = filepath.Join(sv.dir, "keys"), filepath.Join(sv.dir, "host")
	if err := os.WriteFile(o.Keys, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Listener == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Listener = l
	}
	sv.addr = o.Listener.Addr().String()
	o.PerMinute = max(o.PerMinute, 1000)
	ctx, stop := context.WithCancel(context.Background())
	sv.stop = stop
	go func() { sv.done <- Serve(ctx, sv.store, o) }()
	return sv
}

// end stops the server, which must not hang, and closes the store.
func (sv *served) end() {
	sv.t.Helper()
	sv.stop()
	select {
	case err := <-sv.done:
		if !errors.Is(err, context.Canceled) {
			sv.t.Error(err)
		}
	case <-time.After(30 * time.Second):
		sv.t.Fatal("the server does not end")
	}
	if err := sv.store.Close(); err != nil {
		sv.t.Error(err)
	}
}

// openSSH is the real client, or the test is skipped.
func openSSH(t *testing.T, sv *served, name string, more ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("no OpenSSH client here")
	}
	_, port, _ := net.SplitHostPort(sv.addr)
	args := append([]string{
		"-F", "none", "-p", port, "-i", filepath.Join(sv.dir, name), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new",
		"-o", "UserKnownHostsFile=" + filepath.Join(sv.dir, "known_hosts"), "-o", "LogLevel=ERROR",
	}, more...)
	return exec.Command(path, append(args, "whoever@127.0.0.1")...)
}

// viaSSH is a person at the real client.
func viaSSH(t *testing.T, sv *served, name string, words ...string) *terminal {
	t.Helper()
	cmd := openSSH(t, sv, name, "-tt")
	cmd.Args = append(cmd.Args, words...)
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	emu := &screenOf{emu: vt.NewEmulator(80, 24)}
	cmd.Stdout, cmd.Stderr = emu, emu
	x := &terminal{t, emu, keys, make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { x.done <- cmd.Wait() }()
	return x
}

func TestServeToOpenSSH(t *testing.T) {
	sv := startServer(t, 20, []string{"ada", "ben"}, ServeOptions{Options: Options{Seed: 1}})
	defer sv.end()
	ada, ben := viaSSH(t, sv, "ada"), viaSSH(t, sv, "ben")
	ada.await("of 20")
	ben.await("of 20")
	ada.await("item ")
	ben.await("item ")
	if a, b := ada.screen(), ben.screen(); strings.Contains(a, "question 1\n") == strings.Contains(b, "question 1\n") {
		t.Errorf("both see the same item, or neither the first:\n%s\n%s", a, b)
	}
	ada.press("1")
	ada.await("✓ 1 upper much better")
	ben.press("e1")
	ben.await("edited on the machine of the store only")
	ben.press("=")
	ben.await("✓ = tie")
	who, err := sv.store.Presences(context.Background(), time.Now())
	if err != nil || len(who) != 2 || who[0].Annotator != "ada" || who[0].Judged != 1 || who[0].Item == 0 || who[0].Item == who[1].Item {
		t.Errorf("%+v, %v", who, err)
	}
	ben.press("q")
	if err := ben.end(); err != nil {
		t.Errorf("ben's client: %v\n%s", err, ben.screen())
	}
	if who, _ = sv.store.Presences(context.Background(), time.Now()); who[1].Item != 0 {
		t.Errorf("ben has gone: %+v", who[1])
	}
	// ben comes back, and takes back what he said before.
	ben = viaSSH(t, sv, "ben")
	ben.await("item ")
	ben.press("u")
	ben.await("undone: tie")
	ben.press("8")
	ben.await("✓ 8 lower much better")
	// Ending the server ends the clients, and says why; what was said is there.
	sv.stop()
	ada.await("The server is shut down")
	ada.end()
	ben.end()
	js, err := sv.store.Judgements(context.Background())
	if err != nil || len(js) != 2 || js[0].Item.Seq == js[1].Item.Seq {
		t.Errorf("%+v, %v", js, err)
	}
}

func TestServeRefuses(t *testing.T) {
	sv := startServer(t, 3, []string{"ada"}, ServeOptions{MaxSessions: 1})
	defer sv.end()
	keyPair(t, sv.dir, "eve") // whose key is not in the file
	run := func(name string, more ...string) string {
		t.Helper()
		cmd := openSSH(t, sv, name)
		cmd.Args = append(cmd.Args, more...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s %v got in", name, more)
		}
		return string(out)
	}
	for _, c := range []struct{ want, got string }{
		{"Permission denied", run("eve")},
		{"give no command", run("ada", "ls")},
		{"needs a terminal", run("ada")},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	client := dial(t, sv, "ada")
	defer client.Close()
	if _, err := client.Dial("tcp", sv.addr); err == nil {
		t.Error("a port was forwarded")
	}
	if l, err := client.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
		t.Error("a port was forwarded back")
	}
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestSubsystem("sftp"); err == nil {
		t.Error("there is sftp")
	}
	s.Close()
	// One place only.
	first := viaSSH(t, sv, "ada")
	first.await("item 1")
	second := viaSSH(t, sv, "ada")
	second.await("all places are taken")
	second.end()
	first.press("q")
	first.end()
	// A name struck out does not come in again, nor does the server start without names.
	if err := os.WriteFile(filepath.Join(sv.dir, "keys"), []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run("ada", "ls"); !strings.Contains(got, "Permission denied") {
		t.Error(got)
	}
	for want, keys := range map[string]string{"no keys": "", "line 1: not a public key": "ssh-ed25519 AAAA ada\n", "has no name": nameless(t), "not known here": "no-pty " + nameless(t)} {
		path := filepath.Join(sv.dir, "bad")
		if err := os.WriteFile(path, []byte(keys), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readKeys(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", keys, err, want)
		}
	}
}

func nameless(t *testing.T) string {
	_, public := keyPair(t, t.TempDir(), "x")
	return strings.TrimSuffix(public, " x\n")
}

// The host key is made once and kept: a second server is the same host.
func TestHostKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	_, public := keyPair(t, dir, "ada")
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestStore(t)
	var was []byte
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- Serve(ctx, s, ServeOptions{Listener: l, HostKey: filepath.Join(dir, "host"), Keys: filepath.Join(dir, "keys")})
		}()
		sv := &served{t: t, dir: dir, addr: l.Addr().String()}
		dial(t, sv, "ada").Close()
		stop()
		<-done
		key, err := os.ReadFile(filepath.Join(dir, "host"))
		if err != nil || was != nil && !bytes.Equal(key, was) {
			t.Fatalf("another host key, or none: %v", err)
		}
		was = key
	}
	if st, err := os.Stat(filepath.Join(dir, "host")); err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read the host key: %v, %v", st.Mode(), err)
	}
}

func TestGate(t *testing.T) {
	at := time.Unix(0, 0)
	g := newGate(2, func() time.Time { return at })
	got := []bool{g.pass("a"), g.pass("a"), g.pass("a"), g.pass("b")}
	at = at.Add(61 * time.Second)
	got = append(got, g.pass("a"))
	if !slices.Equal(got, []bool{true, true, false, true, true}) || len(g.seen) != 1 {
		t.Errorf("%v, %v", got, g.seen)
	}
}
