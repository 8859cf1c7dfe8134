package chat

import (
	"fmt"
	"math/big"
	"strings"
)

// deny ends rendering because of a use of an undefined value.
func (in *interp) deny(u *undefined) {
	kind := Undefined
	if u.forbidden {
		kind = Security
	}
	in.fail(kind, "%s", u.message)
}

// allow lets pass what undefined values support, unless the sandbox hides the value.
func (in *interp) allow(u *undefined) {
	if u.forbidden {
		in.deny(u)
	}
}

// defined refuses undefined values.
func (in *interp) defined(v any) {
	if u, ok := v.(*undefined); ok {
		in.deny(u)
	}
}

func (in *interp) eval(x expr, s *scope) any {
	in.step()
	switch n := x.(type) {
	case *constExpr:
		return n.value
	case *nameExpr:
		in.line = n.line
		if v, ok := s.lookup(n.name); ok {
			return v
		}
		return &undefined{message: "'" + n.name + "' is undefined"}
	case *listExpr:
		return in.evalAll(n.items, s)
	case *tupleExpr:
		return tuple(in.evalAll(n.items, s))
	case *dictExpr:
		d := newDict()
		in.alloc(64 * len(n.keys))
		for i, key := range n.keys {
			k := in.eval(key, s)
			d.set(in.hashKey(k), k, in.eval(n.values[i], s))
		}
		return d
	case *attrExpr:
		of := in.eval(n.of, s)
		in.line = n.line
		return in.attr(of, n.name)
	case *itemExpr:
		of := in.eval(n.of, s)
		if sl, ok := n.index.(*sliceExpr); ok {
			return in.slice(of, sl, s, n.line)
		}
		index := in.eval(n.index, s)
		in.line = n.line
		return in.item(of, index)
	case *callExpr:
		fn := in.eval(n.fn, s)
		a := in.arguments(n.args, s)
		in.line = n.line
		return in.callValue(fn, a)
	case *filterExpr:
		return in.applyFilter(n, in.eval(n.of, s), s)
	case *testExpr:
		of := in.eval(n.of, s)
		a := in.arguments(n.args, s)
		in.line = n.line
		return in.runTest(n.name, of, a) != n.not
	case *unaryExpr:
		v := in.eval(n.x, s)
		in.line = n.line
		return in.unary(n.op, v)
	case *binaryExpr:
		return in.evalBinary(n, s)
	case *concatExpr:
		return in.concat(n, s)
	case *compareExpr:
		return in.compareChain(n, s)
	case *condExpr:
		if truth(in.eval(n.test, s)) {
			return in.eval(n.then, s)
		}
		if n.other == nil {
			return &undefined{message: "the conditional expression has no else part and its condition is false"}
		}
		return in.eval(n.other, s)
	case *sliceExpr:
		in.fail(Type, "a slice among several indexes")
	}
	panic(fmt.Sprintf("chat: eval: unknown expression %T", x))
}

func (in *interp) evalAll(xs []expr, s *scope) []any {
	in.alloc(16 * len(xs))
	values := make([]any, len(xs))
	for i, x := range xs {
		values[i] = in.eval(x, s)
	}
	return values
}

func (in *interp) evalBinary(n *binaryExpr, s *scope) any {
	x := in.eval(n.x, s)
	if n.op == "and" && !truth(x) || n.op == "or" && truth(x) {
		return x
	}
	y := in.eval(n.y, s)
	if n.op == "and" || n.op == "or" {
		return y
	}
	in.line = n.line
	return in.binary(n.op, x, y)
}

// concat is "~": the parts as text, one behind the other.
func (in *interp) concat(n *concatExpr, s *scope) any {
	var b strings.Builder
	for _, part := range n.parts {
		p := in.str(in.eval(part, s))
		in.alloc(len(p))
		b.WriteString(p)
	}
	return b.String()
}

func (in *interp) compareChain(n *compareExpr, s *scope) any {
	x := in.eval(n.x, s)
	for i, op := range n.ops {
		y := in.eval(n.rest[i], s)
		in.line = n.line
		if !in.compare(op, x, y) {
			return false
		}
		x = y
	}
	return true
}

