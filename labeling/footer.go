package labeling

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// footerLines are the status, the scale of choices and the other keys.
func (m *model) footerLines() []string {
	status := m.statusLine()
	out := []string{status, m.modeLine()}
	n := m.footer() - len(m.opinionLines())
	if n > 3 {
		out = append([]string{m.st.rule.Render(strings.Repeat("─", m.w))}, out...)
	}
	return append(out, m.keysLines(n-len(out))...)
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
			text += fmt.Sprintf(" · %s goes to the next of %d answers", m.keyOf(actFocus), m.answers())
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
	text := strings.TrimRight(m.st.key.Render(m.keyOf(a))+" "+word, " ")
	if m.task == nil || m.task.Judged == nil {
		return text
	}
	d, ok := decision(a, m.task)
	now := m.task.Judged.Decision
	if !ok || d.Choice != now.Choice || d.Choice == Win && (d.Ranking[0] != now.Ranking[0] || d.Strength != now.Strength) {
		return text
	}
	return m.st.chosen.Render(strings.TrimRight("["+m.keyOf(a)+"] "+word, " "))
}

// keysLines are the rest of the keys in n lines, the most needed first: each that there is room for, whole.
func (m *model) keysLines(n int) []string {
	out, room := make([]string, n), make([]int, n)
	for i := range room {
		room[i] = m.w
	}
	for _, k := range m.otherKeys() {
		part := m.keyPart(k)
		if part == "" {
			continue
		}
		for i := range out {
			gap := min(2, 1+len(out[i]))
			if w := gap + lipgloss.Width(part); w <= room[i] {
				out[i], room[i] = out[i]+strings.Repeat(" ", gap)+part, room[i]-w
				break
			}
		}
	}
	for i := range out {
		out[i] = fit(out[i], m.w)
	}
	return out
}

// keyPart is a key of the footer with its meaning; "" where it has none on the item shown.
func (m *model) keyPart(k footerKey) string {
	var names []string
	for _, a := range k.acts {
		if n := m.keyOf(a); n != "" && helps(a, m.mode()) {
			names = append(names, n)
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(k.acts) == 1:
		return m.choiceKey(k.acts[0], k.word)
	}
	return m.st.key.Render(strings.Join(names, "/")) + " " + k.word
}

// footerKey is what the footer says of an act, or of two that belong together.
type footerKey struct {
	word string
	acts []act
}

// otherKeys are the keys that do something now besides those of the line above, the most needed first.
func (m *model) otherKeys() []footerKey {
	tie, bad := "tie", "both bad"
	if m.mode() == Rank && m.answers() > 2 {
		tie, bad = "equal", "all bad"
	}
	var out []footerKey
	for _, k := range []struct {
		footerKey
		now bool
	}{
		{footerKey{tie, []act{actTie}}, true},
		{footerKey{bad, []act{actBothBad}}, m.mode() != Single},
		{footerKey{"can't say", []act{actCantSay}}, true},
		{footerKey{"confirm", []act{actConfirm}}, m.mode() == Rate},
		{footerKey{"undo", []act{actUndo}}, true},
		{footerKey{"help", []act{actHelp}}, true},
		{footerKey{"quit", []act{actQuit}}, true},
		{footerKey{"next hit", []act{actFindNext}}, m.search != ""},
		{footerKey{"clear", []act{actClear}}, m.search != "" || m.zoom},
		{footerKey{"models", []act{actInfo}}, m.task != nil && m.task.Judged != nil},
		{footerKey{"scroll", []act{actDown, actUp}}, true},
		{footerKey{"pane", []act{actFocus}}, true},
		{footerKey{"redo", []act{actRedo}}, true},
		{footerKey{"differences", []act{actDiff}}, m.answers() == 2},
		{footerKey{"comment", []act{actNote}}, true},
		{footerKey{"reasons", []act{actTags}}, len(m.opt.Tags) > 0},
		{footerKey{"edit", []act{actEdit}}, !m.opt.Remote},
		{footerKey{"set aside", []act{actLater}}, true},
		{footerKey{"items", []act{actPrev, actNext}}, true},
		{footerKey{"search", []act{actSearch}}, true},
		{footerKey{"guidelines", []act{actGuide}}, m.opt.Guidelines != ""},
		{footerKey{"zoom", []act{actZoom}}, true},
		{footerKey{"fold", []act{actFold}}, true},
		{footerKey{"raw", []act{actRaw}}, true},
		{footerKey{"layout", []act{actLayout}}, m.answers() > 1},
		{footerKey{"copy", []act{actCopy}}, true},
		{footerKey{"my labels", []act{actPanel}}, true},
		{footerKey{"open item", []act{actGoTo}}, true},
		{footerKey{"pages", []act{actPageDown, actPageUp}}, true},
		{footerKey{"ends", []act{actTop, actBottom}}, true},
	} {
		if k.now {
			out = append(out, k.footerKey)
		}
	}
	return out
}
