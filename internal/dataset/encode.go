package dataset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"plumb/internal/chat"
	"plumb/internal/tokenizer"
)

// Loss says which tokens of a demonstration are learned.
type Loss string

// What can be learned. Plain texts are learned whole under every rule, text completions from their first token on
// under all but LossAll.
const (
	// LossAnswers learns what a model is to say: the assistant's turns of a conversation with the token that ends
	// each, those of the completion only where there is a prompt. (TRL: completion_only_loss and assistant_only_loss.)
	LossAnswers Loss = "answers"
	// LossCompletion learns everything behind the prompt, what stands between turns included; conversations without
	// a prompt whole. (TRL: completion_only_loss.)
	LossCompletion Loss = "completion"
	// LossAssistant learns all assistant turns, those in the prompt too. (TRL: assistant_only_loss.)
	LossAssistant Loss = "assistant"
	// LossAll learns every token.
	LossAll Loss = "all"
)

// EncoderConfig is what an Encoder is made of.
type EncoderConfig struct {
	Tokenizer *tokenizer.Tokenizer
	Template  *chat.Template // nil: conversations are refused
	BOS, EOS  string         // texts of the tokens, "" if the model has none
	// StopIDs end a turn when a model generates one of them. EOS and the token with which the template ends the
	// assistant's turns are always among them.
	StopIDs []int32
	Loss    Loss        // "" is LossAnswers
	Now     time.Time   // for templates that print the date; zero: they print none, or their own
	Extra   chat.Object // further variables of the template (enable_thinking …)
	// Told, if not nil, hears how many records of a set are encoded, of how many: first 0, last all.
	Told func(done, total int)
}

// Encoder turns records into ids with loss weights. It is safe for concurrent use.
type Encoder struct {
	tok      *tokenizer.Tokenizer
	template *chat.Template
	bos, eos string
	bosID    int32 // -1: none
	eosID    int32
	stop     []int32
	loss     Loss
	now      time.Time
	extra    chat.Object
	told     func(done, total int)
}

// NewEncoder checks the configuration.
func NewEncoder(c EncoderConfig) (*Encoder, error) {
	e := &Encoder{
		tok: c.Tokenizer, template: c.Template, bos: c.BOS, eos: c.EOS, bosID: -1, eosID: -1,
		stop: slices.Clone(c.StopIDs), loss: c.Loss, now: c.Now, extra: c.Extra, told: c.Told,
	}
	if e.told == nil {
		e.told = func(int, int) {}
	}
	if c.Tokenizer == nil {
		return nil, errors.New("encode: there is no tokenizer")
	}
	switch c.Loss {
	case "":
		e.loss = LossAnswers
	case LossAnswers, LossCompletion, LossAssistant, LossAll:
	default:
		return nil, fmt.Errorf("encode: loss %q is not one of answers, completion, assistant, all", c.Loss)
	}
	for _, t := range []struct {
		name, text string
		id         *int32
	}{{"bos", c.BOS, &e.bosID}, {"eos", c.EOS, &e.eosID}} {
		if t.text == "" {
			continue
		}
		id, ok := c.Tokenizer.ID(t.text)
		if !ok {
			return nil, fmt.Errorf("encode: the %s token %q is not in the tokenizer's vocabulary", t.name, t.text)
		}
		*t.id = id
	}
	if e.eosID >= 0 && !slices.Contains(e.stop, e.eosID) {
		e.stop = append(e.stop, e.eosID)
	}
	if id, ok := e.turnEnd(); ok && !slices.Contains(e.stop, id) {
		e.stop = append(e.stop, id)
	}
	return e, nil
}

