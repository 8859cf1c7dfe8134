package ppo

import (
	"errors"
	"fmt"
	"math"

	"plumb/internal/dataset"
	"plumb/internal/kernels"
	"plumb/internal/objective"
	"plumb/internal/optim"
)

// Config is the recipe's section ppo. Default fills every field; Validate checks them.
type Config struct {
	// Prompts is the file the episodes' prompts come from, one record each. No default.
	Prompts string
	// Read says how that file is read.
	Read dataset.Reading
	// MaxPrompt is the longest prompt in tokens, >= 0; longer ones are left out and counted. 0: no limit. Default 0.
	MaxPrompt int
	// Episodes is how many responses are sampled and learned from in all, > 0. Prompts are gone through in a seeded order,
	// again and again if need be. Default 2048.
	Episodes int
	// Batch is how many episodes make one update, > 0; whitening and the KL controller act on this many. The last update
	// takes what is left. Default 64 (peers: 128 to 1024).
	Batch int
	// Minibatches is into how many optimizer steps an epoch is divided, 1 to Batch. Default 1 (TRL, N+ details).
	Minibatches int
	// Epochs is how often a batch is gone through, > 0. Default 4 (Ziegler et al. 2019).
	Epochs int
	// MicroTokens is how many tokens go through the model at once, > 0: memory and speed only, results do not depend on it
	// beyond rounding. Default 2048.
	MicroTokens int
	// Recompute keeps only the input of each block and computes the rest again in the backward pass: less memory, a third
	// more time, the same bits. Default false.
	Recompute bool

	// LR is the policy's peak learning rate, >= 0. Default 5e-5, for LoRA; full fine-tuning wants about a tenth.
	LR float64
	// Schedule is linear, cosine (both end at 0 when the episodes do) or constant. Default linear (detail 5 of Huang et al.).
	Schedule string
	// Warmup is over how many episodes both learning rates rise from 0. Default 0.
	Warmup int
	// Optimizer is for policy and critic alike.
	Optimizer Optimizer
	// MaxGradNorm limits the norm of each model's gradient, 0 = no limit. Default 1 (OpenRLHF, verl, DeepSpeed-Chat).
	MaxGradNorm float64

	// Clip is PPO's trust region.
	Clip Clip
	// KL is the penalty for leaving the reference.
	KL KL
	// Critic is the value function.
	Critic Critic
	// Score is what happens to scores before the missing-stop rule.
	Score Score
	// Sampling is how responses are drawn.
	Sampling Sampling
	// Stop is what ends a response.
	Stop Stop
	// Whiten says what is whitened over the batch.
	Whiten Whitened

	// MissingStop is what a response costs that was cut without a stop token. Default override, -1 (Stiennon et al. 2020).
	MissingStop MissingStop
	// Gamma is the discount, 0 to 1. Default 1 (detail 6 of Huang et al.).
	Gamma float64
	// Lambda is GAE's, 0 to 1: 1 trusts returns only, 0 the critic. Default 0.95.
	Lambda float64
	// EntropyCoef weighs the entropy bonus, per nat, >= 0. Default 0.
	EntropyCoef float64
	// Aggregation is token_mean, seq_mean_token_mean, seq_mean_token_sum or seq_mean_token_sum_norm (divided by
	// sampling.max_new), over a whole optimizer step. Default token_mean.
	Aggregation objective.Aggregation
	// TargetKL ends an update's remaining steps once approxkl of a minibatch exceeds 1.5 times it, nats per token; that
	// minibatch is not learned from. 0 = never. Default 0 (TRL 0.9: 1).
	TargetKL float64
	// MaxRatio skips a minibatch whose mean probability ratio exceeds it, > 1; 0 = never. Default 10 (TRL 0.9).
	MaxRatio float64
	// SaveEvery is after how many updates a checkpoint is written, > 0. Default 1: a killed run goes on from its last whole
	// update. The last update and an interruption write one anyway.
	SaveEvery int
}

