package chat

// globals are the functions every template has. strftime_now is there only when a time is given: templates that
// can do without it then print the date they were published with.
func (in *interp) globals() map[string]any {
	all := map[string]any{
		"raise_exception": &builtin{"raise_exception", func(in *interp, a args) any {
			in.fail(Raised, "%s", in.str(in.bind("raise_exception", a, "message")[0]))
			return nil
		}},
		"range":     &builtin{"range", rangeFunc},
		"dict":      &builtin{"dict", func(in *interp, a args) any { return in.dictOf(a) }},
		"namespace": &builtin{"namespace", func(in *interp, a args) any { return &namespace{in.dictOf(a)} }},
		"joiner":    &builtin{"joiner", joiner},
		"cycler":    &builtin{"cycler", cycler},
	}
	if !in.now.IsZero() {
		all["strftime_now"] = &builtin{"strftime_now", func(in *interp, a args) any {
			return in.strftime(in.now, in.textArg("strftime_now", a))
		}}
	}
	return all
}

func rangeFunc(in *interp, a args) any {
	b := in.bind("range", a, "start", "stop?", "step?")
	start, stop, step := 0, in.int("range", b[0]), 1
	if given(b[1]) {
		start, stop = stop, in.int("range", b[1])
	}
	if given(b[2]) {
		step = in.int("range", b[2])
	}
	if step == 0 {
		in.fail(Type, "range() arg 3 must not be zero")
	}
	list := []any{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(list) == maxRange {
			in.fail(Limit, "range too big, the sandbox blocks ranges larger than %d", maxRange)
		}
		in.alloc(16)
		list = append(list, i)
		if next := i + step; (next > i) != (step > 0) {
			break
		}
	}
	return list
}

// dictOf is Python's dict(mapping or pairs, **entries).
func (in *interp) dictOf(a args) *dict {
	d := newDict()
	if len(a.pos) > 1 {
		in.fail(Type, "dict() takes at most one positional argument")
	}
	for _, from := range a.pos {
		if src, ok := from.(*dict); ok {
			in.alloc(64 * len(src.keys))
			for i, key := range src.keys {
				d.set(in.hashKey(key), key, src.values[i])
			}
			continue
		}
		for _, item := range in.list(from) {
			pair := in.list(item)
			if len(pair) != 2 {
				in.fail(Type, "dict() wants pairs, not %d items", len(pair))
			}
			in.alloc(64)
			d.set(in.hashKey(pair[0]), pair[0], pair[1])
		}
	}
	for i, name := range a.names {
		d.setString(name, a.named[i])
	}
	return d
}

// joiner returns a function that gives "" the first time and the separator from then on.
func joiner(in *interp, a args) any {
	b := in.bind("joiner", a, "sep?")
	var sep any = ", "
	if given(b[0]) {
		sep = b[0]
	}
	used := false
	return &builtin{"joiner", func(in *interp, a args) any {
		if !used {
			used = true
			return ""
		}
		return sep
	}}
}

// cycler returns a namespace with next and reset.
func cycler(in *interp, a args) any {
	if len(a.pos) == 0 {
		in.fail(Type, "cycler() wants at least one item")
	}
	at := 0
	ns := &namespace{newDict()}
	ns.setString("current", a.pos[0])
	ns.setString("next", &builtin{"next", func(in *interp, _ args) any {
		item := a.pos[at%len(a.pos)]
		at++
		ns.setString("current", a.pos[at%len(a.pos)])
		return item
	}})
	ns.setString("reset", &builtin{"reset", func(in *interp, _ args) any {
		at = 0
		ns.setString("current", a.pos[0])
		return nil
	}})
	return ns
}
