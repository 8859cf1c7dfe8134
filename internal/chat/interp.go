package chat

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// interp renders one conversation.
type interp struct {
	now       time.Time
	input     int // bytes of the conversation
	steps     int
	allocated int
	calls     int
	line      int
	out       *strings.Builder
	captures  int // > 0: out is not the output but a macro's or a block's text
	marking   bool
	spans     []Span
}

func (in *interp) fail(kind Kind, format string, args ...any) {
	fail(in.line, kind, format, args...)
}

// scope holds the variables of a block; what it lacks is looked up in the scope around it, at the time of use.
type scope struct {
	vars  map[string]any
	outer *scope
}

func (s *scope) inner() *scope { return &scope{outer: s} }

func (s *scope) set(name string, value any) {
	if s.vars == nil {
		s.vars = map[string]any{}
	}
	s.vars[name] = value
}

func (s *scope) lookup(name string) (any, bool) {
	for ; s != nil; s = s.outer {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// flow says how a list of statements ended.
type flow uint8

const (
	flowOn flow = iota
	flowBreak
	flowContinue
)

func (in *interp) print(s string) {
	if in.out.Len()+len(s) > maxOutput+outputPerByte*in.input {
		in.fail(Limit, "more than %d bytes printed", in.out.Len())
	}
	in.out.WriteString(s)
}

// capture returns what run prints.
func (in *interp) capture(run func()) string {
	out := in.out
	in.out = &strings.Builder{}
	in.captures++
	run()
	s := in.out.String()
	in.out = out
	in.captures--
	in.alloc(len(s))
	return s
}

func (in *interp) exec(body []stmt, s *scope) flow {
	for _, node := range body {
		if f := in.execOne(node, s); f != flowOn {
			return f
		}
	}
	return flowOn
}

func (in *interp) execOne(node stmt, s *scope) flow {
	in.step()
	switch n := node.(type) {
	case *textStmt:
		in.print(n.text)
	case *printStmt:
		in.line = n.line
		in.print(in.str(in.eval(n.x, s)))
	case *ifStmt:
		for i, test := range n.tests {
			if truth(in.eval(test, s)) {
				return in.exec(n.bodies[i], s)
			}
		}
		return in.exec(n.other, s)
	case *forStmt:
		in.line = n.line
		in.loop(n, in.eval(n.over, s), s, 0)
	case *setStmt:
		in.line = n.line
		in.assign(n.target, in.eval(n.value, s), s)
	case *setBlockStmt:
		v := any(in.capture(func() { in.exec(n.body, s.inner()) }))
		if n.filter != nil {
			v = in.filtered(n.filter, v, s)
		}
		in.line = n.line
		in.assign(n.target, v, s)
	case *macroStmt:
		s.set(n.name, &macro{macroDef: n.macroDef, scope: s})
	case *callStmt:
		in.callBlock(n, s)
	case *filterStmt:
		text := in.capture(func() { in.exec(n.body, s.inner()) })
		in.line = n.line
		in.print(in.str(in.filtered(n.filter, text, s)))
	case *withStmt:
		inner := s.inner()
		for i, target := range n.targets {
			in.assign(target, in.eval(n.values[i], s), inner)
		}
		return in.exec(n.body, inner)
	case *generationStmt:
		in.generation(n, s)
	case *blockStmt:
		in.exec(n.body, s.inner())
	case *breakStmt:
		return flowBreak
	case *continueStmt:
		return flowContinue
	default:
		panic(fmt.Sprintf("chat: exec: unknown statement %T", node))
	}
	return flowOn
}

// generation records where a block's text lies in the output. Inside captured text that place is not known.
func (in *interp) generation(n *generationStmt, s *scope) {
	if in.captures > 0 {
		fail(n.line, Runtime, "a generation block inside a macro, call, filter or set block has no place in the text")
	}
	if in.marking {
		fail(n.line, Runtime, "generation blocks inside each other")
	}
	in.marking = true
	start := in.out.Len()
	in.exec(n.body, s.inner())
	in.spans = append(in.spans, Span{start, in.out.Len()})
	in.marking = false
}

func (in *interp) assign(target expr, value any, s *scope) {
	switch t := target.(type) {
	case *nameExpr:
		s.set(t.name, value)
	case *attrExpr:
		name := t.of.(*nameExpr).name
		v, _ := s.lookup(name)
		ns, ok := v.(*namespace)
		if !ok {
			in.fail(Runtime, "%s.%s cannot be set: only a namespace's attributes can", name, t.name)
		}
		ns.setString(t.name, value)
	case *tupleExpr:
		next, _ := in.iterate(value)
		for i, item := range t.items {
			v, ok := next()
			if !ok {
				in.fail(Type, "not enough values to unpack: %d, expected %d", i, len(t.items))
			}
			in.assign(item, v, s)
		}
		if _, more := next(); more {
			in.fail(Type, "too many values to unpack, expected %d", len(t.items))
		}
	}
}

// iterate walks a value as Python's iter does. size is the number of items, -1 when only walking tells.
func (in *interp) iterate(v any) (next func() (any, bool), size int) {
	var items []any
	switch v := v.(type) {
	case []any:
		items = v
	case tuple:
		items = v
	case *view:
		items = v.items
	case *dict:
		items = v.keys
	case *undefined:
		in.allow(v)
	case *generator:
		return v.next, -1
	case *loopState:
		return v.iterate, -1
	case string, markup:
		s, _ := text(v)
		in.alloc(len(s))
		n, _ := length(v)
		return func() (any, bool) {
			in.step()
			if s == "" {
				return nil, false
			}
			_, size := utf8.DecodeRuneInString(s)
			c := s[:size]
			s = s[size:]
			return c, true
		}, n
	default:
		in.fail(Type, "'%s' object is not iterable", typeName(v))
	}
	i := 0
	return func() (any, bool) {
		in.step()
		if i == len(items) {
			return nil, false
		}
		i++
		return items[i-1], true
	}, len(items)
}

// list collects the items of a value.
func (in *interp) list(v any) []any {
	next, size := in.iterate(v)
	list := make([]any, 0, max(size, 0))
	in.alloc(16 * max(size, 0))
	for item, ok := next(); ok; item, ok = next() {
		if size < 0 {
			in.alloc(16)
		}
		list = append(list, item)
	}
	return list
}

// loop runs a for block over a value.
func (in *interp) loop(n *forStmt, over any, s *scope, depth int) {
	next, size := in.iterate(over)
	if n.cond != nil {
		all := next
		size = -1
		next = func() (any, bool) {
			for {
				v, ok := all()
				if !ok {
					return nil, false
				}
				inner := s.inner()
				in.assign(n.target, v, inner)
				if truth(in.eval(n.cond, inner)) {
					return v, true
				}
			}
		}
	}
	l := &loopState{in: in, next: next, size: size, depth: depth}
	if n.recursive {
		l.recurse = func(v any) any {
			defer in.enter()()
			return in.capture(func() { in.loop(n, v, s, depth+1) })
		}
	}
	ran := false
	for {
		v, ok := l.iterate()
		if !ok {
			break
		}
		ran = true
		inner := s.inner()
		inner.set("loop", l)
		in.line = n.line
		in.assign(n.target, v.(tuple)[0], inner)
		if in.exec(n.body, inner) == flowBreak {
			break
		}
	}
	if !ran {
		in.exec(n.other, s.inner())
	}
}

// callBlock prints what the called macro makes of the block as its caller().
func (in *interp) callBlock(n *callStmt, s *scope) {
	in.line = n.line
	fn := in.eval(n.call.fn, s)
	a := in.arguments(n.call.args, s)
	a.names = append(a.names, "caller")
	a.named = append(a.named, &macro{macroDef: n.caller, scope: s})
	in.line = n.line
	in.print(in.str(in.callValue(fn, a)))
}
