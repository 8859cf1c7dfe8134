package labeling

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// promptPane is the first pane of the screen; the answers follow in the order shown.
const promptPane = 0

// focus is what the scroll keys move: 0 all answers together, i the i-th answer shown, one more than there are the prompt.
type focus int

const onAnswers focus = 0

// onPrompt is the focus on the prompt, the last of all.
func (m *model) onPrompt() focus { return focus(m.answers() + 1) }

// answers is the number of answers shown.
func (m *model) answers() int { return len(m.panes) - 1 }

// tone is how a status line is meant.
type tone int

const (
	quiet tone = iota
	done
	alarm
)

// overlay is what lies over the screen.
type overlay int

const (
	noOverlay overlay = iota
	helpOverlay
	guideOverlay
	infoOverlay
	panelOverlay
)

// model is the whole screen. Update and View are pure: whatever touches the store is a tea.Cmd.
type model struct {
	ctx  context.Context
	ss   *Session
	opt  Options
	keys keymap
	st   styles
	now  func() time.Time

	w, h     int
	task     *Task // nil: nothing to judge
	panes    []pane
	focus    focus
	axis     int   // of ratings: the one that a digit gives
	stacked  *bool // layout asked for; nil: by width
	zoom     bool
	crowded  bool // too little room for all answers: they are read one by one
	diff     bool
	raw      bool
	folded   bool
	search   string
	hit      int // of the search, the one last shown
	over     overlay
	page     pane    // text of the overlay
	input    *editor // line being typed
	inputFor act
	ticking  bool // choosing reasons from the list
	choosing bool // choosing an answer to edit

	progress Progress
	sat      int // judgements of this sitting
	shownAt  time.Time
	status   string
	tone     tone
	busy     bool         // a command on the store is under way
	waiting  []tea.KeyMsg // keys that came meanwhile
	quitting bool
}

// outcome is what a command on the store brings back.
type outcome struct {
	task  *Task // the item to show now
	keep  bool  // stay on the item shown (task is it, read anew)
	quiet bool  // nothing changes on the screen
	panel string
	say   string
	tone  tone
	delta int            // change of the number of decided items
	took  *time.Duration // a judgement was made
	undid bool           // a judgement was taken back
	err   error
}

// started is the first outcome: the item to begin with, and the counts.
type started struct {
	task     *Task
	progress Progress
	err      error
}

func newModel(ctx context.Context, ss *Session, opt Options) (*model, error) {
	keys, err := newKeymap(opt.Keys)
	if err != nil {
		return nil, err
	}
	if len(opt.Axes) == 0 {
		opt.Axes = DefaultAxes()
	}
	m := &model{ctx: ctx, ss: ss, opt: opt, keys: keys, st: newStyles(opt.renderer(), opt.color()), now: ss.now, w: opt.Width, h: opt.Height, busy: true, panes: make([]pane, 3)}
	return m, nil
}

func (m *model) Init() tea.Cmd {
	return func() tea.Msg {
		p, err := m.ss.Progress(m.ctx)
		if err != nil {
			return started{err: err}
		}
		t, err := m.ss.Resume(m.ctx)
		return started{task: t, progress: p, err: err}
	}
}

// sides are the names of the answers on this screen.
func (m *model) sides() []string {
	n := 2
	if m.task != nil {
		n = len(m.task.Item.Answers)
	}
	switch {
	case n == 2 && m.sideBySide():
		return []string{"left", "right"}
	case n == 2:
		return []string{"upper", "lower"}
	}
	return numbered(n)
}

// numbered are the names of more answers than two, or of one.
func numbered(n int) []string {
	if n == 1 {
		return []string{"answer"}
	}
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i + 1)
	}
	return out
}

func (m *model) sideBySide() bool {
	n := 2
	if m.task != nil {
		n = len(m.task.Item.Answers)
	}
	if m.stacked != nil {
		return !*m.stacked && n > 1
	}
	return n == 2 && m.w >= 100 || n > 2 && m.w >= 46*n
}

