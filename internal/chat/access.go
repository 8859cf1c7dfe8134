package chat

import (
	"fmt"
	"strings"
)

// attr is x.name: an attribute or method first, then an item.
func (in *interp) attr(of any, name string) any {
	if v, ok := in.attribute(of, name); ok {
		return v
	}
	if d, ok := of.(*dict); ok {
		if v, ok := d.getString(name); ok {
			return v
		}
	}
	return &undefined{message: fmt.Sprintf("'%s' has no attribute '%s'", describe(of), name)}
}

// attribute looks up what a value has by its type. Names with an underscore in front belong to Python's insides.
func (in *interp) attribute(of any, name string) (any, bool) {
	if u, ok := of.(*undefined); ok {
		in.deny(u)
	}
	if ns, ok := of.(*namespace); ok {
		return ns.getString(name)
	}
	if strings.HasPrefix(name, "__") && strings.HasSuffix(name, "__") && len(name) > 4 {
		return forbidden(of, name), true
	}
	switch v := of.(type) {
	case *loopState:
		return v.attr(name)
	case *macro:
		if name == "name" {
			return v.name, true
		}
	case *builtin:
		return nil, false
	}
	return method(of, name)
}

func forbidden(of any, name string) *undefined {
	return &undefined{message: fmt.Sprintf("access to attribute '%s' of '%s' object is unsafe", name, typeName(of)), forbidden: true}
}

func describe(v any) string {
	switch v.(type) {
	case nil:
		return "None"
	case *dict:
		return "dict object"
	}
	return typeName(v) + " object"
}

// item is x[index]: an item first, then, for a string, an attribute.
func (in *interp) item(of, index any) any {
	if u, ok := of.(*undefined); ok {
		in.deny(u)
	}
	if v, ok := in.index(of, index); ok {
		return v
	}
	if name, ok := text(index); ok {
		if v, ok := in.attribute(of, name); ok {
			return v
		}
		return &undefined{message: fmt.Sprintf("'%s' has no attribute '%s'", describe(of), name)}
	}
	return &undefined{message: fmt.Sprintf("%s has no element %s", describe(of), in.repr(index))}
}

func (in *interp) index(of, index any) (any, bool) {
	switch v := of.(type) {
	case *dict:
		switch index.(type) {
		case []any, *dict, *view:
			return nil, false
		}
		return v.get(in.hashKey(index))
	case string, markup:
		s, _ := text(v)
		n, ok := integer(index)
		if !ok {
			return nil, false
		}
		in.steps += len(s) / 64
		runes := []rune(s)
		if n < 0 {
			n += len(runes)
		}
		if n < 0 || n >= len(runes) {
			return nil, false
		}
		return likeOf(of, string(runes[n])), true
	}
	items, ok := elements(of)
	n, isInt := integer(index)
	if !ok || !isInt {
		return nil, false
	}
	if n < 0 {
		n += len(items)
	}
	if n < 0 || n >= len(items) {
		return nil, false
	}
	return items[n], true
}

// likeOf gives a string the type of the one it was made from.
func likeOf(of any, s string) any {
	if _, ok := of.(markup); ok {
		return markup(s)
	}
	return s
}
