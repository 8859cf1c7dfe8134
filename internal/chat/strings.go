package chat

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// upperTitle is the first character of a word in title case.
func upperTitle(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + s[size:]
}

func capitalize(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return upperTitle(s[:size]) + strings.ToLower(s[size:])
}

func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		first := !inWord
		inWord = unicode.IsLetter(r)
		if first {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// strip makes strip, lstrip or rstrip: of white space, or of any of the given characters.
func strip(trim func(string, func(rune) bool) string) stringMethod {
	return func(in *interp, s string, a args) any {
		b := in.bind("strip", a, "chars?")
		if !given(b[0]) || b[0] == nil {
			return trim(s, isSpace)
		}
		chars := in.text("strip", b[0])
		return trim(s, func(r rune) bool { return strings.ContainsRune(chars, r) })
	}
}

func split(name string) stringMethod {
	return func(in *interp, s string, a args) any {
		b := in.bind(name, a, "sep?", "maxsplit?")
		limit := -1
		if given(b[1]) {
			limit = in.int(name, b[1])
		}
		var parts []string
		if !given(b[0]) || b[0] == nil {
			parts = splitSpace(s, limit, name == "rsplit")
		} else {
			sep := in.text(name, b[0])
			if sep == "" {
				in.fail(Type, "empty separator")
			}
			parts = splitBy(s, sep, limit, name == "rsplit")
		}
		in.alloc(16 * len(parts))
		list := make([]any, len(parts))
		for i, p := range parts {
			list[i] = p
		}
		return list
	}
}

func splitBy(s, sep string, limit int, fromRight bool) []string {
	if limit < 0 {
		return strings.Split(s, sep)
	}
	if !fromRight {
		return strings.SplitN(s, sep, min(limit, len(s))+1)
	}
	var parts []string
	for ; limit > 0; limit-- {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts = append(parts, s[i+len(sep):])
		s = s[:i]
	}
	parts = append(parts, s)
	slices.Reverse(parts)
	return parts
}

// splitSpace cuts at runs of white space, at most limit times (< 0: always).
func splitSpace(s string, limit int, fromRight bool) []string {
	var parts []string
	if fromRight {
		for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
			i := strings.LastIndexFunc(s, isSpace)
			if i < 0 || limit == 0 {
				parts = append(parts, strings.TrimLeftFunc(s, isSpace))
				break
			}
			_, size := utf8.DecodeRuneInString(s[i:])
			parts = append(parts, s[i+size:])
			s = s[:i]
			limit--
		}
		slices.Reverse(parts)
		return parts
	}
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		i := strings.IndexFunc(s, isSpace)
		if i < 0 || limit == 0 {
			parts = append(parts, strings.TrimRightFunc(s, isSpace))
			break
		}
		parts = append(parts, s[:i])
		s = s[i:]
		limit--
	}
	return parts
}

func splitLines(in *interp, s string, a args) any {
	b := in.bind("splitlines", a, "keepends?")
	keep := given(b[0]) && truth(b[0])
	list := []any{}
	for s != "" {
		in.alloc(16)
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(list, s)
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
		}
		line := s[:i]
		if keep {
			line = s[:i+n]
		}
		list = append(list, line)
		s = s[i+n:]
	}
	return list
}

func partition(index func(s, sep string) int) stringMethod {
	return func(in *interp, s string, a args) any {
		sep := in.textArg("partition", a)
		if sep == "" {
			in.fail(Type, "empty separator")
		}
		i := index(s, sep)
		if i >= 0 {
			return tuple{s[:i], sep, s[i+len(sep):]}
		}
		if index("aa", "a") == 1 { // rpartition: the text is what is behind
			return tuple{"", "", s}
		}
		return tuple{s, "", ""}
	}
}

// affix makes startswith or endswith, of one string or any of a tuple's, in s[start:end].
func affix(name string, has func(s, part string) bool) stringMethod {
	return func(in *interp, s string, a args) any {
		b := in.bind(name, a, "affix", "start?", "end?")
		s = in.window(name, s, b[1], b[2])
		if parts, ok := b[0].(tuple); ok {
			return slices.ContainsFunc(parts, func(p any) bool { return has(s, in.text(name, p)) })
		}
		return has(s, in.text(name, b[0]))
	}
}

// window is s[start:end] by characters.
func (in *interp) window(fn, s string, start, end any) string {
	if !given(start) && !given(end) {
		return s
	}
	in.alloc(4 * len(s))
	runes := []rune(s)
	bound := func(v any, otherwise int) int {
		if !given(v) || v == nil {
			return otherwise
		}
		n := in.int(fn, v)
		if n < 0 {
			n = max(n+len(runes), 0)
		}
		return min(n, len(runes))
	}
	from, to := bound(start, 0), bound(end, len(runes))
	return string(runes[from:max(from, to)])
}

func find(name string, index func(s, sub string) int) stringMethod {
	return func(in *interp, s string, a args) any {
		b := in.bind(name, a, "sub", "start?", "end?")
		window := in.window(name, s, b[1], b[2])
		i := index(window, in.text(name, b[0]))
		if i < 0 {
			if strings.HasSuffix(name, "index") {
				in.fail(Type, "substring not found")
			}
			return -1
		}
		skipped := 0
		if given(b[1]) && b[1] != nil {
			skipped = in.int(name, b[1])
			if n := utf8.RuneCountInString(s); skipped < 0 {
				skipped = max(skipped+n, 0)
			}
		}
		return skipped + utf8.RuneCountInString(window[:i])
	}
}

func pad(name string) stringMethod {
	return func(in *interp, s string, a args) any {
		b := in.bind(name, a, "width", "fillchar?")
		fill := " "
		if given(b[1]) {
			fill = in.text(name, b[1])
		}
		width := in.width(name, b[0])
		n := max(0, width-utf8.RuneCountInString(s))
		left := 0
		switch name {
		case "rjust":
			left = n
		case "center": // Python puts the odd one left when the width is odd
			left = n/2 + n&width&1
		}
		return strings.Repeat(fill, left) + s + strings.Repeat(fill, n-left)
	}
}

// replace is Python's str.replace; count < 0: all.
func (in *interp) replace(s, from, to string, count int) string {
	n := strings.Count(s, from)
	if count >= 0 {
		n = min(n, count)
	}
	in.alloc(len(s))
	in.allocTimes(n, len(to))
	return strings.Replace(s, from, to, count)
}

// join is the items' texts with sep between them.
func (in *interp) join(of any, sep string, str func(any) string) string {
	var b strings.Builder
	next, _ := in.iterate(of)
	for i := 0; ; i++ {
		v, ok := next()
		if !ok {
			return b.String()
		}
		if i > 0 {
			in.alloc(len(sep))
			b.WriteString(sep)
		}
		t := str(v)
		in.alloc(len(t))
		b.WriteString(t)
	}
}
