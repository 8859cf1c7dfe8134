package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokData tokenKind = iota
	tokBlockBegin
	tokBlockEnd
	tokVarBegin
	tokVarEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
	tokEOF
)

type token struct {
	kind tokenKind
	text string // name, operator, decoded string or data
	num  float64
	n    int
	line int
}

func (t token) describe() string {
	switch t.kind {
	case tokData:
		return "text"
	case tokBlockBegin:
		return "'{%'"
	case tokBlockEnd:
		return "'%}'"
	case tokVarBegin:
		return "'{{'"
	case tokVarEnd:
		return "'}}'"
	case tokString:
		return "a string"
	case tokInt, tokFloat:
		return "a number"
	case tokEOF:
		return "the end of the template"
	}
	return "'" + t.text + "'"
}

// lexer cuts a template into tokens by Jinja's rules with trim_blocks and lstrip_blocks on: the newline after a
// block or comment is dropped, blanks between a line's start and a block or comment are dropped, "-" at a tag's
// edge drops all white space on that side, "+" keeps what would be dropped.
type lexer struct {
	src       string
	pos       int
	line      int
	lineStart bool // the last tag ended with a newline
	tokens    []token
}

func lex(source string) []token {
	source = strings.ToValidUTF8(source, "\uFFFD")
	source = strings.ReplaceAll(source, "\r\n", "\n")
	source = strings.ReplaceAll(source, "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(source, "\n"), line: 1, lineStart: true}
	for l.pos < len(l.src) {
		l.root()
	}
	l.emit(token{kind: tokEOF})
	return l.tokens
}

func (l *lexer) emit(t token) {
	t.line = l.line
	l.tokens = append(l.tokens, t)
}

// advance moves n bytes on.
func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

// root reads text up to the next tag, then the tag.
func (l *lexer) root() {
	at := nextTag(l.src[l.pos:])
	if at < 0 {
		l.data(l.src[l.pos:])
		l.advance(len(l.src) - l.pos)
		return
	}
	text, tag := l.src[l.pos:l.pos+at], l.src[l.pos+at+1]
	var sign byte
	if l.pos+at+2 < len(l.src) {
		if c := l.src[l.pos+at+2]; c == '-' || c == '+' {
			sign = c
		}
	}
	if sign == '-' {
		text = strings.TrimRightFunc(text, isSpace)
	} else if sign != '+' && tag != '{' {
		from := strings.LastIndexByte(text, '\n') + 1
		if (from > 0 || l.lineStart) && strings.TrimLeftFunc(text[from:], isSpace) == "" {
			text = text[:from]
		}
	}
	l.data(text)
	l.advance(at + 2)
	if sign != 0 {
		l.advance(1)
	}
	l.lineStart = false
	switch tag {
	case '#':
		l.comment()
	case '%':
		if !l.raw() {
			l.emit(token{kind: tokBlockBegin})
			l.inside(tokBlockEnd)
		}
	default:
		l.emit(token{kind: tokVarBegin})
		l.inside(tokVarEnd)
	}
}

func nextTag(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '{' || s[i+1] == '%' || s[i+1] == '#') {
			return i
		}
	}
	return -1
}

func (l *lexer) data(text string) {
	if text != "" {
		l.emit(token{kind: tokData, text: text})
	}
}

// tagEnd reports the length of the tag end close ("%}", "#}", "}}") at the current position, with the white space
// it swallows; 0 if there is none. Only blocks and comments swallow a newline without "-".
func (l *lexer) tagEnd(closing string) int {
	rest := l.src[l.pos:]
	switch {
	case strings.HasPrefix(rest, "-"+closing):
		after := rest[1+len(closing):]
		return len(rest) - len(strings.TrimLeftFunc(after, isSpace))
	case closing != "}}" && strings.HasPrefix(rest, "+"+closing):
		return 1 + len(closing)
	case strings.HasPrefix(rest, closing):
		n := len(closing)
		if closing != "}}" && strings.HasPrefix(rest[n:], "\n") {
			n++
		}
		return n
	}
	return 0
}

func (l *lexer) endTag(n int) {
	l.lineStart = l.src[l.pos+n-1] == '\n'
	l.advance(n)
}

