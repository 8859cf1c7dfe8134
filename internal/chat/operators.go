package chat

import (
	"math"
	"math/bits"
	"strings"
)

// binary is an arithmetic operator on two values.
func (in *interp) binary(op string, x, y any) any {
	in.defined(x)
	if s, ok := text(x); ok && op == "%" {
		return likeOf(x, in.formatPercent(s, y))
	}
	in.defined(y)
	if op == "+" || op == "*" {
		if v, ok := in.sequenceOp(op, x, y); ok {
			return v
		}
	}
	m, mok := integer(x)
	n, nok := integer(y)
	if mok && nok && op != "/" && !(op == "**" && n < 0) {
		return in.intOp(op, m, n)
	}
	f, fok := float(x)
	g, gok := float(y)
	if !fok || !gok {
		in.fail(Type, "unsupported operand types for %s: '%s' and '%s'", op, typeName(x), typeName(y))
	}
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "**":
		return math.Pow(f, g)
	}
	if g == 0 {
		in.fail(Type, "division by zero")
	}
	switch op {
	case "/":
		return f / g
	case "//":
		return math.Floor(f / g)
	case "%":
		r := math.Mod(f, g)
		if r != 0 && (r < 0) != (g < 0) {
			r += g
		}
		return r
	}
	panic("chat: binary: unknown operator " + op)
}

// intOp is arithmetic on Python's integers within 64 bits.
func (in *interp) intOp(op string, m, n int) any {
	overflow := func() { in.fail(Limit, "integer beyond 64 bits: %d %s %d", m, op, n) }
	switch op {
	case "+":
		if r := m + n; (r > m) == (n > 0) {
			return r
		}
		overflow()
	case "-":
		if r := m - n; (r < m) == (n > 0) {
			return r
		}
		overflow()
	case "*":
		return in.mul(m, n)
	case "**":
		r := 1
		for range min(n, 64) { // beyond, all but 0, 1 and -1 overflow
			r = in.mul(r, m)
		}
		if n > 64 && n%2 == 1 {
			r *= m
		}
		return r
	}
	if n == 0 {
		in.fail(Type, "division by zero")
	}
	q, r := m/n, m%n // truncated; Python rounds down
	if r != 0 && (r < 0) != (n < 0) {
		q, r = q-1, r+n
	}
	if op == "//" {
		return q
	}
	return r
}

func (in *interp) mul(m, n int) int {
	hi, lo := bits.Mul64(uint64(abs(m)), uint64(abs(n)))
	if hi != 0 || lo > math.MaxInt64 {
		in.fail(Limit, "integer beyond 64 bits: %d * %d", m, n)
	}
	return m * n
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// sequenceOp joins (+) and repeats (*) strings, lists and tuples.
func (in *interp) sequenceOp(op string, x, y any) (any, bool) {
	if op == "+" {
		s, sok := text(x)
		t, tok := text(y)
		if sok && tok {
			in.alloc(len(s) + len(t))
			_, safeX := x.(markup)
			_, safeY := y.(markup)
			switch {
			case safeX && !safeY:
				return markup(s + in.escape(t)), true
			case safeY && !safeX:
				return markup(in.escape(s) + t), true
			}
			return likeOf(x, s+t), true
		}
		a, aok := elements(x)
		b, bok := elements(y)
		if !aok || !bok || typeName(x) != typeName(y) {
			return nil, false
		}
		in.alloc(16 * (len(a) + len(b)))
		return likeList(x, append(append(make([]any, 0, len(a)+len(b)), a...), b...)), true
	}
	n, ok := integer(y)
	if !ok {
		x, y = y, x
		if n, ok = integer(y); !ok {
			return nil, false
		}
	}
	n = max(n, 0)
	if s, ok := text(x); ok {
		in.allocTimes(n, len(s))
		return likeOf(x, strings.Repeat(s, n)), true
	}
	items, ok := elements(x)
	if !ok {
		return nil, false
	}
	in.allocTimes(n, 16*len(items))
	var list []any
	for range n {
		if len(items) == 0 {
			break
		}
		list = append(list, items...)
	}
	return likeList(x, list), true
}

func likeList(of any, items []any) any {
	if _, ok := of.(tuple); ok {
		return tuple(items)
	}
	return items
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;")

// escape is markupsafe.escape.
func (in *interp) escape(s string) string {
	in.allocTimes(6, len(s))
	return htmlEscaper.Replace(s)
}

// slice is x[start:stop:step].
func (in *interp) slice(of any, x *sliceExpr, s *scope, line int) any {
	bound := func(e expr) (int, bool) {
		if e == nil {
			return 0, false
		}
		v := in.eval(e, s)
		if v == nil {
			return 0, false
		}
		in.line = line
		in.defined(v)
		n, ok := integer(v)
		if !ok {
			in.fail(Type, "slice indices must be integers or None, not %s", typeName(v))
		}
		return n, true
	}
	start, hasStart := bound(x.start)
	stop, hasStop := bound(x.stop)
	step, hasStep := bound(x.step)
	in.line = line
	if u, ok := of.(*undefined); ok {
		in.deny(u)
	}
	if !hasStep {
		step = 1
	}
	str, isText := text(of)
	items, isList := elements(of)
	if !isText && !isList {
		in.fail(Type, "%s cannot be sliced", describe(of))
	}
	if step == 0 {
		in.fail(Type, "slice step cannot be zero")
	}
	var runes []rune
	n := len(items)
	if isText {
		in.alloc(4 * len(str))
		runes = []rune(str)
		n = len(runes)
	}
	start, stop = sliceBounds(n, step, start, stop, hasStart, hasStop)
	if isText && step == 1 {
		return likeOf(of, string(runes[start:max(start, stop)]))
	}
	var pickedRunes []rune
	var picked []any
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		in.step()
		if isText {
			pickedRunes = append(pickedRunes, runes[i])
		} else {
			picked = append(picked, items[i])
		}
		if step > n || step < -n {
			break
		}
	}
	in.alloc(16 * len(picked))
	if isText {
		return likeOf(of, string(pickedRunes))
	}
	return likeList(of, picked)
}

// sliceBounds resolves the ends of a slice of n items: negative ones count from the end, all are cut to the range.
func sliceBounds(n, step, start, stop int, hasStart, hasStop bool) (from, to int) {
	low, high := 0, n
	if step < 0 {
		low, high = -1, n-1
	}
	cut := func(i int, has bool, otherwise int) int {
		if !has {
			return otherwise
		}
		if i < 0 {
			i = max(i+n, low)
		}
		return min(i, high)
	}
	if step > 0 {
		return cut(start, hasStart, low), cut(stop, hasStop, high)
	}
	return cut(start, hasStart, high), cut(stop, hasStop, low)
}
