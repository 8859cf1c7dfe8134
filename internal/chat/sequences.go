package chat

import (
	"slices"
	"strconv"
	"strings"
)

// sequenceFilterOf is the table of filters that work on items.
func sequenceFilterOf(name string) filterFunc {
	switch name {
	case "length", "count":
		return func(in *interp, v any, a args) any {
			in.bind(name, a)
			n, ok := length(v)
			if !ok {
				in.fail(Type, "object of type '%s' has no len()", typeName(v))
			}
			return n
		}
	case "list":
		return func(in *interp, v any, a args) any { return in.list(v) }
	case "first":
		return func(in *interp, v any, a args) any {
			next, _ := in.iterate(v)
			if item, ok := next(); ok {
				return item
			}
			return &undefined{message: "no first item, the sequence is empty"}
		}
	case "last":
		return lastFilter
	case "reverse":
		return reverseFilter
	case "join":
		return func(in *interp, v any, a args) any {
			b := in.bind("join", a, "d?", "attribute?")
			sep := ""
			if given(b[0]) {
				sep = in.str(b[0])
			}
			return in.join(v, sep, func(item any) string {
				if given(b[1]) && b[1] != nil {
					item = in.path(item, b[1])
				}
				return in.str(item)
			})
		}
	case "items":
		return func(in *interp, v any, a args) any {
			if u, ok := v.(*undefined); ok {
				in.allow(u)
				return []any{}
			}
			d, ok := v.(*dict)
			if !ok {
				in.fail(Type, "items() wants a mapping, not %s", typeName(v))
			}
			return lazy(in, in.view(d, "items"), func(item any) (any, bool) { return item, true })
		}
	case "map":
		return mapFilter
	case "select", "reject":
		return func(in *interp, v any, a args) any { return in.choose(v, a, name == "select", false) }
	case "selectattr", "rejectattr":
		return func(in *interp, v any, a args) any { return in.choose(v, a, name == "selectattr", true) }
	case "sort":
		return sortFilter
	case "dictsort":
		return dictSortFilter
	case "unique":
		return uniqueFilter
	case "groupby":
		return groupByFilter
	case "min", "max":
		return func(in *interp, v any, a args) any { return in.extreme(v, a, name == "max") }
	case "sum":
		return func(in *interp, v any, a args) any {
			b := in.bind("sum", a, "attribute?", "start?")
			var total any = 0
			if given(b[1]) {
				total = b[1]
			}
			for _, item := range in.list(v) {
				if given(b[0]) && b[0] != nil {
					item = in.path(item, b[0])
				}
				total = in.binary("+", total, item)
			}
			return total
		}
	case "batch":
		return batchFilter
	case "attr":
		return func(in *interp, v any, a args) any {
			name := in.str(in.bind("attr", a, "name")[0])
			if found, ok := in.attribute(v, name); ok {
				return found
			}
			return &undefined{message: "'" + describe(v) + "' has no attribute '" + name + "'"}
		}
	}
	return nil
}

// lazyIfAny is lazy, but nothing for false values, None among them, as Jinja's map, select and reject.
func lazyIfAny(in *interp, over any, pick func(any) (any, bool)) *generator {
	if !truth(over) {
		over = []any{}
	}
	return lazy(in, over, pick)
}

// lazy is a generator over the items that pick keeps, as pick changes them.
func lazy(in *interp, over any, pick func(any) (any, bool)) *generator {
	var next func() (any, bool)
	return &generator{func() (any, bool) {
		if next == nil { // not before the first item is asked for
			next, _ = in.iterate(over)
		}
		for {
			v, ok := next()
			if !ok {
				return nil, false
			}
			if out, keep := pick(v); keep {
				return out, true
			}
		}
	}}
}

// path follows "a.b.0" or an index into an item.
func (in *interp) path(item, attribute any) any {
	name, ok := text(attribute)
	if !ok {
		return in.item(item, attribute)
	}
	for part := range strings.SplitSeq(name, ".") {
		in.step()
		if n, err := strconv.Atoi(part); err == nil {
			item = in.item(item, n)
		} else {
			item = in.item(item, part)
		}
	}
	return item
}

func lastFilter(in *interp, v any, a args) any {
	none := &undefined{message: "no last item, the sequence is empty"}
	if s, ok := text(v); ok {
		if s == "" {
			return none
		}
		return in.item(v, -1)
	}
	if _, ok := v.(*generator); ok {
		in.fail(Type, "'generator' object is not reversible")
	}
	items := in.list(v)
	if len(items) == 0 {
		return none
	}
	return items[len(items)-1]
}

func reverseFilter(in *interp, v any, a args) any {
	if s, ok := text(v); ok {
		in.alloc(4 * len(s))
		runes := []rune(s)
		slices.Reverse(runes)
		return likeOf(v, string(runes))
	}
	items := slices.Clone(in.list(v))
	slices.Reverse(items)
	return lazy(in, items, func(item any) (any, bool) { return item, true })
}

// mapFilter applies a filter or looks up an attribute: map("upper"), map("default", 1), map(attribute="x", default=0).
func mapFilter(in *interp, v any, a args) any {
	if i := slices.Index(a.names, "attribute"); len(a.pos) == 0 && i >= 0 {
		b := in.bind("map", a, "attribute", "default?")
		return lazyIfAny(in, v, func(item any) (any, bool) {
			item = in.path(item, b[0])
			if _, undef := item.(*undefined); undef && given(b[1]) {
				item = b[1]
			}
			return item, true
		})
	}
	if len(a.pos) == 0 {
		in.fail(Type, "map() wants a filter's name or attribute=…")
	}
	name := in.text("map", a.pos[0])
	rest := args{a.pos[1:], a.names, a.named}
	return lazyIfAny(in, v, func(item any) (any, bool) { return in.runFilter(name, item, rest), true })
}

