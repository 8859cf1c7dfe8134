package labeling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/ssh"
	"github.com/charmbracelet/wish"
	gossh "golang.org/x/crypto/ssh"
)

// ServeOptions are the choices of a server.
type ServeOptions struct {
	Listener net.Listener // where people come in; closed when Serve returns
	HostKey  string       // file with the server's key; made where there is none
	Keys     string       // file in the form of OpenSSH's authorized_keys; the comment of a key is its owner's name
	Options  Options      // of every sitting; name, screen and environment come from the connection

	MaxSessions int                              // people at a time; 0 means 64
	PerMinute   int                              // connections a minute from one address; 0 means 30
	Log         func(format string, args ...any) // who comes and goes; nil means nobody is told
}

// Times of a server.
const (
	idleTime     = 30 * time.Minute // without a key
	loginTime    = 20 * time.Second // from the connection to the key
	shutdownTime = 5 * time.Second  // to let people's screens be put back
)

// Serve lets people judge the items of a store over SSH until ctx ends: whose public key is in the file of keys gets the
// labeling screen under the name that stands there, and nothing else: no shell, no command, no file, no forwarding. An
// administrator may say the one word who, and sees who does what. Every key is in the store before its screen says so, so that ending the server loses nothing.
func Serve(ctx context.Context, s *Store, o ServeOptions) error {
	if o.MaxSessions == 0 {
		o.MaxSessions = 64
	}
	if o.PerMinute == 0 {
		o.PerMinute = 30
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if _, err := readKeys(o.Keys); err != nil { // said now, and not to each who comes
		return errors.Join(err, o.Listener.Close())
	}
	sv := &server{o: o, store: s, gate: newGate(o.PerMinute, time.Now), here: map[string]int{}}
	sv.ctx, sv.cancel = context.WithCancel(ctx)
	defer sv.cancel()
	srv, err := wish.NewServer(
		wish.WithHostKeyPath(o.HostKey),
		wish.WithPublicKeyAuth(sv.known),
		wish.WithIdleTimeout(idleTime),
		wish.WithMiddleware(func(ssh.Handler) ssh.Handler { return sv.sit }),
		ssh.EmulatePty(),
		func(srv *ssh.Server) error {
			srv.ConnCallback = sv.admit
			srv.SubsystemHandlers = nil
			return nil
		},
	)
	if err != nil {
		return errors.Join(fmt.Errorf("serve: %w", err), o.Listener.Close())
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(o.Listener) }()
	select {
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		err = ctx.Err()
	}
	sv.cancel() // ends every sitting
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer stop()
	if down := srv.Shutdown(end); down != nil { // somebody's connection hangs: it is cut
		srv.Close()
	}
	sv.sittings.Wait()
	return err
}

// server is one Serve at work.
type server struct {
	o      ServeOptions
	store  *Store
	ctx    context.Context // ends with the server
	cancel context.CancelFunc
	gate   *gate

	mu       sync.Mutex
	seats    int            // taken
	here     map[string]int // sittings by name
	sittings sync.WaitGroup
}

// owner is whose key it is.
type owner struct {
	name          string
	administrator bool // may see who does what
}

// ownerKey is where a connection keeps who authenticated.
type ownerKey struct{}

// known says whether a key is in the file, which is read anew each time: a name struck out does not come in again. The last
// key asked about is the one that authenticates (golang.org/x/crypto from v0.31 asks again for it).
func (sv *server) known(ctx ssh.Context, key ssh.PublicKey) bool {
	keys, err := readKeys(sv.o.Keys)
	if err != nil {
		sv.o.Log("%v", err)
		return false
	}
	who, ok := keys[string(key.Marshal())]
	ctx.SetValue(ownerKey{}, who)
	return ok
}

// admit refuses an address that connects too often, and ends connections that do not log in.
func (sv *server) admit(ctx ssh.Context, conn net.Conn) net.Conn {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		host = conn.RemoteAddr().String()
	}
	if !sv.gate.pass(host) {
		sv.o.Log("%s is turned away: more than %d connections a minute", host, sv.o.PerMinute)
		return nil
	}
	timer := time.AfterFunc(loginTime, func() {
		if ctx.Value(ownerKey{}) == nil {
			conn.Close()
		}
	})
	context.AfterFunc(ctx, func() { timer.Stop() })
	return conn
}

// sit is one person's sitting.
func (sv *server) sit(sess ssh.Session) {
	me, _ := sess.Context().Value(ownerKey{}).(owner)
	refuse := func(why string) {
		fmt.Fprintln(sess.Stderr(), "plumb: "+why)
		sess.Exit(1)
	}
	_, _, isTerminal := sess.Pty()
	switch {
	case me.name == "":
		refuse("nobody's key")
		return
	case me.administrator && sess.Subsystem() == "" && slices.Equal(sess.Command(), []string{teamWord}):
		sv.stay(sess, me.name, "looks at the team", func(ctx context.Context, opt Options) error {
			return runTeam(ctx, &team{store: sv.store, here: sv.present, now: time.Now}, opt, isTerminal)
		})
		return
	case len(sess.Command()) > 0 || sess.Subsystem() != "":
		refuse("there is nothing here but the labeling screen: give no command")
		return
	case !isTerminal:
		refuse("the labeling screen needs a terminal: ssh -t")
		return
	}
	if !sv.enter(me.name) {
		refuse("all places are taken; try again later")
		return
	}
	defer sv.leave(me.name)
	sv.stay(sess, me.name, "comes", func(ctx context.Context, opt Options) error {
		opt.Annotator = me.name
		return Run(ctx, sv.store, opt)
	})
}