// turnEnd finds the special token with which the template ends an assistant's turn: the last one of a turn it is
// tried on. ok is false if there is none or the template does not render the trial.
func (e *Encoder) turnEnd() (id int32, ok bool) {
	if e.template == nil {
		return 0, false
	}
	trial := []chat.Message{{Role: "user", Content: "Hello"}, {Role: assistant, Content: "Hello"}}
	out, err := e.render(trial, nil, false)
	if err != nil {
		return 0, false
	}
	turns, err := e.turns(trial, nil, out, nil, false, 0)
	if err != nil || len(turns) == 0 {
		return 0, false
	}
	x, err := e.rendered(out.Text)
	if err != nil {
		return 0, false
	}
	for i, offset := range x.offsets {
		if t := turns[len(turns)-1]; offset[0] >= t.start && offset[1] <= t.end && e.tok.IsSpecial(x.ids[i]) {
			id, ok = x.ids[i], true
		}
	}
	return id, ok
}

// StopIDs are the ids that end a turn. The caller must not change them.
func (e *Encoder) StopIDs() []int32 { return e.stop }

// Example is a training row.
type Example struct {
	Origin
	IDs []int32
	// Weights[i] is the weight of the loss of predicting IDs[i] from the ids before it; 0: not learned.
	// The first id has none before it, so Weights[0], where not 0, is never used.
	Weights   []float32
	Prompt    int  // IDs[:Prompt] are the prompt; 0 if the record has none
	Truncated bool // ids are missing at one of the ends
	Record    int  // which of the records that were encoded together it is of
}

// Learnable is the number of ids that are learned.
func (x Example) Learnable() int {
	n := 0
	for i, w := range x.Weights {
		if i > 0 && w != 0 {
			n++
		}
	}
	return n
}

// encoded is a row with the text it was made of.
type encoded struct {
	text    string
	ids     []int32
	offsets [][2]int
	weights []float32
	prompt  int
}

func (x encoded) example(o Origin) Example {
	return Example{Origin: o, IDs: x.ids, Weights: x.weights, Prompt: x.prompt}
}

// Demonstration encodes a demonstration, uncut.
func (e *Encoder) Demonstration(d Demonstration) (Example, error) {
	x, err := e.demonstration(d)
	if err != nil {
		return Example{}, fmt.Errorf("%s: %w", d.Origin, err)
	}
	return x.example(d.Origin), nil
}

func (e *Encoder) demonstration(d Demonstration) (encoded, error) {
	if d.Conversation != nil {
		return e.conversation(nil, d.Conversation, d.Tools)
	}
	if d.Completion.IsChat() {
		if !d.Prompt.IsChat() && !d.Prompt.Empty() {
			return encoded{}, errors.New("the prompt is a text and the completion a conversation")
		}
		return e.conversation(d.Prompt.Messages, d.Completion.Messages, d.Tools)
	}
	if d.Prompt.IsChat() {
		return encoded{}, errors.New("the prompt is a conversation and the completion a text")
	}
	return e.completion(d.Prompt.Text, d.Completion.Text)
}

// Text encodes a plain text, learned whole and ended by EOS.
func (e *Encoder) Text(t Text) (Example, error) {
	x, err := e.plain(t.Text, true)
	if err != nil {
		return Example{}, fmt.Errorf("%s: %w", t.Origin, err)
	}
	x.weigh(0, 1)
	return x.example(t.Origin), nil
}

// plain encodes a text as it stands, with the special tokens the tokenizer puts around texts and, if ended, EOS at
// its end. A BOS or EOS that the text brings itself is not doubled.
func (e *Encoder) plain(text string, ended bool) (encoded, error) {
	if ended && e.eos != "" && !strings.HasSuffix(text, e.eos) {
		text += e.eos
	}
	enc := e.tok.Encode(text, tokenizer.EncodeOptions{AddSpecial: true, Special: true})
	if enc.Err != nil {
		return encoded{}, enc.Err
	}
	x := encoded{text: text, ids: enc.IDs, offsets: enc.Offsets}
	if n := len(x.ids); n > 1 && e.bosID >= 0 && x.ids[0] == e.bosID && x.ids[1] == e.bosID && x.added(0) {
		x.ids, x.offsets = x.ids[1:], x.offsets[1:]
	}
	for n := len(x.ids); n > 0 && e.eosID >= 0 && x.ids[n-1] == e.eosID && x.added(n-1); n-- {
		if ended && (n < 2 || x.ids[n-2] != e.eosID) {
			break
		}
		x.ids, x.offsets = x.ids[:n-1], x.offsets[:n-1]
	}
	x.weights = make([]float32, len(x.ids))
	return x, nil
}

