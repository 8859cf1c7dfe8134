package pairs

import (
	"errors"
	"fmt"
	"math"

	"plumb/internal/kernels"
)

// Config is the recipe's section pairs. Default fills all but Prompts; Validate checks them.
type Config struct {
	// Prompts is a file of prompts, one record each. Required.
	Prompts string
	// Limit is how many prompts are used, from the start of the file, >= 0; 0 takes all. Default 0.
	Limit int
	// MaxPrompt is the longest prompt in tokens, >= 0; longer ones are left out and counted. 0: no limit. Default 0.
	MaxPrompt int
	// From are the one or two policies that answer: base, sft or ppo of this run, or a model, run or stage folder. Default
	// sft where the recipe has it, else base.
	From []string
	// PerPrompt is how many answers are sampled for each prompt, 2 to 16. Default 2.
	PerPrompt int
	// Temperature of the answers, > 0; of several each answer takes the next. Default 1 (Ouyang et al. 2022, 3.4, compare
	// answers of several policies and temperatures).
	Temperature []float64
	// TopK keeps the most likely tokens, >= 0; 0: all. Default 0.
	TopK int
	// TopP keeps the most likely tokens up to that probability, 0 to 1; 1: all. Default 1.
	TopP float64
	// MinP keeps tokens at least this fraction as likely as the likeliest, 0 to below 1. Default 0.
	MinP float64
	// MaxNew is the longest answer in tokens, >= 1. Default 128.
	MaxNew int
	// MinNew is the shortest answer in tokens, 0 to max_new. Default 0.
	MinNew int
	// Stop are texts that end an answer, beside the model's own stop tokens. Default none.
	Stop []string
	// Pair is all (every two answers of a prompt) or next (each with the one after it). Default all.
	Pair string
	// Near is the similarity from which two answers count as the same, above 0, at most 1: 1 - edit distance / length, both
	// in words. 1 drops only what differs in white space alone. Default 0.95.
	Near float64
	// MaxBatch is how many answers are sampled at once, >= 1: memory and speed only. Default 32.
	MaxBatch int
	// KVCache is the form in which the keys and values of what was read and sampled so far are kept: fp32, bf16 (half the memory), or
	// int8 with a scale for each key and value of a head (a quarter). Default fp32.
	KVCache string
	// SaveEvery is after how many prompts a checkpoint is written, >= 1. Default 64.
	SaveEvery int
}

// Default has every default.
func Default() Config {
	return Config{
		PerPrompt: 2, Temperature: []float64{1}, TopP: 1, MaxNew: 128, Pair: All, Near: 0.95, MaxBatch: 32, KVCache: "fp32", SaveEvery: 64,
	}
}

// How answers are paired.
const (
	All  = "all"
	Next = "next"
)

// maxPerPrompt bounds the pairs of a prompt: 16 answers make 120.
const maxPerPrompt = 16

// Validate checks ranges; messages start with the key.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Prompts != "", "prompts: name a file of prompts")
	check(c.Limit >= 0, "limit: %d, want at least 0", c.Limit)
	check(c.MaxPrompt >= 0, "max_prompt: %d, want at least 0", c.MaxPrompt)
	check(len(c.From) <= 2, "from: %d policies, want one or two", len(c.From))
	check(c.PerPrompt >= 2 && c.PerPrompt <= maxPerPrompt, "per_prompt: %d, want 2 to %d", c.PerPrompt, maxPerPrompt)
	check(len(c.Temperature) > 0, "temperature: want at least one")
	for _, t := range c.Temperature {
		check(t > 0 && !math.IsInf(t, 0), "temperature: %g, want above 0", t)
	}
	check(len(c.From) < 2 || c.PerPrompt >= len(c.From), "per_prompt: %d answers of %d policies", c.PerPrompt, len(c.From))
	check(c.TopK >= 0, "top_k: %d, want at least 0", c.TopK)
	check(c.TopP > 0 && c.TopP <= 1, "top_p: %g, want above 0, at most 1", c.TopP)
	check(c.MinP >= 0 && c.MinP < 1, "min_p: %g, want at least 0, below 1", c.MinP)
	check(c.MaxNew >= 1, "max_new: %d, want at least 1", c.MaxNew)
	check(c.MinNew >= 0 && c.MinNew <= c.MaxNew, "min_new: %d, want 0 to max_new", c.MinNew)
	for _, s := range c.Stop {
		check(s != "", "stop: an empty text would end every answer at once")
	}
	check(c.Pair == All || c.Pair == Next, "pair: %q, want %s or %s", c.Pair, All, Next)
	check(c.Near > 0 && c.Near <= 1, "near: %g, want above 0, at most 1", c.Near)
	check(c.MaxBatch >= 1, "max_batch: %d, want at least 1", c.MaxBatch)
	if _, err := kernels.ParseKVType(c.KVCache); err != nil {
		errs = append(errs, fmt.Errorf("kv_cache: %w", err))
	}
	check(c.SaveEvery >= 1, "save_every: %d, want at least 1", c.SaveEvery)
	return errors.Join(errs...)
}
