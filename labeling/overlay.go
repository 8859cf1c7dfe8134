package labeling

import (
	"fmt"
	"strings"
)

func (m *model) openOverlay(o overlay) {
	var doc document
	switch o {
	case helpOverlay:
		doc.text = m.helpText()
	case guideOverlay:
		if strings.TrimSpace(m.opt.Guidelines) == "" {
			m.status, m.tone = "no guidelines were given", quiet
			return
		}
		doc = documentOf(strings.TrimSpace(m.opt.Guidelines), m.raw)
	case infoOverlay:
		doc.text = m.infoText()
	}
	if o != guideOverlay {
		doc.spans = headings(doc.text)
	}
	m.openPage(o, doc)
}

func (m *model) openPage(o overlay, doc document) {
	m.over = o
	m.page.set(doc, 0)
	m.page.spans = doc.spans
}

// headings marks the words that stand at the start of a line or of the second column of the help.
func headings(text string) []span {
	var out []span
	at := 0
	for _, l := range strings.SplitAfter(text, "\n") {
		if l != "" && l[0] != ' ' {
			out = append(out, span{at, at + len(l), strongLook})
		}
		at += len(l)
	}
	return out
}

// helpText lists the keys, in two columns where there is room.
func (m *model) helpText() string {
	var sections [][]string
	for i, bd := range m.keys.bindings {
		switch {
		case bd.act == "" && bd.keys == nil:
			sections = append(sections, []string{bd.help})
			if len(sections) == 1 {
				sections[0] = append(sections[0], m.digitsHelp()...)
			}
		case helps(bd.act, m.mode()):
			last := &sections[len(sections)-1]
			*last = append(*last, m.keys.helpLines(i, m.mode(), m.sides())...)
		}
	}
	var columns [2][]string
	for i, sec := range sections {
		c := i / 4 // what is needed to work on the left
		if len(columns[c]) > 0 {
			columns[c] = append(columns[c], "")
		}
		columns[c] = append(columns[c], sec...)
	}
	left := columns[0]
	right := append(columns[1], "", "  Every key is saved at once, for good.")
	if m.w < helpColumns {
		return strings.Join(append(append(left, ""), right...), "\n")
	}
	var b strings.Builder
	for i := range max(len(left), len(right)) {
		var l, r string
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		b.WriteString(strings.TrimRight(fit(l, 40)+r, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// digitsHelp is what digits mean where no binding says it.
func (m *model) digitsHelp() []string {
	switch m.mode() {
	case Rank:
		return []string{fmt.Sprintf("  %-*s the next best answer", keyColumn, fmt.Sprintf("1–%d", m.answers()))}
	case Rate:
		return []string{fmt.Sprintf("  %-*s bad to good", keyColumn, fmt.Sprintf("1–%d", MaxRating))}
	}
	return nil
}

// helps says whether an act has a meaning in a mode.
func helps(a act, mode Mode) bool {
	if _, _, ok := preference(a); ok {
		return mode == Compare
	}
	switch a {
	case actTie:
		return mode == Compare || mode == Rank
	case actBothBad: // of one answer it means bad
		return mode != Rate
	case actGood, actBad:
		return mode == Single
	case actAxis:
		return mode == Rate
	case actConfirm:
		return mode == Rank || mode == Rate
	}
	return true
}

// helpColumns is the width from which the help has two columns.
const helpColumns = 80

// infoText is what was hidden while the choice was open.
func (m *model) infoText() string {
	t, sides := m.task, m.sides()
	var b strings.Builder
	fmt.Fprintf(&b, "Item %d\n", t.Item.Seq)
	fmt.Fprintf(&b, "  you chose     %s, %s\n", describe(*t.Judged, sides), say(t.Judged.Elapsed))
	if len(t.Item.Tags) > 0 {
		fmt.Fprintf(&b, "  tags          %s\n", visible(strings.Join(t.Item.Tags, ", ")))
	}
	if t.Item.Group != "" {
		fmt.Fprintf(&b, "  group         %s\n", visible(t.Item.Group))
	}
	for i, name := range sides {
		a := t.Answer(i)
		switch {
		case len(sides) == 1:
			b.WriteString("\nThe answer\n")
		case len(sides) == 2:
			fmt.Fprintf(&b, "\nThe %s answer\n", name)
		default:
			fmt.Fprintf(&b, "\nAnswer %s\n", name)
		}
		for _, ms := range t.Scores {
			if k := t.Shown[i]; k < len(ms.Scores) {
				fmt.Fprintf(&b, "  %-13s %.3f by %s\n", "score", ms.Scores[k], visible(ms.Model))
			}
		}
		for _, f := range [][2]string{{"model", a.Model}, {"source", a.Source}} {
			if f[1] != "" {
				fmt.Fprintf(&b, "  %-13s %s\n", f[0], visible(f[1]))
			}
		}
		text := a.String()
		fmt.Fprintf(&b, "  %-13s %d characters, %d words\n", "length", len([]rune(text)), len(strings.Fields(text)))
		if a.LogProb != nil {
			fmt.Fprintf(&b, "  %-13s %.2f nats\n", "log-prob", *a.LogProb)
		}
		if a.Seed != nil {
			fmt.Fprintf(&b, "  %-13s %d\n", "seed", *a.Seed)
		}
		if len(a.Meta) > 0 {
			fmt.Fprintf(&b, "  %-13s %s\n", "meta", visible(string(a.Meta)))
		}
	}
	return b.String()
}

func (m *model) overlayLines() []string {
	title := map[overlay]string{helpOverlay: "Keys", guideOverlay: "Guidelines", infoOverlay: "What was hidden", panelOverlay: "Labels of " + isolated(m.ss.Annotator())}[m.over]
	back := "any key goes back"
	if len(m.page.rows) > m.page.height {
		back = fmt.Sprintf("%s %s scroll, any other key goes back", m.keys.name(actDown), m.keys.name(actUp))
	}
	out := []string{m.rule(title+" · "+back, m.page.more(), true, m.w)}
	return append(out, m.indent(m.page.lines(&m.st.text))...)
}
