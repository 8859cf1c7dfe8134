package dataset

import (
	"errors"

	"plumb/internal/chat"
)

// ReadPrompts reads things to answer. Of other records the prompt is taken: of conversations what stands before the
// last answer, of texts the opening.
func ReadPrompts(path string, o Options) ([]Prompt, Summary, error) {
	var out []Prompt
	s, err := scan(path, o, func(record any, s *Summary) error {
		p, err := promptOf(record, o.Opening)
		if err == nil {
			out = append(out, p)
		}
		return err
	})
	return finish(out, s, err)
}

var errNoPrompt = errors.New("the record has no prompt; `opening` can make one of a text's first words")

func promptOf(record any, words int) (Prompt, error) {
	var p Prompt
	text := func(o Origin, s string) (Prompt, error) {
		if words == 0 {
			return p, errNoPrompt
		}
		return Prompt{Origin: o, Prompt: Passage{Text: s[:openingWords(s, words)]}}, nil
	}
	switch r := record.(type) {
	case Prompt:
		return r, nil
	case Demonstration:
		p = Prompt{Origin: r.Origin, Prompt: r.Prompt, Tools: r.Tools}
		if r.Conversation != nil {
			n := len(r.Conversation)
			for n > 0 && r.Conversation[n-1].Role == assistant {
				n--
			}
			p.Prompt.Messages = r.Conversation[:n:n]
		}
	case []Comparison:
		p = Prompt{Origin: r[0].Origin, Prompt: r[0].Prompt}
	case Judgement:
		p = Prompt{Origin: r.Origin, Prompt: r.Prompt}
	case Text:
		return text(r.Origin, r.Text)
	case Labelled:
		p, err := text(r.Origin, r.Text)
		p.Fields = chat.Object{{Key: "label", Value: r.Label}}
		return p, err
	}
	if p.Prompt.Empty() {
		return p, errNoPrompt
	}
	return p, nil
}
