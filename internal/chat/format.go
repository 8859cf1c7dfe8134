package chat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatPercent is Python's s % values for the conversions s r d i u f F e E g G x X o c and %.
func (in *interp) formatPercent(s string, values any) string {
	var b strings.Builder
	items, isTuple := values.(tuple)
	if !isTuple {
		items = tuple{values}
	}
	used := 0
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			i = len(s)
		}
		in.alloc(i)
		b.WriteString(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		s = s[1:]
		var value any
		named := false
		if strings.HasPrefix(s, "(") {
			end := strings.IndexByte(s, ')')
			d, ok := values.(*dict)
			if end < 0 || !ok {
				in.fail(Type, "format requires a mapping")
			}
			key := s[1:end]
			if value, ok = d.getString(key); !ok {
				in.fail(Type, "format: no key %q", key)
			}
			s, named = s[end+1:], true
		}
		spec := s[:len(s)-len(strings.TrimLeft(s, "0123456789.+- #"))]
		s = s[len(spec):]
		if s == "" {
			in.fail(Type, "incomplete format")
		}
		verb := s[0]
		s = s[1:]
		if verb == '%' {
			b.WriteByte('%')
			continue
		}
		if !named {
			if used == len(items) {
				in.fail(Type, "not enough arguments for format string")
			}
			value = items[used]
			used++
		}
		in.formatOne(&b, spec, verb, value)
	}
	if _, isDict := values.(*dict); used < len(items) && !isDict {
		in.fail(Type, "not all arguments converted during string formatting")
	}
	return b.String()
}

func (in *interp) formatOne(b *strings.Builder, spec string, verb byte, v any) {
	in.fieldWidths(spec)
	var out string
	switch verb {
	case 's', 'r':
		t := ""
		if verb == 's' {
			t = in.str(v)
		} else {
			t = in.repr(v)
		}
		out = fmt.Sprintf("%"+strings.Trim(spec, "+ #")+"s", t)
	case 'd', 'i', 'u':
		f, ok := float(v)
		n, isInt := integer(v)
		if !isInt {
			n = int(f)
		}
		if !ok {
			in.defined(v)
			in.fail(Type, "%%d format: a number is required, not %s", typeName(v))
		}
		out = fmt.Sprintf("%"+spec+"d", n)
	case 'x', 'X', 'o':
		out = fmt.Sprintf("%"+spec+string(verb), in.int("%"+string(verb), v))
	case 'f', 'F', 'e', 'E', 'g', 'G':
		f, ok := float(v)
		if !ok {
			in.defined(v)
			in.fail(Type, "must be real number, not %s", typeName(v))
		}
		if !strings.Contains(spec, ".") {
			spec += ".6"
		}
		out = fmt.Sprintf("%"+spec+string(verb), f)
	case 'c':
		if n, ok := integer(v); ok {
			v = string(rune(n))
		}
		out = in.text("%c", v)
	default:
		in.fail(Type, "unsupported format character %q", verb)
	}
	in.alloc(len(out))
	b.WriteString(out)
}

// fieldWidths bounds the numbers in a format.
func (in *interp) fieldWidths(spec string) {
	for part := range strings.FieldsFuncSeq(spec, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(part); err != nil || n > maxFormatFields {
			in.fail(Limit, "format field of width %s", part)
		}
	}
}

// formatBraces is str.format for {}, {0}, {name}, attributes and items behind them, !r and !s, and the
// fill, align, sign, width, "," and precision of format specifications.
func (in *interp) formatBraces(s string, a args) string {
	var b strings.Builder
	auto := 0
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			i = len(s)
		}
		in.alloc(i)
		b.WriteString(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		if strings.HasPrefix(s, "{{") || strings.HasPrefix(s, "}}") {
			b.WriteByte(s[0])
			s = s[2:]
			continue
		}
		end := strings.IndexByte(s, '}')
		if s[0] == '}' || end < 0 {
			in.fail(Type, "single '%c' encountered in format string", s[0])
		}
		field := s[1:end]
		s = s[end+1:]
		name, spec, _ := strings.Cut(field, ":")
		name, conversion, _ := strings.Cut(name, "!")
		v := in.formatField(name, a, &auto)
		switch conversion {
		case "":
		case "r":
			v = in.repr(v)
		case "s":
			v = in.str(v)
		default:
			in.fail(Type, "unknown conversion %q", conversion)
		}
		out := in.formatSpec(v, spec)
		in.alloc(len(out))
		b.WriteString(out)
	}
	return b.String()
}

