package labeling

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// tabWidth is the distance of tab stops, in cells.
const tabWidth = 4

// visible makes text safe to print: what a model wrote must not move the cursor, recolour the screen or reorder the line.
// Newlines and tabs stay, other control characters become their Unicode pictures, bidirectional overrides become their
// code points in brackets. The order of right-to-left letters is left to the terminal, within marks of our own (see isolates).
func visible(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r < 0x20:
			b.WriteRune(0x2400 + r)
		case r == 0x7f:
			b.WriteRune(0x2421)
		default:
			fmt.Fprintf(&b, "[U+%04X]", r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029:
		return true
	}
	return unicode.IsControl(r)
}

// look is a way a stretch of text is drawn.
type look int

const (
	plainLook  look = iota
	roleLook        // who speaks
	codeLook        // code
	strongLook      // headings, **strong**
	emLook          // *emphasis*
	faintLook       // fences, marks of markdown
	diffLook        // words the other answer does not have
	foundLook       // what was searched for
	looks
)

// looksOn are the terminal's codes (SGR) that switch each look on. lipgloss cannot draw these: it underlines rune by rune,
// which takes joined emoji and letters with their marks apart.
type looksOn [looks]string

// span is a stretch of a text, in bytes, with its look. Later spans of a list win.
type span struct {
	from, to int
	look     look
}

// row is one line on the screen: the bytes [from,to) of the text, after some cells of space.
type row struct{ from, to, indent int }

// cluster takes one grapheme cluster off the front of s: its length in bytes and its width in cells at column col.
func cluster(s string, col int) (size, width int) {
	if c := s[0]; c == '\t' {
		return 1, tabWidth - col%tabWidth
	} else if c >= 0x20 && c < 0x7f && (len(s) == 1 || s[1] < 0x80) {
		return 1, 1
	}
	g, w := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
	if len(g) == 0 { // cannot be for text made visible, but must not loop for ever
		return 1, 0
	}
	return len(g), w
}

// wrap lays a text out in rows at most width cells wide. Lines break after spaces and hyphens and around wide characters,
// and inside a word only when it does not fit a row by itself; spaces at a break hang over and are not shown.
func wrap(s string, width int) []row {
	width = max(width, 2) // a wide character must fit
	var rows []row
	for start := 0; start <= len(s); {
		end := strings.IndexByte(s[start:], '\n')
		if end < 0 {
			end = len(s)
		} else {
			end += start
		}
		rows = wrapLine(rows, s, start, end, width)
		start = end + 1
	}
	return rows
}

func wrapLine(rows []row, s string, start, end, width int) []row {
	mark, hang := listMark(s[start:end])
	if hang > width/3 {
		mark, hang = 0, 0
	}
	from, col, indent := start, 0, 0
	brk := -1 // where the row may be broken
	for i := start; i < end; {
		size, w := cluster(s[i:end], col)
		space := size == 1 && (s[i] == ' ' || s[i] == '\t') // a space with a mark on it is a letter
		if w > 1 && !space && i > from {
			brk = i // before a wide character
		}
		if col+w > width && !space && i > from {
			cut := brk
			if cut <= max(from, start+mark) {
				cut = i
			}
			rows = append(rows, row{from, cut, indent})
			from, brk, col, indent = cut, -1, hang, hang
			i = cut
			continue
		}
		i += size
		col += w
		if space || w > 1 || s[i-1] == '-' && i-2 >= from && s[i-2] != ' ' {
			brk = i
		}
	}
	return append(rows, row{from, end, indent})
}

// listMark is the mark that a line of a list or a quotation begins with, spaces included: its bytes and its cells. Where
// the line goes on in further rows, these are indented by as much.
func listMark(line string) (size, width int) {
	text := strings.TrimLeft(line, " ")
	lead := len(line) - len(text)
	for _, mark := range []string{"• ", "☐ ", "☑ ", "▏ ", "- ", "* "} {
		if strings.HasPrefix(text, mark) {
			return lead + len(mark), lead + 2
		}
	}
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits > 0 && digits < 4 && (strings.HasPrefix(text[digits:], ". ") || strings.HasPrefix(text[digits:], ") ")) {
		return lead + digits + 2, lead + digits + 2
	}
	return 0, 0
}

// paint draws a row: tabs become spaces, spans their styles, and the result is padded to width cells when pad is set.
func paint(s string, r row, spans []span, on *looksOn, width int, pad bool) string {
	var out, run strings.Builder
	spans = spansIn(spans, r)
	open, end := isolates(s, r, spans)
	out.WriteString(open)
	now := plainLook
	flush := func() {
		if run.Len() == 0 {
			return
		}
		if now == plainLook {
			out.WriteString(run.String())
		} else {
			out.WriteString("\x1b[" + on[now] + "m" + run.String() + "\x1b[0m")
		}
		run.Reset()
	}
	for r.to > r.from && s[r.to-1] == ' ' {
		r.to-- // spaces at a break hang over and would only be underlined
	}
	run.WriteString(strings.Repeat(" ", min(r.indent, width)))
	col, high := r.indent, false // high: the last byte drawn was not ASCII
	for i := r.from; i < r.to; {
		size, w := cluster(s[i:r.to], col)
		if col+w > width {
			break
		}
		l := plainLook
		for _, sp := range spans {
			if sp.from <= i && i < sp.to {
				l = sp.look
			}
		}
		if l != now {
			flush()
			now = l
		}
		if s[i] == '\t' {
			if high {
				flush()
				out.WriteString("\x1b[0m")
			}
			run.WriteString(strings.Repeat(" ", w))
			if i+1 < r.to && s[i+1] >= 0x80 { // a mark must not join the space before it, which was a tab when measured
				flush()
				out.WriteString("\x1b[0m")
			}
		} else {
			run.WriteString(s[i : i+size])
		}
		high = s[i+size-1] >= 0x80
		i += size
		col += w
	}
	flush()
	out.WriteString(end)
	if pad && col < width {
		if high {
			out.WriteString("\x1b[0m") // some letters would join the space after them into one cluster of another width
		}
		out.WriteString(strings.Repeat(" ", width-col))
	}
	return out.String()
}

// spansIn are the spans of a text that reach into a row, in their order.
func spansIn(spans []span, r row) []span {
	var out []span
	for _, sp := range spans {
		if sp.from < r.to && sp.to > r.from {
			out = append(out, sp)
		}
	}
	return out
}

// fit cuts a line (that may hold styles) to width cells and pads it.
func fit(s string, width int) string {
	if w := ansi.StringWidth(s); w > width {
		s = ansi.Truncate(s, width, "…")
	}
	if w := ansi.StringWidth(s); w < width {
		return s + strings.Repeat(" ", width-w)
	}
	return openEnded(s)
}
