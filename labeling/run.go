package labeling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// Options are the choices of one sitting.
type Options struct {
	Annotator  string            // who judges; required
	Seed       uint64            // draws which answer is shown on which side
	Goal       int               // decided items to reach, for the progress; 0: all
	Sitting    int               // judgements to make before this sitting's goal is reached; 0: none set
	Queue      Queue             // which items, in what order
	Review     bool              // adjudicate what others disagree on
	Opinion    bool              // say after each choice what the models in the store think of it
	Tags       []string          // reasons that can be ticked, at most nine
	Axes       []string          // what mode rate asks for, at most nine; none means helpful, harmless, honest
	Editor     string            // command of e; "" means VISUAL or EDITOR of Environ
	Guidelines string            // markdown, shown by g
	Keys       map[string]string // act name to keys, instead of the usual ones
	Plain      bool              // question by question in lines of text, for dumb terminals and screen readers
	Remote     bool              // the person is elsewhere: no editor is started on this machine
	Mouse      bool              // the wheel scrolls; selecting text then needs the shift key

	Record  io.Writer     // gets a recording of the screen, as asciinema plays it; nil: none is made
	In      io.Reader     // keys; nil means os.Stdin
	Out     io.Writer     // screen; nil means os.Stdout
	Environ []string      // environment of the screen's owner; nil means os.Environ()
	Width   int           // size of the screen where Out is no terminal that can be asked
	Height  int           //
	Resize  <-chan [2]int // new sizes of such a screen
	Now     func() time.Time
}

func (o Options) env(name string) string {
	env := o.Environ
	if env == nil {
		env = os.Environ()
	}
	for _, kv := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// color says whether colours are wanted (no-color.org). Bold and underline stay in any case.
func (o Options) color() bool { return o.env("NO_COLOR") == "" }

// renderer is this screen's own: nothing of it is shared with another session in the same process.
func (o Options) renderer() *lipgloss.Renderer {
	out := o.Out
	if out == nil {
		out = os.Stdout
	}
	r := lipgloss.NewRenderer(out)
	r.SetColorProfile(termenv.ANSI)
	r.SetHasDarkBackground(true) // no colour here depends on it; this keeps the terminal from being asked
	return r
}

// DefaultAxes are what mode rate asks for where nothing else is said (Askell et al. 2021).
func DefaultAxes() []string { return []string{"helpful", "harmless", "honest"} }

// Run lets a person judge the items of a store until they quit or ctx ends. It reads In and draws on Out and touches nothing
// else of the process, so several may run at once.
func Run(ctx context.Context, s *Store, opt Options) error {
	if len(opt.Tags) > 9 {
		return fmt.Errorf("%d reasons to tick; there are keys for nine", len(opt.Tags))
	}
	if len(opt.Axes) == 0 {
		opt.Axes = DefaultAxes()
	}
	if opt.In == nil {
		opt.In = os.Stdin
	}
	if opt.Out == nil {
		opt.Out = os.Stdout
	}
	plain := opt.Plain || opt.env("TERM") == "dumb"
	origin := "tui"
	if plain {
		origin = "plain"
	}
	ss, err := s.NewSession(SessionConfig{Annotator: opt.Annotator, Seed: opt.Seed, Queue: opt.Queue, Review: opt.Review, Origin: origin, Now: opt.Now})
	if err != nil {
		return err
	}
	err = runSession(ctx, ss, opt, plain)
	return errors.Join(err, ss.release(context.WithoutCancel(ctx)))
}

// runSession shows the screen, or asks in lines of text, until the person quits.
func runSession(ctx context.Context, ss *Session, opt Options, plain bool) error {
	if plain {
		return runPlain(ctx, ss, opt)
	}
	rec := newCast(opt)
	opt.Out = inTurns(opt.Out, rec)
	m, err := newModel(ctx, ss, opt)
	if err != nil {
		return err
	}
	return errors.Join(show(ctx, m, opt), rec.end())
}

// show runs a screen until it quits or ctx ends.
func show(ctx context.Context, m tea.Model, opt Options) error {
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithInput(opt.In), tea.WithOutput(opt.Out), tea.WithAltScreen(), tea.WithoutSignalHandler()}
	if opt.Environ != nil {
		opts = append(opts, tea.WithEnvironment(opt.Environ))
	}
	if opt.Mouse {
		opts = append(opts, tea.WithMouseCellMotion())
	}
	p := tea.NewProgram(m, opts...)
	over := make(chan struct{})
	resizes := make(chan struct{})
	go func() {
		defer close(resizes)
		for {
			select {
			case size, ok := <-opt.Resize:
				if !ok {
					return
				}
				p.Send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			case <-over:
				return
			}
		}
	}()
	_, err := p.Run()
	close(over)
	<-resizes
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, tea.ErrProgramKilled) || errors.Is(err, tea.ErrInterrupted):
		err = context.Canceled
	}
	return err
}
