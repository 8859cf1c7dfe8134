package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumb/internal/run"
)

// terminal makes a terminal of 100 columns: what is written to keys are keys that are pressed, and what a program draws is read there.
func terminal(t *testing.T) (keys, tty *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100})
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return keys, tty
}

// screen collects what a program draws.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// shows waits until a text has been drawn.
func (s *screen) shows(t *testing.T, text string) {
	t.Helper()
	for range 1000 {
		if strings.Contains(s.String(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q was not drawn in 10 s: %.2000q", text, s.String())
}

// The stage label that gets a signal while a person judges gives the terminal back, ends with exit code 130 as interrupted, and has
// kept what was judged; judging goes on with the next pair.
func TestSignalAtTheLabelingScreen(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "recipe.yaml"), "name: t\nbase: nothing\nlabel: {min: 3, annotator: ada}\n")
	var pairs strings.Builder
	for i := range 3 {
		fmt.Fprintf(&pairs, "{\"prompt\": \"question %d\", \"chosen\": \"yes %d\", \"rejected\": \"no %d\"}\n", i, i, i)
	}
	put(t, filepath.Join(dir, "pairs.jsonl"), pairs.String())
	store := filepath.Join(dir, "runs", "t", "labels.db")
	if err := os.MkdirAll(filepath.Dir(store), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "label", "import", filepath.Join(dir, "pairs.jsonl"), "--store", store, "--unlabeled", "-q")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		keys, tty := terminal(t)
		var drawn screen
		go io.Copy(&drawn, keys) // until the terminal is gone
		cmd := exec.Command(exe)
		cmd.Args, cmd.Dir = []string{"plumb", "label", "recipe.yaml"}, dir
		cmd.Env = append(os.Environ(), "TERM=xterm-256color")
		cmd.Stdin, cmd.Stdout = tty, tty
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		drawn.shows(t, fmt.Sprintf("question %d", i))
		io.WriteString(keys, "=") // a tie, whichever side is which
		drawn.shows(t, fmt.Sprintf("question %d", i+1))
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code says more
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.HasPrefix(out.String(), "label: ") || !strings.HasSuffix(out.String(), "plumb: interrupted\n") {
			t.Errorf("exit %d after %v, want %d: %s", code, signal, exitInterrupted, &out)
		}
		drawn.shows(t, "\x1b[?1049l") // the alternate screen is left
		if m, err := run.ReadManifest(filepath.Join(dir, "runs", "t", "label")); err != nil || m.State != run.Interrupted {
			t.Errorf("the state after %v is %q (%v), want %q", signal, m.State, err, run.Interrupted)
		}
		log := command(t, "label", "export", "--store", store, "--format", "log", "-q")
		if n := strings.Count(log, `"choice":"tie"`); n != i+1 || !strings.Contains(log, fmt.Sprintf("question %d", i)) {
			t.Errorf("%d judgements are kept after %v, want %d: %s", n, signal, i+1, log)
		}
	}
}
