package eval

import (
	"errors"
	"fmt"

	"plumb/internal/dataset"
	"plumb/internal/kernels"
)

// Config is the eval section of a recipe.
type Config struct {
	// Prompts is a file of prompts that no stage trained on. Required.
	Prompts string
	// Read says how that file is read.
	Read dataset.Reading
	// MaxPrompt is the longest prompt in tokens, >= 0; longer ones are left out and counted. 0: no limit. Default 0.
	MaxPrompt int
	// Limit is how many prompts are used, from the start of the file, >= 0; 0 takes all. Default 256, which gives a win rate a
	// standard error of 3 points.
	Limit int
	// Samples is how many answers each side gives to a prompt, >= 1. Default 1.
	Samples int
	// Held is a file of demonstrations to measure perplexity on; empty leaves that out.
	Held string
	// HeldRead says how that file is read.
	HeldRead dataset.Reading
	// Judge says who decides which answer is better.
	Judge Judging
	// Bootstrap is the number of resamples of an interval, >= 100. Default 10000 (Efron and Tibshirani 1993: 1,000 or more for
	// percentile intervals).
	Bootstrap int
	// Level of all intervals, between 0 and 1. Default 0.95.
	Level float64
	// Show is for how many prompts the report prints the answers, >= 0. Default 8.
	Show int
	// Temperature divides the logits when sampling, >= 0; 0 decodes greedily. Default 1: the policy itself.
	Temperature float64
	// TopP samples among the most likely tokens that together hold this probability, above 0, at most 1. Default 1.
	TopP float64
	// MaxNew is the longest answer in tokens, >= 1. Default 128.
	MaxNew int
	// MaxBatch is how many answers are generated at once, >= 1; speed and memory only. Default 64.
	MaxBatch int
	// KVCache is the form in which the keys and values of what was read and sampled so far are kept: fp32, bf16 (half the memory), or
	// int8 with a scale for each key and value of a head (a quarter). Default fp32.
	KVCache string
	// MicroTokens is how many tokens go through the model at once when scoring, >= 1; memory only. Default 4096.
	MicroTokens int
}

// Judging names the judge: exactly one of its fields.
type Judging struct {
	// Reward is the stage folder of a reward model that PPO never saw, as written or in the folder of all runs: NAME/reward.
	Reward string
	// Gold is a rule, with the world it belongs to: embedded:tales.
	Gold string
}

// Default is one answer at temperature 1 for 256 prompts, and 95 % intervals from 10,000 draws.
func Default() Config {
	return Config{Limit: 256, Samples: 1, Bootstrap: 10000, Level: 0.95, Show: 8, Temperature: 1, TopP: 1, MaxNew: 128, MaxBatch: 64, KVCache: "fp32", MicroTokens: 4096}
}

// Validate checks ranges and that there is one judge.
func (c *Config) Validate() error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Prompts == "", "prompts: name a file of prompts")
	for _, r := range []struct {
		key     string
		reading dataset.Reading
	}{{"read", c.Read}, {"held_read", c.HeldRead}} {
		if err := r.reading.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.key, err))
		}
	}
	check(c.MaxPrompt < 0, "max_prompt: %d, want at least 0", c.MaxPrompt)
	check(c.Limit < 0, "limit: %d, want at least 0", c.Limit)
	check(c.Samples < 1, "samples: %d, want at least 1", c.Samples)
	check(c.Bootstrap < 100, "bootstrap: %d, want at least 100", c.Bootstrap)
	check(!(c.Level > 0 && c.Level < 1), "level: %g, want between 0 and 1", c.Level)
	check(c.Show < 0, "show: %d, want at least 0", c.Show)
	check(!(c.Temperature >= 0), "temperature: %g, want at least 0", c.Temperature)
	check(!(c.TopP > 0 && c.TopP <= 1), "top_p: %g, want above 0 and at most 1", c.TopP)
	check(c.MaxNew < 1, "max_new: %d, want at least 1", c.MaxNew)
	check(c.MaxBatch < 1, "max_batch: %d, want at least 1", c.MaxBatch)
	if _, err := kernels.ParseKVType(c.KVCache); err != nil {
		errs = append(errs, fmt.Errorf("kv_cache: %w", err))
	}
	check(c.MicroTokens < 1, "micro_tokens: %d, want at least 1", c.MicroTokens)
	check((c.Judge.Reward == "") == (c.Judge.Gold == ""), "judge: name one judge: reward (a reward stage folder) or gold (embedded:tales)")
	return errors.Join(errs...)
}
