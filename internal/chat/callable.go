package chat

import "slices"

// args are the evaluated arguments of a call.
type args struct {
	pos   []any
	names []string
	named []any
}

// missing marks a parameter that was not given.
type missing struct{}

// bind spreads arguments over parameters as Python does; a name that ends in "?" may be left out and is then missing.
func (in *interp) bind(fn string, a args, params ...string) []any {
	if len(a.pos) > len(params) {
		in.fail(Type, "%s() takes at most %d arguments, %d given", fn, len(params), len(a.pos))
	}
	bound := make([]any, len(params))
	for i, p := range params {
		name, optional := p, false
		if p[len(p)-1] == '?' {
			name, optional = p[:len(p)-1], true
		}
		given := slices.Index(a.names, name)
		switch {
		case i < len(a.pos):
			if given >= 0 {
				in.fail(Type, "%s() got two values for argument %q", fn, name)
			}
			bound[i] = a.pos[i]
		case given >= 0:
			bound[i] = a.named[given]
		case optional:
			bound[i] = missing{}
		default:
			in.fail(Type, "%s() is missing argument %q", fn, name)
		}
	}
	for _, name := range a.names {
		if !slices.Contains(params, name) && !slices.Contains(params, name+"?") {
			in.fail(Type, "%s() has no argument %q", fn, name)
		}
	}
	return bound
}

func given(v any) bool {
	_, ok := v.(missing)
	return !ok
}

// arguments evaluates the arguments of a call.
func (in *interp) arguments(x arguments, s *scope) args {
	var a args
	for _, e := range x.pos {
		a.pos = append(a.pos, in.eval(e, s))
	}
	a.names = slices.Clone(x.names)
	for _, e := range x.named {
		a.named = append(a.named, in.eval(e, s))
	}
	if x.star != nil {
		a.pos = append(a.pos, in.list(in.eval(x.star, s))...)
	}
	if x.starStar != nil {
		d, ok := in.eval(x.starStar, s).(*dict)
		if !ok {
			in.fail(Type, "argument after ** must be a mapping")
		}
		for i, key := range d.keys {
			name, ok := text(key)
			if !ok {
				in.fail(Type, "keywords must be strings")
			}
			if slices.Contains(a.names, name) {
				in.fail(Type, "two values for argument %q", name)
			}
			a.names = append(a.names, name)
			a.named = append(a.named, d.values[i])
		}
	}
	return a
}

func (in *interp) callValue(fn any, a args) any {
	in.step()
	switch f := fn.(type) {
	case *builtin:
		return f.call(in, a)
	case *macro:
		return f.call(in, a)
	case *loopState:
		if f.recurse == nil {
			in.fail(Type, "loop is called, but the for block is not recursive")
		}
		return f.recurse(in.bind("loop", a, "iterable")[0])
	case *undefined:
		in.deny(f)
	}
	in.fail(Type, "'%s' object is not callable", typeName(fn))
	return nil
}

// macro is a macro with the scope it was defined in: it sees that scope's variables as they are when it runs.
type macro struct {
	*macroDef
	scope *scope
}

func (m *macro) call(in *interp, a args) any {
	defer in.enter()()
	line := in.line
	s := m.scope.inner()
	n := min(len(a.pos), len(m.params))
	for i := range n {
		s.set(m.params[i], a.pos[i])
	}
	used := make([]bool, len(a.names))
	for i, p := range m.params {
		k := slices.Index(a.names, p)
		switch {
		case k >= 0:
			if i < n {
				in.fail(Type, "macro %q got two values for argument %q", m.name, p)
			}
			s.set(p, a.named[k])
			used[k] = true
		case i >= n:
			if d := i - (len(m.params) - len(m.defaults)); d >= 0 {
				s.set(p, in.eval(m.defaults[d], s))
			} else {
				s.set(p, &undefined{message: "parameter '" + p + "' was not provided"})
			}
		}
	}
	m.bindRest(in, s, a, n, used)
	result := in.capture(func() { in.exec(m.body, s) })
	in.line = line
	return result
}

