package sft

import (
	"errors"
	"fmt"

	"plumb/internal/dataset"
	"plumb/internal/optim"
)

// Config is the recipe's section sft. Default fills every field but the data; Validate checks them.
type Config struct {
	// Data are the files to learn from, mixed by weight. Required.
	Data []Source
	// Task is instruct (demonstrations, loss on the answers) or pretrain (plain text, loss on everything). Default instruct.
	Task string
	// Eval is the share of the rows held out, by prompt, 0 to below 1. Default 0.05; 0 leaves evaluation out.
	Eval float64
	// MaxLength is the longest row in tokens, >= 2; longer ones are cut as Overlong says and counted. Default 1024 (TRL).
	MaxLength int
	// Overlong is drop (a longer row is left out), keep_start or keep_end. Default drop: an answer without its end teaches a
	// model not to stop.
	Overlong string
	// Packing fills rows of MaxLength tokens with whole examples (best fit decreasing), so that Batch counts such rows. The
	// examples of a row do not see each other. Default false.
	Packing bool

	// Peft says what is trained.
	Peft Peft

	// Epochs is how often the data are gone through, > 0; fractions are allowed. Default 1.
	Epochs float64
	// MaxSteps ends training after that many optimizer steps, if > 0. Default 0.
	MaxSteps int
	// Batch is how many rows make one optimizer step, >= 1. Default 8.
	Batch int
	// MicroTokens is how many tokens go through the model at once, >= 1: memory and speed only, results do not depend on it
	// beyond rounding. Default 2048.
	MicroTokens int
	// Recompute keeps only the input of each block and computes the rest again in the backward pass: less memory, a third
	// more time. Default false.
	Recompute bool

	// LR is the peak learning rate, > 0. Default 2e-4, for LoRA (QLoRA, Dettmers et al. 2023); whole models want a tenth or less.
	LR float64
	// Schedule is constant, linear or cosine (both end at 0). Default cosine.
	Schedule string
	// Warmup is the share of the steps over which the rate rises from 0, 0 to below 1. Default 0.03 (QLoRA).
	Warmup float64
	// Optimizer is AdamW's constants.
	Optimizer Optimizer
	// MaxGradNorm limits the gradient's norm, 0 = no limit. Default 1.
	MaxGradNorm float64

	// EvalEvery is after how many steps the held-out rows are measured, > 0. Default 100. The end measures anyway.
	EvalEvery int
	// Patience is after how many evaluations without a lower eval_loss training stops, 0 = never. Default 0.
	Patience int
	// SaveEvery is after how many steps a checkpoint is written, > 0. Default 100. An interruption writes one anyway.
	SaveEvery int
}

// Source is one file of the mixture.
type Source struct {
	// Path is a file, a hub name (hf://datasets/...), an https address or embedded:NAME.
	Path string
	// SHA256 of the file, where it comes by https.
	SHA256 string
	// Weight is its share of the mixture relative to the others', > 0. Default: all records, once each.
	Weight float64
	// Limit takes that many records from the start, of those in part, 0 = all.
	Limit int

	dataset.Reading `yaml:",inline"`
}

// Peft says what is trained.
type Peft struct {
	// Method is lora, full (every weight) or scratch (every weight, from random initialisation). Default lora.
	Method string
	// R is LoRA's rank, >= 1. Default 16 (TRL).
	R int
	// Alpha scales LoRA's update by alpha/r, > 0. Default 32 (TRL).
	Alpha float64
	// RSLoRA scales by alpha/sqrt(r) instead (Kalajdzievski 2023). Default false.
	RSLoRA bool `yaml:"rslora"`
	// Dropout is the probability in [0,1) with which an element of a pair's input is dropped in training. Default 0.
	Dropout float64
	// Targets are the modules that get a pair: all-linear, or names such as q_proj. Default all-linear.
	Targets []string
	// ModulesToSave are modules trained whole beside the pairs: embed_tokens, lm_head. Default none.
	ModulesToSave []string
	// RankPattern and AlphaPattern replace r and alpha where a name ends so.
	RankPattern, AlphaPattern []Pattern
}

// Pattern is a module name, or the end of one, and a value.
type Pattern struct {
	Name  string
	Value float64
}

