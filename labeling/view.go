package labeling

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// styles are the looks of one screen, made from its own renderer. Only the terminal's sixteen colours are used, so that its
// owner's light or dark theme decides what they are; nothing is said by colour alone.
type styles struct {
	text                          looksOn
	title, focused, rule, header  lipgloss.Style
	key, chosen, faint, ok, alarm lipgloss.Style
	cursor                        lipgloss.Style
}

func newStyles(r *lipgloss.Renderer, color bool) styles {
	paint := func(s lipgloss.Style, c string) lipgloss.Style {
		if !color {
			return s
		}
		return s.Foreground(lipgloss.Color(c))
	}
	base := r.NewStyle()
	bold := base.Bold(true)
	s := styles{
		title: bold, focused: paint(bold, "6"), rule: base.Faint(true), header: bold,
		key: paint(bold, "6"), chosen: base.Reverse(true), faint: base.Faint(true), ok: paint(base, "2"), alarm: paint(bold, "1"), cursor: base.Reverse(true),
	}
	s.text = looksOn{plainLook: "0", roleLook: "1;35", codeLook: "33", strongLook: "1", faintLook: "2", diffLook: "1;4;34", foundLook: "7"}
	if !color {
		s.text[roleLook], s.text[codeLook], s.text[diffLook] = "1", "0", "1;4"
	}
	return s
}

// The smallest screen that can be worked on.
const (
	minWidth  = 30
	minHeight = 10
)

// footer is the number of lines below the panes.
func (m *model) footer() int {
	switch {
	case m.h >= 18:
		return 4 // rule, status, scale, keys
	case m.h >= 14:
		return 3 // status, scale, keys
	}
	return 2 // status, scale
}

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
	prompt, left, right := &m.panes[promptPane], &m.panes[leftPane], &m.panes[rightPane]
	prompt.wrapTo(inner)
	side := m.sideBySide()
	if m.zoom {
		m.arrangeZoom(body, inner)
		return
	}
	if side {
		left.wrapTo((m.w - 5) / 2)
		right.wrapTo(m.w - 5 - (m.w-5)/2)
		room := body - 2
		need := max(len(left.rows), len(right.rows))
		prompt.height = clamp(len(prompt.rows), 1, max(room/3, room-need))
		left.height = room - prompt.height
		right.height = left.height
		return
	}
	left.wrapTo(inner)
	right.wrapTo(inner)
	room := body - 3
	needL, needR := len(left.rows), len(right.rows)
	prompt.height = clamp(len(prompt.rows), 1, max(room/4, room-needL-needR))
	room -= prompt.height
	left.height = clamp(needL, 1, max(room/2, room-needR))
	right.height = room - left.height
}

// arrangeZoom gives the screen to the pane in focus; both answers share it when both are.
func (m *model) arrangeZoom(body, inner int) {
	left, right := &m.panes[leftPane], &m.panes[rightPane]
	switch {
	case m.focus == onPrompt:
		m.panes[promptPane].height = body - 1
	case m.focus == onAnswers && m.sideBySide():
		left.wrapTo((m.w - 5) / 2)
		right.wrapTo(m.w - 5 - (m.w-5)/2)
		left.height, right.height = body-1, body-1
	case m.focus == onAnswers:
		left.wrapTo(inner)
		right.wrapTo(inner)
		room := body - 2
		left.height = clamp(len(left.rows), 1, max(room/2, room-len(right.rows)))
		right.height = room - left.height
	default:
		p := &m.panes[leftPane+int(m.focus-onLeft)]
		p.wrapTo(inner)
		p.height = body - 1
	}
}

func clamp(n, low, high int) int { return max(low, min(n, high)) }

func (m *model) View() string {
	if m.quitting {
		return ""
	}
	if m.w < minWidth || m.h < minHeight {
		return fmt.Sprintf("The window is %d x %d;\nmake it %d x %d or more.", m.w, m.h, minWidth, minHeight)
	}
	lines := []string{m.headerLine()}
	switch {
	case m.over != noOverlay:
		return strings.Join(append(lines, m.overlayLines()...), "\n")
	case m.task == nil:
		lines = append(lines, m.emptyLines()...)
	default:
		lines = append(lines, m.bodyLines()...)
	}
	lines = append(lines, m.footerLines()...)
	return strings.Join(lines, "\n")
}

