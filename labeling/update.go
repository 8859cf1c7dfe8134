package labeling

import (
	"fmt"

	tea "github.com/charmbracelet/bubbletea"
)

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case tea.MouseMsg:
		m.mouse(msg)
	case tea.KeyMsg:
		if msg.Type == tea.KeyRunes && msg.Paste && m.input == nil {
			m.status, m.tone = "pasted text is not taken for keys", quiet
			break
		}
		// Keys typed faster than they are read arrive as one message; each counts, in its order.
		keys := apart(msg)
		if cmd = m.key(keys[0]); len(keys) > 1 {
			m.waiting = append(m.waiting, keys[1:]...)
		}
	case started:
		m.busy = false
		if msg.err != nil {
			m.fail(msg.err)
			break
		}
		m.progress, m.counted = msg.progress, m.now()
		m.show(msg.task)
		m.greet()
	case outcome:
		m.settle(msg)
	case edited:
		cmd = m.takeEdit(msg)
	}
	// Keys that came while the store was busy are done in their order, until one of them keeps it busy again.
	for cmd == nil && !m.busy && len(m.waiting) > 0 {
		k := m.waiting[0]
		m.waiting = m.waiting[1:]
		m.arrange()
		cmd = m.key(k)
	}
	m.arrange()
	return m, cmd
}

// apart splits a message of several runes into one for each key. Pasted text stays whole.
func apart(msg tea.KeyMsg) []tea.KeyMsg {
	if msg.Type != tea.KeyRunes || len(msg.Runes) < 2 || msg.Paste {
		return []tea.KeyMsg{msg}
	}
	var out []tea.KeyMsg
	for _, r := range msg.Runes {
		out = append(out, tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: msg.Alt})
	}
	return out
}

// greet says what there already is of the item that has come.
func (m *model) greet() {
	switch {
	case m.task == nil:
	case m.task.Typing != "":
		m.status = "a comment is not finished; " + m.keys.name(actNote) + " goes on with it"
	case m.task.Judged != nil:
		m.status = "you chose: " + describe(*m.task.Judged, m.sides()) + "; another key changes it"
	}
}

// fail says that something was not done.
func (m *model) fail(err error) {
	m.status, m.tone = "press the key again: "+err.Error(), alarm
	if diskFull(err) { // in words that fit into the line
		m.status = "the disk is full: free some space, then press the key again"
	}
	m.waiting = nil // they were meant for what did not happen
	m.doubt = true
}

// settle shows what a command on the store brought.
func (m *model) settle(o outcome) {
	m.busy = false
	m.progress.Decided += o.delta
	if o.took != nil {
		m.progress.add(*o.took, o.side)
		m.sat++
	}
	if o.undid {
		m.progress.drop()
		m.sat = max(0, m.sat-1)
	}
	switch {
	case o.count != nil:
		m.progress, m.counted, m.doubt = *o.count, m.now(), false
	case o.recount:
		m.doubt = true
	}
	switch {
	case o.err != nil:
		m.fail(o.err)
		return
	case o.quiet:
		return
	case o.panel != "":
		m.openPage(panelOverlay, document{text: o.panel, spans: headings(o.panel)})
		return
	}
	m.status, m.tone = o.say, o.tone
	if m.opt.Sitting > 0 && o.took != nil && m.sat == m.opt.Sitting {
		m.status += fmt.Sprintf(" · the goal of %d is reached; %s quits", m.opt.Sitting, m.keys.name(actQuit))
	}
	if o.keep {
		m.task = o.task
		return
	}
	m.show(o.task)
	if o.say == "" {
		m.greet()
	}
}

func (m *model) mouse(msg tea.MouseMsg) {
	switch msg.Button {
	case tea.MouseButtonWheelDown:
		m.scroll(3)
	case tea.MouseButtonWheelUp:
		m.scroll(-3)
	}
}

// key does what a key says. It returns the command that needs the store, if any.
func (m *model) key(msg tea.KeyMsg) tea.Cmd {
	k := msg.String()
	if k == "ctrl+c" {
		m.quitting = true
		return tea.Quit
	}
	if m.busy {
		m.waiting = append(m.waiting, msg)
		return nil
	}
	switch {
	case m.input != nil:
		return m.edit(msg)
	case m.over != noOverlay:
		return m.overlayKey(k)
	case m.ticking:
		return m.tickKey(k)
	case m.choosing:
		return m.chooseKey(k)
	}
	if cmd, taken := m.modeKey(k); taken {
		return cmd
	}
	return m.do(m.keys.byKey[k], k)
}

// do performs an act.
func (m *model) do(a act, k string) tea.Cmd {
	switch a {
	case actQuit:
		m.quitting = true
		return tea.Quit
	case actHelp:
		m.openOverlay(helpOverlay)
		return nil
	case actGuide:
		m.openOverlay(guideOverlay)
		return nil
	case actUndo:
		return m.undo()
	case actRedo:
		return m.redo()
	case actPanel:
		return m.panel()
	case actPrev:
		return m.browse(-1)
	case actNext:
		return m.browse(1)
	case actGoTo:
		m.input, m.inputFor = newEditor("number of the item", ""), a
		return nil
	case actClear:
		m.search, m.status, m.zoom = "", "", false
		m.mark()
		return nil
	case "":
		m.status, m.tone = fmt.Sprintf("%s does nothing; %s lists the keys", keyName(k), m.keys.name(actHelp)), quiet
		return nil
	}
	if m.task == nil {
		m.status, m.tone = "there is no item on the screen", quiet
		return nil
	}
	if d, isChoice := decision(a, m.task); isChoice {
		return m.judge(d, nil, m.keys.name(a))
	}
	switch a {
	case actMuchLeft, actClearlyLeft, actSomewhatLeft, actSlightlyLeft, actSlightlyRight, actSomewhatRight, actClearlyRight, actMuchRight,
		actTie, actBothBad, actCantSay, actGood, actBad, actConfirm:
		m.status, m.tone = fmt.Sprintf("%s has no meaning here: %s", keyName(k), m.modeHint()), quiet
		return nil
	}
	return m.look(a)
}

