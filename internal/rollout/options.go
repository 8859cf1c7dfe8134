package rollout

import (
	"errors"
	"fmt"
	"math"

	"plumb/internal/kernels"
	"plumb/internal/model"
)

// Request is one completion to sample. Episode and Sample key its random draws: the same numbers with the same prompt and
// options give the same completion, in any batch.
type Request struct {
	Prompt          []int32
	Episode, Sample uint64
	Adapter         int // which of the adapters answers
}

// Options says how to sample. Suppression of stop ids, temperature, top-k, top-p and min-p are applied in this order, as
// in transformers.
type Options struct {
	Temperature float32 // divides the logits; > 0. With Greedy it only scales the log-probabilities, and 0 means 1
	TopK        int     // keep the k most likely tokens and ties of the last of them; 0: all
	TopP        float64 // keep the most likely tokens until their probabilities exceed it (Holtzman et al. 2020); 0 or 1: all
	MinP        float64 // keep tokens at least this fraction as likely as the likeliest; 0: all
	Greedy      bool    // take the likeliest token, the first of equals; log-probabilities are those without filters

	StopIDs     []int32  // tokens that end a completion, the model's end-of-text among them if wanted
	StopStrings []string // texts that end a completion with the token that completes them; need Decoder
	IgnoreStop  bool     // neither ends anything: every completion has MaxNew tokens
	MinNew      int      // before so many tokens stop ids cannot be drawn and stop strings do not count
	MaxNew      int      // at most so many tokens; ≥ 1

	Seed     uint64
	MaxBatch int            // sequences in the model at once; 0: 16
	KV       kernels.KVType // the form of past keys and values; with any but fp32 log-probabilities are not the full forward's to the bit
	Decoder  Decoder        // turns ids into text for StopStrings

	// Token, if not nil, is told each token as it is drawn, from the goroutine that called Generate: to stream text or
	// show progress.
	Token func(request int, id int32, logp float32)

	// Ended, if not nil, is told how many of the requests have their completion each time that number rises.
	Ended func(done int)
}

// Decoder turns the ids of a completion into text; *tokenizer.Tokenizer is one.
type Decoder interface {
	Decode(ids []int32, skipSpecial bool) string
}

// Completion is what was sampled for a request.
type Completion struct {
	IDs        []int32   // the stop token included
	LogProbs   []float32 // of each id, in nats, under the distribution it was drawn from
	Stop       string    // why it ended: eos (a stop id that is the model's end-of-text), stop_id, stop_string, length
	StopString string    // which stop string
}

// Reasons to stop.
const (
	StopEOS    = "eos"
	StopID     = "stop_id"
	StopString = "stop_string"
	StopLength = "length"
)

// Default samples from the whole distribution at temperature 1, at most 128 tokens.
func Default() Options { return Options{Temperature: 1, TopP: 1, MaxNew: 128, MaxBatch: 16} }

// Validate says which option is out of range.
func (o *Options) Validate() error {
	switch {
	case !o.Greedy && !(o.Temperature > 0) || o.Temperature < 0 || math.IsInf(float64(o.Temperature), 0) || o.Temperature != o.Temperature:
		return fmt.Errorf("temperature is %v: it must be positive (greedy takes the likeliest token)", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("top-k is %d: it must be 0 (off) or positive", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("top-p is %v: it must be between 0 and 1", o.TopP)
	case !(o.MinP >= 0 && o.MinP <= 1):
		return fmt.Errorf("min-p is %v: it must be between 0 and 1", o.MinP)
	case o.MaxNew < 1:
		return fmt.Errorf("the maximum of new tokens is %d: it must be at least 1", o.MaxNew)
	case o.MinNew < 0 || o.MinNew > o.MaxNew:
		return fmt.Errorf("the minimum of new tokens is %d: it must be between 0 and the maximum, %d", o.MinNew, o.MaxNew)
	case o.MaxBatch < 0:
		return fmt.Errorf("the batch size is %d: it must be 0 (the default) or positive", o.MaxBatch)
	case len(o.StopStrings) > 0 && o.Decoder == nil && !o.IgnoreStop:
		return errors.New("stop strings need a tokenizer to decode with")
	}
	for _, s := range o.StopStrings {
		if s == "" {
			return errors.New("an empty stop string would end everything at once")
		}
	}
	return nil
}

func validate(m *model.Model, adapters int, reqs []Request, o *Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if err := m.Check(o.StopIDs); err != nil {
		return fmt.Errorf("stop ids: %w", err)
	}
	if o.MinNew > 0 && !o.IgnoreStop && len(o.StopIDs) >= m.Vocab {
		return errors.New("with every token a stop id there is nothing to draw before the minimum of new tokens")
	}
	for i, r := range reqs {
		if r.Adapter < 0 || r.Adapter >= max(adapters, 1) {
			panic("rollout: Generate: there is no such adapter")
		}
		if len(r.Prompt) == 0 {
			return fmt.Errorf("prompt %d is empty: it needs at least one token, a beginning-of-text token for instance", i)
		}
		if err := m.Check(r.Prompt); err != nil {
			return fmt.Errorf("prompt %d: %w", i, err)
		}
	}
	return nil
}

// filtered tells whether some tokens may be left out for being unlikely.
func (o *Options) filtered() bool {
	return o.TopK > 0 || o.TopP > 0 && o.TopP < 1 || o.MinP > 0
}
