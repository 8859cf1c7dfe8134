package dataset

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"plumb/internal/chat"
)

// Pair is an encoded comparison: two rows that begin with the same Prompt ids. In each, the ids behind them are
// the completion and have weight 1.
type Pair struct {
	Chosen, Rejected Example
	Better           float64 // P(Chosen is better)
	Margin           float64
}

// Comparison encodes a comparison, uncut. Texts are ended by EOS; conversations end as the template ends them.
func (e *Encoder) Comparison(c Comparison) (Pair, error) {
	p := Pair{Better: c.Better, Margin: c.Margin}
	prompt, chosen, err := e.continuation(c.Prompt, c.Chosen)
	if err != nil {
		return Pair{}, fmt.Errorf("%s: chosen: %w", c.Origin, err)
	}
	_, rejected, err := e.continuation(c.Prompt, c.Rejected)
	if err != nil {
		return Pair{}, fmt.Errorf("%s: rejected: %w", c.Origin, err)
	}
	n := min(samePrefix(prompt, chosen.ids), samePrefix(prompt, rejected.ids))
	for _, x := range []*encoded{&chosen, &rejected} {
		x.prompt = n
		clear(x.weights)
		x.weigh(n, 1)
	}
	p.Chosen, p.Rejected = chosen.example(c.Origin), rejected.example(c.Origin)
	return p, nil
}

// Judgement encodes a judged continuation, uncut; the completion has weight 1.
func (e *Encoder) Judgement(j Judgement) (Example, error) {
	prompt, x, err := e.continuation(j.Prompt, j.Completion)
	if err != nil {
		return Example{}, fmt.Errorf("%s: %w", j.Origin, err)
	}
	x.prompt = samePrefix(prompt, x.ids)
	x.weigh(x.prompt, 1)
	return x.example(j.Origin), nil
}

// continuation encodes the prompt alone and with its continuation.
func (e *Encoder) continuation(prompt, completion Passage) (promptIDs []int32, whole encoded, err error) {
	switch {
	case prompt.IsChat() && !completion.IsChat():
		return nil, whole, errors.New("the prompt is a conversation and the completion a text")
	case !prompt.IsChat() && completion.IsChat() && !prompt.Empty():
		return nil, whole, errors.New("the prompt is a text and the completion a conversation")
	case !completion.IsChat():
		if whole, err = e.plain(prompt.Text+completion.Text, true); err != nil || prompt.Empty() {
			return nil, whole, err
		}
		p, err := e.plain(prompt.Text, false)
		return p.ids, whole, err
	}
	all, _, err := splitWeights(slices.Concat(prompt.Messages, completion.Messages))
	if err != nil {
		return nil, whole, err
	}
	out, err := e.render(all, nil, false)
	if err != nil {
		return nil, whole, err
	}
	if whole, err = e.rendered(out.Text); err != nil || prompt.Empty() {
		return nil, whole, err
	}
	promptIDs, err = e.promptIDs(all[:len(prompt.Messages)], nil)
	return promptIDs, whole, err
}

func (e *Encoder) promptIDs(messages []chat.Message, tools []any) ([]int32, error) {
	text, err := e.promptText(messages, tools)
	if err != nil {
		return nil, err
	}
	x, err := e.rendered(text)
	return x.ids, err
}

// Prompt encodes something to answer: a text as it stands, a conversation with the generation prompt behind it.
func (e *Encoder) Prompt(p Prompt) ([]int32, error) {
	ids, err := e.promptOf(p)
	if err == nil && len(ids) == 0 {
		err = errors.New("the prompt is empty")
	}
	switch {
	case err != nil && p.Origin == Origin{}: // of no file: the caller knows where it comes from
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%s: %w", p.Origin, err)
	}
	return ids, nil
}

// Answer is the text of ids that were sampled behind the ids of a prompt: the one that Comparison and Demonstration make
// these ids of, where the tokenizer writes them at all. Special tokens are left out.
func (e *Encoder) Answer(p Prompt, prompt, ids []int32) string {
	text := e.tok.DecodeAfter(prompt, ids, true)
	bare, spaced := strings.CutPrefix(text, " ")
	if !spaced {
		return text
	}
	// The template may put this space before an answer itself, or the tokenizer behind a special token.
	want := slices.Concat(prompt, ids)
	same := func(answer string) int {
		said := Passage{Text: answer}
		if p.Prompt.IsChat() {
			said = Passage{Messages: []chat.Message{{Role: assistant, Content: answer}}}
		}
		_, x, err := e.continuation(p.Prompt, said)
		if err != nil {
			return 0
		}
		return samePrefix(x.ids, want)
	}
	if a, b := same(bare), same(text); a > b || a == b && p.Prompt.IsChat() {
		return bare
	}
	return text
}

func (e *Encoder) promptOf(p Prompt) ([]int32, error) {
	if p.Prompt.IsChat() {
		bare, _, err := splitWeights(p.Prompt.Messages)
		if err != nil {
			return nil, err
		}
		return e.promptIDs(bare, p.Tools)
	}
	x, err := e.plain(p.Prompt.Text, false)
	return x.ids, err
}