func (l *lexer) comment() {
	start := l.line
	end := strings.Index(l.src[l.pos:], "#}")
	if end < 0 {
		fail(start, Syntax, "comment is not closed")
	}
	if end > 0 && strings.IndexByte("-+", l.src[l.pos+end-1]) >= 0 {
		end--
	}
	l.advance(end)
	l.endTag(l.tagEnd("#}"))
}

// raw handles {% raw %} … {% endraw %}; the position is behind "{%" and its sign.
func (l *lexer) raw() bool {
	mark := *l
	l.skipSpace()
	if !strings.HasPrefix(l.src[l.pos:], "raw") {
		l.pos, l.line = mark.pos, mark.line
		return false
	}
	l.advance(3)
	l.skipSpace()
	n := l.tagEnd("%}")
	if n == 0 || l.src[l.pos] == '+' {
		l.pos, l.line = mark.pos, mark.line
		return false
	}
	if l.src[l.pos] == '%' {
		n = 2 // the newline behind {% raw %} stays
	}
	l.endTag(n)
	start := l.line
	for at := l.pos; ; at += 2 {
		i := strings.Index(l.src[at:], "{%")
		if i < 0 {
			fail(start, Syntax, "raw block is not closed")
		}
		at += i
		rest := l.src[at+2:]
		sign := byte(0)
		if rest != "" && (rest[0] == '-' || rest[0] == '+') {
			sign, rest = rest[0], rest[1:]
		}
		rest = strings.TrimLeftFunc(rest, isSpace)
		if !strings.HasPrefix(rest, "endraw") {
			continue
		}
		rest = strings.TrimLeftFunc(rest[len("endraw"):], isSpace)
		text := l.src[l.pos:at]
		tail := lexer{src: l.src, pos: len(l.src) - len(rest)}
		n := tail.tagEnd("%}")
		if n == 0 {
			continue
		}
		if sign == '-' {
			text = strings.TrimRightFunc(text, isSpace)
		} else if from := strings.LastIndexByte(text, '\n') + 1; sign != '+' && (from > 0 || l.lineStart) &&
			strings.TrimLeftFunc(text[from:], isSpace) == "" {
			text = text[:from]
		}
		l.data(text)
		l.advance(tail.pos - l.pos)
		l.endTag(n)
		return true
	}
}

func (l *lexer) skipSpace() {
	rest := l.src[l.pos:]
	l.advance(len(rest) - len(strings.TrimLeftFunc(rest, isSpace)))
}

// operators, longest first.
var operators = [...]string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}

// inside reads the tokens of a tag up to and including its end.
func (l *lexer) inside(end tokenKind) {
	closing := "%}"
	if end == tokVarEnd {
		closing = "}}"
	}
	start := l.line
	var open []byte // closing brackets that are awaited; a tag does not end inside brackets
	for {
		if len(open) == 0 {
			if n := l.tagEnd(closing); n > 0 {
				l.emit(token{kind: end})
				l.endTag(n)
				return
			}
		}
		if l.pos >= len(l.src) {
			fail(start, Syntax, "tag is not closed by %q", closing)
		}
		c := l.src[l.pos]
		r, size := utf8.DecodeRuneInString(l.src[l.pos:])
		switch {
		case isSpace(r):
			l.advance(size)
		case c == '\'' || c == '"':
			l.quoted(c)
		case c >= '0' && c <= '9':
			l.number()
		case r == '_' || unicode.IsLetter(r):
			l.name()
		default:
			open = l.operator(open)
		}
	}
}

func (l *lexer) name() {
	rest := l.src[l.pos:]
	end := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(rest)
	}
	l.emit(token{kind: tokName, text: rest[:end]})
	l.advance(end)
}

func (l *lexer) operator(open []byte) []byte {
	for _, op := range operators {
		if !strings.HasPrefix(l.src[l.pos:], op) {
			continue
		}
		switch op {
		case "(":
			open = append(open, ')')
		case "[":
			open = append(open, ']')
		case "{":
			open = append(open, '}')
		case ")", "]", "}":
			if len(open) == 0 || open[len(open)-1] != op[0] {
				fail(l.line, Syntax, "unexpected %q", op)
			}
			open = open[:len(open)-1]
		}
		l.emit(token{kind: tokOp, text: op})
		l.advance(len(op))
		return open
	}
	r, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	fail(l.line, Syntax, "unexpected character %q", r)
	return nil
}
