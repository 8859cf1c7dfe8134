package labeling

import (
	"regexp"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// document is a text as the screen shows it. Rendering keeps lines: line n of the document shows line n of the source, so
// that a place stays when the view changes to raw and back.
type document struct {
	text  string
	spans []span
}

// lineAt is the line with byte at of the text.
func (d document) lineAt(at int) int { return strings.Count(d.text[:min(at, len(d.text))], "\n") }

// placeOf is the byte where a line of the text begins.
func (d document) placeOf(line int) int {
	place := 0
	for range line {
		i := strings.IndexByte(d.text[place:], '\n')
		if i < 0 {
			return place
		}
		place += i + 1
	}
	return place
}

// documentOf shows a text that a model or a person wrote. Raw is the text as it is; else markdown is rendered: marks become
// emphasis, lists get bullets, tables are laid out. Lines stay lines and code stays as it is, so that each can be copied.
func documentOf(s string, raw bool) document {
	s = visible(s)
	if raw {
		return document{text: s}
	}
	r := renderer{}
	r.render(s)
	return r.document()
}

// promptDocument is a prompt as one text, with the names of who speaks, and the byte where reading should begin: the last
// thing the user said, as far as the rest leaves room.
func promptDocument(p Prompt, raw bool) (document, int) {
	if len(p.Messages) == 0 {
		return documentOf(p.Text, raw), 0
	}
	if len(p.Messages) == 1 && p.Messages[0].Role == "user" {
		return documentOf(p.Messages[0].Content, raw), 0
	}
	r, start := renderer{}, 0
	for i, m := range p.Messages {
		if i > 0 {
			r.line()
		}
		at := r.b.Len()
		if m.Role == "user" && i > 0 {
			start = at
		}
		r.styled("▌"+visible(m.Role), roleLook)
		r.line()
		if raw {
			for _, l := range strings.Split(visible(m.Content), "\n") {
				r.styled(l, plainLook)
				r.line()
			}
			continue
		}
		r.render(visible(m.Content))
	}
	return r.document(), start
}

// renderer writes a document line by line.
type renderer struct {
	b     strings.Builder
	spans []span
}

func (r *renderer) document() document {
	return document{strings.TrimSuffix(r.b.String(), "\n"), r.spans}
}

func (r *renderer) line() { r.b.WriteByte('\n') }

func (r *renderer) styled(s string, l look) {
	at := r.b.Len()
	r.b.WriteString(s)
	if l != plainLook && s != "" {
		r.spans = append(r.spans, span{at, r.b.Len(), l})
	}
}

var (
	headingLine = regexp.MustCompile(`^ {0,3}#{1,6} +(.*?)[ #]*$`)
	bulletLine  = regexp.MustCompile(`^(\s*)[-*+] +(.*)$`)
	quoteLine   = regexp.MustCompile(`^ {0,3}> ?(.*)$`)
	ruleLine    = regexp.MustCompile(`^ {0,3}(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})$`)
	tableRule   = regexp.MustCompile(`^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)+\|?\s*$|^\s*\|\s*:?-+:?\s*\|\s*$`)
)

func (r *renderer) render(s string) {
	lines := strings.Split(s, "\n")
	fence := ""
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		trimmed := strings.TrimLeft(l, " ")
		switch mark := fenceOf(trimmed); {
		case fence != "" && strings.HasPrefix(mark, fence) && strings.TrimSpace(trimmed[len(mark):]) == "":
			fence = ""
			r.styled("╌╌╌", faintLook)
		case fence != "":
			r.styled(l, codeLook)
		case mark != "" && !strings.Contains(trimmed[len(mark):], mark[:1]):
			fence = mark
			r.styled(strings.TrimRight("╌╌╌ "+strings.TrimSpace(trimmed[len(mark):]), " "), faintLook)
		case strings.Contains(l, "|") && i+1 < len(lines) && tableRule.MatchString(lines[i+1]):
			i += r.table(lines[i:]) - 1
			continue
		default:
			r.text(l)
		}
		r.line()
	}
}

// fenceOf is the fence a line begins with, "" for none.
func fenceOf(l string) string {
	for _, c := range []string{"`", "~"} {
		if n := len(l) - len(strings.TrimLeft(l, c)); n >= 3 {
			return l[:n]
		}
	}
	return ""
}

// text is a line that is neither code nor of a table.
func (r *renderer) text(l string) {
	if m := headingLine.FindStringSubmatch(l); m != nil && m[1] != "" {
		r.emphasised(m[1], strongLook)
		return
	}
	if ruleLine.MatchString(l) {
		r.styled("────────", faintLook)
		return
	}
	if m := quoteLine.FindStringSubmatch(l); m != nil {
		r.styled("▏ ", faintLook)
		r.inline(m[1])
		return
	}
	if m := bulletLine.FindStringSubmatch(l); m != nil {
		r.b.WriteString(m[1])
		switch rest := m[2]; {
		case strings.HasPrefix(rest, "[ ] "):
			r.b.WriteString("☐ ")
			r.inline(rest[4:])
		case strings.HasPrefix(rest, "[x] "), strings.HasPrefix(rest, "[X] "):
			r.b.WriteString("☑ ")
			r.inline(rest[4:])
		default:
			r.b.WriteString("• ")
			r.inline(rest)
		}
		return
	}
	r.inline(l)
}

// emphasised writes inline text in a look, under what it emphasises itself.
func (r *renderer) emphasised(s string, l look) {
	at, k := r.b.Len(), len(r.spans)
	r.inline(s)
	inner := append([]span{{at, r.b.Len(), l}}, r.spans[k:]...)
	r.spans = append(r.spans[:k:k], inner...)
}

