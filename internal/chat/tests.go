package chat

import (
	"math/big"
	"strings"
)

type testFunc func(in *interp, v any, a args) bool

func (in *interp) runTest(name string, v any, a args) bool {
	in.step()
	t := testOf(name)
	if t == nil {
		in.fail(Runtime, "no test named %q", name)
	}
	return t(in, v, a)
}

// is wraps a test without arguments.
func is(name string, f func(v any) bool) testFunc {
	return func(in *interp, v any, a args) bool {
		in.bind(name, a)
		return f(v)
	}
}

// comparison wraps a test that is an operator.
func comparison(op string) testFunc {
	return func(in *interp, v any, a args) bool { return in.compare(op, v, in.bind(op, a, "other")[0]) }
}

// remainder wraps odd, even and divisibleby.
func remainder(in *interp, v any, n, want int) bool {
	r, ok := integer(in.binary("%", v, n))
	return ok && r == want
}

// testOf is the table of tests; nil: there is none of that name.
func testOf(name string) testFunc {
	switch name {
	case "defined":
		return is(name, func(v any) bool { _, undef := v.(*undefined); return !undef })
	case "undefined":
		return is(name, func(v any) bool { _, undef := v.(*undefined); return undef })
	case "none":
		return is(name, func(v any) bool { return v == nil })
	case "string":
		return is(name, func(v any) bool { _, ok := text(v); return ok })
	case "number":
		return is(name, func(v any) bool { _, ok := float(v); return ok })
	case "integer":
		return is(name, func(v any) bool {
			switch v.(type) {
			case int, *big.Int:
				return true
			}
			return false
		})
	case "float":
		return is(name, func(v any) bool { _, ok := v.(float64); return ok })
	case "boolean":
		return is(name, func(v any) bool { _, ok := v.(bool); return ok })
	case "true":
		return is(name, func(v any) bool { return v == true })
	case "false":
		return is(name, func(v any) bool { return v == false })
	case "mapping":
		return is(name, func(v any) bool { _, ok := v.(*dict); return ok })
	case "sequence": // what has a length and can be indexed; Jinja counts dicts and undefined values in
		return is(name, func(v any) bool {
			switch v.(type) {
			case string, markup, []any, tuple, *dict, *undefined:
				return true
			}
			return false
		})
	case "iterable":
		return is(name, func(v any) bool {
			switch v.(type) {
			case string, markup, []any, tuple, *dict, *undefined, *view, *generator, *loopState:
				return true
			}
			return false
		})
	case "callable":
		return is(name, func(v any) bool {
			switch v.(type) {
			case *builtin, *macro, *undefined, *loopState:
				return true
			}
			return false
		})
	case "escaped":
		return is(name, func(v any) bool { _, ok := v.(markup); return ok })
	case "lower":
		return func(in *interp, v any, a args) bool { return isCase(in.str(v), strings.ToLower, strings.ToUpper) }
	case "upper":
		return func(in *interp, v any, a args) bool { return isCase(in.str(v), strings.ToUpper, strings.ToLower) }
	case "odd":
		return func(in *interp, v any, a args) bool { return remainder(in, v, 2, 1) }
	case "even":
		return func(in *interp, v any, a args) bool { return remainder(in, v, 2, 0) }
	case "divisibleby":
		return func(in *interp, v any, a args) bool {
			return remainder(in, v, in.int(name, in.bind(name, a, "num")[0]), 0)
		}
	case "sameas":
		return func(in *interp, v any, a args) bool {
			other := in.bind(name, a, "other")[0]
			return typeName(v) == typeName(other) && in.equal(v, other)
		}
	case "in":
		return comparison("in")
	case "eq", "equalto", "==":
		return comparison("==")
	case "ne", "!=":
		return comparison("!=")
	case "lt", "lessthan", "<":
		return comparison("<")
	case "le", "<=":
		return comparison("<=")
	case "gt", "greaterthan", ">":
		return comparison(">")
	case "ge", ">=":
		return comparison(">=")
	case "filter":
		return func(in *interp, v any, a args) bool { return filterOf(in.str(v)) != nil }
	case "test":
		return func(in *interp, v any, a args) bool { return testOf(in.str(v)) != nil }
	}
	return nil
}

// isCase is Python's islower and isupper: unchanged by its own case, and with a cased character.
func isCase(s string, own, other func(string) string) bool {
	return s == own(s) && s != other(s)
}
