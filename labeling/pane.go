package labeling

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// pane is a text in a rectangle, scrolled. Its place is a byte of the text, not a row: whatever the width becomes, the row
// with that byte is on top.
type pane struct {
	text          string // of doc
	doc           document
	spans         []span // of doc, of the differences and of the search
	rows          []row
	width, height int
	anchor        int
}

func (p *pane) set(doc document, anchor int) {
	*p = pane{text: doc.text, doc: doc, anchor: anchor, width: p.width, height: p.height}
}

// wrapTo lays the text out for a width; the height is given later, when all panes' needs are known.
func (p *pane) wrapTo(width int) {
	if p.rows == nil || width != p.width {
		p.width, p.rows = width, wrap(p.text, width)
	}
}

// top is the first row shown.
func (p *pane) top() int {
	t := 0
	for i, r := range p.rows {
		if r.from > p.anchor {
			break
		}
		t = i
	}
	return max(0, min(t, len(p.rows)-p.height))
}

// scroll moves by rows.
func (p *pane) scroll(by int) {
	if len(p.rows) == 0 {
		return
	}
	t := max(0, min(p.top()+by, len(p.rows)-p.height, len(p.rows)-1))
	p.anchor = p.rows[t].from
}

// seek brings the row with a byte of the text into view.
func (p *pane) seek(at int) {
	for i, r := range p.rows {
		if at <= r.to {
			if t := p.top(); i < t || i >= t+p.height {
				p.anchor = p.rows[max(0, i-p.height/3)].from
			}
			return
		}
	}
}

// more says how many rows are out of view above and below.
func (p *pane) more() string {
	t := p.top()
	below := len(p.rows) - t - p.height
	var parts []string
	if t > 0 {
		parts = append(parts, fmt.Sprintf("↑%d", t))
	}
	if below > 0 {
		parts = append(parts, fmt.Sprintf("↓%d", below))
	}
	return strings.Join(parts, " ")
}

// lines draws the rows in view, each padded to the pane's width; rows past the end are blank.
func (p *pane) lines(on *looksOn) []string {
	out := make([]string, p.height)
	t := p.top()
	for i := range out {
		if t+i < len(p.rows) {
			out[i] = paint(p.text, p.rows[t+i], p.spans, on, p.width, true)
		} else {
			out[i] = strings.Repeat(" ", p.width)
		}
	}
	return out
}

// editor is one line of text being typed.
type editor struct {
	label string
	text  []rune
	at    int
}

func newEditor(label, text string) *editor {
	r := []rune(text)
	return &editor{label: label, text: r, at: len(r)}
}

func (e *editor) insert(rs []rune) {
	var clean []rune
	for _, r := range rs {
		if r == '\n' || r == '\t' || r == '\r' {
			r = ' '
		}
		if !hidden(r) {
			clean = append(clean, r)
		}
	}
	e.text = append(e.text[:e.at:e.at], append(clean, e.text[e.at:]...)...)
	e.at += len(clean)
}

// key edits; it reports whether the key meant anything.
func (e *editor) key(k string) bool {
	switch k {
	case "backspace", "ctrl+h":
		if e.at > 0 {
			from := e.before()
			e.text = append(e.text[:from:from], e.text[e.at:]...)
			e.at = from
		}
	case "delete", "ctrl+d":
		if e.at < len(e.text) {
			to := e.after()
			e.text = append(e.text[:e.at:e.at], e.text[to:]...)
		}
	case "left", "ctrl+b":
		e.at = e.before()
	case "right", "ctrl+f":
		e.at = e.after()
	case "home", "ctrl+a":
		e.at = 0
	case "end", "ctrl+e":
		e.at = len(e.text)
	case "ctrl+u":
		e.text, e.at = e.text[e.at:], 0
	case "ctrl+k":
		e.text = e.text[:e.at]
	case "ctrl+w":
		from := e.at
		for from > 0 && e.text[from-1] == ' ' {
			from--
		}
		for from > 0 && e.text[from-1] != ' ' {
			from--
		}
		e.text = append(e.text[:from:from], e.text[e.at:]...)
		e.at = from
	default:
		return false
	}
	return true
}

// before and after are the ends of the grapheme cluster left and right of the cursor.
func (e *editor) before() int {
	last := 0
	for i := 0; i < e.at; {
		last = i
		size, _ := cluster(string(e.text[i:]), 0)
		i += len([]rune(string(e.text[i:])[:size]))
	}
	return last
}

func (e *editor) after() int {
	if e.at >= len(e.text) {
		return len(e.text)
	}
	rest := string(e.text[e.at:])
	size, _ := cluster(rest, 0)
	return e.at + len([]rune(rest[:size]))
}

// view draws the line with its cursor in reverse, the part around the cursor when it does not fit.
func (e *editor) view(width int, cursor lipgloss.Style) string {
	left, under, right := string(e.text[:e.at]), " ", ""
	if e.at < len(e.text) {
		to := e.after()
		under, right = string(e.text[e.at:to]), string(e.text[to:])
	}
	room := width - lipgloss.Width(e.label) - 4
	for lipgloss.Width(left) > room && left != "" {
		size, _ := cluster(left, 0)
		left = left[size:]
	}
	open, end := "", ""
	if leftward(left + under + right) {
		open, end = anyIsolate, endIsolate
	}
	return fit(e.label+": "+open+left+cursor.Render(under)+right+end, width)
}
