package dataset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"plumb/internal/chat"
)

// text returns a field that must be a string.
func (r fields) text(name string) (string, error) {
	v, ok := r.get(name)
	if !ok {
		return "", fmt.Errorf("field %s is missing", name)
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("field %s is %s, not a string", name, jsonName(v))
	}
	return s, nil
}

// optional returns a field that may be missing.
func (r fields) optional(name string) (string, error) {
	if _, ok := r.get(name); !ok {
		return "", nil
	}
	return r.text(name)
}

// passage returns a field that is a string or messages.
func (r fields) passage(name string) (Passage, error) {
	v, ok := r.get(name)
	if !ok {
		return Passage{}, fmt.Errorf("field %s is missing", name)
	}
	p, err := passageOf(v)
	if err != nil {
		return p, fmt.Errorf("field %s: %w", name, err)
	}
	return p, nil
}

func passageOf(v any) (Passage, error) {
	switch v := v.(type) {
	case string:
		return Passage{Text: v}, nil
	case []any:
		m, err := messagesOf(v, nil)
		return Passage{Messages: m}, err
	case chat.Object: // a single message
		m, err := messagesOf([]any{v}, nil)
		return Passage{Messages: m}, err
	}
	return Passage{}, fmt.Errorf("%s is neither a string nor messages", jsonName(v))
}

// shareGPTRoles are the names that ShareGPT's data and its descendants have for roles.
var shareGPTRoles = map[string]string{
	"human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant",
	"chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "system": "system", "tool": "tool",
	"function": "tool", "function_response": "tool", "observation": "tool", "function_call": "assistant",
}

// messagesOf reads messages in OpenAI's form (role, content) or in ShareGPT's (from, value).
func messagesOf(list []any, system *string) ([]chat.Message, error) {
	out := make([]chat.Message, 0, len(list)+1)
	if system != nil && *system != "" {
		out = append(out, chat.Message{Role: "system", Content: *system})
	}
	for i, v := range list {
		o, ok := v.(chat.Object)
		if !ok {
			return nil, fmt.Errorf("message %d is %s, not an object", i+1, jsonName(v))
		}
		if _, ok := o.Get("role"); !ok {
			var err error
			if o, err = fromShareGPT(o); err != nil {
				return nil, fmt.Errorf("message %d: %w", i+1, err)
			}
		}
		m, err := chat.NewMessage(o)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("there are no messages")
	}
	return out, nil
}

func fromShareGPT(o chat.Object) (chat.Object, error) {
	from, ok := o.Get("from")
	if !ok {
		return nil, errors.New("it has neither role nor from")
	}
	name, _ := from.(string)
	role, ok := shareGPTRoles[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("role %q is unknown", from)
	}
	value, _ := o.Get("value")
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("value is %s, not a string", jsonName(value))
	}
	out := chat.Object{{Key: "role", Value: role}, {Key: "content", Value: text}}
	for _, f := range o {
		if f.Key != "from" && f.Key != "value" {
			out = append(out, f)
		}
	}
	return out, nil
}

// tools returns the record's tools: a list, or a string that holds one.
func (r fields) tools() ([]any, error) {
	v, ok := r.get("tools")
	if !ok {
		return nil, nil
	}
	if s, ok := v.(string); ok {
		if strings.TrimSpace(s) == "" {
			return nil, nil
		}
		var err error
		if v, err = chat.DecodeJSON([]byte(s)); err != nil {
			return nil, fmt.Errorf("field tools: %w", err)
		}
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("field tools is %s, not a list", jsonName(v))
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, nil
}

// conversation makes a record of messages: a prompt if they end with the user's turn, else a demonstration.
func (r fields) conversation(messages []chat.Message) (any, error) {
	tools, err := r.tools()
	if err != nil {
		return nil, err
	}
	if messages[len(messages)-1].Role == "user" {
		return Prompt{Origin: r.Origin, Prompt: Passage{Messages: messages}, Tools: tools, Fields: r.others("messages", "conversations", "system", "tools")}, nil
	}
	for _, m := range messages {
		if m.Role == assistant {
			return Demonstration{Origin: r.Origin, Conversation: messages, Tools: tools}, nil
		}
	}
	return nil, errors.New("no message is the assistant's")
}

// others are the fields but for those named.
func (r fields) others(names ...string) chat.Object {
	var out chat.Object
next:
	for _, f := range r.Fields {
		for _, n := range names {
			if other, ok := r.columns[n]; ok {
				n = other
			}
			if f.Key == n {
				continue next
			}
		}
		out = append(out, f)
	}
	return out
}

func readMessages(r fields) (any, error) {
	p, err := r.passage("messages")
	if err != nil {
		return nil, err
	}
	if !p.IsChat() {
		return nil, errors.New("field messages is a string")
	}
	return r.conversation(p.Messages)
}

func readShareGPT(r fields) (any, error) {
	m, err := r.shareGPT()
	if err != nil {
		return nil, err
	}
	return r.conversation(m)
}

func (r fields) shareGPT() ([]chat.Message, error) {
	v, _ := r.get("conversations")
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("field conversations is %s, not a list", jsonName(v))
	}
	system, err := r.optional("system")
	if err != nil {
		return nil, err
	}
	m, err := messagesOf(list, &system)
	if err != nil {
		return nil, fmt.Errorf("field conversations: %w", err)
	}
	return m, nil
}

