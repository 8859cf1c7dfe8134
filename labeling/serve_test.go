package labeling

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"go.uber.org/goleak"
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
	sv.store = openTest(t, filepath.Join(sv.dir, "l.db"))
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sv.addr, o.Listener = l.Addr().String(), l
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

// A lease keeps an item from others until it ends, is renewed by keys, and goes with whoever leaves.
func TestLeases(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 3)
	at := time.Unix(1_700_000_000, 0)
	sit := func(name string, q Queue) *Session {
		ss, err := s.NewSession(SessionConfig{Annotator: name, Queue: q, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		return ss
	}
	next := func(ss *Session) int64 {
		t.Helper()
		task, err := ss.Resume(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if task == nil {
			return 0
		}
		return task.Item.Seq
	}
	ann, bob, cyd, dan := sit("ann", Queue{}), sit("bob", Queue{}), sit("cyd", Queue{Random: 0.5}), sit("dan", Queue{})
	if a, b, c, d := next(ann), next(bob), next(cyd), next(dan); a != 1 || b != 2 || c != 3 || d != 0 {
		t.Fatalf("items %d, %d, %d, %d", a, b, c, d)
	}
	if got := next(sit("eve", Queue{Overlap: 2})); got != 1 {
		t.Errorf("with an overlap of two: item %d", got)
	}
	if err := sit("eve", Queue{}).release(ctx); err != nil {
		t.Fatal(err)
	}
	at = at.Add(9 * time.Minute)
	task, _ := bob.Task(ctx, 2)
	if _, err := bob.Note(ctx, task, "hm"); err != nil { // renews
		t.Fatal(err)
	}
	at = at.Add(2 * time.Minute)
	if got := next(dan); got != 1 {
		t.Errorf("ann's lease is over: item %d", got)
	}
	if err := bob.release(ctx); err != nil {
		t.Fatal(err)
	}
	if got := next(ann); got != 2 {
		t.Errorf("bob has left: item %d", got)
	}
}

// Who finds all items held by others is told so, and gets one when another leaves.
func TestWaitingForAnItem(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 1)
	b := newBench(t, s, 80, 24)
	c := newBenchFor(t, s, 80, 24, SessionConfig{Annotator: "bob"})
	if v := c.screen(); !strings.Contains(v, "Nothing is free for you now, bob") {
		t.Fatal(v)
	}
	c.press("right")
	if !strings.Contains(c.m.status, "still nothing") {
		t.Error(c.m.status)
	}
	if err := b.m.ss.release(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.press("right")
	if c.m.task == nil || c.m.task.Item.Seq != 1 {
		t.Error(c.screen())
	}
}

// dial is a client in this process.
func dial(t *testing.T, sv *served, name string) *gossh.Client {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(sv.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.ParsePrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gossh.Dial("tcp", sv.addr, &gossh.ClientConfig{
		User: "x", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, HostKeyCallback: gossh.InsecureIgnoreHostKey(), Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Many people at once, as fast as they are answered: every label is there once, no item is judged twice. Latency is what a
// person at a terminal sees: from the key to the screen's answer.
func TestManyLabelersOverSSH(t *testing.T) {
	people, each := 8, 10
	if os.Getenv("PLUMB_LOAD") != "" {
		people, each = 50, 200
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var names []string
	for i := range people {
		names = append(names, fmt.Sprintf("p%02d", i))
	}
	sv := startServer(t, people*(each+1), names, ServeOptions{}) // whoever is done holds one item more until they leave
	var mu sync.Mutex
	var waits []time.Duration
	var wg sync.WaitGroup
	for _, name := range names {
		client := dial(t, sv, name)
		wg.Go(func() {
			defer client.Close()
			took, err := labelOverSSH(client, each)
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, took...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	js, err := sv.store.Judgements(context.Background())
	if err != nil || len(js) != people*each {
		t.Errorf("%d labels, want %d, %v", len(js), people*each, err)
	}
	by := map[string]int{}
	for i, j := range js {
		by[j.Event.Annotator]++
		if i > 0 && js[i-1].Item.Seq == j.Item.Seq {
			t.Errorf("item %d was judged by %s and %s", j.Item.Seq, js[i-1].Event.Annotator, j.Event.Annotator)
		}
	}
	for _, name := range names {
		if by[name] != each {
			t.Errorf("%s: %d labels, %d were acknowledged", name, by[name], each)
		}
	}
	sv.end()
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		t.Logf("%d labels by %d people: median %v, 99 %% within %v, longest %v", n, people, waits[n/2], waits[n*99/100], waits[n-1])
	}
}

// labelOverSSH judges n items, waiting for each answer. The two keys take turns, so that each answer changes the screen.
func labelOverSSH(client *gossh.Client, n int) ([]time.Duration, error) {
	s, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		return nil, err
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Shell(); err != nil {
		return nil, err
	}
	seen := make(chan string, 1<<16)
	go func() {
		defer close(seen)
		buf := make([]byte, 1<<15)
		for {
			k, err := out.Read(buf)
			if k > 0 {
				seen <- string(buf[:k])
			}
			if err != nil {
				return
			}
		}
	}()
	tail := ""
	await := func(want string) error {
		limit := time.After(30 * time.Second)
		for {
			if i := strings.Index(tail, want); i >= 0 {
				tail = tail[i+len(want):]
				return nil
			}
			select {
			case more, ok := <-seen:
				if !ok {
					return fmt.Errorf("the connection ended before %q", want)
				}
				tail += more
			case <-limit:
				return fmt.Errorf("%q never came after %q", want, tail)
			}
		}
	}
	if err := await("item "); err != nil {
		return nil, err
	}
	var waits []time.Duration
	for i := range n {
		start := time.Now()
		io.WriteString(in, []string{"1", "="}[i%2])
		if err := await([]string{"✓ 1 ", "✓ = "}[i%2]); err != nil {
			return waits, err
		}
		waits = append(waits, time.Since(start))
	}
	io.WriteString(in, "q")
	return waits, s.Wait()
}