// added reports whether the tokenizer put token i there without text.
func (x *encoded) added(i int) bool { return x.offsets[i] == [2]int{} }

// weigh gives the tokens from i on a weight.
func (x *encoded) weigh(from int, weight float32) {
	for i := from; i < len(x.weights); i++ {
		x.weights[i] = weight
	}
}

// completion encodes prompt+completion texts. The completion begins at the first id in which the ids of the prompt
// alone and those of both differ: a token across the border is learned.
func (e *Encoder) completion(prompt, completion string) (encoded, error) {
	x, err := e.plain(prompt+completion, true)
	if err != nil {
		return x, err
	}
	p, err := e.plain(prompt, false)
	if err != nil {
		return x, err
	}
	x.prompt = samePrefix(p.ids, x.ids)
	from := x.prompt
	if e.loss == LossAll {
		from = 0
	}
	x.weigh(from, 1)
	return x, nil
}

func samePrefix(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// conversation encodes a conversation of which the messages of prompt are given and those of answer are to be
// said.
func (e *Encoder) conversation(prompt, answer []chat.Message, tools []any) (encoded, error) {
	all, weights, err := splitWeights(slices.Concat(prompt, answer))
	if err != nil {
		return encoded{}, err
	}
	out, err := e.render(all, tools, false)
	if err != nil {
		return encoded{}, err
	}
	x, err := e.rendered(out.Text)
	if err != nil {
		return encoded{}, err
	}
	if len(prompt) > 0 {
		p, err := e.promptText(all[:len(prompt)], tools)
		if err != nil {
			return encoded{}, err
		}
		ids, err := e.rendered(p)
		if err != nil {
			return encoded{}, err
		}
		x.prompt = samePrefix(ids.ids, x.ids)
	}
	switch e.loss {
	case LossAll, LossCompletion:
		if weights != nil {
			return encoded{}, fmt.Errorf("messages with weights need loss: answers or assistant, not %s", e.loss)
		}
		from := 0
		if e.loss == LossCompletion {
			from = x.prompt
		}
		x.weigh(from, 1)
		return x, nil
	}
	turns, err := e.turns(all, tools, out, weights, e.loss == LossAnswers, len(prompt))
	if err != nil {
		return encoded{}, err
	}
	e.mark(&x, turns)
	if e.loss == LossAnswers {
		clear(x.weights[:x.prompt])
	}
	return x, nil
}

// render applies the template to messages from which training fields were taken.
func (e *Encoder) render(messages []chat.Message, tools []any, prompt bool) (chat.Output, error) {
	if e.template == nil {
		return chat.Output{}, errors.New("the record is a conversation, but the model has no chat template")
	}
	return e.template.Render(chat.Input{
		Messages: messages, AddGenerationPrompt: prompt, BOS: e.bos, EOS: e.eos, Tools: tools, Extra: e.extra, Now: e.now,
	})
}

// rendered encodes a text that a template made: it holds its special tokens already, so none are added.
func (e *Encoder) rendered(text string) (encoded, error) {
	enc := e.tok.Encode(text, tokenizer.EncodeOptions{Special: true})
	if enc.Err != nil {
		return encoded{}, enc.Err
	}
	return encoded{text: text, ids: enc.IDs, offsets: enc.Offsets, weights: make([]float32, len(enc.IDs))}, nil
}

// promptText is the text that a model answers. A conversation that ends with the assistant is continued.
func (e *Encoder) promptText(messages []chat.Message, tools []any) (string, error) {
	if len(messages) > 0 && messages[len(messages)-1].Role == assistant {
		if e.template == nil {
			_, err := e.render(messages, tools, false)
			return "", err
		}
		out, err := e.template.Render(chat.Input{
			Messages: messages, ContinueFinal: true, BOS: e.bos, EOS: e.eos, Tools: tools, Extra: e.extra, Now: e.now,
		})
		return out.Text, err
	}
	out, err := e.render(messages, tools, true)
	return out.Text, err
}
