package labeling

import "strings"

// arrange gives every pane its width and height. It runs after each Update, so that View only draws.
func (m *model) arrange() {
	if m.w < minWidth || m.h < minHeight {
		return
	}
	body := m.h - 1 - m.footer()
	inner := m.w - 2
	if m.over != noOverlay {
		m.page.wrapTo(inner)
		m.page.height = m.h - 2
	}
	if m.task == nil {
		return
	}
	n := m.answers()
	// Each pane has a title and at least a line; where that is too much, answers are read one by one.
	m.crowded = !m.sideBySide() && body < 2*(n+1)
	m.panes[promptPane].wrapTo(inner)
	for i, w := range m.widths() {
		m.panes[1+i].wrapTo(w)
	}
	if m.zoom || m.crowded {
		m.arrangeZoom(body)
		return
	}
	prompt := &m.panes[promptPane]
	if m.sideBySide() {
		room := body - 2
		need := 0
		for _, p := range m.panes[1:] {
			need = max(need, len(p.rows))
		}
		prompt.height = clamp(len(prompt.rows), 1, m.promptMost(max(room/3, room-need), room))
		for i := range m.panes[1:] {
			m.panes[1+i].height = room - prompt.height
		}
		return
	}
	room := body - 1 - n
	need := 0
	for _, p := range m.panes[1:] {
		need += len(p.rows)
	}
	prompt.height = clamp(len(prompt.rows), 1, m.promptMost(max(room/4, room-need), room-n))
	m.share(room - prompt.height)
}

// foldedRows is what a folded prompt keeps.
const foldedRows = 2

// promptMost bounds the height of the prompt.
func (m *model) promptMost(most, room int) int {
	if m.folded {
		most = min(most, foldedRows)
	}
	return max(1, min(most, room))
}

// widths are the widths of the answers' panes.
func (m *model) widths() []int {
	n := m.answers()
	out := make([]int, n)
	if !m.sideBySide() || m.oneAlone() {
		for i := range out {
			out[i] = m.w - 2
		}
		return out
	}
	room := m.w - 2 - 3*(n-1)
	for i := range out {
		out[i] = room / (n - i)
		room -= out[i]
	}
	return out
}

// share divides rows among stacked answers: what one does not need the others may have, the rest is the last one's. The
// answer in focus takes what it needs first, where there are more than two.
func (m *model) share(room int) {
	n := m.answers()
	height := make([]int, n)
	for i := range height {
		height[i] = 1
	}
	left := room - n
	if f := int(m.focus) - 1; n > 2 && f >= 0 && f < n {
		more := clamp(len(m.panes[1+f].rows)-1, 0, left)
		height[f] += more
		left -= more
	}
	for left > 0 {
		var open []int
		for i := range height {
			if height[i] < len(m.panes[1+i].rows) {
				open = append(open, i)
			}
		}
		if len(open) == 0 {
			height[n-1] += left
			break
		}
		each := max(1, left/len(open))
		for _, i := range open {
			more := min(each, left, len(m.panes[1+i].rows)-height[i])
			height[i] += more
			left -= more
		}
	}
	for i := range height {
		m.panes[1+i].height = height[i]
	}
}

// alone is the pane that has the screen to itself.
func (m *model) alone() int {
	switch {
	case m.focus == m.onPrompt():
		return promptPane
	case m.focus == onAnswers:
		return 1
	}
	return int(m.focus)
}

// oneAlone says whether one pane has the screen to itself.
func (m *model) oneAlone() bool {
	return m.crowded || m.zoom && (m.focus != onAnswers || m.answers() == 1)
}

// arrangeZoom gives the screen to the pane in focus; the answers share it when all of them are.
func (m *model) arrangeZoom(body int) {
	switch {
	case m.oneAlone():
		m.panes[m.alone()].height = body - 1
	case m.sideBySide():
		for i := range m.panes[1:] {
			m.panes[1+i].height = body - 1
		}
	default:
		m.share(body - m.answers())
	}
}

// bodyLines are the prompt and the answers.
func (m *model) bodyLines() []string {
	var out []string
	one := m.oneAlone()
	if one && m.alone() == promptPane || !one && !m.zoom {
		title := "Prompt"
		if m.folded {
			title += " (folded)"
		}
		if len(m.task.Item.Tags) > 0 {
			title += " · " + isolated(strings.Join(m.task.Item.Tags, ", "))
		}
		out = append(out, m.rule(title, m.panes[promptPane].more(), m.focus == m.onPrompt(), m.w))
		out = append(out, m.indent(m.panes[promptPane].lines(&m.st.text))...)
		if one {
			return out
		}
	}
	focused := func(i int) bool { return m.focus == onAnswers || m.focus == focus(i) }
	if m.sideBySide() && !one {
		return append(out, m.columns(focused)...)
	}
	for i := 1; i < len(m.panes); i++ {
		if one && m.alone() != i {
			continue
		}
		p := &m.panes[i]
		out = append(out, m.rule(m.title(i-1), p.more(), focused(i), m.w))
		out = append(out, m.indent(p.lines(&m.st.text))...)
	}
	return out
}

// columns are the answers side by side.
func (m *model) columns(focused func(int) bool) []string {
	out := make([]string, 1+m.panes[1].height)
	last := len(m.panes) - 1
	for i := 1; i <= last; i++ {
		p := &m.panes[i]
		lead, joint, bar := "", m.st.rule.Render("┬"), m.st.rule.Render(" │ ")
		if i == 1 {
			lead = " "
		}
		if i == last {
			joint, bar = "", " "
		}
		out[0] += m.rule(m.title(i-1), p.more(), focused(i), p.width+2) + joint
		for k, l := range p.lines(&m.st.text) {
			if i == last {
				l = openEnded(l)
			}
			out[1+k] += lead + l + bar
		}
	}
	return out
}