func (in *interp) compare(op string, x, y any) bool {
	switch op {
	case "==":
		return in.equal(x, y)
	case "!=":
		return !in.equal(x, y)
	case "in":
		return in.contains(y, x)
	case "not in":
		return !in.contains(y, x)
	case "<":
		return in.less(x, y, op)
	case ">":
		return in.less(y, x, op)
	case "<=":
		return in.less(x, y, op) || in.equal(x, y)
	case ">=":
		return in.less(y, x, op) || in.equal(x, y)
	}
	panic("chat: compare: unknown operator " + op)
}

// equal is Python's ==.
func (in *interp) equal(x, y any) bool { return in.equalAt(x, y, 0) }

func (in *interp) equalAt(x, y any, depth int) bool {
	in.step()
	if depth > maxJSONDepth {
		in.fail(Limit, "a value is nested deeper than %d", maxJSONDepth)
	}
	if s, ok := text(x); ok {
		t, ok := text(y)
		return ok && s == t
	}
	if f, ok := float(x); ok {
		g, ok := float(y)
		return ok && f == g && in.bigEqual(x, y)
	}
	switch x := x.(type) {
	case nil:
		return y == nil
	case []any:
		y, ok := y.([]any)
		return ok && in.equalItems(x, y, depth)
	case tuple:
		y, ok := y.(tuple)
		return ok && in.equalItems(x, y, depth)
	case *view:
		y, ok := y.(*view)
		return ok && x.kind == y.kind && in.equalItems(x.items, y.items, depth)
	case *dict:
		y, ok := y.(*dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for h, i := range x.index {
			v, ok := y.get(h)
			if !ok || !in.equalAt(x.values[i], v, depth+1) {
				return false
			}
		}
		return true
	case *undefined:
		_, ok := y.(*undefined)
		return ok
	}
	return x == y // by identity: namespaces, macros, functions
}

// bigEqual tells apart integers that are one float.
func (in *interp) bigEqual(x, y any) bool {
	_, xf := x.(float64)
	_, yf := y.(float64)
	if xf || yf {
		return true
	}
	return bigInt(x).Cmp(bigInt(y)) == 0
}

func bigInt(v any) *big.Int {
	if b, ok := v.(*big.Int); ok {
		return b
	}
	n, _ := integer(v)
	return big.NewInt(int64(n))
}

func (in *interp) equalItems(x, y []any, depth int) bool {
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !in.equalAt(x[i], y[i], depth+1) {
			return false
		}
	}
	return true
}

// less is Python's x < y.
func (in *interp) less(x, y any, op string) bool {
	in.step()
	in.defined(x)
	in.defined(y)
	if s, ok := text(x); ok {
		if t, ok := text(y); ok {
			return s < t // UTF-8 keeps the order of code points
		}
	}
	if f, ok := float(x); ok {
		if g, ok := float(y); ok {
			if m, ok := integer(x); ok {
				if n, ok := integer(y); ok {
					return m < n
				}
			}
			return f < g
		}
	}
	a, aok := elements(x)
	b, bok := elements(y)
	if aok && bok && typeName(x) == typeName(y) {
		for i := range min(len(a), len(b)) {
			if !in.equal(a[i], b[i]) {
				return in.less(a[i], b[i], op)
			}
		}
		return len(a) < len(b)
	}
	in.fail(Type, "'%s' not supported between '%s' and '%s'", op, typeName(x), typeName(y))
	return false
}

// contains is Python's item in of.
func (in *interp) contains(of, item any) bool {
	switch of := of.(type) {
	case string, markup:
		s, _ := text(of)
		sub, ok := text(item)
		if !ok {
			in.defined(item)
			in.fail(Type, "'in <string>' requires a string on its left side, not %s", typeName(item))
		}
		in.steps += len(s) / 64
		return strings.Contains(s, sub)
	case *dict:
		_, ok := of.get(in.hashKey(item))
		return ok
	case *undefined:
		in.allow(of)
		return false
	}
	next, _ := in.iterate(of)
	for v, ok := next(); ok; v, ok = next() {
		if in.equal(v, item) {
			return true
		}
	}
	return false
}

func (in *interp) unary(op string, v any) any {
	if op == "not" {
		return !truth(v)
	}
	in.defined(v)
	if f, ok := v.(float64); ok {
		if op == "-" {
			return -f
		}
		return f
	}
	n, ok := integer(v)
	if !ok {
		in.fail(Type, "bad operand type for unary %s: '%s'", op, typeName(v))
	}
	if op == "-" {
		return -n
	}
	return n
}
