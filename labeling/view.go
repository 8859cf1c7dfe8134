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
	s.text = looksOn{plainLook: "0", roleLook: "1;35", codeLook: "33", strongLook: "1", emLook: "3", faintLook: "2", diffLook: "1;4;34", foundLook: "7"}
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
	n := 2 // status, scale
	switch {
	case m.h >= 40:
		n = 5 // rule, status, scale, keys in two lines
	case m.h >= 18:
		n = 4 // rule, status, scale, keys
	case m.h >= 14:
		n = 3 // status, scale, keys
	}
	return n + len(m.opinionLines())
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
	lines = append(lines, m.opinionLines()...)
	lines = append(lines, m.footerLines()...)
	return strings.Join(lines, "\n")
}

func (m *model) indent(lines []string) []string {
	for i := range lines {
		lines[i] = " " + openEnded(lines[i]) + " "
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
	title = closed(strings.TrimRight(fit(title, min(room, lipgloss.Width(title))), " "))
	fill := max(0, width-lipgloss.Width(title)-3-lipgloss.Width(tail))
	return m.st.rule.Render(sign+" ") + st.Render(title) + m.st.rule.Render(" "+strings.Repeat("─", fill)+tail)
}

// headerLine is the progress: how many, how fast, how long still.
func (m *model) headerLine() string {
	t := m.opt.tell(m.progress, m.sat, m.sides())
	left, right := " "+t.count+"  ", " "+strings.Join(t.pace, " · ")+" "
	room := m.w - lipgloss.Width(left) - lipgloss.Width(right)
	if room < 8 {
		return m.st.header.Render(fit(left, m.w))
	}
	width := min(room, 40)
	return m.st.header.Render(left) + bar(t.done, t.goal, width) + strings.Repeat(" ", room-width) + m.st.faint.Render(right)
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
	case m.progress.Items == 0 && m.opt.Review:
		text = "People agree on all items that more than one of them has judged."
	case m.progress.Items == 0:
		text = "The store has no items yet.\n\nplumb pairs fills it with answers sampled from a model,\nplumb label import with comparisons from a file."
	case m.opt.Review:
		text = "Nothing is left to adjudicate: people agree, or you have said which is right."
	case m.progress.Decided < m.progress.Items:
		text = fmt.Sprintf("Nothing is free for you now, %s: others are at what is left, or it is not\nof what you asked for. %s looks again, %s quits.",
			isolated(m.ss.Annotator()), m.keys.name(actNext), m.keys.name(actQuit))
	default:
		text = fmt.Sprintf("Nothing is left to judge. Thank you, %s.\n\n%s takes back the last key, %s looks at earlier items, %s quits.",
			isolated(m.ss.Annotator()), m.keys.name(actUndo), m.keys.name(actPrev), m.keys.name(actQuit))
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