// Optimizer is AdamW's constants; see optim.Config.
type Optimizer struct {
	Beta1       float64 // default 0.9
	Beta2       float64 // default 0.999
	Eps         float64 // default 1e-5 (Ziegler et al. 2019)
	WeightDecay float64 // default 0
	// TFEpsilon adds eps before bias correction. Default true: with eps 1e-5, torch's form made the first updates' approxkl
	// six times larger (Huang et al. 2023).
	TFEpsilon bool
	// Bits of AdamW's two moments, 32 or 8: by bitsandbytes' dynamic maps in blocks of 256, those of tensors of fewer than 4096
	// parameters in 32. Default 32.
	Bits int
	// Paged keeps the moments in a file of the stage's folder that the system pages in and out, so that they may exceed memory.
	// Default false.
	Paged bool
}

// Clip is PPO's trust region.
type Clip struct {
	Low  float64 // the ratio is clipped below at 1-low, 0 < low < 1. Default 0.2 (Schulman et al. 2017)
	High float64 // and above at 1+high, > 0. Default 0.2; DAPO uses 0.28
	Dual float64 // dual clip c > 1 (Ye et al. 2020: 3), 0 = off. Default 0
	// Value is how far V may move from its value before the update, > 0, in units of the score. Default 0.2.
	Value float64
}

// KL is the penalty for leaving the reference.
type KL struct {
	Coef    float64 // beta, score per nat, >= 0. Default 0.05 (N+ details)
	Target  float64 // nats per sequence; adapts beta (Ziegler et al. 2019: 6). 0 = fixed. Default 0
	Horizon float64 // episodes, > 0. Default 10000
	Min     float64 // lower bound of an adaptive beta. Default 1e-4
	Max     float64 // upper bound of an adaptive beta. Default 10
	// Estimator is k1, k2, k3, abs, or full, which sums over the whole vocabulary and costs two more passes of the head.
	// Default k1: unbiased, so that the penalised reward is the objective's.
	Estimator objective.Estimator
}

// Critic is the value function.
type Critic struct {
	// Layers is how many of the top blocks are trained, >= 0. Default 0: as many as the reward model trained (reward.layers). The
	// model's number of blocks is all of them.
	Layers int
	// LR is the critic's peak learning rate, >= 0. Default 2.5e-4, five times the policy's (peers: 3 to 10 times).
	LR float64
	// Warmup is for how many updates, at the start, the critic alone is trained. Default 0.
	Warmup int
	// Shared puts the value head on the policy's own trunk, starting at 0 (Ziegler et al. 2019), instead of a separate critic
	// that starts as the reward model. Default false.
	Shared bool
	// Coef weighs the value loss against the policy loss on a shared trunk, > 0. Default 0.1.
	Coef float64
}

// Score is what happens to scores before the missing-stop rule.
type Score struct {
	// Scale is none, or running: divide by the running standard deviation of all scores so far. Default none: the reward
	// stage has normalised its model already.
	Scale string
	Clip  float64 // limit of |score| after scaling, 0 = none. Default 0
}

// Sampling is how responses are drawn.
type Sampling struct {
	// Temperature divides the logits, > 0, in sampling and in every log-probability: of the policy, before and during the
	// update, and of the reference. Default 1.
	Temperature float64
	// MaxNew is the longest response, in tokens, > 0. Default 64.
	MaxNew int
	// MaxBatch is how many responses are generated side by side, > 0: memory and speed only. Default 64.
	MaxBatch int
	// KVCache is the form in which the keys and values of what was read and sampled so far are kept: fp32, bf16 (half the memory), or
	// int8 with a scale for each key and value of a head (a quarter). With any but fp32 the sampler is not the trained
	// policy to the bit, and rollout/logprob_diff_max says by how much. Default fp32.
	KVCache string
	// TopK, TopP, MinP, MinNew must stay at their defaults 0, 1, 0, 0: each draws from a filtered distribution, of which the
	// log-probabilities that PPO learns from are not.
	TopK   int
	TopP   float64
	MinP   float64
	MinNew int
}

// Stop is what ends a response.
type Stop struct {
	// Tokens are the texts of the stop tokens. Default none: the model's own end-of-text tokens.
	Tokens []string
	// After makes a stop token end the response only from this position on, counted from 0; before, it is an ordinary token.
	// "The first full stop after 16 tokens" of Ziegler et al. is tokens ["."], after 16. Responses are then generated to
	// their full length and cut. Default 0.
	After int
}

