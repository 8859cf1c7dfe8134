package chat

import (
	"math/big"
	"strings"
	"unicode/utf8"
)

// The values of a template: nil (None), bool, int, *big.Int (only passed through), float64, string, markup, []any
// (list), tuple, *dict, *view, *generator, *undefined, *namespace, *macro, *loopState, *builtin.
// All but namespaces and generators are immutable.

// markup is a string marked safe by |safe or |escape: text joined to it with + is escaped, as markupsafe does.
type markup string

type tuple []any

// dict keeps the order of insertion.
type dict struct {
	keys, values []any
	index        map[any]int
}

func newDict() *dict { return &dict{index: map[any]int{}} }

// get returns the value of a key that hashKey made.
func (d *dict) get(h any) (any, bool) {
	i, ok := d.index[h]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func (d *dict) getString(key string) (any, bool) { return d.get(key) }

func (d *dict) set(h, key, value any) {
	if i, ok := d.index[h]; ok {
		d.values[i] = value
		return
	}
	d.index[h] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, value)
}

func (d *dict) setString(key string, value any) { d.set(key, key, value) }

// view is what dict.keys(), values() and items() return: iterable and sized, but not a sequence.
type view struct {
	kind  string // keys, values, items
	items []any
}

// generator is what lazy filters return: it can be walked once.
type generator struct{ next func() (any, bool) }

// undefined stands for a missing name, attribute or item. It prints as nothing, is false and empty; any other use
// is an error with message. forbidden marks what the sandbox hides.
type undefined struct {
	message   string
	forbidden bool
}

// namespace is the one kind of value that {% set ns.x = … %} changes.
type namespace struct{ *dict }

// builtin is a function or bound method.
type builtin struct {
	name string
	call func(in *interp, a args) any
}

// typeName is Python's name of a value's type.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case []any:
		return "list"
	case tuple:
		return "tuple"
	case *dict:
		return "dict"
	case *view:
		return "dict view"
	case *generator:
		return "generator"
	case *undefined:
		return "Undefined"
	case *namespace:
		return "Namespace"
	case *macro:
		return "Macro"
	case *loopState:
		return "LoopContext"
	}
	return "function"
}

// truth is Python's bool(v).
func truth(v any) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case []any:
		return len(v) > 0
	case tuple:
		return len(v) > 0
	case *dict:
		return len(v.keys) > 0
	case *view:
		return len(v.items) > 0
	}
	return true
}

// text returns the string in a str or Markup.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// integer returns the value of an int or bool.
func integer(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// float returns the value of any number.
func float(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	}
	n, ok := integer(v)
	return float64(n), ok
}

// elements returns the items of a list or tuple.
func elements(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case tuple:
		return v, true
	}
	return nil, false
}

// length is Python's len(v).
func length(v any) (int, bool) {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), true
	case markup:
		return utf8.RuneCountInString(string(v)), true
	case []any:
		return len(v), true
	case tuple:
		return len(v), true
	case *dict:
		return len(v.keys), true
	case *view:
		return len(v.items), true
	case *undefined:
		return 0, true
	case *loopState:
		return v.length(), true
	}
	return 0, false
}

// hashKey maps a value to the key under which dicts hold it: 1, 1.0 and True are one key, as in Python.
func (in *interp) hashKey(v any) any {
	switch v := v.(type) {
	case nil, int, string:
		return v
	case markup:
		return string(v)
	case bool:
		n, _ := integer(v)
		return n
	case float64:
		if n := int(v); float64(n) == v {
			return n
		}
		return v
	case *big.Int:
		return hashed("int " + v.String())
	case tuple:
		return hashed(in.repr(v))
	case []any, *dict, *view:
		in.fail(Type, "unhashable type: '%s'", typeName(v))
	}
	return v // by identity
}

// hashed keeps keys of other types apart from strings.
type hashed string

// fromJSON turns what DecodeJSON gives (or a caller built) into template values.
func (in *interp) fromJSON(v any, depth int) any {
	if depth > maxJSONDepth {
		in.fail(Limit, "a value is nested deeper than %d", maxJSONDepth)
	}
	switch v := v.(type) {
	case nil, bool, int, float64, *big.Int:
		return v
	case string:
		in.input += len(v)
		return strings.ToValidUTF8(v, "\uFFFD")
	case int64:
		return int(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = in.fromJSON(v[i], depth+1)
		}
		in.input += 16 * len(v)
		return list
	case Object:
		d := newDict()
		for _, f := range v {
			d.setString(f.Key, in.fromJSON(f.Value, depth+1))
		}
		in.input += 64 * len(v)
		return d
	}
	in.fail(Type, "a value of Go type %T cannot be given to a template", v)
	return nil
}
