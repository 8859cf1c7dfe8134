package chat

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// number reads 12, 1_000, 0x1f, 0b1, 0o7, 1.5, 2e3; "1.x" is the integer 1 and an attribute.
func (l *lexer) number() {
	rest := l.src[l.pos:]
	digits := func(i int) int {
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '_' && i+1 < len(rest) && rest[i+1] >= '0' && rest[i+1] <= '9') {
			i++
		}
		return i
	}
	end := digits(0)
	isFloat := false
	if len(rest) > 2 && rest[0] == '0' && strings.IndexByte("xXbBoO", rest[1]) >= 0 {
		end = 2
		for end < len(rest) && (rest[end] == '_' || rest[end] < utf8.RuneSelf && (unicode.IsDigit(rune(rest[end])) || unicode.IsLetter(rune(rest[end])))) {
			end++
		}
	} else {
		afterDot := len(l.tokens) > 0 && l.tokens[len(l.tokens)-1].text == "." && l.tokens[len(l.tokens)-1].kind == tokOp
		if end+1 < len(rest) && rest[end] == '.' && rest[end+1] >= '0' && rest[end+1] <= '9' && !afterDot {
			end, isFloat = digits(end+1), true
		}
		if end < len(rest) && (rest[end] == 'e' || rest[end] == 'E') && !afterDot {
			i := end + 1
			if i < len(rest) && (rest[i] == '+' || rest[i] == '-') {
				i++
			}
			if j := digits(i); j > i {
				end, isFloat = j, true
			}
		}
	}
	text := strings.ReplaceAll(rest[:end], "_", "")
	t := token{kind: tokInt}
	var err error
	if isFloat {
		t.kind = tokFloat
		t.num, err = strconv.ParseFloat(text, 64)
	} else {
		var n int64
		base := 10
		if len(text) > 2 && text[0] == '0' && text[1] > '9' {
			base = 0
		}
		n, err = strconv.ParseInt(text, base, 64)
		t.n = int(n)
	}
	if err != nil {
		fail(l.line, Syntax, "number %q is out of range", text)
	}
	l.emit(t)
	l.advance(end)
}

// quoted reads a string with Python's escapes.
func (l *lexer) quoted(quote byte) {
	var b strings.Builder
	i := l.pos + 1
	for {
		if i >= len(l.src) {
			fail(l.line, Syntax, "string is not closed")
		}
		c := l.src[i]
		if c == quote {
			break
		}
		if c == '\\' && i+1 < len(l.src) {
			i = unescape(&b, l.src, i+1)
			continue
		}
		b.WriteByte(c)
		i++
	}
	l.emit(token{kind: tokString, text: b.String()})
	l.advance(i + 1 - l.pos)
}

// unescape writes the escape whose letter is src[i] and returns the position behind it.
func unescape(b *strings.Builder, src string, i int) int {
	c := src[i]
	const plain = "\n\\'\"abfnrtv"
	const meaning = "\x00\\'\"\a\b\f\n\r\t\v"
	if k := strings.IndexByte(plain, c); k >= 0 {
		if k > 0 { // an escaped newline is no text at all
			b.WriteByte(meaning[k])
		}
		return i + 1
	}
	width, base := 0, 16
	switch {
	case c == 'x':
		width = 2
	case c == 'u':
		width = 4
	case c == 'U':
		width = 8
	case c >= '0' && c <= '7':
		base = 8
		for width < 3 && i+width < len(src) && src[i+width] >= '0' && src[i+width] <= '7' {
			width++
		}
		i--
	}
	if width > 0 && i+1+width <= len(src) {
		if n, err := strconv.ParseUint(src[i+1:i+1+width], base, 32); err == nil && n <= unicode.MaxRune {
			b.WriteRune(rune(n))
			return i + 1 + width
		}
	}
	if base == 8 {
		i++
	}
	b.WriteByte('\\')
	_, size := utf8.DecodeRuneInString(src[i:])
	b.WriteString(src[i : i+size])
	return i + size
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}