// Whitened says what is whitened over the batch.
type Whitened struct {
	Rewards    bool // rescaled without shifting. Default false (N+ details)
	Advantages bool // to mean 0, variance 1. Default true
}

// Default returns the defaults documented at the fields.
func Default() Config {
	return Config{
		Episodes: 2048, Batch: 64, Minibatches: 1, Epochs: 4, MicroTokens: 2048,
		LR: 5e-5, Schedule: "linear", MaxGradNorm: 1,
		Optimizer:   Optimizer{Beta1: 0.9, Beta2: 0.999, Eps: 1e-5, TFEpsilon: true, Bits: 32},
		Clip:        Clip{Low: 0.2, High: 0.2, Value: 0.2},
		KL:          KL{Coef: 0.05, Horizon: 10000, Min: 1e-4, Max: 10, Estimator: objective.K1},
		Critic:      Critic{LR: 2.5e-4, Coef: 0.1},
		Score:       Score{Scale: "none"},
		Sampling:    Sampling{Temperature: 1, MaxNew: 64, MaxBatch: 64, KVCache: "fp32", TopP: 1},
		Whiten:      Whitened{Advantages: true},
		MissingStop: MissingStop{Rule: OverrideScore, Value: -1},
		Gamma:       1, Lambda: 0.95, Aggregation: objective.TokenMean, MaxRatio: 10, SaveEvery: 1,
	}
}

// huge is the largest finite number: what is at most huge is neither infinite nor NaN.
const huge = math.MaxFloat64

// faults collects what is wrong, by key.
type faults []error

func (f *faults) check(ok bool, key string, value any, want string) {
	if !ok {
		*f = append(*f, fmt.Errorf("%s: %v: want %s", key, value, want))
	}
}

func (f *faults) within(key string, x, lo, hi float64, want string) {
	f.check(x >= lo && x <= hi, key, x, want)
}

func (f *faults) whole(key string, n, least int) {
	f.check(n >= least, key, n, fmt.Sprintf("a whole number of at least %d", least))
}

func (f *faults) wrap(key string, err error) {
	if err != nil {
		*f = append(*f, fmt.Errorf("%s: %w", key, err))
	}
}

// Validate reports every field out of range, by its key.
func (c Config) Validate() error {
	var f faults
	c.validateEpisodes(&f)
	c.validateLearning(&f)
	return errors.Join(f...)
}

// validateEpisodes checks what is sampled, how it is scored, and how often it is gone through.
func (c Config) validateEpisodes(f *faults) {
	f.check(c.Prompts != "", "prompts", `""`, "a file of prompts")
	f.wrap("read", c.Read.Validate())
	f.whole("max_prompt", c.MaxPrompt, 0)
	f.whole("episodes", c.Episodes, 1)
	f.whole("batch", c.Batch, 1)
	f.check(c.Minibatches >= 1 && c.Minibatches <= max(c.Batch, 1), "minibatches", c.Minibatches, "1 to batch")
	f.whole("epochs", c.Epochs, 1)
	f.whole("micro_tokens", c.MicroTokens, 1)
	f.whole("save_every", c.SaveEvery, 1)
	f.within("max_grad_norm", c.MaxGradNorm, 0, huge, "0 (no limit) or more")
	f.wrap("lr", c.schedule(c.LR).Validate())
	f.wrap("critic.lr", c.schedule(c.Critic.LR).Validate())
	f.wrap("optimizer", c.Optimizer.config().Validate())
	f.check(c.Score.Scale == "none" || c.Score.Scale == "running", "score.scale", c.Score.Scale, "none or running")
	f.within("score.clip", c.Score.Clip, 0, huge, "0 (no limit) or more")
	f.check(float32(c.Sampling.Temperature) > 0 && c.Sampling.Temperature <= huge, "sampling.temperature", c.Sampling.Temperature,
		"a number above 0 (greedy answers give PPO nothing to learn from)")
	f.whole("sampling.max_new", c.Sampling.MaxNew, 1)
	f.whole("sampling.max_batch", c.Sampling.MaxBatch, 1)
	_, err := kernels.ParseKVType(c.Sampling.KVCache)
	f.wrap("sampling.kv_cache", err)
	s := c.Sampling
	f.check(s.TopK == 0 && s.TopP == 1 && s.MinP == 0 && s.MinNew == 0, "sampling", fmt.Sprintf("top_k %d, top_p %v, min_p %v, min_new %d", s.TopK, s.TopP, s.MinP, s.MinNew),
		"0, 1, 0, 0: PPO's ratios are of the unfiltered distribution, filtered sampling would bias every one of them; lower sampling.temperature instead")
	f.check(c.Stop.After >= 0 && c.Stop.After < max(s.MaxNew, 1), "stop.after", c.Stop.After, "0 to sampling.max_new - 1")
	f.wrap("missing_stop", c.MissingStop.validate())
	f.within("missing_stop.value", c.MissingStop.Value, -huge, huge, "a number")
}

