package chat

import (
	"math/big"
	"strconv"
	"strings"
)

// floatRepr is Python's repr of a float.
func floatRepr(f float64) string {
	switch s := strconv.FormatFloat(f, 'g', -1, 64); s {
	case "+Inf":
		return "inf"
	case "-Inf":
		return "-inf"
	case "NaN":
		return "nan"
	}
	e := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if f != 0 && (exp < -4 || exp >= 16) {
		return e
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// str is Python's str(v).
func (in *interp) str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case *undefined:
		return ""
	}
	return in.repr(v)
}

// repr is Python's repr(v).
func (in *interp) repr(v any) string {
	var b strings.Builder
	in.writeRepr(&b, v, 0)
	return b.String()
}

func (in *interp) writeRepr(b *strings.Builder, v any, depth int) {
	in.step()
	if depth > maxJSONDepth {
		in.fail(Limit, "a value is nested deeper than %d", maxJSONDepth)
	}
	in.alloc(16)
	sequence := func(open string, items []any, closing string) {
		b.WriteString(open)
		for i, item := range items {
			if i > 0 {
				b.WriteString(", ")
			}
			in.writeRepr(b, item, depth+1)
		}
		b.WriteString(closing)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int:
		b.WriteString(strconv.Itoa(v))
	case *big.Int:
		b.WriteString(v.String())
	case float64:
		b.WriteString(floatRepr(v))
	case string:
		in.alloc(len(v))
		writeQuoted(b, v)
	case markup:
		in.alloc(len(v))
		b.WriteString("Markup(")
		writeQuoted(b, string(v))
		b.WriteString(")")
	case []any:
		sequence("[", v, "]")
	case tuple:
		if len(v) == 1 {
			sequence("(", v, ",)")
		} else {
			sequence("(", v, ")")
		}
	case *dict:
		in.writeDict(b, v, depth)
	case *view:
		sequence("dict_"+v.kind+"([", v.items, "])")
	case *undefined:
		b.WriteString("Undefined")
	case *macro:
		b.WriteString("<Macro '" + v.name + "'>")
	case *namespace:
		b.WriteString("<Namespace ")
		in.writeDict(b, v.dict, depth+1)
		b.WriteString(">")
	default:
		b.WriteString("<" + typeName(v) + ">")
	}
}

func (in *interp) writeDict(b *strings.Builder, d *dict, depth int) {
	b.WriteString("{")
	for i, key := range d.keys {
		if i > 0 {
			b.WriteString(", ")
		}
		in.writeRepr(b, key, depth+1)
		b.WriteString(": ")
		in.writeRepr(b, d.values[i], depth+1)
	}
	b.WriteString("}")
}

// writeQuoted is Python's repr of a str.
func writeQuoted(b *strings.Builder, s string) {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	const hex = "0123456789abcdef"
	b.WriteByte(quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			b.WriteString(`\x`)
			b.WriteByte(hex[r>>4])
			b.WriteByte(hex[r&15])
		default:
			width, letter := 4, "u"
			if r > 0xffff {
				width, letter = 8, "U"
			}
			b.WriteString(`\` + letter)
			for i := width - 1; i >= 0; i-- {
				b.WriteByte(hex[r>>(4*i)&15])
			}
		}
	}
	b.WriteByte(quote)
}
