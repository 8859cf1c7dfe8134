package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"plumb/internal/chat"
	"plumb/internal/dataset"
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/rollout"
	"plumb/internal/ui"
)

// samplingFlags are the flags that say how to sample; generate and chat share them.
type samplingFlags struct {
	rollout.Options
	temperature float64
	kv          string
}

func (s *samplingFlags) register(cmd *cobra.Command) {
	s.Options = rollout.Default()
	f := cmd.Flags()
	f.BoolVar(&s.Greedy, "greedy", false, "take the likeliest token; the same as --temperature 0")
	f.Float64Var(&s.temperature, "temperature", 1, "divides the logits")
	f.IntVar(&s.TopK, "top-k", 0, "sample among the k likeliest tokens, 0 for all")
	f.Float64Var(&s.TopP, "top-p", 1, "sample among the likeliest tokens that hold this probability")
	f.Float64Var(&s.MinP, "min-p", 0, "sample among tokens at least this fraction as likely as the likeliest")
	f.IntVar(&s.MaxNew, "max-new", 128, "longest completion in tokens")
	f.IntVar(&s.MinNew, "min-new", 0, "shortest completion in tokens")
	f.StringArrayVar(&s.StopStrings, "stop", nil, "text that ends a completion; may be repeated")
	f.BoolVar(&s.IgnoreStop, "ignore-stop", false, "nothing ends a completion before --max-new")
	f.Uint64Var(&s.Seed, "seed", 1, "seed of the draws; the same seed gives the same completions in any batch")
	f.IntVar(&s.MaxBatch, "batch", s.MaxBatch, "sequences in the model at once; speed and memory only")
	f.StringVar(&s.kv, "kv-cache", "fp32", "form in which past keys and values are kept: fp32, bf16 or int8")
}

