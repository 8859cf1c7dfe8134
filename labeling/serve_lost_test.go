package labeling

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	gossh "golang.org/x/crypto/ssh"
)

// wired is a person at a client in this process, whose connection the test has in its hands.
type wired struct {
	*terminal
	wire *wire
	sess *gossh.Session
}

// wire is the client's end of a connection. Once it is shut nothing is read from it: what the server sends stays on the way.
type wire struct {
	net.Conn
	shut  atomic.Bool
	ended chan struct{} // closed at the end of the test
}

func (w *wire) Read(p []byte) (int, error) {
	if w.shut.Load() {
		<-w.ended
		return 0, net.ErrClosed
	}
	return w.Conn.Read(p)
}

// viaWire logs a person in, on a screen of w x h cells.
func viaWire(t *testing.T, sv *served, name string, w, h int) *wired {
	t.Helper()
	tcp, err := net.Dial("tcp", sv.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := tcp.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	c := &wire{Conn: tcp, ended: make(chan struct{})}
	conn, channels, requests, err := gossh.NewClientConn(c, sv.addr, clientConfig(t, sv, name))
	if err != nil {
		t.Fatal(err)
	}
	client := gossh.NewClient(conn, channels, requests)
	t.Cleanup(func() { close(c.ended); client.Close() })
	sess, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	emu := &screenOf{emu: vt.NewEmulator(w, h)}
	sess.Stdout, sess.Stderr = emu, emu
	keys, err := sess.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sess.RequestPty("xterm", h, w, nil); err != nil {
		t.Fatal(err)
	}
	if err := sess.Shell(); err != nil {
		t.Fatal(err)
	}
	x := &wired{&terminal{t, emu, keys, make(chan error, 1)}, c, sess}
	go func() { x.done <- sess.Wait() }()
	return x
}

// resize makes the person's window another size.
func (x *wired) resize(w, h int) {
	x.t.Helper()
	x.emu.Resize(w, h)
	if err := x.sess.WindowChange(h, w); err != nil {
		x.t.Fatal(err)
	}
}

// A window that is made larger or smaller over SSH is laid out anew, with the places in its texts, and as before when it has its
// old size again.
func TestResizeOverSSH(t *testing.T) {
	t.Parallel()
	sv := startServer(t, 0, []string{"ada"}, ServeOptions{})
	t.Cleanup(sv.end) // behind its clients
	it := Item{Prompt: Prompt{Text: "p"}, Answers: []Answer{{Text: manyLines("one", 60)}, {Text: manyLines("two", 60)}}}
	if _, err := sv.store.AddItems(context.Background(), []Item{it}); err != nil {
		t.Fatal(err)
	}
	ada := viaWire(t, sv, "ada", 80, 24)
	ada.await("q quit") // on the last line
	rows := min(len(linesSeen(ada.screen(), "one")), len(linesSeen(ada.screen(), "two")))
	check := func(title, gone string, rows int) {
		t.Helper()
		ada.awaitThat(title+" and lines from 5 on", func(screen string) bool {
			one, two := linesSeen(screen, "one"), linesSeen(screen, "two")
			there := strings.Contains(screen, title) && (gone == "" || !strings.Contains(screen, gone))
			return there && len(one) >= rows && len(two) >= rows && one[0] == 5 && two[0] == 5
		})
	}
	ada.press("jjjjj")
	check("Upper · 1–4", "", rows)
	before := ada.screen()
	ada.resize(120, 40)
	check("Left · 1–4", "Upper", 2*rows)
	ada.resize(80, 24)
	ada.awaitThat("again\n"+before, func(screen string) bool { return screen == before })
	ada.resize(20, 5)
	ada.await("make it 30 x 10")
	ada.resize(80, 24)
	ada.awaitThat("again\n"+before, func(screen string) bool { return screen == before })
	ada.press("1q")
	if err := ada.end(); err != nil {
		t.Error(err)
	}
	evs, err := sv.store.Events(context.Background())
	if err != nil || len(evs) != 1 || evs[0].Data.Screen != "stacked 80x24" {
		t.Errorf("%+v, %v", evs, err)
	}
}

// A connection that is cut in the middle of a ranking and of a comment loses nothing that was written down, whether the server
// knows already that it is lost when its owner comes back, or not: they find the same item, and nobody else is given it.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	left := make(chan string, 9)
	sv := startServer(t, 0, []string{"ada", "ben"}, ServeOptions{Log: func(format string, args ...any) {
		if strings.HasSuffix(format, "leaves") {
			left <- args[0].(string)
		}
	}})
	t.Cleanup(sv.end) // behind its clients
	ctx := context.Background()
	if _, err := sv.store.AddItems(ctx, []Item{modeItems()[0], pair(1)}); err != nil {
		t.Fatal(err)
	}
	adaLeaves := func() {
		t.Helper()
		select {
		case got := <-left:
			if got != "ada" {
				t.Fatalf("%s leaves", got)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the server does not learn that the connection is lost")
		}
	}
	holds := func(want map[string]int64) {
		t.Helper()
		who, err := sv.store.Presences(ctx, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range who {
			if p.Item != want[p.Annotator] {
				t.Errorf("%s is at item %d, want %d", p.Annotator, p.Item, want[p.Annotator])
			}
		}
	}
	ada := viaWire(t, sv, "ada", 100, 30)
	ada.await("Which tools are there?")
	ada.press("3")
	ada.await("order: 3 ≻ _")
	ada.press("1")
	ada.await("order: 3 ≻ 1 ≻ _")
	ada.press("cso f")
	ada.await("comment: so f")
	ada.awaitThat("a comment that is kept", func(string) bool { // each letter is shown first and written then
		var text string
		return sv.store.row(ctx, `SELECT text FROM typing WHERE annotator = 'ada'`).Scan(&text) == nil && text == "so f"
	})
	ada.wire.Close()
	adaLeaves()
	holds(map[string]int64{})

	back := func() *wired {
		t.Helper()
		x := viaWire(t, sv, "ada", 100, 30)
		x.await("a comment is not finished; c goes on with it")
		for _, want := range []string{"Which tools are there?", "order: 3 ≻ 1 ≻ _ ≻ _"} {
			if v := x.screen(); !strings.Contains(v, want) {
				t.Errorf("no %q on\n%s", want, v)
			}
		}
		return x
	}
	lost := back()
	holds(map[string]int64{"ada": 1})
	ben := viaWire(t, sv, "ben", 100, 30)
	ben.await("question 1")
	ada = back() // the server does not know yet that the other one is lost
	lost.wire.Close()
	adaLeaves()
	holds(map[string]int64{"ada": 1, "ben": 2})
	ben.press("=")
	ben.await("Nothing is free for you now, ben")
	ada.press("c")
	ada.await("comment: so f")
	ada.press("ast\r")
	ada.await("comment saved")
	ada.press("24\r")
	ada.await("✓ enter 3 ≻ 1 ≻ 2 ≻ 4")
	ada.press("q")
	ben.press("q")
	if err := ada.end(); err != nil {
		t.Error(err)
	}
	if err := ben.end(); err != nil {
		t.Error(err)
	}
	js, err := sv.store.Judgements(ctx)
	if err != nil || len(js) != 2 || js[0].Note != "so fast" || js[0].Event.Annotator != "ada" || js[1].Event.Annotator != "ben" {
		t.Errorf("%+v, %v", js, err)
	}
}

// narrow is a listener whose connections hold little that the other end has not read.
type narrow struct {
	net.Listener
	last atomic.Pointer[narrowConn]
}

func (l *narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	n := &narrowConn{Conn: c}
	l.last.Store(n)
	return n, c.(*net.TCPConn).SetWriteBuffer(4096)
}

// narrowConn knows since when it waits for the other end to read.
type narrowConn struct {
	net.Conn
	since atomic.Int64 // start of the write under way, in Unix nanoseconds; 0: none
}

func (c *narrowConn) Write(p []byte) (int, error) {
	c.since.Store(time.Now().UnixNano())
	defer c.since.Store(0)
	return c.Conn.Write(p)
}

// A client that does not read what it is sent does not keep the server from ending in its time, nor others from hearing of it;
// what it was told is in the store.
func TestShutdownPastAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tight := &narrow{Listener: l}
	sv := startServer(t, 5, []string{"ada", "ben"}, ServeOptions{Listener: tight})
	ben := viaWire(t, sv, "ben", 80, 24)
	ben.await("item 1")
	ada := viaWire(t, sv, "ada", 80, 24)
	ada.await("item 2")
	ada.press("1")
	ada.await("✓ 1 upper much better")
	ada.wire.shut.Store(true)
	for i, end := 0, time.Now().Add(30*time.Second); ; i++ {
		if since := tight.last.Load().since.Load(); since != 0 && time.Since(time.Unix(0, since)) > 300*time.Millisecond {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the server never waits for the client")
		}
		if err := ada.sess.WindowChange(24+i%2, 80); err != nil { // each is a whole screen to be sent
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // screens are drawn sixty times a second
	}
	start := time.Now()
	sv.stop()
	ben.await("The server is shut down")
	if took := time.Since(start); took > shutdownTime {
		t.Errorf("ben waited %v", took)
	}
	ben.end()
	evs, err := sv.store.Events(context.Background())
	if err != nil || !slices.ContainsFunc(evs, func(e Event) bool { return e.Annotator == "ada" && e.Choice == Win }) {
		t.Errorf("%+v, %v", evs, err)
	}
	sv.end()
	if took := time.Since(start); took < shutdownTime || took > shutdownTime+10*time.Second {
		t.Errorf("the server ended after %v; it gives screens %v", took, shutdownTime)
	}
}
