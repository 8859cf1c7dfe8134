package chat

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// method binds a method of a str, dict, list or tuple. Methods that would change a value are forbidden.
func method(of any, name string) (any, bool) {
	switch v := of.(type) {
	case string, markup:
		s, _ := text(v)
		m := stringMethodOf(name)
		if m == nil {
			return nil, false
		}
		return &builtin{name, func(in *interp, a args) any {
			in.alloc(len(s)) // most return a string of about this size
			return m(in, s, a)
		}}, true
	case *dict:
		return dictMethod(v, name)
	case []any, tuple:
		items, _ := elements(v)
		switch name {
		case "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove":
			if _, ok := v.([]any); ok {
				return forbidden(of, name), true
			}
		case "copy":
			return &builtin{name, func(*interp, args) any { return of }}, true
		case "index", "count":
			return &builtin{name, func(in *interp, a args) any {
				want := in.bind(name, a, "value")[0]
				n := 0
				for i, item := range items {
					if in.equal(item, want) {
						if name == "index" {
							return i
						}
						n++
					}
				}
				if name == "index" {
					in.fail(Type, "%s is not in list", in.repr(want))
				}
				return n
			}}, true
		}
	}
	return nil, false
}

func dictMethod(d *dict, name string) (any, bool) {
	var call func(in *interp, a args) any
	switch name {
	case "get":
		call = func(in *interp, a args) any {
			if len(a.names) > 0 {
				in.fail(Type, "dict.get() takes no keyword arguments")
			}
			b := in.bind(name, a, "key", "default?")
			if v, ok := d.get(in.hashKey(b[0])); ok {
				return v
			}
			if given(b[1]) {
				return b[1]
			}
			return nil
		}
	case "items", "keys", "values":
		call = func(in *interp, a args) any {
			in.bind(name, a)
			return in.view(d, name)
		}
	case "copy":
		call = func(in *interp, a args) any { return d }
	case "clear", "pop", "popitem", "setdefault", "update":
		return forbidden(d, name), true
	default:
		return nil, false
	}
	return &builtin{name, call}, true
}

func (in *interp) view(d *dict, kind string) *view {
	v := &view{kind: kind}
	switch kind {
	case "keys":
		v.items = d.keys
	case "values":
		v.items = d.values
	default:
		in.alloc(64 * len(d.keys))
		for i, key := range d.keys {
			v.items = append(v.items, tuple{key, d.values[i]})
		}
	}
	return v
}

type stringMethod func(in *interp, s string, a args) any

// plain wraps a method without arguments.
func plain(f func(string) string) stringMethod {
	return func(in *interp, s string, a args) any {
		in.bind("str method", a)
		return f(s)
	}
}

// all wraps a test of all characters, false for "".
func all(f func(rune) bool) stringMethod {
	return func(in *interp, s string, a args) any {
		in.bind("str method", a)
		for _, r := range s {
			if !f(r) {
				return false
			}
		}
		return s != ""
	}
}

// stringMethodOf is the table of str's methods; nil: there is none of that name.
func stringMethodOf(name string) stringMethod {
	switch name {
	case "upper":
		return plain(strings.ToUpper)
	case "lower":
		return plain(strings.ToLower)
	case "casefold":
		return plain(strings.ToLower)
	case "capitalize":
		return plain(capitalize)
	case "title":
		return plain(title)
	case "swapcase":
		return plain(swapCase)
	case "strip":
		return strip(strings.TrimFunc)
	case "lstrip":
		return strip(strings.TrimLeftFunc)
	case "rstrip":
		return strip(strings.TrimRightFunc)
	case "split":
		return split("split")
	case "rsplit":
		return split("rsplit")
	case "splitlines":
		return splitLines
	case "partition":
		return partition(strings.Index)
	case "rpartition":
		return partition(strings.LastIndex)
	case "startswith":
		return affix("startswith", strings.HasPrefix)
	case "endswith":
		return affix("endswith", strings.HasSuffix)
	case "removeprefix":
		return func(in *interp, s string, a args) any {
			return strings.TrimPrefix(s, in.textArg("removeprefix", a))
		}
	case "removesuffix":
		return func(in *interp, s string, a args) any {
			return strings.TrimSuffix(s, in.textArg("removesuffix", a))
		}
	case "replace":
		return func(in *interp, s string, a args) any {
			b := in.bind("replace", a, "old", "new", "count?")
			count := -1
			if given(b[2]) {
				count = in.int("replace", b[2])
			}
			return in.replace(s, in.text("replace", b[0]), in.text("replace", b[1]), count)
		}
	case "find":
		return find("find", strings.Index)
	case "rfind":
		return find("rfind", strings.LastIndex)
	case "index":
		return find("index", strings.Index)
	case "rindex":
		return find("rindex", strings.LastIndex)
	case "count":
		return func(in *interp, s string, a args) any {
			return strings.Count(s, in.textArg("count", a))
		}
	case "join":
		return func(in *interp, s string, a args) any {
			return in.join(in.bind("join", a, "iterable")[0], s, func(v any) string {
				t, ok := text(v)
				if !ok {
					in.fail(Type, "sequence item: expected str instance, %s found", typeName(v))
				}
				return t
			})
		}
	case "format":
		return func(in *interp, s string, a args) any { return in.formatBraces(s, a) }
	case "center":
		return pad("center")
	case "ljust":
		return pad("ljust")
	case "rjust":
		return pad("rjust")
	case "zfill":
		return func(in *interp, s string, a args) any {
			width := in.width("zfill", in.bind("zfill", a, "width")[0])
			fill := strings.Repeat("0", max(0, width-utf8.RuneCountInString(s)))
			if s != "" && (s[0] == '-' || s[0] == '+') {
				return s[:1] + fill + s[1:]
			}
			return fill + s
		}
	case "isalpha":
		return all(unicode.IsLetter)
	case "isdigit":
		return all(unicode.IsDigit)
	case "isdecimal":
		return all(unicode.IsDigit)
	case "isnumeric":
		return all(unicode.IsNumber)
	case "isalnum":
		return all(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	case "isspace":
		return all(isSpace)
	case "isupper":
		return func(in *interp, s string, a args) any {
			return s != strings.ToLower(s) && s == strings.ToUpper(s)
		}
	case "islower":
		return func(in *interp, s string, a args) any {
			return s != strings.ToUpper(s) && s == strings.ToLower(s)
		}
	case "isascii":
		return func(in *interp, s string, a args) any {
			return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		}
	}
	return nil
}

// text, textArg, int and width convert arguments or end rendering.
func (in *interp) text(fn string, v any) string {
	s, ok := text(v)
	if !ok {
		in.defined(v)
		in.fail(Type, "%s() wants a string, not %s", fn, typeName(v))
	}
	return s
}

func (in *interp) textArg(fn string, a args) string { return in.text(fn, in.bind(fn, a, "value")[0]) }

func (in *interp) int(fn string, v any) int {
	n, ok := integer(v)
	if !ok {
		in.defined(v)
		in.fail(Type, "%s() wants an integer, not %s", fn, typeName(v))
	}
	return n
}

func (in *interp) width(fn string, v any) int {
	n := in.int(fn, v)
	if n > maxFormatFields {
		in.fail(Limit, "%s() to a width of %d", fn, n)
	}
	return n
}

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