// mode is how the item shown is judged.
func (m *model) mode() Mode {
	if m.task == nil {
		return Compare
	}
	return m.task.Item.mode()
}

// show puts a task on the screen.
func (m *model) show(t *Task) {
	m.task = t
	m.shownAt = m.now()
	m.focus, m.zoom, m.ticking, m.choosing, m.axis, m.hit = onAnswers, false, false, false, 0, 0
	if t == nil {
		m.panes = make([]pane, 3)
		return
	}
	m.panes = make([]pane, 1+len(t.Item.Answers))
	m.axis = m.openAxis()
	m.lay(false)
}

// lay puts the texts into the panes, rendered or raw. With keep the places stay, by line.
func (m *model) lay(keep bool) {
	for i := range m.panes {
		var doc document
		start := 0
		if i == promptPane {
			doc, start = promptDocument(m.task.Item.Prompt, m.raw)
		} else {
			doc = documentOf(m.task.Answer(i-1).String(), m.raw)
		}
		p := &m.panes[i]
		if keep {
			start = doc.placeOf(p.doc.lineAt(p.anchor))
		}
		p.set(doc, start)
	}
	m.mark()
}

// mark computes the emphasis of the texts shown.
func (m *model) mark() {
	if m.task == nil {
		return
	}
	for i := range m.panes {
		m.panes[i].spans = append([]span(nil), m.panes[i].doc.spans...)
	}
	if m.diff && m.answers() == 2 {
		left, right := &m.panes[1], &m.panes[2]
		a, b := wordDiff(left.text, right.text)
		left.spans, right.spans = append(left.spans, a...), append(right.spans, b...)
	}
	for i := range m.panes {
		m.panes[i].spans = append(m.panes[i].spans, find(m.panes[i].text, m.search)...)
	}
}

// perform runs an act on the store outside Update.
func (m *model) perform(fn func(ctx context.Context) outcome) tea.Cmd {
	m.busy = true
	ctx := m.ctx
	return func() tea.Msg { return fn(ctx) }
}

// judge records a decision on the item shown and moves on.
func (m *model) judge(d Decision, ratings map[string]int, key string) tea.Cmd {
	t := m.task
	took := m.now().Sub(m.shownAt)
	data := Data{Screen: m.layout(), Ratings: ratings}
	sides, ss := m.sides(), m.ss
	opinion := m.opt.Opinion
	return m.perform(func(ctx context.Context) outcome {
		before, err := ss.decided(ctx, t.Item.Seq)
		if err != nil {
			return outcome{err: err}
		}
		e, err := ss.Judge(ctx, t, d, took, data)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{say: strings.TrimSuffix("✓ "+key, " ") + " " + describe(e, sides), tone: done, took: &took}
		if t.Judged != nil {
			out.say += " (instead of " + describe(*t.Judged, sides) + ")"
			out.took = nil
		}
		if opinion {
			out.say += modelsSay(t, e)
		}
		if !before && e.Kind != Repeat {
			out.delta = 1
		}
		out.task, out.err = ss.Next(ctx, t.Item.Seq)
		return out
	})
}

// layout is how the item is shown, for the log.
func (m *model) layout() string {
	layout := "stacked"
	if m.sideBySide() {
		layout = "side"
	}
	return fmt.Sprintf("%s %dx%d", layout, m.w, m.h)
}

func (m *model) later() tea.Cmd {
	t, ss, took := m.task, m.ss, m.now().Sub(m.shownAt)
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Later(ctx, t, took); err != nil {
			return outcome{err: err}
		}
		next, err := ss.Next(ctx, t.Item.Seq)
		return outcome{task: next, say: "set aside; it comes back at the end", tone: done, err: err}
	})
}

