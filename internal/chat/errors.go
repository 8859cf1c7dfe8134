package chat

import "fmt"

// Kind says what class of fault an Error is; the names are Jinja's and Python's where those have one.
type Kind string

// The kinds of an Error.
const (
	Syntax    Kind = "syntax error"
	Raised    Kind = "raised by the template" // raise_exception: the template refuses this conversation
	Undefined Kind = "undefined value"
	Type      Kind = "type error"
	Security  Kind = "forbidden in templates"
	Runtime   Kind = "runtime error"
	Limit     Kind = "limit exceeded" // the template wants more time, depth or memory than it is given
)

// Error is a fault of a template, or of a template with a conversation.
type Error struct {
	Line    int // of the template, from 1; 0: none
	Kind    Kind
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("chat template: %s: %s", e.Kind, e.Message)
	}
	return fmt.Sprintf("chat template line %d: %s: %s", e.Line, e.Kind, e.Message)
}

// fail ends parsing or rendering; Parse and Render recover it.
func fail(line int, kind Kind, format string, args ...any) {
	panic(&Error{Line: line, Kind: kind, Message: fmt.Sprintf(format, args...)})
}

// rescue turns a panicking *Error into *err.
func rescue(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}
