package labeling

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// The panes of the screen.
const (
	promptPane = iota
	leftPane   // left, or upper
	rightPane  // right, or lower
)

// focus is what the scroll keys move.
type focus int

const (
	onAnswers focus = iota // both answers together
	onLeft
	onRight
	onPrompt
	focuses
)

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
	panes    [3]pane
	focus    focus
	stacked  *bool // layout asked for; nil: by width
	zoom     bool
	diff     bool
	raw      bool
	search   string
	over     overlay
	page     pane    // text of the overlay
	input    *editor // line being typed
	inputFor act
	ticking  bool // choosing reasons from the list

	progress Progress
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
	m := &model{ctx: ctx, ss: ss, opt: opt, keys: keys, st: newStyles(opt.renderer(), opt.color()), now: ss.now, w: opt.Width, h: opt.Height, busy: true}
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

// sides are the names of the two answers on this screen.
func (m *model) sides() [2]string {
	if m.sideBySide() {
		return [2]string{"left", "right"}
	}
	return [2]string{"upper", "lower"}
}

func (m *model) sideBySide() bool {
	if m.stacked != nil {
		return !*m.stacked
	}
	return m.w >= 100
}

// show puts a task on the screen.
func (m *model) show(t *Task) {
	m.task = t
	m.shownAt = m.now()
	m.focus, m.zoom, m.ticking = onAnswers, false, false
	if t == nil {
		return
	}
	text, _, start := promptText(t.Item.Prompt)
	m.panes[promptPane].set(text, start)
	for i := range 2 {
		m.panes[leftPane+i].set(visible(t.Answer(i).String()), 0)
	}
	m.mark()
}

// mark computes the emphasis of the texts shown.
func (m *model) mark() {
	if m.task == nil {
		return
	}
	_, roles, _ := promptText(m.task.Item.Prompt)
	left, right := &m.panes[leftPane], &m.panes[rightPane]
	m.panes[promptPane].spans = roles
	left.spans, right.spans = nil, nil
	if !m.raw {
		m.panes[promptPane].spans = append(markdown(m.panes[promptPane].text), roles...)
		left.spans, right.spans = markdown(left.text), markdown(right.text)
	}
	if m.diff {
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
func (m *model) judge(a act) tea.Cmd {
	t, d := m.task, Decision{}
	d, ok := decision(a, t)
	if !ok {
		return nil
	}
	took := m.now().Sub(m.shownAt)
	layout := "stacked"
	if m.sideBySide() {
		layout = "side"
	}
	data := Data{Screen: fmt.Sprintf("%s %dx%d", layout, m.w, m.h)}
	sides, ss, key := m.sides(), m.ss, m.keys.name(a)
	again := t.Judged != nil
	return m.perform(func(ctx context.Context) outcome {
		before, err := ss.decided(ctx, t.Item.Seq)
		if err != nil {
			return outcome{err: err}
		}
		e, err := ss.Judge(ctx, t, d, took, data)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{say: fmt.Sprintf("✓ %s %s", key, describe(e, sides)), tone: done, took: &took}
		if again {
			out.say += " (instead of " + describe(*t.Judged, sides) + ")"
			out.took = nil
		}
		if !before {
			out.delta = 1
		}
		out.task, out.err = ss.Next(ctx, t.Item.Seq)
		return out
	})
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
		out := outcome{say: fmt.Sprintf("undone: %s (item %d)", describeAct(*e, sides), e.Item), tone: done, undid: e.Kind == Judge}
		if e.Kind == Judge {
			still, err := ss.decided(ctx, e.Item)
			if err != nil {
				return outcome{err: err}
			}
			if !still {
				out.delta = -1
			}
		}
		out.task, out.err = ss.Task(ctx, e.Item)
		out.keep = now != nil && now.Item.Seq == e.Item
		return out
	})
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
		out := outcome{say: fmt.Sprintf("redone: %s (item %d)", describeAct(*e, sides), e.Item), tone: done}
		switch e.Kind {
		case Judge:
			out.took = &e.Elapsed
			if out.delta, err = ss.newlyDecided(ctx, *e); err != nil {
				return outcome{err: err}
			}
			out.task, out.err = ss.Next(ctx, e.Item)
		case Later:
			out.task, out.err = ss.Next(ctx, e.Item)
		default:
			out.task, out.err = ss.Task(ctx, e.Item)
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
		m.search = text
		m.mark()
		m.findNext()
		return nil
	}
	t, ss := m.task, m.ss
	if text == t.Note {
		return nil
	}
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Note(ctx, t, text); err != nil {
			return outcome{err: err}
		}
		again, err := ss.Task(ctx, t.Item.Seq)
		return outcome{task: again, keep: true, say: "comment saved", tone: done, err: err}
	})
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
		again, err := ss.Task(ctx, t.Item.Seq)
		return outcome{task: again, keep: true, err: err}
	})
}

// findNext scrolls each pane to its first hit out of view, and says how many there are.
func (m *model) findNext() {
	hits := 0
	for i := range m.panes {
		for k, sp := range find(m.panes[i].text, m.search) {
			if k == 0 {
				m.panes[i].seek(sp.from)
			}
			hits++
		}
	}
	m.tone = quiet
	switch {
	case m.search == "":
		m.status = ""
	case hits == 0:
		m.status = fmt.Sprintf("%q is not in this item", m.search)
	default:
		m.status = fmt.Sprintf("%d × %q", hits, m.search)
	}
}