// bindRest sets varargs, kwargs and caller where the body mentions them and refuses what is left over.
func (m *macro) bindRest(in *interp, s *scope, a args, n int, used []bool) {
	rest := newDict()
	var caller any = &undefined{message: "no caller defined"}
	for k, name := range a.names {
		switch {
		case used[k]:
		case name == "caller" && m.usesCaller:
			caller = a.named[k]
		case m.usesKw:
			rest.setString(name, a.named[k])
		case name == "caller":
			in.fail(Type, "macro %q was invoked with two values for the special caller argument or has no use for one", m.name)
		default:
			in.fail(Type, "macro %q takes no keyword argument %q", m.name, name)
		}
	}
	if m.usesCaller {
		s.set("caller", caller)
	}
	if m.usesKw {
		s.set("kwargs", rest)
	}
	if m.usesVar {
		s.set("varargs", tuple(slices.Clone(a.pos[n:])))
	} else if len(a.pos) > n {
		in.fail(Type, "macro %q takes not more than %d argument(s)", m.name, len(m.params))
	}
}

// loopState is the variable loop of a for block. It reads ahead only as far as a template asks.
type loopState struct {
	in      *interp
	next    func() (any, bool)
	ahead   []any // read but not yet visited
	size    int   // -1: not known yet
	index0  int   // of the current item, from 0
	started bool
	depth   int
	current any
	prev    any
	changed []any
	recurse func(any) any
}

// iterate moves on; its items are (value, loop) pairs, as those of Jinja's LoopContext.
func (l *loopState) iterate() (any, bool) {
	var v any
	if len(l.ahead) > 0 {
		v, l.ahead = l.ahead[0], l.ahead[1:]
	} else {
		var ok bool
		if v, ok = l.next(); !ok {
			return nil, false
		}
	}
	if l.started {
		l.index0++
		l.prev = l.current
	} else {
		l.prev = &undefined{message: "there is no previous item"}
	}
	l.started = true
	l.current = v
	return tuple{v, l}, true
}

func (l *loopState) peek() (any, bool) {
	if len(l.ahead) == 0 {
		v, ok := l.next()
		if !ok {
			return nil, false
		}
		l.ahead = append(l.ahead, v)
	}
	return l.ahead[0], true
}

func (l *loopState) length() int {
	if l.size < 0 {
		for v, ok := l.next(); ok; v, ok = l.next() {
			l.in.alloc(16)
			l.ahead = append(l.ahead, v)
		}
		l.size = len(l.ahead)
		if l.started {
			l.size += l.index0 + 1
		}
	}
	return l.size
}

func (l *loopState) attr(name string) (any, bool) {
	switch name {
	case "index":
		return l.index0 + 1, true
	case "index0":
		return l.index0, true
	case "revindex":
		return l.length() - l.index0, true
	case "revindex0":
		return l.length() - l.index0 - 1, true
	case "first":
		return l.index0 == 0, true
	case "last":
		_, more := l.peek()
		return !more, true
	case "length":
		return l.length(), true
	case "depth":
		return l.depth + 1, true
	case "depth0":
		return l.depth, true
	case "previtem":
		return l.prev, true
	case "nextitem":
		if v, ok := l.peek(); ok {
			return v, true
		}
		return &undefined{message: "there is no next item"}, true
	case "cycle":
		return &builtin{"cycle", func(in *interp, a args) any {
			if len(a.pos) == 0 {
				in.fail(Type, "no items for cycling given")
			}
			return a.pos[l.index0%len(a.pos)]
		}}, true
	case "changed":
		return &builtin{"changed", func(in *interp, a args) any {
			same := l.changed != nil && in.equal(tuple(l.changed), tuple(a.pos))
			l.changed = append([]any{}, a.pos...)
			return !same
		}}, true
	}
	return nil, false
}
