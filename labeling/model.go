package labeling

import (
	"context"
	"fmt"
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
	hit      int // of the search, the one last shown; -1: none yet on this item
	over     overlay
	page     pane    // text of the overlay
	input    *editor // line being typed
	inputFor act
	ticking  bool // choosing reasons from the list
	choosing bool // choosing an answer to edit

	progress Progress
	doubt    bool      // something failed, and may be done all the same: progress is to be read anew
	counted  time.Time // when progress was read from the store
	sat      int       // judgements of this sitting
	shownAt  time.Time
	status   string
	tone     tone
	busy     bool         // a command on the store is under way
	waiting  []tea.KeyMsg // keys that came meanwhile
	quitting bool
}

// outcome is what a command on the store brings back.
type outcome struct {
	task    *Task // the item to show now
	keep    bool  // stay on the item shown (task is it, read anew)
	quiet   bool  // nothing changes on the screen
	panel   string
	say     string
	tone    tone
	delta   int            // items newly decided, where the count is not read anew
	took    *time.Duration // a judgement was made
	side    int            // that it prefers, see sideOf
	undid   bool           // a judgement was taken back
	recount bool           // what is decided may have changed otherwise than this sitting knows
	count   *Progress      // how far the work is, where that was read anew
	err     error
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
	m.focus, m.zoom, m.ticking, m.choosing, m.axis, m.hit = onAnswers, false, false, false, 0, -1
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
