package chat

import (
	"errors"
	"time"
)

// Field is one entry of an Object.
type Field struct {
	Key   string
	Value any
}

// Object is a JSON object that keeps the order of its keys, which templates print (tojson, items).
// Values are nil, bool, int, *big.Int, float64, string, []any and Object.
type Object []Field

// Get returns the value of key.
func (o Object) Get(key string) (any, bool) {
	for i := range o {
		if o[i].Key == key {
			return o[i].Value, true
		}
	}
	return nil, false
}

// Message is one turn of a conversation.
//
// A template sees {"role": Role, "content": Content} followed by Fields in their order. When Fields has a "role"
// of its own, Fields is the whole message as the template sees it: so a message read from JSON keeps its key
// order, its missing content or its content parts (see NewMessage).
type Message struct {
	Role    string
	Content string // the text; content parts of type text joined, "" when there is none
	Fields  Object
}

// Input is what a template is rendered with.
type Input struct {
	Messages            []Message
	AddGenerationPrompt bool
	// ContinueFinal cuts the text right after the last message's content, so that a model goes on writing it.
	// It excludes AddGenerationPrompt.
	ContinueFinal bool
	BOS, EOS      string    // token texts; "" leaves bos_token or eos_token undefined
	Tools         []any     // nil: None
	Extra         Object    // further variables (documents, enable_thinking, pad_token …)
	Now           time.Time // what strftime_now sees; zero: calling it is an error
}

// Span is a half-open range of byte offsets into Output.Text.
type Span struct{ Start, End int }

// Output is a rendered conversation.
type Output struct {
	Text string
	// Generated are the spans printed by {% generation %} blocks, in order, nil when the template ran none.
	Generated []Span
}

// Template is a parsed chat template. It is safe for concurrent use.
type Template struct {
	source string
}

// Parse reads the source of a template.
func Parse(source string) (*Template, error) { return &Template{source: source}, nil }

// Source returns the text that Parse was given.
func (t *Template) Source() string { return t.source }

// Render renders a conversation.
func (t *Template) Render(in Input) (Output, error) {
	return Output{}, errors.New("chat: rendering is under construction")
}