// teamWord is the one command there is, for administrators.
const teamWord = "who"

// stay shows a screen to a connection until it ends, the connection or the server.
func (sv *server) stay(sess ssh.Session, name, does string, run func(context.Context, Options) error) {
	if !sv.begin() {
		return
	}
	defer sv.sittings.Done()
	ctx, stop := context.WithCancel(sv.ctx)
	defer stop()
	defer context.AfterFunc(sess.Context(), stop)() // a lost connection ends the sitting
	pty, resizes, _ := sess.Pty()
	opt := sv.o.Options
	opt.Remote, opt.In, opt.Out = true, sess, sess
	opt.Environ = environ(pty.Term, sess.Environ())
	opt.Width, opt.Height = pty.Window.Width, pty.Window.Height
	if opt.Width == 0 || opt.Height == 0 { // a client without a window of its own, as ssh -tt in a script
		opt.Width, opt.Height = 80, 24
	}
	opt.Resize = sizes(ctx, resizes)
	sv.o.Log("%s %s from %s", name, does, sess.RemoteAddr())
	err := run(ctx, opt)
	sv.o.Log("%s leaves", name)
	switch {
	case err == nil || sess.Context().Err() != nil:
		sess.Exit(0)
	case sv.ctx.Err() != nil:
		io.WriteString(sess, "\r\nThe server is shut down. All your labels are saved.\r\n")
		sess.Exit(0)
	default:
		sv.o.Log("%s: %v", name, err)
		fmt.Fprintln(sess.Stderr(), "plumb: "+err.Error())
		sess.Exit(1)
	}
}

// begin counts a screen that the server waits for when it ends; not once it is ending.
func (sv *server) begin() bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.ctx.Err() != nil {
		return false
	}
	sv.sittings.Add(1)
	return true
}

// enter takes a place for a person who labels, if there is one.
func (sv *server) enter(name string) bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.seats == sv.o.MaxSessions {
		return false
	}
	sv.seats++
	sv.here[name]++
	return true
}

func (sv *server) leave(name string) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	sv.seats--
	if sv.here[name]--; sv.here[name] == 0 {
		delete(sv.here, name)
	}
}

// present are the sittings of each person just now.
func (sv *server) present() map[string]int {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	return maps.Clone(sv.here)
}

// environ is what of the person's environment the screen looks at.
func environ(term string, given []string) []string {
	out := []string{"TERM=" + term}
	for _, kv := range given {
		if strings.HasPrefix(kv, "NO_COLOR=") {
			out = append(out, kv)
		}
	}
	return out
}

// sizes passes on the sizes of a window.
func sizes(ctx context.Context, in <-chan ssh.Window) <-chan [2]int {
	out := make(chan [2]int)
	go func() {
		for {
			select {
			case w, ok := <-in:
				if !ok {
					return
				}
				if w.Width == 0 || w.Height == 0 {
					continue
				}
				select {
				case out <- [2]int{w.Width, w.Height}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// administratorOption before a key in the file of keys lets its owner see who does what.
const administratorOption = "administrator"

// readKeys reads who may come in: key to owner.
func readKeys(path string) (map[string]owner, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("file of keys: %w", err)
	}
	out := map[string]owner{}
	for i, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, name, options, _, err := gossh.ParseAuthorizedKey([]byte(line))
		where := fmt.Sprintf("%s: line %d", path, i+1)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: not a public key: %w", where, err)
		case len(options) > 0 && !slices.Equal(options, []string{administratorOption}):
			return nil, fmt.Errorf("%s: options (%s) are not known here; there is %s alone", where, strings.Join(options, ","), administratorOption)
		case strings.TrimSpace(name) == "":
			return nil, fmt.Errorf("%s: the key has no name behind it", where)
		}
		out[string(key.Marshal())] = owner{strings.TrimSpace(name), len(options) > 0}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no keys: nobody could come in", path)
	}
	return out, nil
}

// gate counts the connections of each address over the last minute.
type gate struct {
	mu   sync.Mutex
	most int
	now  func() time.Time
	seen map[string][]time.Time
}

func newGate(most int, now func() time.Time) *gate {
	return &gate{most: most, now: now, seen: map[string][]time.Time{}}
}

// pass says whether an address may connect once more.
func (g *gate) pass(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	ago := g.now().Add(-time.Minute)
	for h, times := range g.seen {
		times = slices.DeleteFunc(times, func(t time.Time) bool { return t.Before(ago) })
		if g.seen[h] = times; len(times) == 0 {
			delete(g.seen, h)
		}
	}
	if len(g.seen[host]) >= g.most {
		return false
	}
	g.seen[host] = append(g.seen[host], g.now())
	return true
}
