package main

import (
	"context"
	"errors"
	"fmt"

	"plumb/internal/dataset"
	"plumb/internal/kernels"
	"plumb/internal/plan"
	"plumb/reward"
)

// prompts are the lengths of a stage's prompts, with their count noted.
func (pl *planner) prompts(ctx context.Context, s *stagePlan, key, ref, local string, opt dataset.Options, longest int) ([]int, error) {
	var out []int
	err := s.reading(func() (any, string, error) {
		path, _, err := pl.dataOr(ctx, ref, "", local)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", key, err)
		}
		read, err := pl.promptsOf(key, path, opt)
		if err != nil {
			return nil, "", err
		}
		enc, err := pl.sides.encoder()
		if err != nil {
			return nil, "", err
		}
		encoded, _, err := enc.Prompts(read, longest)
		for _, x := range encoded {
			out = append(out, len(x.IDs))
		}
		return []any{read, encoded}, fmt.Sprintf("%d prompts", len(out)), err
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no prompts", key)
	}
	return out, nil
}

// sampling is the time to answer prompts, samples of each side by side, in groups that are answered one after another, and the memory of it.
func (pl *planner) sampling(ctx context.Context, s *stagePlan, prompts, answers []int, samples, group, places int, kvCache string) (float64, error) {
	kv, err := kernels.ParseKVType(kvCache)
	if err != nil {
		return 0, fmt.Errorf("kv_cache: %w", err)
	}
	total, longest := 0, 0
	for _, n := range prompts {
		total, longest = total+n, max(longest, n)
	}
	mean := total / max(len(prompts), 1)
	places = min(places, group, len(prompts))
	fw, err := pl.r.Forward(pl.policy(), plan.Rows{Lengths: prompts, Targets: make([]int, len(prompts))}, promptTokens, plan.Likelihood)
	if err != nil {
		return 0, err
	}
	one, full, err := pl.r.Steps(ctx, pl.policy(), places, mean+int(pl.answers.mean())/2, kv)
	if err != nil {
		return 0, err
	}
	seconds := float64(total) * fw.Seconds.At(pl.layers)
	pages := 0
	for at := 0; at < len(answers); at += group {
		end := min(at+group, len(answers))
		pages = max(pages, plan.MostPages(prompts[at:end], answers[at:end], samples, places, kernels.KeyTile))
		for n, steps := range plan.Occupancy(answers[at:end], places) {
			if n == 0 || steps == 0 {
				continue
			}
			step := full.At(pl.layers)
			if places > 1 {
				step = one.At(pl.layers) + (step-one.At(pl.layers))*float64(n-1)/float64(places-1)
			}
			seconds += float64(steps) * step
		}
	}
	most := 0
	for _, n := range answers {
		most = max(most, n)
	}
	// Every group has its own pages and tape, and leaves them.
	cache := pl.r.CacheBytes(kv, pages*kernels.KeyTile)
	prefill := float64(min(total, promptTokens)) * fw.Bytes.At(pl.layers)
	s.garbage += float64((len(answers)+group-1)/group) * (cache + prefill + sampleTape)
	s.Memory.Cache = max(s.Memory.Cache, int64(cache))
	s.Memory.Activations += int64(prefill)
	s.Memory.Head += int64(float64(places) * pl.r.LogitBytes())
	s.fits("max_batch", places, pl.r.CacheBytes(kv, longest+most)+pl.r.LogitBytes())
	return seconds, nil
}

// promptTokens is how many tokens of prompts go through the model at once at most, and sampleTape the least that a sampling tape takes.
const (
	promptTokens = 2048
	sampleTape   = 4 << 20
)