// inline writes `code`, **strong**, *emphasis* and [links](address) of one line. A mark without its partner is text.
func (r *renderer) inline(s string) {
	for i := 0; i < len(s); {
		rest := s[i:]
		switch c := s[i]; {
		case c == '\\' && len(rest) > 1 && strings.IndexByte("\\`*_{}[]()#+-.!|~>", rest[1]) >= 0:
			r.b.WriteByte(rest[1])
			i += 2
			continue
		case c == '`':
			n := len(rest) - len(strings.TrimLeft(rest, "`"))
			if end := strings.Index(rest[n:], rest[:n]); end > 0 {
				r.styled(rest[n:n+end], codeLook)
				i += n + end + n
				continue
			}
			r.b.WriteString(rest[:n])
			i += n
			continue
		case c == '*' || c == '_':
			if n, inner, l := emphasis(s, i); n > 0 {
				r.emphasised(inner, l)
				i += n
				continue
			}
			n := len(rest) - len(strings.TrimLeft(rest, rest[:1]))
			r.b.WriteString(rest[:n])
			i += n
			continue
		case c == '[':
			if end := strings.Index(rest, "]("); end > 1 && !strings.ContainsAny(rest[1:end], "[]") {
				if stop := strings.IndexByte(rest[end:], ')'); stop > 2 {
					r.inline(rest[1:end])
					r.styled(" ("+rest[end+2:end+stop]+")", faintLook)
					i += end + stop + 1
					continue
				}
			}
		}
		r.b.WriteByte(s[i])
		i++
	}
}

// emphasis is the emphasised text that begins at byte i of s: how many bytes it takes with its marks, and its look. An
// underscore inside a word is no mark.
func emphasis(s string, i int) (n int, inner string, l look) {
	c := s[i]
	wordy := func(at int) bool {
		return at >= 0 && at < len(s) && (s[at] >= 0x80 || s[at] >= '0' && s[at] <= '9' || s[at]|0x20 >= 'a' && s[at]|0x20 <= 'z')
	}
	if c == '_' && wordy(i-1) {
		return 0, "", 0
	}
	mark, l := s[i:i+1], emLook
	if i+1 < len(s) && s[i+1] == c {
		mark, l = s[i:i+2], strongLook
	}
	from := i + len(mark)
	if from >= len(s) || s[from] == ' ' || s[from] == c {
		return 0, "", 0
	}
	for at := from + 1; at+len(mark) <= len(s); at++ {
		if s[at] == '`' { // what stands in code is no mark
			if end := strings.IndexByte(s[at+1:], '`'); end >= 0 {
				at += end + 1
			}
			continue
		}
		if s[at:at+len(mark)] != mark || s[at-1] == ' ' || s[at-1] == '\\' {
			continue
		}
		if len(mark) == 1 && (at+1 < len(s) && s[at+1] == c || s[at-1] == c) {
			continue
		}
		if c == '_' && wordy(at+len(mark)) {
			continue
		}
		return at + len(mark) - i, s[from:at], l
	}
	return 0, "", 0
}

// table lays out the table that lines begin with, and returns how many lines it takes.
func (r *renderer) table(lines []string) int {
	n := 2
	for n < len(lines) && strings.Contains(lines[n], "|") {
		n++
	}
	var rows [][]document
	var width []int
	for i, l := range lines[:n] {
		if i == 1 {
			rows = append(rows, nil)
			continue
		}
		var row []document
		for k, c := range cells(l) {
			cell := renderer{}
			if i == 0 {
				cell.emphasised(c, strongLook)
			} else {
				cell.inline(c)
			}
			row = append(row, cell.document())
			if k == len(width) {
				width = append(width, 0)
			}
			width[k] = max(width[k], ansi.StringWidth(row[k].text))
		}
		rows = append(rows, row)
	}
	align := cells(lines[1])
	for i, row := range rows {
		mark := ""
		if leftward(lines[i]) {
			mark = ltrMark // columns stand from left to right in any case
		}
		r.b.WriteString(mark)
		if i == 1 {
			var parts []string
			for _, w := range width {
				parts = append(parts, strings.Repeat("─", w))
			}
			r.styled(strings.Join(parts, "─┼─"), faintLook)
			r.line()
			continue
		}
		for k, cell := range row {
			if k > 0 {
				r.styled(mark+" │ "+mark, faintLook)
			}
			pad := width[k] - ansi.StringWidth(cell.text)
			before := 0
			if k < len(align) && strings.HasSuffix(align[k], ":") {
				before = pad
				if strings.HasPrefix(align[k], ":") {
					before = pad / 2
				}
			}
			r.b.WriteString(strings.Repeat(" ", before))
			at := r.b.Len()
			r.b.WriteString(cell.text)
			for _, sp := range cell.spans {
				r.spans = append(r.spans, span{at + sp.from, at + sp.to, sp.look})
			}
			if k < len(row)-1 {
				r.b.WriteString(strings.Repeat(" ", pad-before))
			}
		}
		r.line()
	}
	return n
}

// cells cuts a line of a table at its bars, but not at those with a backslash or in code.
func cells(l string) []string {
	l = strings.TrimSpace(l)
	l = strings.TrimPrefix(l, "|")
	if strings.HasSuffix(l, "|") && !strings.HasSuffix(l, `\|`) {
		l = l[:len(l)-1]
	}
	var out []string
	var cell strings.Builder
	code := false
	for i := 0; i < len(l); i++ {
		switch {
		case l[i] == '\\' && i+1 < len(l) && l[i+1] == '|':
			cell.WriteByte('|')
			i++
			continue
		case l[i] == '`':
			code = !code
		case l[i] == '|' && !code:
			out = append(out, strings.TrimSpace(cell.String()))
			cell.Reset()
			continue
		}
		cell.WriteByte(l[i])
	}
	return append(out, strings.TrimSpace(cell.String()))
}
