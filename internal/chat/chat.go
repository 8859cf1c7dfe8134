package chat

import (
	"strings"
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
	Now           time.Time // what strftime_now sees; zero: templates have no strftime_now
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
	body   []stmt
	marks  bool
}

// Parse reads the source of a template. Its error is an *Error.
func Parse(source string) (t *Template, err error) {
	defer rescue(&err)
	body, marks := parse(source)
	return &Template{source: source, body: body, marks: marks}, nil
}

// Source returns the text that Parse was given.
func (t *Template) Source() string { return t.source }

// HasGeneration reports whether the template marks what the assistant says with {% generation %} blocks.
func (t *Template) HasGeneration() bool { return t.marks }

// Render renders a conversation. Its error is an *Error; of Kind Raised when the template itself refuses the
// conversation (a role it does not know, turns in the wrong order).
func (t *Template) Render(in Input) (out Output, err error) {
	defer rescue(&err)
	if in.ContinueFinal {
		if in.AddGenerationPrompt {
			fail(0, Type, "a final message cannot be continued behind a generation prompt")
		}
		return t.renderContinued(in), nil
	}
	return t.render(in), nil
}

func (t *Template) render(given Input) Output {
	in := &interp{now: given.Now, out: &strings.Builder{}}
	global := &scope{vars: in.globals()}
	messages := make([]any, len(given.Messages))
	for i, m := range given.Messages {
		messages[i] = in.message(m)
	}
	global.set("messages", messages)
	global.set("add_generation_prompt", given.AddGenerationPrompt)
	global.set("documents", nil)
	global.set("tools", nil)
	if given.Tools != nil {
		global.set("tools", in.fromJSON(given.Tools, 0))
	}
	if given.BOS != "" {
		global.set("bos_token", given.BOS)
	}
	if given.EOS != "" {
		global.set("eos_token", given.EOS)
	}
	for _, f := range given.Extra {
		global.set(f.Key, in.fromJSON(f.Value, 0))
	}
	in.exec(t.body, global.inner())
	return Output{Text: in.out.String(), Generated: in.spans}
}

// message is a message as templates see it: without null values, and with reasoning_content also as thinking,
// the two names that templates use for the same thing.
func (in *interp) message(m Message) *dict {
	d := newDict()
	if _, whole := m.Fields.Get("role"); !whole {
		d.setString("role", m.Role)
		d.setString("content", strings.ToValidUTF8(m.Content, "\uFFFD"))
		in.input += len(m.Role) + len(m.Content)
	}
	for _, f := range m.Fields {
		if f.Value != nil {
			d.setString(f.Key, in.fromJSON(f.Value, 0))
		}
	}
	if v, ok := d.getString("reasoning_content"); ok {
		if _, has := d.getString("thinking"); !has {
			d.setString("thinking", v)
		}
	}
	return d
}

// continueMark stands where the final message's content ends; its trailing space shows whether the template trims.
const continueMark = "CONTINUE_FINAL_MESSAGE_TAG "

// renderContinued renders with a mark behind the last content and cuts the text there.
func (t *Template) renderContinued(in Input) Output {
	if len(in.Messages) == 0 {
		fail(0, Type, "there is no final message to continue")
	}
	messages := append([]Message(nil), in.Messages...)
	last := &messages[len(messages)-1]
	content := *last
	if !markContent(last) {
		fail(0, Type, "the final message (%s) has no text to continue", last.Role)
	}
	in.Messages = messages
	out := t.render(in)
	mark := strings.TrimRight(continueMark, " ")
	at := strings.LastIndex(out.Text, mark)
	if at < 0 || !strings.Contains(out.Text, strings.TrimFunc(content.Content, isSpace)) {
		fail(0, Raised, "the final message does not appear in the text, so it cannot be continued")
	}
	text := out.Text[:at]
	if !strings.HasPrefix(out.Text[at:], continueMark) {
		text = strings.TrimRightFunc(text, isSpace) // the template trims contents
	}
	out.Text = text
	for i := range out.Generated {
		s := &out.Generated[i]
		s.Start, s.End = min(s.Start, len(text)), min(s.End, len(text))
	}
	return out
}

// markContent appends the mark to a message's content, or to its last text part.
func markContent(m *Message) bool {
	content, ok := m.Fields.Get("content")
	if !ok {
		if _, whole := m.Fields.Get("role"); whole {
			return false
		}
		m.Content += continueMark
		return true
	}
	switch c := content.(type) {
	case string:
		content = c + continueMark
	case []any:
		parts := append([]any(nil), c...)
		content = nil
		for i := len(parts) - 1; i >= 0 && content == nil; i-- {
			p, _ := parts[i].(Object)
			if v, ok := p.Get("text"); ok {
				s, _ := v.(string)
				parts[i] = p.with("text", s+continueMark)
				content = parts
			}
		}
	default:
		return false
	}
	m.Fields = m.Fields.with("content", content)
	return content != nil
}

// with returns a copy in which key has another value.
func (o Object) with(key string, value any) Object {
	o = append(Object(nil), o...)
	for i := range o {
		if o[i].Key == key {
			o[i].Value = value
		}
	}
	return o
}
