package chat

import (
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