// alpacaPrompt makes the user's side of an Alpaca record: the input goes below the instruction, in the user's turn,
// behind the turns of the history.
func (r fields) alpacaPrompt() ([]chat.Message, error) {
	var out []chat.Message
	system, err := r.optional("system")
	if err != nil {
		return nil, err
	}
	if system != "" {
		out = append(out, chat.Message{Role: "system", Content: system})
	}
	if v, ok := r.get("history"); ok {
		turns, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("field history is %s, not a list", jsonName(v))
		}
		for i, t := range turns {
			pair, _ := t.([]any)
			if len(pair) != 2 {
				return nil, fmt.Errorf("history %d is not a pair of texts", i+1)
			}
			user, ok1 := pair[0].(string)
			answer, ok2 := pair[1].(string)
			if !ok1 || !ok2 {
				return nil, fmt.Errorf("history %d is not a pair of texts", i+1)
			}
			out = append(out, chat.Message{Role: "user", Content: user}, chat.Message{Role: assistant, Content: answer})
		}
	}
	instruction, err := r.text("instruction")
	if err != nil {
		return nil, err
	}
	input, err := r.optional("input")
	if err != nil {
		return nil, err
	}
	switch {
	case instruction == "":
		instruction = input
	case input != "":
		instruction += "\n" + input // as LLaMA-Factory joins them
	}
	return append(out, chat.Message{Role: "user", Content: instruction}), nil
}

func readAlpaca(r fields) (any, error) {
	m, err := r.alpacaPrompt()
	if err != nil {
		return nil, err
	}
	answer, err := r.text("output|response")
	if err != nil {
		return nil, err
	}
	return r.conversation(append(m, chat.Message{Role: assistant, Content: answer}))
}

func readCompletion(r fields) (any, error) {
	prompt, err := r.passage("prompt|question|query")
	if err != nil {
		return nil, err
	}
	completion, err := r.passage("completion|response|answer")
	if err != nil {
		return nil, err
	}
	if prompt, completion, err = alike(prompt, completion); err != nil {
		return nil, err
	}
	tools, err := r.tools()
	return Demonstration{Origin: r.Origin, Tools: tools, Prompt: prompt, Completion: completion}, err
}

// alike makes a text behind a conversation the assistant's turn.
func alike(prompt, completion Passage) (Passage, Passage, error) {
	if prompt.IsChat() && !completion.IsChat() {
		completion = Passage{Messages: []chat.Message{{Role: assistant, Content: completion.Text}}}
	}
	if completion.IsChat() && !prompt.IsChat() && !prompt.Empty() {
		prompt = Passage{Messages: []chat.Message{{Role: "user", Content: prompt.Text}}}
	}
	if completion.Empty() {
		return prompt, completion, errors.New("the completion is empty")
	}
	return prompt, completion, nil
}

func readPrompt(r fields) (any, error) {
	p, err := r.passage("prompt")
	if err != nil {
		return nil, err
	}
	if p.Empty() {
		return nil, errors.New("the prompt is empty")
	}
	tools, err := r.tools()
	return Prompt{Origin: r.Origin, Prompt: p, Tools: tools, Fields: r.others("prompt", "tools")}, err
}

func readText(r fields) (any, error) {
	s, err := r.text("text|content")
	if err == nil && strings.TrimSpace(s) == "" {
		err = errors.New("the text is empty")
	}
	return Text{Origin: r.Origin, Text: s}, err
}

func readLabelled(r fields) (any, error) {
	s, err := r.text(textFields)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(s) == "" {
		return nil, errors.New("the text is empty")
	}
	v, ok := r.get(labelFields)
	if !ok {
		return nil, fmt.Errorf("field %s is missing", labelFields)
	}
	label, ok := labelValue(v)
	if !ok {
		return nil, fmt.Errorf("label %v is neither a number nor one of positive, negative, neutral", v)
	}
	return Labelled{Origin: r.Origin, Text: s, Label: label}, nil
}

// labelValue reads a scalar label: a number, a bool, or a sentiment in words.
func labelValue(v any) (float64, bool) {
	if b, ok := v.(bool); ok {
		if b {
			return 1, true
		}
		return 0, true
	}
	if s, ok := v.(string); ok {
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "positive", "pos":
			return 1, true
		case "negative", "neg":
			return 0, true
		case "neutral":
			return 0.5, true
		}
	}
	return numberOf(v)
}

// numberOf reads a finite number, also one in a string, as tables have them.
func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, v-v == 0
	case string:
		x, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return x, err == nil && x-x == 0
	}
	return 0, false
}

// truth reads a bool, also in words or as 0 and 1.
func truth(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "1":
			return true, true
		case "false", "0":
			return false, true
		}
	case int:
		return v == 1, v == 0 || v == 1
	}
	return false, false
}