// look is for acts that change only what is seen, or start a line of text.
func (m *model) look(a act) tea.Cmd {
	if by, ok := scrolling(a, max(1, m.pageHeight()-1)); ok {
		m.scroll(by)
		return nil
	}
	switch a {
	case actLater:
		return m.later()
	case actEdit:
		return m.startEdit()
	case actCopy:
		return m.copyText()
	case actNote:
		text := m.task.Note
		if m.task.Typing != "" {
			text = m.task.Typing
		}
		m.input, m.inputFor = newEditor("comment", text), a
	case actSearch:
		m.input, m.inputFor = newEditor("search", m.search), a
	case actTags:
		if len(m.opt.Tags) == 0 {
			m.status, m.tone = "this store has no list of reasons; "+m.keys.name(actNote)+" takes a comment", quiet
			return nil
		}
		m.ticking = true
	case actFindNext:
		m.findNext()
	case actFocus:
		m.focus = (m.focus + 1) % (m.onPrompt() + 1)
		if m.answers() == 1 && m.focus == 1 {
			m.focus++ // the one answer is all answers
		}
	case actFold:
		m.folded = !m.folded
		m.say(m.folded, "the prompt is folded", "the prompt is unfolded")
	case actZoom:
		m.zoom = !m.zoom
	case actDiff:
		if m.answers() != 2 {
			m.status, m.tone = "differences are marked between two answers", quiet
			return nil
		}
		m.diff = !m.diff
		m.mark()
		m.say(m.diff, "words that only one answer has are marked", "no marks")
	case actRaw:
		m.raw = !m.raw
		m.lay(true)
		m.say(m.raw, "raw text", "markdown shown")
	case actLayout:
		s := m.sideBySide()
		m.stacked = &s
	case actInfo:
		if m.task.Judged == nil {
			m.status, m.tone = "hidden until you have chosen", quiet
			return nil
		}
		m.openOverlay(infoOverlay)
	}
	return nil
}

func (m *model) say(on bool, yes, no string) {
	m.status, m.tone = no, quiet
	if on {
		m.status = yes
	}
}

// scroll moves what has the focus.
func (m *model) scroll(by int) {
	if m.over != noOverlay {
		m.page.scroll(by)
		return
	}
	for _, p := range m.inFocus() {
		p.scroll(by)
	}
}

// inFocus are the panes that the scroll keys move.
func (m *model) inFocus() []*pane {
	var out []*pane
	for i := range m.panes {
		f := focus(i)
		if i == promptPane {
			f = m.onPrompt()
		}
		if f == m.focus || m.focus == onAnswers && i != promptPane && (!m.crowded || i == 1) {
			out = append(out, &m.panes[i])
		}
	}
	return out
}

func (m *model) pageHeight() int {
	least := m.h
	for _, p := range m.inFocus() {
		least = min(least, p.height)
	}
	return least
}

// edit gives a key to the line being typed.
func (m *model) edit(msg tea.KeyMsg) tea.Cmd {
	before := string(m.input.text)
	switch k := msg.String(); {
	case k == "esc":
		note := m.inputFor == actNote
		m.input = nil
		if note && m.task.Typing != "" {
			return m.typing("")
		}
		return nil
	case k == "enter":
		return m.typed()
	case msg.Type == tea.KeySpace:
		m.input.insert([]rune{' '})
	case msg.Type == tea.KeyRunes && !msg.Alt:
		m.input.insert(msg.Runes)
	default:
		m.input.key(k)
	}
	if text := string(m.input.text); m.inputFor == actNote && text != before {
		return m.typing(text)
	}
	return nil
}

// tickKey gives a key to the list of reasons: digits tick, anything that closes closes.
func (m *model) tickKey(k string) tea.Cmd {
	if len(k) == 1 && k[0] >= '1' && int(k[0]-'1') < len(m.opt.Tags) {
		return m.tick(int(k[0] - '1'))
	}
	if a := m.keys.byKey[k]; k == "esc" || k == "enter" || a == actQuit || a == actTags {
		m.ticking = false
	}
	return nil
}

// scrolling is the number of rows that an act scrolls by, with a page of so many.
func scrolling(a act, page int) (by int, ok bool) {
	switch a {
	case actDown:
		return 1, true
	case actUp:
		return -1, true
	case actPageDown:
		return page, true
	case actPageUp:
		return -page, true
	case actTop:
		return -1 << 30, true
	case actBottom:
		return 1 << 30, true
	}
	return 0, false
}

func (m *model) overlayKey(k string) tea.Cmd {
	if by, ok := scrolling(m.keys.byKey[k], max(1, m.page.height-1)); ok {
		m.page.scroll(by)
	} else { // any other key closes it and does nothing else, so that no choice is made unseen
		m.over = noOverlay
	}
	return nil
}
