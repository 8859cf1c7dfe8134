package reward

import (
	"errors"
	"fmt"
	"path/filepath"

	"plumb/internal/dataset"
	"plumb/internal/optim"
	"plumb/internal/pgurl"
)

// Config is the recipe's section reward. Default fills every field but the data; Validate checks them.
type Config struct {
	// Data are label stores or files of comparisons. Required.
	Data []Source
	// Eval is the share of prompts whose pairs are held out, 0 to below 1. Default 0.1.
	Eval float64
	// MaxLength is the longest sequence in tokens, >= 2; pairs with a longer one are left out and counted. Default 1024 (TRL).
	MaxLength int
	// Layers is how many of the top blocks are trained, 0 = all. Default 0. PPO's critic, which starts as this model, trains as
	// many (ppo.critic.layers).
	Layers int
	// Peft is what is trained where the stage starts from no SFT adapter; otherwise its shape is the SFT adapter's.
	Peft Peft

	// Epochs is how often the pairs are gone through, > 0. Default 1: reward models overfit in the second (Stiennon et al. 2020).
	Epochs int
	// Batch is how many pairs make one optimizer step, >= 1. Default 16.
	Batch int
	// MicroTokens is how many tokens go through the model at once, >= 1; memory and speed only. Default 4096.
	MicroTokens int
	// LR is the peak learning rate, > 0. Default 1e-4 (TRL, for LoRA).
	LR float64
	// Schedule is constant, linear or cosine. Default cosine.
	Schedule string
	// Warmup is the share of steps over which the rate rises from 0, 0 to below 1. Default 0.03.
	Warmup float64
	// Optimizer is AdamW's constants.
	Optimizer Optimizer
	// MaxGradNorm limits the gradient's norm, 0 = no limit. Default 1.
	MaxGradNorm float64
	// Centre weighs the mean of (chosen + rejected)^2, >= 0, which keeps scores near 0 (Eisenstein et al. 2023). Default 0.01 (TRL).
	Centre float64
	// Margin uses the pairs' margins, times this factor, >= 0. Default 1.
	Margin float64
	// Normalise says on what the scores are brought to mean 0 and deviation 1.
	Normalise Normalise
	// EvalEvery is after how many steps the held-out pairs are measured, > 0. Default 50. The end measures anyway.
	EvalEvery int
	// SaveEvery is after how many steps a checkpoint is written, > 0. Default 50. An interruption writes one anyway.
	SaveEvery int
}

// Source is one file of pairs.
type Source struct {
	// Path is a label store (.db, or the URL of a PostgreSQL database without a password), a file, a hub name, an https address or embedded:NAME.
	Path string
	// SHA256 of the file, where it comes by https.
	SHA256 string
	// Limit takes that many records from the start, of those in part, 0 = all.
	Limit int
	// Pairs is how many pairs are made at most, where the records carry a scalar label or are answers judged good or bad one by
	// one; each record is in one pair or none. Default 0: as many as can be.
	Pairs int

	dataset.Reading `yaml:",inline"`
}

// IsStore says whether the source is a label store.
func (s Source) IsStore() bool { return filepath.Ext(s.Path) == ".db" || pgurl.Is(s.Path) }

// Peft is the shape of a new adapter.
type Peft struct {
	// R is LoRA's rank, >= 1. Default 16.
	R int
	// Alpha scales LoRA's update by alpha/r, > 0. Default 32.
	Alpha float64
	// Dropout is the probability in [0,1) with which an element of a pair's input is dropped in training. Default 0.
	Dropout float64
	// Targets are the modules that get a pair: all-linear, or names. Default all-linear.
	Targets []string
}

