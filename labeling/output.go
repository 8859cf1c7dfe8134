package labeling

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// turns is a writer that two may use, one write after the other: the drawing of the screen, and the clipboard.
type turns struct {
	mu   sync.Mutex
	w    io.Writer
	cast *cast // nil: not recorded
}

func (t *turns) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cast != nil {
		t.cast.event(p)
	}
	return t.w.Write(p)
}

// terminalTurns is turns on a terminal, which is asked for its size. The file is not embedded: its other ways to write would
// go past the turns.
type terminalTurns struct {
	*turns
	file *os.File
}

func (t terminalTurns) Fd() uintptr                { return t.file.Fd() }
func (t terminalTurns) Read(p []byte) (int, error) { return t.file.Read(p) }
func (t terminalTurns) Close() error               { return t.file.Close() }

// inTurns makes w safe for two writers, and records what is written if asked to.
func inTurns(w io.Writer, c *cast) io.Writer {
	t := &turns{w: w, cast: c}
	if f, ok := w.(*os.File); ok {
		return terminalTurns{t, f}
	}
	return t
}

// cast is a recording of a screen in the form of asciinema (asciicast v2): a line that says how large it is, then a line for
// each piece of output, [seconds, "o", text].
type cast struct {
	w     io.Writer
	now   func() time.Time
	start time.Time
	err   error // the first; what follows is left out
}

// newCast begins a recording, if opt asks for one.
func newCast(opt Options) *cast {
	if opt.Record == nil {
		return nil
	}
	c := &cast{w: opt.Record, now: opt.Now}
	if c.now == nil {
		c.now = time.Now
	}
	c.start = c.now()
	w, h := opt.Width, opt.Height
	if f, ok := opt.Out.(*os.File); ok {
		if fw, fh, err := term.GetSize(int(f.Fd())); err == nil {
			w, h = fw, fh
		}
	}
	_, c.err = fmt.Fprintf(c.w, `{"version": 2, "width": %d, "height": %d, "timestamp": %d}`+"\n", w, h, c.start.Unix())
	return c
}

func (c *cast) event(p []byte) {
	if c.err != nil {
		return
	}
	text, err := json.Marshal(string(p))
	if err == nil {
		_, err = fmt.Fprintf(c.w, "[%.3f, \"o\", %s]\n", c.now().Sub(c.start).Seconds(), text)
	}
	c.err = err
}

// end says whether the recording is whole.
func (c *cast) end() error {
	if c == nil || c.err == nil {
		return nil
	}
	return fmt.Errorf("recording: %w", c.err)
}
