package chat

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

type filterFunc func(in *interp, v any, a args) any

// applyFilter is of|name(args).
func (in *interp) applyFilter(n *filterExpr, of any, s *scope) any {
	a := in.arguments(n.args, s)
	in.line = n.line
	return in.runFilter(n.name, of, a)
}

func (in *interp) runFilter(name string, of any, a args) any {
	in.step()
	f := filterOf(name)
	if f == nil {
		in.fail(Runtime, "no filter named %q", name)
	}
	return f(in, of, a)
}

// filtered applies the chain of filters of a filter or set block.
func (in *interp) filtered(chain expr, text any, s *scope) any {
	n, ok := chain.(*filterExpr)
	if !ok {
		return text
	}
	return in.applyFilter(n, in.filtered(n.of, text, s), s)
}

// onText wraps a filter from text to text.
func onText(name string, f func(string) string) filterFunc {
	return func(in *interp, v any, a args) any {
		in.bind(name, a)
		s := in.str(v)
		in.alloc(len(s))
		return likeOf(v, f(s))
	}
}

// filterOf is the table of filters; nil: there is none of that name. Those that work on items are in sequences.go.
func filterOf(name string) filterFunc {
	switch name {
	case "tojson":
		return toJSONFilter
	case "trim":
		return func(in *interp, v any, a args) any {
			return likeOf(v, strip(strings.TrimFunc)(in, in.str(v), a).(string))
		}
	case "upper":
		return onText(name, strings.ToUpper)
	case "lower":
		return onText(name, strings.ToLower)
	case "capitalize":
		return onText(name, capitalize)
	case "title":
		return onText(name, titleWords)
	case "string":
		return func(in *interp, v any, a args) any { return likeOf(v, in.str(v)) }
	case "safe":
		return func(in *interp, v any, a args) any { return markup(in.str(v)) }
	case "escape", "e":
		return func(in *interp, v any, a args) any {
			if m, ok := v.(markup); ok {
				return m
			}
			return markup(in.escape(in.str(v)))
		}
	case "forceescape":
		return func(in *interp, v any, a args) any { return markup(in.escape(in.str(v))) }
	case "default", "d":
		return defaultFilter
	case "replace":
		return replaceFilter
	case "indent":
		return indentFilter
	case "format":
		return func(in *interp, v any, a args) any {
			var values any = tuple(a.pos)
			if len(a.named) > 0 {
				d := newDict()
				for i, name := range a.names {
					d.setString(name, a.named[i])
				}
				values = d
			}
			return likeOf(v, in.formatPercent(in.str(v), values))
		}
	case "center":
		return func(in *interp, v any, a args) any {
			width := in.bind(name, a, "width?")[0]
			if !given(width) {
				width = 80
			}
			return likeOf(v, pad(name)(in, in.str(v), args{pos: []any{width}}).(string))
		}
	case "truncate":
		return truncateFilter
	case "wordcount":
		return func(in *interp, v any, a args) any {
			return len(strings.FieldsFunc(in.str(v), func(r rune) bool {
				return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r)
			}))
		}
	case "urlencode":
		return func(in *interp, v any, a args) any { return urlEncode(in.str(v)) }
	case "int":
		return intFilter
	case "float":
		return floatFilter
	case "abs":
		return func(in *interp, v any, a args) any {
			in.defined(v)
			if n, ok := integer(v); ok {
				return abs(n)
			}
			f, ok := float(v)
			if !ok {
				in.fail(Type, "bad operand type for abs(): '%s'", typeName(v))
			}
			return math.Abs(f)
		}
	case "round":
		return roundFilter
	}
	return sequenceFilterOf(name)
}

func defaultFilter(in *interp, v any, a args) any {
	b := in.bind("default", a, "default_value?", "boolean?")
	_, undef := v.(*undefined)
	if undef || given(b[1]) && truth(b[1]) && !truth(v) {
		if given(b[0]) {
			return b[0]
		}
		return ""
	}
	return v
}

func replaceFilter(in *interp, v any, a args) any {
	b := in.bind("replace", a, "old", "new", "count?")
	count := -1
	if given(b[2]) && b[2] != nil {
		count = in.int("replace", b[2])
	}
	return in.replace(in.str(v), in.str(b[0]), in.str(b[1]), count)
}