// bodyLines are the prompt and the two answers.
func (m *model) bodyLines() []string {
	var out []string
	if !m.zoom || m.focus == onPrompt {
		title := "Prompt"
		if len(m.task.Item.Tags) > 0 {
			title += " · " + visible(strings.Join(m.task.Item.Tags, ", "))
		}
		out = append(out, m.rule(title, m.panes[promptPane].more(), m.focus == onPrompt, m.w))
		out = append(out, m.indent(m.panes[promptPane].lines(&m.st.text))...)
	}
	if m.zoom && m.focus == onPrompt {
		return out
	}
	sides := m.sides()
	keys := [2]string{"1–4", "5–8"}
	if m.keys.name(actMuchLeft) != "1" || m.keys.name(actMuchRight) != "8" {
		keys = [2]string{m.keys.name(actMuchLeft), m.keys.name(actMuchRight)}
	}
	title := func(i int) string { return strings.ToUpper(sides[i][:1]) + sides[i][1:] + " · " + keys[i] }
	focused := func(i int) bool { return m.focus == onAnswers || m.focus == onLeft+focus(i) }
	one := m.zoom && m.focus != onAnswers
	if m.sideBySide() && !one {
		left, right := &m.panes[leftPane], &m.panes[rightPane]
		out = append(out, m.rule(title(0), left.more(), focused(0), left.width+2)+m.st.rule.Render("┬")+m.rule(title(1), right.more(), focused(1), right.width+2))
		a, b := left.lines(&m.st.text), right.lines(&m.st.text)
		for i := range a {
			out = append(out, " "+a[i]+m.st.rule.Render(" │ ")+b[i]+" ")
		}
		return out
	}
	for i := range 2 {
		if one && m.focus != onLeft+focus(i) {
			continue
		}
		p := &m.panes[leftPane+i]
		out = append(out, m.rule(title(i), p.more(), focused(i), m.w))
		out = append(out, m.indent(p.lines(&m.st.text))...)
	}
	return out
}

func (m *model) indent(lines []string) []string {
	for i := range lines {
		lines[i] = " " + lines[i] + " "
	}
	return lines
}

// rule is a line with a title at its left and what is out of view at its right. The focus is marked by a sign too.
func (m *model) rule(title, more string, focused bool, width int) string {
	st, sign := m.st.title, "─"
	if focused {
		st, sign = m.st.focused, "▸"
	}
	tail := "─"
	if more != "" {
		tail = " " + more + " ─"
	}
	room := width - 3 - lipgloss.Width(tail)
	title = strings.TrimRight(fit(title, min(room, lipgloss.Width(title))), " ")
	fill := max(0, width-lipgloss.Width(title)-3-lipgloss.Width(tail))
	return m.st.rule.Render(sign+" ") + st.Render(title) + m.st.rule.Render(" "+strings.Repeat("─", fill)+tail)
}

// headerLine is the progress: how many, how fast, how long still.
func (m *model) headerLine() string {
	goal := m.progress.goal(m.opt.Goal)
	done := m.progress.Decided
	count := fmt.Sprintf("%d of %d", done, goal)
	if goal < m.progress.Items {
		count += fmt.Sprintf(" (%d in the store)", m.progress.Items)
	}
	var pace []string
	if r, ok := m.progress.PerHour(); ok {
		pace = append(pace, fmt.Sprintf("%.0f an hour", r))
	}
	if d, ok := m.progress.Median(); ok {
		pace = append(pace, "median "+say(d))
	}
	if d, ok := m.progress.Left(m.opt.Goal); ok {
		pace = append(pace, say(d)+" left")
	}
	left, right := " "+count+"  ", " "+strings.Join(pace, " · ")+" "
	room := m.w - lipgloss.Width(left) - lipgloss.Width(right)
	if room < 8 {
		return m.st.header.Render(fit(left, m.w))
	}
	width := min(room, 40)
	return m.st.header.Render(left) + bar(done, goal, width) + strings.Repeat(" ", room-width) + m.st.faint.Render(right)
}

// bar draws a share of width cells, in eighths.
func bar(done, goal, width int) string {
	eighths := 0
	if goal > 0 {
		eighths = min(done, goal) * width * 8 / goal
	}
	b := strings.Repeat("█", eighths/8)
	if r := eighths % 8; r > 0 {
		b += string([]rune(" ▏▎▍▌▋▊▉")[r])
	}
	return b + strings.Repeat("░", width-lipgloss.Width(b))
}

// emptyLines stand where an item would, and say what to do.
func (m *model) emptyLines() []string {
	text := "Reading the store …"
	switch {
	case m.busy && m.progress.Items == 0:
	case m.tone == alarm:
		text = ""
	case m.progress.Items == 0:
		text = "The store has no items yet.\n\nplumb pairs fills it with answers sampled from a model,\nplumb label import with comparisons from a file."
	default:
		text = fmt.Sprintf("Nothing is left to judge. Thank you, %s.\n\n%s takes back the last key, %s looks at earlier items, %s quits.",
			visible(m.ss.Annotator()), m.keys.name(actUndo), m.keys.name(actPrev), m.keys.name(actQuit))
	}
	out := make([]string, m.h-1-m.footer())
	for i := range out {
		out[i] = fit("", m.w)
	}
	for i, l := range strings.Split(text, "\n") {
		if at := len(out)/3 + i; at < len(out) {
			out[at] = fit("   "+l, m.w)
		}
	}
	return out
}
