package chat

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonWriter writes values as Python's json.dumps does.
type jsonWriter struct {
	in         *interp
	b          strings.Builder
	ascii      bool
	sortKeys   bool
	indent     string
	multiline  bool
	item, pair string // separators
}

// toJSONFilter is tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False), as transformers
// defines it: keys in their order, ", " and ": ", nothing escaped for HTML.
func toJSONFilter(in *interp, v any, a args) any {
	b := in.bind("tojson", a, "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	w := &jsonWriter{in: in, ascii: isTrue(b[0]), sortKeys: isTrue(b[3]), item: ", ", pair: ": "}
	if given(b[1]) && b[1] != nil {
		w.multiline, w.item = true, ","
		if s, ok := text(b[1]); ok {
			w.indent = s
		} else {
			w.indent = strings.Repeat(" ", max(0, in.width("tojson", b[1])))
		}
	}
	if given(b[2]) && b[2] != nil {
		s, ok := elements(b[2])
		if !ok || len(s) != 2 {
			in.fail(Type, "tojson() wants separators as (item, key)")
		}
		w.item, w.pair = in.text("tojson", s[0]), in.text("tojson", s[1])
	}
	w.write(v, 0)
	return w.b.String()
}

// put writes and charges s.
func (w *jsonWriter) put(s string) {
	w.in.alloc(len(s))
	w.b.WriteString(s)
}

func (w *jsonWriter) newline(depth int) {
	if w.multiline {
		w.put("\n")
		for range depth {
			w.put(w.indent)
		}
	}
}

func (w *jsonWriter) write(v any, depth int) {
	w.in.step()
	if depth > maxJSONDepth {
		w.in.fail(Limit, "a value is nested deeper than %d", maxJSONDepth)
	}
	if s, ok := text(v); ok {
		w.quoted(s)
		return
	}
	if items, ok := elements(v); ok {
		w.sequence("[", "]", len(items), depth, func(i int) { w.write(items[i], depth+1) })
		return
	}
	if d, ok := v.(*dict); ok {
		w.object(d, depth)
		return
	}
	w.put(w.scalar(v, func() {
		w.in.fail(Type, "object of type %s is not JSON serializable", typeName(v))
	}))
}

// scalar is the text of None, a bool or a number.
func (w *jsonWriter) scalar(v any, otherwise func()) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case *big.Int:
		return v.String()
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
		return floatRepr(v)
	}
	otherwise()
	return ""
}

func (w *jsonWriter) sequence(open, closing string, n, depth int, element func(i int)) {
	w.put(open)
	if n > 0 {
		w.newline(depth + 1)
		for i := range n {
			if i > 0 {
				w.put(w.item)
				w.newline(depth + 1)
			}
			element(i)
		}
		w.newline(depth)
	}
	w.put(closing)
}

func (w *jsonWriter) object(d *dict, depth int) {
	items := w.in.view(d, "items").items
	if w.sortKeys {
		items = w.in.sorted(items, false, func(item any) any { return item.(tuple)[0] })
	}
	w.sequence("{", "}", len(items), depth, func(i int) {
		pair := items[i].(tuple)
		key, ok := text(pair[0])
		if !ok {
			key = w.scalar(pair[0], func() {
				w.in.fail(Type, "keys must be str, int, float, bool or None, not %s", typeName(pair[0]))
			})
		}
		w.quoted(key)
		w.put(w.pair)
		w.write(pair[1], depth+1)
	})
}

func (w *jsonWriter) quoted(s string) {
	w.in.alloc(len(s))
	const hex = "0123456789abcdef"
	unicodeEscape := func(r rune) {
		w.put(`\u`)
		for i := 3; i >= 0; i-- {
			w.b.WriteByte(hex[r>>(4*i)&15])
		}
	}
	w.b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b.WriteByte('\\')
			w.b.WriteRune(r)
		case r == '\n':
			w.b.WriteString(`\n`)
		case r == '\r':
			w.b.WriteString(`\r`)
		case r == '\t':
			w.b.WriteString(`\t`)
		case r == '\b':
			w.b.WriteString(`\b`)
		case r == '\f':
			w.b.WriteString(`\f`)
		case r < 0x20 || w.ascii && r >= utf8.RuneSelf-1 && r <= 0xffff && r != 0x7f:
			unicodeEscape(r)
		case w.ascii && r > 0xffff:
			unicodeEscape(0xd800 + (r-0x10000)>>10)
			unicodeEscape(0xdc00 + (r-0x10000)&0x3ff)
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}
