package labeling

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// footerLines are the status, the scale of choices and the other keys.
func (m *model) footerLines() []string {
	status := m.statusLine()
	scale, rest := m.modeLine(), m.keysLine()
	switch m.footer() - len(m.opinionLines()) {
	case 4:
		return []string{m.st.rule.Render(strings.Repeat("─", m.w)), status, scale, rest}
	case 3:
		return []string{status, scale, rest}
	}
	return []string{status, scale}
}

func (m *model) statusLine() string {
	switch {
	case m.input != nil:
		return " " + m.input.view(m.w-1, m.st.cursor)
	case m.ticking:
		return m.ticksLine()
	case m.choosing:
		var parts []string
		for i, name := range m.sides() {
			parts = append(parts, m.st.key.Render(fmt.Sprint(i+1))+" "+name)
		}
		if len(parts) > 2 {
			parts = []string{m.st.key.Render(fmt.Sprintf("1–%d", len(parts)))}
		}
		return fit(" edit which answer? "+strings.Join(parts, "  ")+"  any other key none", m.w)
	}
	text := m.status
	if text == "" && m.task != nil {
		text = fmt.Sprintf("item %d", m.task.Item.Seq)
		if m.crowded && m.focus != m.onPrompt() {
			text += fmt.Sprintf(" · %s goes to the next of %d answers", m.keys.name(actFocus), m.answers())
		}
		if m.task.Judged != nil {
			text += " · you chose: " + describe(*m.task.Judged, m.sides())
		}
		if len(m.task.Tags) > 0 {
			text += " · " + isolated(strings.Join(m.task.Tags, ", "))
		}
		if m.task.Note != "" {
			text += " · “" + isolated(m.task.Note) + "”"
		}
	}
	text = fit(" "+strings.ReplaceAll(text, "\n", " "), m.w)
	switch m.tone {
	case done:
		return m.st.ok.Render(text)
	case alarm:
		return m.st.alarm.Render(text)
	}
	return text
}

// ticksLine is the list of reasons, ticked or not.
func (m *model) ticksLine() string {
	var parts []string
	for i, name := range m.opt.Tags {
		if i == 9 {
			break
		}
		box := " "
		for _, t := range m.task.Tags {
			if t == name {
				box = "✓"
			}
		}
		parts = append(parts, fmt.Sprintf("%s [%s] %s", m.st.key.Render(fmt.Sprint(i+1)), box, isolated(name)))
	}
	return fit(" reasons: "+strings.Join(parts, "  ")+"  "+m.st.key.Render("enter")+" closes", m.w)
}

// scaleLine is the eight steps of preference, in as many words as fit; the choice in force is reversed.
func (m *model) scaleLine() string {
	sides := m.sides()
	acts := []act{
		actMuchLeft, actClearlyLeft, actSomewhatLeft, actSlightlyLeft, actSlightlyRight, actSomewhatRight, actClearlyRight, actMuchRight,
	}
	for _, v := range []struct {
		words [4]string
		space string
	}{
		{[4]string{"slightly", "somewhat", "clearly", "much better"}, "  "},
		{[4]string{"slightly", "somewhat", "clearly", "much"}, "  "},
		{[4]string{"slightly", "somewhat", "clearly", "much"}, " "},
		{[4]string{"slightly", "", "", "much"}, "  "},
		{[4]string{}, " "},
	} {
		var half [2][]string
		for i, a := range acts {
			_, strength, _ := preference(a)
			half[i/4] = append(half[i/4], m.choiceKey(a, v.words[strength-1]))
		}
		line := " " + sides[0] + " ◂ " + strings.Join(half[0], v.space) + " │ " + strings.Join(half[1], v.space) + " ▸ " + sides[1]
		if lipgloss.Width(line) <= m.w || v.words[0] == "" {
			return fit(line, m.w)
		}
	}
	return ""
}

// choiceKey is a key with its meaning; reversed when it is the choice in force.
func (m *model) choiceKey(a act, word string) string {
	text := strings.TrimRight(m.st.key.Render(m.keys.name(a))+" "+word, " ")
	if m.task == nil || m.task.Judged == nil {
		return text
	}
	d, ok := decision(a, m.task)
	now := m.task.Judged.Decision
	if !ok || d.Choice != now.Choice || d.Choice == Win && (d.Ranking[0] != now.Ranking[0] || d.Strength != now.Strength) {
		return text
	}
	return m.st.chosen.Render(strings.TrimRight("["+m.keys.name(a)+"] "+word, " "))
}

// keysLine is the rest of the keys, the most needed first, as many as fit.
func (m *model) keysLine() string {
	line := " "
	tie, bad := "tie", "both bad"
	if m.mode() == Rank && m.answers() > 2 {
		tie, bad = "all equal", "all bad"
	}
	for _, k := range []struct {
		a    act
		word string
	}{
		{actTie, tie},
		{actBothBad, bad},
		{actCantSay, "can't say"},
		{actUndo, "undo"},
		{actHelp, "help"},
		{actQuit, "quit"},
		{actDown, "scroll"},
		{actFocus, "pane"},
		{actRedo, "redo"},
		{actDiff, "differences"},
		{actNote, "comment"},
		{actEdit, "edit"},
		{actLater, "set aside"},
		{actPrev, "back"},
		{actGuide, "guidelines"},
	} {
		if k.a == actGuide && m.opt.Guidelines == "" {
			continue
		}
		if !m.helps(k.a) || k.a == actDiff && m.answers() != 2 {
			continue
		}
		part := m.choiceKey(k.a, k.word) + "  "
		if lipgloss.Width(line)+lipgloss.Width(part) > m.w+2 {
			break
		}
		line += part
	}
	return fit(strings.TrimRight(line, " "), m.w)
}