func (in *interp) formatField(name string, a args, auto *int) any {
	rest := strings.TrimLeftFunc(name, func(r rune) bool { return r != '.' && r != '[' })
	first := name[:len(name)-len(rest)]
	var v any
	n, err := strconv.Atoi(first)
	switch {
	case first == "":
		n = *auto
		*auto++
		fallthrough
	case err == nil:
		if n < 0 || n >= len(a.pos) {
			in.fail(Type, "replacement index %d out of range for positional arguments", n)
		}
		v = a.pos[n]
	default:
		found := false
		for i, key := range a.names {
			if key == first {
				v, found = a.named[i], true
			}
		}
		if !found {
			in.fail(Type, "format: no argument %q", first)
		}
	}
	for rest != "" {
		in.step()
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			v = in.attr(v, rest[1:end])
			rest = rest[end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			in.fail(Type, "expected ']' in format field")
		}
		var key any = rest[1:end]
		if n, err := strconv.Atoi(rest[1:end]); err == nil {
			key = n
		}
		v = in.item(v, key)
		rest = rest[end+1:]
		if rest != "" && rest[0] != '.' && rest[0] != '[' {
			in.fail(Type, "only '.' or '[' may follow ']' in format field")
		}
	}
	return v
}

// formatSpec is format(v, spec): [[fill]align][sign][0][width][,][.precision][type].
func (in *interp) formatSpec(v any, spec string) string {
	if spec == "" {
		return in.str(v)
	}
	fill, align := " ", byte(0)
	_, size := utf8.DecodeRuneInString(spec)
	if len(spec) > size && strings.IndexByte("<>^=", spec[size]) >= 0 {
		fill, align, spec = spec[:size], spec[size], spec[size+1:]
	} else if strings.IndexByte("<>^=", spec[0]) >= 0 {
		align, spec = spec[0], spec[1:]
	}
	sign := ""
	if spec != "" && strings.IndexByte("+- ", spec[0]) >= 0 {
		sign, spec = strings.Trim(spec[:1], "-"), spec[1:]
	}
	if strings.HasPrefix(spec, "0") && align == 0 {
		fill, align = "0", '='
	}
	in.fieldWidths(spec)
	digits := len(spec) - len(strings.TrimLeft(spec, "0123456789"))
	width, _ := strconv.Atoi(spec[:digits])
	spec = spec[digits:]
	comma := strings.HasPrefix(spec, ",")
	spec = strings.TrimPrefix(spec, ",")
	precision := ""
	if strings.HasPrefix(spec, ".") {
		n := 1 + len(spec[1:]) - len(strings.TrimLeft(spec[1:], "0123456789"))
		precision, spec = spec[:n], spec[n:]
	}
	var b strings.Builder
	_, isText := text(v)
	switch {
	case len(spec) > 1:
		in.fail(Type, "invalid format specifier")
	case isText && (spec == "" || spec == "s"):
		in.formatOne(&b, precision, 's', v)
	case spec == "":
		if _, isFloat := v.(float64); isFloat && precision != "" {
			in.formatOne(&b, sign+precision, 'g', v)
		} else {
			b.WriteString(in.str(v))
		}
	case spec == "%":
		f, ok := float(v)
		if !ok {
			in.fail(Type, "a number is required for %%")
		}
		in.formatOne(&b, sign+precision, 'f', f*100)
		b.WriteByte('%')
	default:
		in.formatOne(&b, sign+precision, spec[0], v)
	}
	out := b.String()
	if comma {
		out = thousands(out)
	}
	n := max(0, width-utf8.RuneCountInString(out))
	switch {
	case align == '^':
		return strings.Repeat(fill, n/2) + out + strings.Repeat(fill, n-n/2)
	case align == '=' && out != "" && strings.IndexByte("+- ", out[0]) >= 0:
		return out[:1] + strings.Repeat(fill, n) + out[1:]
	case align == '<' || align == 0 && isText:
		return out + strings.Repeat(fill, n)
	}
	return strings.Repeat(fill, n) + out
}

// thousands puts commas into the integer part of a number.
func thousands(s string) string {
	end := strings.IndexAny(s, ".e%")
	if end < 0 {
		end = len(s)
	}
	for i := end - 3; i > 0 && s[i-1] >= '0' && s[i-1] <= '9'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