// undo takes back the last act and shows its item.
func (m *model) undo() tea.Cmd {
	ss, sides, now := m.ss, m.sides(), m.task
	return m.perform(func(ctx context.Context) outcome {
		e, err := ss.Undo(ctx)
		if err != nil {
			return outcome{err: err}
		}
		if e == nil {
			return outcome{task: now, keep: true, say: "nothing left to undo"}
		}
		out := outcome{tone: done, undid: e.Kind == Judge || e.Kind == Repeat || e.Kind == Adjudicate}
		if e.Kind == ss.kind() {
			still, err := ss.decided(ctx, e.Item)
			if err != nil {
				return outcome{err: err}
			}
			if !still {
				out.delta = -1
			}
		}
		out.task, out.err = ss.taskOf(ctx, *e)
		out.keep = now != nil && now.Item.Seq == e.Item && now.Again == (e.Kind == Repeat)
		out.say = fmt.Sprintf("undone: %s (item %d)", describeAct(*e, sidesOf(e, out.task, sides)), e.Item)
		return out
	})
}

// sidesOf are the names of the answers of an act's item: those of the screen, where it has as many.
func sidesOf(e *Event, t *Task, sides []string) []string {
	if t != nil && len(t.Item.Answers) != len(sides) {
		return numbered(len(t.Item.Answers))
	}
	return sides
}

// redo puts an undone act back and moves on as its key did.
func (m *model) redo() tea.Cmd {
	ss, sides, now := m.ss, m.sides(), m.task
	return m.perform(func(ctx context.Context) outcome {
		e, err := ss.Redo(ctx)
		if err != nil {
			return outcome{err: err}
		}
		if e == nil {
			return outcome{task: now, keep: true, say: "nothing to redo"}
		}
		was, err := ss.taskOf(ctx, *e)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{say: fmt.Sprintf("redone: %s (item %d)", describeAct(*e, sidesOf(e, was, sides)), e.Item), tone: done}
		switch e.Kind {
		case Judge, Repeat, Adjudicate:
			out.took = &e.Elapsed
			if e.Kind == ss.kind() {
				if out.delta, err = ss.newlyDecided(ctx, *e); err != nil {
					return outcome{err: err}
				}
			}
			out.task, out.err = ss.Next(ctx, e.Item)
		case Later:
			out.task, out.err = ss.Next(ctx, e.Item)
		default:
			out.task = was
			out.keep = now != nil && now.Item.Seq == e.Item
		}
		return out
	})
}

func (m *model) browse(step int) tea.Cmd {
	ss, now := m.ss, m.task
	return m.perform(func(ctx context.Context) outcome {
		from := int64(1) << 62 // from the end screen, back to the last item
		if now != nil {
			from = now.Item.Seq
		}
		t, err := ss.Neighbour(ctx, from, step)
		if err == nil && t == nil {
			return outcome{task: now, keep: true, say: "no item there"}
		}
		return outcome{task: t, err: err}
	})
}

// typed takes the line that was typed.
func (m *model) typed() tea.Cmd {
	text, purpose := strings.TrimSpace(string(m.input.text)), m.inputFor
	m.input = nil
	if purpose == actSearch {
		m.search, m.hit = text, -1
		m.mark()
		m.findNext()
		return nil
	}
	t, ss := m.task, m.ss
	if text == t.Note {
		return m.typing("")
	}
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Note(ctx, t, text); err != nil {
			return outcome{err: err}
		}
		again, err := ss.task(ctx, t.Item.Seq, t.Again)
		return outcome{task: again, keep: true, say: "comment saved", tone: done, err: err}
	})
}

// typing keeps the comment as far as it is typed: a killed program gives it back.
func (m *model) typing(text string) tea.Cmd {
	t, ss := m.task, m.ss
	t.Typing = text
	return m.perform(func(ctx context.Context) outcome { return outcome{quiet: true, err: ss.Type(ctx, t, text)} })
}

// tick turns a reason of the list on or off.
func (m *model) tick(i int) tea.Cmd {
	t, ss, name := m.task, m.ss, m.opt.Tags[i]
	var tags []string
	on := true
	for _, old := range t.Tags {
		if old == name {
			on = false
			continue
		}
		tags = append(tags, old)
	}
	if on {
		tags = append(tags, name)
	}
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Tag(ctx, t, tags); err != nil {
			return outcome{err: err}
		}
		again, err := ss.task(ctx, t.Item.Seq, t.Again)
		return outcome{task: again, keep: true, err: err}
	})
}
