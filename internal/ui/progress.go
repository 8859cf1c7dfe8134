package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

const (
	quiet     = 2 * time.Second        // work shorter than this shows nothing
	redraw    = 100 * time.Millisecond // between two drawings on a terminal
	firstLine = 10 * time.Second       // between the first two plain lines; then ever longer
	lastLine  = 60 * time.Second
)

// Progress shows how far one piece of work is. On a terminal: one line that is
// drawn over; elsewhere: whole lines at growing intervals, first after two
// seconds. Its methods may be called from any goroutine.
type Progress struct {
	mu      sync.Mutex
	w       io.Writer
	tty     bool
	columns int
	theme   Theme
	now     func() time.Time

	label, unit string
	total, done float64
	start       time.Time
	origin      float64 // done at start: what a resumed run did before
	last        time.Time
	every       time.Duration
	note        string
	drawn       bool // the line under the cursor is ours
	running     bool
}

// NewProgress writes to w. Silent makes it write nothing. It is as late as now says.
func NewProgress(w io.Writer, theme Theme, silent bool, now func() time.Time) *Progress {
	p := &Progress{w: w, theme: theme, now: now}
	p.columns, p.tty = IsTerminal(w)
	if silent {
		p.w, p.tty = io.Discard, false
	}
	return p
}

// Start begins a piece of work of total units (0: unknown), done of which were
// done before; the one under way, if any, ends.
func (p *Progress) Start(label, unit string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
	p.label, p.unit, p.note = label, unit, ""
	p.total, p.done, p.origin = float64(total), float64(done), float64(done)
	p.start, p.every, p.running = p.now(), firstLine, true
	p.last = time.Time{}
}

// Set says how much is done, with a few words on how it goes ("loss 1.93").
func (p *Progress) Set(done int, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return
	}
	p.done, p.note = float64(done), note
	p.show(false)
}

// Printf writes a whole line, above the progress line where there is one.
func (p *Progress) Printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintf(p.w, format+"\n", args...)
	if p.running && p.tty {
		p.last = time.Time{}
		p.show(false)
	}
}

// Done ends the piece of work; if anything was shown, its last line stays.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
}

func (p *Progress) finish() {
	if p.running && !p.last.IsZero() {
		p.show(true)
		if p.drawn {
			fmt.Fprintln(p.w)
		}
	}
	p.drawn, p.running = false, false
}

func (p *Progress) erase() {
	if p.drawn {
		io.WriteString(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *Progress) show(final bool) {
	now := p.now()
	spent := now.Sub(p.start)
	if spent < quiet && !final {
		return
	}
	if p.tty {
		if !final && now.Sub(p.last) < redraw {
			return
		}
		p.erase()
		io.WriteString(p.w, ansi.Truncate(p.line(spent, p.columns, final), p.columns-1, "…"))
		p.drawn = true
	} else {
		if !final && !p.last.IsZero() && now.Sub(p.last) < p.every {
			return
		}
		if !p.last.IsZero() {
			p.every = min(p.every*2, lastLine)
		}
		fmt.Fprintln(p.w, p.line(spent, 0, final))
	}
	p.last = now
}

// line is "sft  [=====>    ]  120/400 steps  30%  2.1 steps/s  2m13s left  loss 1.93".
func (p *Progress) line(spent time.Duration, columns int, final bool) string {
	parts := []string{p.label}
	rate := 0.0
	if s := spent.Seconds(); s > 0 {
		rate = (p.done - p.origin) / s
	}
	if p.total > 0 {
		if columns >= 100 {
			parts = append(parts, bar(p.done/p.total, 20))
		}
		parts = append(parts, fmt.Sprintf("%.0f/%.0f %s", p.done, p.total, p.unit), fmt.Sprintf("%.0f%%", 100*min(p.done/p.total, 1)))
	} else {
		parts = append(parts, fmt.Sprintf("%.0f %s", p.done, p.unit))
	}
	if rate > 0 {
		parts = append(parts, Count(rate)+" "+p.unit+"/s")
	}
	switch {
	case final:
		parts = append(parts, "in "+Duration(spent))
	case rate > 0 && p.total > 0:
		parts = append(parts, Duration(time.Duration((p.total-p.done)/rate*float64(time.Second)))+" left")
	}
	if p.note != "" {
		parts = append(parts, p.note)
	}
	return strings.Join(parts, "  ")
}

func bar(share float64, width int) string {
	n := int(share * float64(width))
	n = max(0, min(n, width))
	return "[" + strings.Repeat("=", n) + strings.Repeat(" ", width-n) + "]"
}
