package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"plumb/internal/chat"
	"plumb/internal/tokenizer"
)

// textOptions say how a record becomes ids; tokenize, score and generate share them.
type textOptions struct {
	chat             bool // a text is a user's message
	noSpecial        bool // no BOS or EOS around plain text
	generationPrompt bool // the template ends where the assistant begins
}

func (a *app) tokenizeCmd() *cobra.Command {
	var o textOptions
	cmd := &cobra.Command{
		Use:   "tokenize MODEL [flags] < in.jsonl > out.jsonl",
		Short: "Token ids of texts and conversations",
		Long: `Reads JSON lines with {"text"} or {"messages"} and writes each with "ids" added.

MODEL is a model folder, a run or stage folder, a GGUF file, embedded:NAME, a hub
name, or a bare tokenizer.json.`,
		Example: `  echo '{"text": "Once upon a time"}' | plumb tokenize ~/models/SmolLM2-135M`,
		Args:    args("one MODEL", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			p, err := a.locate(ctx, args[0])
			if err != nil {
				return err
			}
			l, err := a.openSides(p, args[0])
			if err != nil {
				return err
			}
			if err := l.needTokenizer(); err != nil {
				return err
			}
			a.progress.Start("tokenize", "records", 0, a.recordsAhead())
			defer a.progress.Done()
			done := 0
			return a.readRecords(ctx, 256, func(batch []*record) ([]*record, error) {
				for i, r := range batch {
					ids, err := l.tokenize(r, o)
					if err != nil {
						return batch[:i], fmt.Errorf("line %d: %w", r.line, err)
					}
					r.setIDs("ids", ids)
				}
				done += len(batch)
				a.progress.Set(done, "")
				return batch, nil
			})
		},
	}
	o.register(cmd)
	return cmd
}

func (o *textOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.chat, "chat", false, "render the chat template; a text is a user's message")
	f.BoolVar(&o.noSpecial, "no-special", false, "no special tokens (BOS, EOS) around plain text")
	f.BoolVar(&o.generationPrompt, "generation-prompt", false, "with a template: end with the beginning of the assistant's turn")
}

// tokenize gives the ids of a record with "messages" or "text".
func (l *loaded) tokenize(r *record, o textOptions) ([]int32, error) {
	switch {
	case r.has("messages"):
		messages, err := r.messages()
		if err != nil {
			return nil, err
		}
		return l.chatIDs(messages, o.generationPrompt)
	case r.has("text"):
		var text string
		if err := r.decode("text", &text); err != nil {
			return nil, err
		}
		if o.chat {
			return l.chatIDs([]chat.Message{{Role: "user", Content: text}}, o.generationPrompt)
		}
		return l.encode(text, !o.noSpecial)
	}
	return nil, fmt.Errorf(`want a field "text" or "messages"`)
}

// encode gives the ids of plain text, special tokens written in it recognised.
func (l *loaded) encode(text string, addSpecial bool) ([]int32, error) {
	enc := l.Tokenizer.Encode(text, tokenizer.EncodeOptions{AddSpecial: addSpecial, Special: true})
	return enc.IDs, enc.Err
}

// chatIDs renders a conversation and gives its ids. The template writes the
// special tokens itself, so none are added.
func (l *loaded) chatIDs(messages []chat.Message, generationPrompt bool) ([]int32, error) {
	text, err := l.render(messages, generationPrompt)
	if err != nil {
		return nil, err
	}
	return l.encode(text, false)
}

func (l *loaded) render(messages []chat.Message, generationPrompt bool) (string, error) {
	if l.Template == nil {
		return "", fmt.Errorf("%s has no chat template: give \"text\" without --chat, or a model that has one", l.Ref)
	}
	out, err := l.Template.Render(chat.Input{
		Messages: messages, AddGenerationPrompt: generationPrompt, BOS: l.BOS, EOS: l.EOS,
	}) // Without a clock, as in training: ids are to be the same every day.
	return out.Text, err
}

// messages reads the field "messages".
func (r *record) messages() ([]chat.Message, error) {
	raw, _ := r.get("messages")
	v, err := chat.DecodeJSON(bytes.TrimSpace(raw))
	if err != nil {
		return nil, fmt.Errorf("field \"messages\": %w", err)
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("field \"messages\": want a list of messages")
	}
	out := make([]chat.Message, len(list))
	for i, item := range list {
		obj, ok := item.(chat.Object)
		if !ok {
			return nil, fmt.Errorf("field \"messages\": item %d is no object", i+1)
		}
		if out[i], err = chat.NewMessage(obj); err != nil {
			return nil, fmt.Errorf("field \"messages\": item %d: %w", i+1, err)
		}
	}
	return out, nil
}