// Normalise says how gain and bias are found.
type Normalise struct {
	// Prompts are answered by the SFT policy; empty takes the pairs' own prompts.
	Prompts string
	// Read says how that file is read.
	Read dataset.Reading
	// Samples is how many answers are scored, 0 = no normalisation. Default 256.
	Samples int
	// UnitStd brings the deviation to 1 too, not only the mean to 0. Default true.
	UnitStd bool
	// Temperature of the answers, > 0. Default 1.
	Temperature float64
	// MaxNew is their longest length in tokens, >= 1. Default 128.
	MaxNew int
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

// Default is one epoch in steps of 16 pairs at 1e-4.
func Default() Config {
	return Config{
		Eval: 0.1, MaxLength: 1024, Peft: Peft{R: 16, Alpha: 32, Targets: []string{"all-linear"}},
		Epochs: 1, Batch: 16, MicroTokens: 4096, LR: 1e-4, Schedule: "cosine", Warmup: 0.03,
		Optimizer: Optimizer{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Bits: 32}, MaxGradNorm: 1, Centre: 0.01, Margin: 1,
		Normalise: Normalise{Samples: 256, UnitStd: true, Temperature: 1, MaxNew: 128}, EvalEvery: 50, SaveEvery: 50,
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
	check(len(c.Data) > 0, "data: name at least one label store or file")
	for i, d := range c.Data {
		if err := pgurl.Written(d.Path); err != nil {
			errs = append(errs, fmt.Errorf("data: entry %d: %w", i+1, err))
			continue
		}
		check(d.Path != "", "data: entry %d has no path", i+1)
		check(d.Limit >= 0, "data: %s: limit %d, want at least 0", d.Path, d.Limit)
		check(d.Pairs >= 0, "data: %s: pairs %d, want at least 0", d.Path, d.Pairs)
		if err := d.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("data: %s: %w", d.Path, err))
		}
		check(!d.IsStore() || d.Part == "" && d.Pairs == 0 && d.Words == 0 && d.Opening == 0 && d.Format == "",
			"data: %s: part, pairs, words, opening and format are for files; a label store is read as it stands", d.Path)
	}
	check(c.Eval >= 0 && c.Eval < 1, "eval: %g, want at least 0 and below 1", c.Eval)
	check(c.MaxLength >= 2, "max_length: %d, want at least 2", c.MaxLength)
	check(c.Layers >= 0, "layers: %d, want at least 0", c.Layers)
	check(c.Peft.R >= 1, "peft.r: %d, want at least 1", c.Peft.R)
	check(c.Peft.Dropout >= 0 && c.Peft.Dropout < 1, "peft.dropout: %g, want at least 0 and below 1", c.Peft.Dropout)
	check(c.Peft.Alpha > 0, "peft.alpha: %g, want above 0: at 0 nothing is learned", c.Peft.Alpha)
	check(c.Epochs >= 1, "epochs: %d, want at least 1", c.Epochs)
	check(c.Batch >= 1, "batch: %d, want at least 1", c.Batch)
	check(c.MicroTokens >= 1, "micro_tokens: %d, want at least 1", c.MicroTokens)
	check(c.LR > 0, "lr: %g, want above 0", c.LR)
	check(c.Warmup >= 0 && c.Warmup < 1, "warmup: %g, want at least 0 and below 1", c.Warmup)
	check(c.MaxGradNorm >= 0, "max_grad_norm: %g, want at least 0", c.MaxGradNorm)
	check(c.Centre >= 0, "centre: %g, want at least 0", c.Centre)
	check(c.Margin >= 0, "margin: %g, want at least 0", c.Margin)
	check(c.Normalise.Samples == 0 || c.Normalise.Samples >= 2, "normalise.samples: %d, want 0 or at least 2", c.Normalise.Samples)
	if err := c.Normalise.Read.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("normalise.read: %w", err))
	}
	check(c.Normalise.Temperature > 0, "normalise.temperature: %g, want above 0", c.Normalise.Temperature)
	check(c.Normalise.MaxNew >= 1, "normalise.max_new: %d, want at least 1", c.Normalise.MaxNew)
	check(c.EvalEvery >= 1, "eval_every: %d, want at least 1", c.EvalEvery)
	check(c.SaveEvery >= 1, "save_every: %d, want at least 1", c.SaveEvery)
	if err := c.Optimizer.config().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("optimizer: %w", err))
	}
	if err := (optim.Schedule{Kind: c.Schedule, Peak: 1, Total: 1}).Validate(); err != nil {
		errs = append(errs, fmt.Errorf("schedule: %w", err))
	}
	return errors.Join(errs...)
}