// choose is select and reject, on items or on an attribute of theirs.
func (in *interp) choose(v any, a args, keep, byAttribute bool) any {
	pos := a.pos
	var attribute any
	if byAttribute {
		if len(pos) == 0 {
			in.fail(Type, "the name of an attribute is missing")
		}
		attribute, pos = pos[0], pos[1:]
	}
	name := ""
	if len(pos) > 0 {
		name = in.text("select", pos[0])
		pos = pos[1:]
	}
	return lazyIfAny(in, v, func(item any) (any, bool) {
		value := item
		if byAttribute {
			value = in.path(item, attribute)
		}
		if name == "" {
			return item, truth(value) == keep
		}
		return item, in.runTest(name, value, args{pos, a.names, a.named}) == keep
	})
}

// sortKey makes keys for sorting: attributes, several with commas, text in lower case unless caseSensitive.
func (in *interp) sortKey(item, attribute any, caseSensitive bool) any {
	fold := func(v any) any {
		if s, ok := text(v); ok && !caseSensitive {
			in.alloc(len(s))
			return strings.ToLower(s)
		}
		return v
	}
	if !given(attribute) || attribute == nil {
		return fold(item)
	}
	name, ok := text(attribute)
	if !ok || !strings.Contains(name, ",") {
		return fold(in.path(item, attribute))
	}
	var key tuple
	for part := range strings.SplitSeq(name, ",") {
		key = append(key, fold(in.path(item, part)))
	}
	return key
}

// sorted sorts items by key, stably.
func (in *interp) sorted(items []any, reverse bool, key func(any) any) []any {
	in.alloc(32 * len(items))
	type pair struct{ key, item any }
	pairs := make([]pair, len(items))
	for i, item := range items {
		pairs[i] = pair{key(item), item}
	}
	slices.SortStableFunc(pairs, func(x, y pair) int {
		if reverse {
			x, y = y, x
		}
		if in.less(x.key, y.key, "<") {
			return -1
		}
		if in.less(y.key, x.key, "<") {
			return 1
		}
		return 0
	})
	out := make([]any, len(items))
	for i := range pairs {
		out[i] = pairs[i].item
	}
	return out
}

func isTrue(v any) bool { return given(v) && truth(v) }

func sortFilter(in *interp, v any, a args) any {
	b := in.bind("sort", a, "reverse?", "case_sensitive?", "attribute?")
	return in.sorted(in.list(v), isTrue(b[0]), func(item any) any { return in.sortKey(item, b[2], isTrue(b[1])) })
}

func dictSortFilter(in *interp, v any, a args) any {
	b := in.bind("dictsort", a, "case_sensitive?", "by?", "reverse?")
	d, ok := v.(*dict)
	if !ok {
		in.defined(v)
		in.fail(Type, "dictsort() wants a mapping, not %s", typeName(v))
	}
	part := 0
	if given(b[1]) {
		switch by, _ := text(b[1]); by {
		case "key":
		case "value":
			part = 1
		default:
			in.fail(Type, "dictsort() sorts by key or value, not %s", in.repr(b[1]))
		}
	}
	return in.sorted(in.view(d, "items").items, isTrue(b[2]), func(item any) any {
		return in.sortKey(item.(tuple)[part], nil, isTrue(b[0]))
	})
}

func uniqueFilter(in *interp, v any, a args) any {
	b := in.bind("unique", a, "case_sensitive?", "attribute?")
	seen := map[any]bool{}
	return lazy(in, v, func(item any) (any, bool) {
		key := in.hashKey(in.sortKey(item, b[1], isTrue(b[0])))
		if seen[key] {
			return nil, false
		}
		in.alloc(32)
		seen[key] = true
		return item, true
	})
}

func groupByFilter(in *interp, v any, a args) any {
	b := in.bind("groupby", a, "attribute", "default?", "case_sensitive?")
	value := func(item any) any {
		got := in.path(item, b[0])
		if _, undef := got.(*undefined); undef && given(b[1]) {
			return b[1]
		}
		return got
	}
	key := func(item any) any { return in.sortKey(value(item), nil, isTrue(b[2])) }
	groups := []any{}
	var members []any
	items := in.sorted(in.list(v), false, key)
	for i, item := range items {
		members = append(members, item)
		if i+1 == len(items) || !in.equal(key(item), key(items[i+1])) {
			groups = append(groups, tuple{value(members[0]), members})
			members = nil
		}
	}
	return groups
}

func (in *interp) extreme(v any, a args, largest bool) any {
	b := in.bind("min", a, "case_sensitive?", "attribute?")
	items := in.list(v)
	if len(items) == 0 {
		return &undefined{message: "no aggregated item, the sequence was empty"}
	}
	best := items[0]
	for _, item := range items[1:] {
		x, y := in.sortKey(item, b[1], isTrue(b[0])), in.sortKey(best, b[1], isTrue(b[0]))
		if largest && in.less(y, x, ">") || !largest && in.less(x, y, "<") {
			best = item
		}
	}
	return best
}

func batchFilter(in *interp, v any, a args) any {
	b := in.bind("batch", a, "linecount", "fill_with?")
	n := in.int("batch", b[0])
	if n < 1 || n > maxFormatFields {
		in.fail(Limit, "batch() of %d", n)
	}
	rows := []any{}
	var row []any
	for _, item := range in.list(v) {
		if len(row) == n {
			rows = append(rows, row)
			row = nil
		}
		row = append(row, item)
	}
	if row != nil {
		for given(b[1]) && b[1] != nil && len(row) < n {
			row = append(row, b[1])
		}
		rows = append(rows, row)
	}
	return rows
}