// Optimizer is AdamW's constants; see optim.Config.
type Optimizer struct {
	Beta1       float64 // default 0.9
	Beta2       float64 // default 0.999
	Eps         float64 // default 1e-8
	WeightDecay float64 // decoupled, not on norms and biases. Default 0
	// Bits of AdamW's two moments, 32 or 8: by bitsandbytes' dynamic maps in blocks of 256, those of tensors of fewer than 4096
	// parameters in 32. Default 32.
	Bits int
	// Paged keeps the moments in a file of the stage's folder that the system pages in and out, so that they may exceed memory.
	// Default false.
	Paged bool
}

func (o Optimizer) config() optim.Config {
	return optim.Config{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, Bits: o.Bits}
}

// Default is LoRA of rank 16 on every linear layer at 2e-4, one epoch in steps of 8 rows.
func Default() Config {
	return Config{
		Task: "instruct", Eval: 0.05, MaxLength: 1024, Overlong: "drop",
		Peft:   Peft{Method: "lora", R: 16, Alpha: 32, Targets: []string{"all-linear"}},
		Epochs: 1, Batch: 8, MicroTokens: 2048,
		LR: 2e-4, Schedule: "cosine", Warmup: 0.03, Optimizer: Optimizer{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Bits: 32}, MaxGradNorm: 1,
		EvalEvery: 100, SaveEvery: 100,
	}
}

// Validate names every value out of range.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	among := func(key, v string, of ...string) {
		for _, o := range of {
			if v == o {
				return
			}
		}
		errs = append(errs, fmt.Errorf("%s: %q, want one of %v", key, v, of))
	}
	check(len(c.Data) > 0, "data: name at least one file")
	weighed := 0
	for i, d := range c.Data {
		if d.Weight > 0 {
			weighed++
		}
		check(d.Path != "", "data: entry %d has no path", i+1)
		check(d.Weight >= 0, "data: %s: weight %g, want at least 0", d.Path, d.Weight)
		check(d.Limit >= 0, "data: %s: limit %d, want at least 0", d.Path, d.Limit)
		if err := d.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("data: %s: %w", d.Path, err))
		}
	}
	check(weighed == 0 || weighed == len(c.Data), "data: %d of %d sources have a weight; give every source one, or none", weighed, len(c.Data))
	among("task", c.Task, "instruct", "pretrain")
	among("overlong", c.Overlong, "drop", "keep_start", "keep_end")
	among("peft.method", c.Peft.Method, "lora", "full", "scratch")
	check(c.Eval >= 0 && c.Eval < 1, "eval: %g, want at least 0 and below 1", c.Eval)
	check(c.MaxLength >= 2, "max_length: %d, want at least 2", c.MaxLength)
	check(c.Peft.R >= 1, "peft.r: %d, want at least 1", c.Peft.R)
	check(c.Peft.Alpha > 0, "peft.alpha: %g, want above 0: at 0 nothing is learned", c.Peft.Alpha)
	check(c.Peft.Dropout >= 0 && c.Peft.Dropout < 1, "peft.dropout: %g, want at least 0 and below 1", c.Peft.Dropout)
	check(c.Peft.Dropout == 0 || c.Peft.Method == "lora", "peft.dropout: %g acts on LoRA's pairs, which peft.method: %s has none of", c.Peft.Dropout, c.Peft.Method)
	check(c.Epochs > 0, "epochs: %g, want above 0", c.Epochs)
	check(c.MaxSteps >= 0, "max_steps: %d, want at least 0", c.MaxSteps)
	check(c.Batch >= 1, "batch: %d, want at least 1", c.Batch)
	check(c.MicroTokens >= 1, "micro_tokens: %d, want at least 1", c.MicroTokens)
	check(c.LR > 0, "lr: %g, want above 0", c.LR)
	check(c.Warmup >= 0 && c.Warmup < 1, "warmup: %g, want at least 0 and below 1", c.Warmup)
	check(c.MaxGradNorm >= 0, "max_grad_norm: %g, want at least 0", c.MaxGradNorm)
	check(c.EvalEvery >= 1, "eval_every: %d, want at least 1", c.EvalEvery)
	check(c.Patience >= 0, "patience: %d, want at least 0", c.Patience)
	check(c.SaveEvery >= 1, "save_every: %d, want at least 1", c.SaveEvery)
	check(c.Patience == 0 || c.Eval > 0, "patience: %d needs held-out rows; set eval above 0", c.Patience)
	if err := c.Optimizer.config().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("optimizer: %w", err))
	}
	if err := (optim.Schedule{Kind: c.Schedule, Peak: 1, Total: 1}).Validate(); err != nil {
		errs = append(errs, fmt.Errorf("schedule: %w", err))
	}
	return errors.Join(errs...)
}