// options completes what the flags say with what the model says.
func (s *samplingFlags) options(l *loaded) (rollout.Options, error) {
	o := s.Options
	o.Temperature = float32(s.temperature)
	var err error
	if o.KV, err = kernels.ParseKVType(s.kv); err != nil {
		return o, usageError{fmt.Errorf("--kv-cache: %w", err)}
	}
	if s.temperature == 0 {
		o.Greedy = true
	}
	o.StopIDs = l.stopIDs()
	if l.Tokenizer != nil {
		o.Decoder = l.Tokenizer
		if enc, err := l.encoder(); err == nil {
			o.StopIDs = enc.StopIDs()
		}
	}
	if err := o.Validate(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// generation is one call of plumb generate.
type generation struct {
	*app
	l       *loaded
	text    textOptions
	opt     rollout.Options
	samples int
	mark    bool // write "sample"
	episode uint64
	tokens  int
	ended   int  // completions
	far     bool // a prompt may lead beyond the model's positions, which was said
}

func (a *app) generateCmd() *cobra.Command {
	var s samplingFlags
	var g generation
	var adapter string
	cmd := &cobra.Command{
		Use:   "generate MODEL [--adapter DIR] [flags] < in.jsonl > out.jsonl",
		Short: "Complete prompts, conversations and ids",
		Long: `Reads JSON lines with {"ids"}, {"messages"} or {"prompt"} (the first of these that is
there) and writes each with "completion", "completion_ids", "logprobs" (nats, under
the very distribution sampled) and "stop" (eos, stop_id, stop_string, length) added.
With --samples N each record comes N times, with "sample" from 0.

A conversation gets the template's generation prompt; one that ends with the
assistant is continued. With --chat a prompt is a user's message.`,
		Example: `  echo '{"prompt": "Once upon a time"}' | plumb generate runs/tales/ppo --max-new 200
  plumb generate ~/models/SmolLM2-135M-Instruct --greedy < conversations.jsonl`,
		Args: args("one MODEL", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if g.samples < 1 {
				return usagef("--samples %d: want at least 1", g.samples)
			}
			g.app, g.mark = a, cmd.Flags().Changed("samples")
			if g.l, err = a.load(cmd.Context(), args[0], adapter); err != nil {
				return err
			}
			if g.opt, err = s.options(g.l); err != nil {
				return err
			}
			if !g.l.Model.HasHead() {
				return fmt.Errorf("%s has no language-model head: it can only score", args[0])
			}
			a.progress.Start("generate", "completions", 0, g.samples*a.recordsAhead())
			defer a.progress.Done()
			began := time.Now()
			err = a.readRecords(cmd.Context(), max(1, 8*max(g.opt.MaxBatch, 1)/g.samples), func(batch []*record) ([]*record, error) {
				return g.batch(cmd.Context(), batch)
			})
			if err == nil && g.tokens > 0 {
				took := time.Since(began).Seconds()
				a.note("generate: %d tokens in %.3f s, %.1f tokens/s, prompts and reading included", g.tokens, took, float64(g.tokens)/took)
			}
			return err
		},
	}
	s.register(cmd)
	f := cmd.Flags()
	f.StringVar(&adapter, "adapter", "", "PEFT adapter folder to put on the model")
	f.IntVar(&g.samples, "samples", 1, "completions per record")
	f.BoolVar(&g.text.chat, "chat", false, "render the chat template; a prompt is a user's message")
	f.BoolVar(&g.text.noSpecial, "no-special", false, "no special tokens (BOS) before a plain prompt")
	return cmd
}

// batch completes some records; on an error, those before it.
func (g *generation) batch(ctx context.Context, batch []*record) ([]*record, error) {
	var reqs []rollout.Request
	var asked []dataset.Prompt
	var bad error
	for i, r := range batch {
		q, ids, err := g.l.prompt(r, g.text)
		if err == nil {
			err = g.l.Model.Check(ids)
		}
		if err == nil && len(ids) == 0 {
			err = fmt.Errorf("the prompt has no tokens")
		}
		if err != nil {
			batch, bad = batch[:i], fmt.Errorf("line %d: %w", r.line, err)
			break
		}
		if room := g.l.Model.MaxPositions; len(ids)+g.opt.MaxNew > room && !g.far {
			g.far = true
			g.warn("line %d: a prompt of %d tokens and --max-new %d pass the model's %d positions; it was not trained for what lies beyond", r.line, len(ids), g.opt.MaxNew, room)
		}
		for k := range g.samples {
			reqs = append(reqs, rollout.Request{Prompt: ids, Episode: g.episode, Sample: uint64(k)})
		}
		g.episode++
		asked = append(asked, q)
	}
	opt := g.opt
	ended := g.ended
	opt.Token = func(int, int32, float32) {
		g.tokens++
		g.progress.Set(g.ended, ui.Count(float64(g.tokens))+" tokens")
	}
	opt.Ended = func(done int) { g.ended = ended + done }
	done, err := rollout.Generate(ctx, g.l.Model, []*peft.Adapter{g.l.Adapter}, reqs, opt)
	if err != nil {
		return nil, err
	}
	var out []*record
	for i, c := range done {
		r := batch[i/g.samples].clone()
		r.set("completion", json.RawMessage("null"))
		if g.l.Tokenizer != nil {
			text, err := g.l.answer(asked[i/g.samples], reqs[i].Prompt, c.IDs, g.text)
			if err != nil {
				return nil, err
			}
			r.setString("completion", text)
		}
		r.setIDs("completion_ids", c.IDs)
		r.setFloats("logprobs", c.LogProbs)
		r.setString("stop", c.Stop)
		if g.mark {
			r.set("sample", json.RawMessage(strconv.Itoa(i%g.samples)))
		}
		out = append(out, r)
	}
	return out, bad
}

// prompt gives what a record asks, and the ids that a completion of it starts from.
func (l *loaded) prompt(r *record, o textOptions) (p dataset.Prompt, ids []int32, err error) {
	if r.has("ids") {
		err = r.decode("ids", &ids)
		return p, ids, err
	}
	switch {
	case r.has("messages"):
		messages, err := r.messages()
		if err != nil {
			return p, nil, err
		}
		p.Prompt.Messages = messages
	case r.has("prompt"):
		var text string
		if err := r.decode("prompt", &text); err != nil {
			return p, nil, err
		}
		p.Prompt.Text = text
		if o.chat {
			p.Prompt = dataset.Passage{Messages: []chat.Message{{Role: "user", Content: text}}}
		}
	default:
		return p, nil, fmt.Errorf(`want a field "ids", "messages" or "prompt"`)
	}
	if o.noSpecial && !p.Prompt.IsChat() {
		if err := l.needTokenizer(); err != nil {
			return p, nil, err
		}
		ids, err = l.encode(p.Prompt.Text, false)
		return p, ids, err
	}
	enc, err := l.encoder()
	if err != nil {
		return p, nil, err
	}
	ids, err = enc.Prompt(p)
	return p, ids, err
}

// answer is the text of ids that were sampled behind a prompt's.
func (l *loaded) answer(p dataset.Prompt, prompt, ids []int32, o textOptions) (string, error) {
	if p.Prompt.Empty() || o.noSpecial && !p.Prompt.IsChat() {
		return l.Tokenizer.DecodeAfter(prompt, ids, true), nil
	}
	enc, err := l.encoder()
	if err != nil {
		return "", err
	}
	return enc.Answer(p, prompt, ids), nil
}