func (pl *planner) planPairs(ctx context.Context, s *stagePlan) error {
	c := pl.recipe.Pairs
	prompts, err := pl.prompts(ctx, s, "prompts", c.Prompts, "", dataset.Options{Limit: c.Limit, Seed: pl.recipe.Seed}, c.MaxPrompt)
	if err != nil {
		return err
	}
	policies := max(1, len(c.From)) // those of one base answer together, a temperature after the other
	per := c.PerPrompt / min(len(c.Temperature), (c.PerPrompt+policies-1)/policies)
	asked := make([]int, 0, len(prompts)*c.PerPrompt)
	for _, n := range prompts {
		for range c.PerPrompt {
			asked = append(asked, n)
		}
	}
	answers := pl.answers.of(len(asked), c.MaxNew)
	seconds, err := pl.sampling(ctx, s, asked, answers, max(1, per/policies), max(1, c.SaveEvery*per), c.MaxBatch, c.KVCache)
	if err != nil {
		return err
	}
	s.phase("sampling", seconds, "%d answers, %d at a time", len(asked), c.MaxBatch)
	s.checkpoints(pl, len(prompts)/c.SaveEvery, 64<<10)
	return nil
}

// common is how many ids two sequences begin with, which are computed once.
func common(a, b []int32) int {
	n := 0
	for n < min(len(a), len(b))-1 && a[n] == b[n] {
		n++
	}
	return n
}

// dropsAlone tells whether each side of a pair drops elements of its own, so that nothing of it is computed once for both.
func (pl *planner) dropsAlone() bool {
	if sft := pl.recipe.SFT; sft != nil && sft.Peft.Method == "lora" { // the reward model starts as its copy
		return sft.Peft.Dropout > 0
	}
	return pl.recipe.Reward.Peft.Dropout > 0
}

// pairsOf are the sequences that reward learns from, what a pair begins with in the first alone: read where they are in files, else those that pairs will make.
func (pl *planner) pairsOf(ctx context.Context, c reward.Config, s *stagePlan) (plan.Rows, error) {
	var rows plan.Rows
	err := s.reading(func() (any, string, error) {
		var keep []any
		for _, d := range c.Data {
			if d.IsStore() {
				made, err := pl.pairsToBe(ctx, d.Limit)
				if err != nil {
					return nil, "", err
				}
				rows.Lengths = append(rows.Lengths, made...)
				continue
			}
			read, _, err := pl.comparisons(ctx, d)
			if err != nil {
				return nil, "", fmt.Errorf("data: %w", err)
			}
			list, err := read(ctx)
			if err != nil {
				return nil, "", fmt.Errorf("data: %w", err)
			}
			enc, err := pl.sides.encoder()
			if err != nil {
				return nil, "", err
			}
			pairs, err := pl.rewardPairs(enc, c, comparisons{name: d.Path, list: list})
			if err != nil {
				return nil, "", err
			}
			for _, x := range pairs {
				once := common(x.Chosen, x.Rejected)
				if pl.dropsAlone() {
					once = 0
				}
				rows.Lengths = append(rows.Lengths, len(x.Chosen), len(x.Rejected)-once)
			}
			keep = append(keep, list, pairs)
		}
		return keep, fmt.Sprintf("%d pairs", len(rows.Lengths)/2), nil
	})
	rows.Targets = make([]int, len(rows.Lengths))
	s.ceiling()
	return rows, err
}

// pairsToBe are the lengths of the sides of the pairs that this recipe's own stage pairs will put into the store.
func (pl *planner) pairsToBe(ctx context.Context, limit int) ([]int, error) {
	c := pl.recipe.Pairs
	if c == nil {
		return nil, errors.New("reward learns from a label store, and the recipe has no section pairs that fills it: how many judgements there will be is not known")
	}
	prompts, err := pl.prompts(ctx, &stagePlan{}, "pairs.prompts", c.Prompts, "", dataset.Options{Limit: c.Limit, Seed: pl.recipe.Seed}, c.MaxPrompt)
	if err != nil {
		return nil, err
	}
	per := c.PerPrompt * (c.PerPrompt - 1) / 2
	if c.Pair == "next" {
		per = c.PerPrompt - 1
	}
	n := len(prompts) * per
	if limit > 0 {
		n = min(n, limit)
	}
	answers := pl.answers.of(2*n, c.MaxNew)
	out := make([]int, 0, 2*n)
	for i, a := range answers {
		if i%2 == 0 || pl.dropsAlone() {
			a += prompts[i/2/per%len(prompts)]
		}
		out = append(out, a)
	}
	return out, nil
}