// indentFilter puts a margin before each line but the first; blank lines stay blank unless blank is true.
func indentFilter(in *interp, v any, a args) any {
	b := in.bind("indent", a, "width?", "first?", "blank?")
	margin := "    "
	if given(b[0]) {
		if s, ok := text(b[0]); ok {
			margin = s
		} else {
			margin = strings.Repeat(" ", max(0, in.width("indent", b[0])))
		}
	}
	first := given(b[1]) && truth(b[1])
	blank := given(b[2]) && truth(b[2])
	s := in.text("indent", v) + "\n" // as Jinja does, so that a last line that is empty counts
	in.allocTimes(strings.Count(s, "\n")+1, len(margin))
	in.alloc(len(s))
	var out strings.Builder
	for i, line := range splitLines(in, s, args{}).([]any) {
		line := line.(string)
		if i > 0 {
			out.WriteByte('\n')
		}
		if i == 0 && first || i > 0 && (line != "" || blank) {
			out.WriteString(margin)
		}
		out.WriteString(line)
	}
	return likeOf(v, out.String())
}

func truncateFilter(in *interp, v any, a args) any {
	b := in.bind("truncate", a, "length?", "killwords?", "end?", "leeway?")
	number := func(v any, otherwise int) int {
		if !given(v) || v == nil {
			return otherwise
		}
		return in.int("truncate", v)
	}
	s, end := in.str(v), "..."
	if given(b[2]) {
		end = in.text("truncate", b[2])
	}
	length, leeway := number(b[0], 255), number(b[3], 5)
	in.alloc(4 * len(s))
	runes, tail := []rune(s), len([]rune(end))
	if len(runes) <= length+leeway {
		return v
	}
	if length < tail {
		in.fail(Type, "truncate() to %d characters, fewer than its end has", length)
	}
	s = string(runes[:length-tail])
	if !(given(b[1]) && truth(b[1])) {
		if i := strings.LastIndexByte(s, ' '); i >= 0 {
			s = s[:i]
		}
	}
	return s + end
}

func urlEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.-~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

func intFilter(in *interp, v any, a args) any {
	b := in.bind("int", a, "default?", "base?")
	in.defined(v)
	var otherwise any = 0
	if given(b[0]) {
		otherwise = b[0]
	}
	if s, ok := text(v); ok {
		base := 10
		if given(b[1]) {
			base = in.int("int", b[1])
		}
		s = strings.ReplaceAll(strings.TrimFunc(s, isSpace), "_", "")
		digits := s
		for prefix, of := range map[string]int{"0x": 16, "0o": 8, "0b": 2} {
			if rest, ok := strings.CutPrefix(strings.ToLower(s), prefix); ok && (base == of || base == 0) {
				digits, base = rest, of
			}
		}
		if base < 0 || base == 1 || base > 36 {
			in.fail(Type, "int() base must be 0 or from 2 to 36, not %d", base)
		}
		if n, err := strconv.ParseInt(digits, base, 64); err == nil {
			return int(n)
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return otherwise
		}
		v = f
	}
	if n, ok := integer(v); ok {
		return n
	}
	f, ok := float(v)
	if !ok || math.IsNaN(f) || math.Abs(f) >= 1<<63 {
		return otherwise
	}
	return int(f)
}

func floatFilter(in *interp, v any, a args) any {
	b := in.bind("float", a, "default?")
	in.defined(v)
	if s, ok := text(v); ok {
		if f, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimFunc(s, isSpace), "_", ""), 64); err == nil {
			return f
		}
	} else if f, ok := float(v); ok {
		return f
	}
	if given(b[0]) {
		return b[0]
	}
	return 0.0
}

// roundFilter rounds half to even as Python's round does, or up (ceil) or down (floor), to precision decimals.
func roundFilter(in *interp, v any, a args) any {
	b := in.bind("round", a, "precision?", "method?")
	in.defined(v)
	precision, method := 0, "common"
	if given(b[0]) {
		precision = in.int("round", b[0])
	}
	if given(b[1]) {
		method = in.text("round", b[1])
	}
	f, ok := float(v)
	if !ok {
		in.fail(Type, "round() wants a number, not %s", typeName(v))
	}
	if precision < -300 || precision > 300 {
		in.fail(Limit, "round() to %d decimals", precision)
	}
	scale := math.Pow(10, float64(precision))
	switch method {
	case "common":
		if n, ok := integer(v); ok && precision >= 0 {
			return n
		}
		if precision < 0 {
			return math.RoundToEven(f*scale) / scale
		}
		r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', precision, 64), 64)
		if err != nil {
			return f
		}
		return r
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	}
	in.fail(Type, "round() has no method %q", method)
	return nil
}

// titleWords is Jinja's title: a word begins behind white space, "-" or an opening bracket.
func titleWords(s string) string {
	begins := true
	return strings.Map(func(r rune) rune {
		first := begins
		begins = isSpace(r) || strings.ContainsRune("-({[<", r)
		if first {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}