// validateLearning checks the losses and their guards.
func (c Config) validateLearning(f *faults) {
	f.check(c.Clip.Low > 0 && c.Clip.Low < 1, "clip.low", c.Clip.Low, "a number between 0 and 1")
	f.check(c.Clip.High > 0 && c.Clip.High <= huge, "clip.high", c.Clip.High, "a number above 0")
	f.check(c.Clip.Dual == 0 || c.Clip.Dual > 1 && c.Clip.Dual <= huge, "clip.dual", c.Clip.Dual, "0 (off) or more than 1")
	f.check(c.Clip.Value > 0 && c.Clip.Value <= huge, "clip.value", c.Clip.Value, "a number above 0")
	f.within("kl.coef", c.KL.Coef, 0, huge, "0 or more")
	f.within("kl.target", c.KL.Target, 0, huge, "0 (fixed coefficient) or nats per sequence")
	if c.KL.Target > 0 {
		f.check(c.KL.Horizon > 0 && c.KL.Horizon <= huge, "kl.horizon", c.KL.Horizon, "episodes, above 0")
		f.check(c.KL.Min > 0 && c.KL.Min <= c.KL.Max && c.KL.Max <= huge, "kl.min, kl.max", fmt.Sprint(c.KL.Min, ", ", c.KL.Max), "0 < min <= max")
		f.check(c.KL.Coef >= c.KL.Min && c.KL.Coef <= c.KL.Max, "kl.coef", c.KL.Coef, "to start between kl.min and kl.max")
	}
	f.wrap("kl.estimator", c.KL.Estimator.Validate())
	f.whole("critic.layers", c.Critic.Layers, 0)
	f.whole("critic.warmup", c.Critic.Warmup, 0)
	if c.Critic.Shared {
		f.check(c.Critic.Coef > 0 && c.Critic.Coef <= huge, "critic.coef", c.Critic.Coef, "a number above 0")
		f.check(c.Critic.Warmup == 0, "critic.warmup", c.Critic.Warmup, "0 with critic.shared: one trunk cannot wait for the other")
	}
	f.within("gamma", c.Gamma, 0, 1, "0 to 1")
	f.within("lambda", c.Lambda, 0, 1, "0 to 1")
	f.within("entropy_coef", c.EntropyCoef, 0, huge, "0 or more")
	f.wrap("aggregation", c.Aggregation.Validate())
	f.within("target_kl", c.TargetKL, 0, huge, "0 (never) or nats per token")
	f.check(c.MaxRatio == 0 || c.MaxRatio > 1 && c.MaxRatio <= huge, "max_ratio", c.MaxRatio, "0 (never) or more than 1")
}

// schedule counts in episodes.
func (c Config) schedule(peak float64) optim.Schedule {
	return optim.Schedule{Kind: c.Schedule, Peak: peak, Warmup: c.Warmup, Total: c.Episodes}
}

func (o Optimizer) config() optim.Config {
	return optim.Config{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, TFEpsilon: o.TFEpsilon, Bits: o.Bits}
}

func (c Config) clipping() objective.Clipping {
	return objective.Clipping{Low: c.Clip.Low, High: c.Clip.High, Dual: c.Clip.Dual}
}

// Updates is how many updates the episodes make.
func (c Config) Updates() int { return (c.Episodes + c.Batch - 1) / c.Batch }
