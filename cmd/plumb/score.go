package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"plumb/internal/chat"
	"plumb/internal/dataset"
	"plumb/internal/model"
	"plumb/internal/tensor"
)

// microTokens is how many tokens go through a model at once: memory and speed only.
const microTokens = 2048

func (a *app) scoreCmd() *cobra.Command {
	var o textOptions
	var adapter string
	cmd := &cobra.Command{
		Use:   "score MODEL [--adapter DIR] [flags] < in.jsonl > out.jsonl",
		Short: "Log-probabilities, and rewards, of texts, conversations and ids",
		Long: `Reads JSON lines with {"ids"}, {"messages"}, {"prompt", "completion"} or {"text"} (the
first of these that is there) and writes each with "ids", "logprobs" (nats, one per
id after the first) and "sum" added: over the completion's ids, those of the last
assistant turn, or, with neither, all after the first. A reward model also adds
"score", read at the last id.

With {"ids"} the model needs no tokenizer.`,
		Example: `  echo '{"prompt": "2 + 2 =", "completion": " 4"}' | plumb score ~/models/SmolLM2-135M
  plumb score runs/imdb/reward < answers.jsonl`,
		Args: args("one MODEL", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			l, err := a.load(ctx, args[0], adapter)
			if err != nil {
				return err
			}
			tape := tensor.NewInferenceTape(a.pool())
			a.progress.Start("score", "records", 0, a.recordsAhead())
			defer a.progress.Done()
			done := 0
			return a.readRecords(ctx, 64, func(batch []*record) ([]*record, error) {
				texts, err := l.spans(batch, o)
				good := batch[:len(texts)]
				if serr := l.score(ctx, tape, good, texts); serr != nil {
					return nil, serr
				}
				done += len(good)
				a.progress.Set(done, "")
				return good, err
			})
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&adapter, "adapter", "", "PEFT adapter folder to put on the model")
	return cmd
}

// span is a text's ids and the part of them that counts: ids[from:to].
type span struct {
	ids      []int32
	from, to int
}

// spans reads what is to be scored; on an error, that of the records before.
func (l *loaded) spans(batch []*record, o textOptions) ([]span, error) {
	var out []span
	for _, r := range batch {
		s, err := l.span(r, o)
		if err == nil {
			err = l.Model.Check(s.ids)
		}
		if err != nil {
			return out, fmt.Errorf("line %d: %w", r.line, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (l *loaded) span(r *record, o textOptions) (span, error) {
	if r.has("ids") {
		var ids []int32
		if err := r.decode("ids", &ids); err != nil {
			return span{}, err
		}
		return whole(ids), nil
	}
	if err := l.needTokenizer(); err != nil {
		return span{}, err
	}
	switch {
	case r.has("messages"):
		messages, err := r.messages()
		if err != nil {
			return span{}, err
		}
		return l.chatSpan(messages, o)
	case r.has("prompt") && r.has("completion"):
		var prompt, completion string
		if err := r.decode("prompt", &prompt); err != nil {
			return span{}, err
		}
		if err := r.decode("completion", &completion); err != nil {
			return span{}, err
		}
		if o.chat {
			return l.chatSpan([]chat.Message{{Role: "user", Content: prompt}, {Role: "assistant", Content: completion}}, o)
		}
		return l.completionSpan(prompt, completion, o)
	}
	if !r.has("text") {
		return span{}, fmt.Errorf(`want a field "ids", "messages", "text", or "prompt" and "completion"`)
	}
	ids, err := l.tokenize(r, o)
	return whole(ids), err
}

// whole counts all ids after the first, which nothing predicts.
func whole(ids []int32) span { return span{ids, min(1, len(ids)), len(ids)} }

// chatSpan renders a conversation; what counts are the ids of its last
// assistant turn up to and with the token that ends it, as in training.
func (l *loaded) chatSpan(messages []chat.Message, o textOptions) (span, error) {
	ids, err := l.chatIDs(messages, o.generationPrompt)
	s := whole(ids)
	if err != nil {
		return s, err
	}
	last := len(messages) - 1
	for last >= 0 && messages[last].Role != "assistant" {
		last--
	}
	if last < 0 {
		return s, nil
	}
	enc, err := l.encoder()
	if err != nil {
		return s, err
	}
	x, err := enc.Demonstration(dataset.Demonstration{
		Prompt:     dataset.Passage{Messages: messages[:last:last]},
		Completion: dataset.Passage{Messages: messages[last:]},
	})
	if err != nil {
		return s, err
	}
	s.from, s.to = len(ids), len(ids)
	for i, w := range x.Weights {
		if w != 0 && i > 0 {
			s.from = min(s.from, i)
			s.to = i + 1
		}
	}
	return s, nil
}

// completionSpan encodes prompt and completion as one text; the completion
// begins at the first id in which the prompt's and the whole's differ.
func (l *loaded) completionSpan(prompt, completion string, o textOptions) (span, error) {
	ids, err := l.encode(prompt+completion, !o.noSpecial)
	if err != nil {
		return span{}, err
	}
	before, err := l.encode(prompt, !o.noSpecial)
	if err != nil {
		return span{}, err
	}
	from := 0
	for from < min(len(before), len(ids)) && before[from] == ids[from] {
		from++
	}
	return span{ids, min(max(from, 1), len(ids)), len(ids)}, nil
}

// score adds what the model says to each record.
func (l *loaded) score(ctx context.Context, tape *tensor.Tape, batch []*record, texts []span) error {
	logps := make([][]float32, len(batch))
	if l.Model.HasHead() {
		var cs []model.Continuation
		var at []int
		for i, s := range texts {
			if len(s.ids) > 0 {
				cs = append(cs, model.Continuation{Context: s.ids[:1], IDs: s.ids[1:]})
				at = append(at, i)
			}
		}
		got, _, err := l.Model.LogProbsOf(ctx, tape, l.Adapter, cs, 1, microTokens)
		if err != nil {
			return err
		}
		for i, v := range got {
			logps[at[i]] = v
		}
	}
	scores, err := l.rewards(ctx, tape, texts)
	if err != nil {
		return err
	}
	for i, r := range batch {
		s := texts[i]
		r.setIDs("ids", s.ids)
		if l.Model.HasHead() {
			r.setFloats("logprobs", logps[i])
			sum := 0.0
			for j := s.from; j < s.to; j++ {
				sum += float64(logps[i][j-1])
			}
			r.setFloat("sum", sum)
		}
		if scores != nil && len(s.ids) > 0 {
			r.setFloat("score", scores[i])
		}
	}
	return nil
}

// isReward reports whether the model has a scalar head.
func (l *loaded) isReward() bool {
	return l.Model.HasScore() || l.Adapter != nil && l.Adapter.Score() != nil
}

// rewards are the scores at each text's last id; nil for a model without a scalar head.
func (l *loaded) rewards(ctx context.Context, tape *tensor.Tape, texts []span) ([]float64, error) {
	if !l.isReward() {
		return nil, nil
	}
	var sequences [][]int32
	var at []int
	for i, s := range texts {
		if len(s.ids) > 0 {
			sequences = append(sequences, s.ids)
			at = append(at, i)
		}
	}
	raw, err := l.Model.ScoresOf(ctx, tape, l.Adapter, sequences, microTokens)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(texts))
	for i, x := range raw {
		out[at[i]] = l.Scale.Gain*float64(x) + l.Scale.Bias
	}
	return out, nil
}
