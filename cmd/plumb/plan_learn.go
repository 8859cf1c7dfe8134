package main

import (
	"context"
	"slices"

	"plumb/internal/optim"
	"plumb/internal/plan"
)

func (pl *planner) planReward(ctx context.Context, s *stagePlan) error {
	c := *pl.recipe.Reward
	rows, err := pl.pairsOf(ctx, c, s)
	if err != nil {
		return err
	}
	pairs := len(rows.Lengths) / 2
	held := int(float64(pairs)*c.Eval + 0.5)
	train := max(pairs-held, 1)
	meanPair := float64(rows.Tokens()) / float64(max(pairs, 1))
	perEpoch := (train + c.Batch - 1) / c.Batch
	steps := c.Epochs * perEpoch
	a := scored(pl.policy())
	n, err := pl.r.Parameters(a)
	if err != nil {
		return err
	}
	micro := min(c.MicroTokens, int(float64(c.Batch)*meanPair))
	tr, err := pl.r.Train(a, rows, micro, plan.Ranking, false)
	if err != nil {
		return err
	}
	fw, err := pl.r.Forward(a, rows, c.MicroTokens, plan.Ranking)
	if err != nil {
		return err
	}
	seconds := meanPair * float64(train*c.Epochs) * pl.topPass(tr, fw, c.Layers, false)
	s.phase("steps", seconds+float64(steps)*pl.r.Optimizer(n), "%d of %d pairs, %.0f tokens each", steps, c.Batch, meanPair*float64(c.Batch))
	if held > 0 {
		times := steps/c.EvalEvery + 2 // at the end twice: for the log, and for the result
		s.phase("held out", float64(times*held)*meanPair*fw.Seconds.At(pl.layers), "%d pairs, %d times", held, times)
	}
	if k := c.Normalise.Samples; k > 0 {
		asked := max(1, meanPair-2*pl.answers.mean()) // a pair is a prompt and two answers
		prompts := slices.Repeat([]int{int(asked)}, k)
		answers := pl.answers.of(k, c.Normalise.MaxNew)
		t, err := pl.sampling(ctx, s, prompts, answers, k, 64)
		if err != nil {
			return err
		}
		s.phase("normalising", t+(meanPair+asked)/2*float64(k)*fw.Seconds.At(pl.layers), "%d answers", k)
	}
	s.garbage += meanPair * float64(train*c.Epochs) * tr.Garbage.At(pl.layers)
	s.checkpoints(pl, steps/c.SaveEvery, 12*n)
	s.Memory.Adapters, s.Memory.Optimizer = int64(20*n), int64(optim.StateBytes(c.Optimizer.Bits, n))
	s.Memory.Activations += int64(float64(min(c.MicroTokens, int(float64(held)*meanPair))) * fw.Bytes.At(pl.layers))
	top := tr
	if c.Layers > 0 && c.Layers < pl.layers { // frozen blocks keep nothing for the way back
		top.Bytes.Block *= float64(c.Layers) / float64(pl.layers)
	}
	s.tape(min(c.MicroTokens, rows.Largest(2*c.Batch, steps)), top, pl)
	return nil
}

func (pl *planner) planPPO(ctx context.Context, s *stagePlan) error {
	c := *pl.recipe.PPO
	prompts, err := pl.prompts(ctx, s, "prompts", c.Prompts, "", c.Read.Local, 0, c.MaxPrompt)
	if err != nil {
		return err
	}
	s.ceiling()
	answers := pl.answers.of(c.Episodes, c.Sampling.MaxNew)
	asked, rows := make([]int, c.Episodes), plan.Rows{}
	for i, n := range answers {
		asked[i] = prompts[i%len(prompts)]
		rows.Lengths, rows.Targets = append(rows.Lengths, asked[i]+n-1), append(rows.Targets, n)
	}
	updates, tokens := c.Updates(), float64(rows.Tokens())
	rolled, err := pl.sampling(ctx, s, asked, answers, c.Batch, c.Sampling.MaxBatch)
	if err != nil {
		return err
	}
	s.phase("sampling", rolled, "%d answers, %d at a time", c.Episodes, min(c.Sampling.MaxBatch, c.Batch))

	policy, critic := pl.policy(), scored(pl.policy())
	lp, err := pl.r.Forward(policy, rows, c.MicroTokens, plan.Likelihood)
	if err != nil {
		return err
	}
	sc, err := pl.r.Forward(critic, rows, c.MicroTokens, plan.Value)
	if err != nil {
		return err
	}
	top := c.Critic.Layers
	trunk := top > 0 && top < pl.layers && !c.Critic.Shared
	judge := lp.Seconds.At(pl.layers) + sc.Seconds.At(pl.layers) // reference and critic
	if trunk && pl.recipe.Reward != nil && pl.recipe.Reward.Layers == top {
		judge -= sc.Seconds.Block * float64(pl.layers-top) // one trunk for both
	}
	s.phase("log-probabilities, values, scores", tokens*(lp.Seconds.At(pl.layers)+judge+sc.Seconds.At(pl.layers)), "%.0f tokens, by policy, reference, critic and reward model", tokens)

	perStep := int(tokens) / max(updates*c.Minibatches, 1)
	micro := min(c.MicroTokens, perStep)
	tr, err := pl.r.Train(policy, rows, micro, plan.Policy, c.Recompute)
	if err != nil {
		return err
	}
	vt, err := pl.r.Train(critic, rows, micro, plan.Value, c.Recompute)
	if err != nil {
		return err
	}
	n, err := pl.r.Parameters(critic)
	if err != nil {
		return err
	}
	learn := tr.Seconds.At(pl.layers)
	models := 1.0
	if !c.Critic.Shared {
		learn += pl.topPass(vt, sc, top, trunk)
		models = 2
	}
	steps := float64(updates * c.Epochs * c.Minibatches)
	s.phase("learning", tokens*float64(c.Epochs)*learn+steps*models*pl.r.Optimizer(n), "%d updates of %d epochs", updates, c.Epochs)
	s.garbage += tokens * (float64(c.Epochs)*(tr.Garbage.At(pl.layers)+vt.Garbage.At(pl.layers)) + lp.Garbage.At(pl.layers) + sc.Garbage.At(pl.layers))
	s.checkpoints(pl, updates/c.SaveEvery+1, int(models)*12*n)
	s.Memory.Adapters, s.Memory.Optimizer = int64(40*n), int64(models)*int64(optim.StateBytes(c.Optimizer.Bits, n))
	s.Memory.Activations += int64(float64(min(c.MicroTokens, int(tokens)/updates))*lp.Bytes.At(pl.layers)) + int64(float64(min(c.MicroTokens, int(tokens)/updates))*sc.Bytes.At(pl.layers))
	if trunk {
		s.Memory.Activations += int64(tokens/float64(updates)) * int64(4*pl.cfg.Hidden)
	}
	s.tape(min(c.MicroTokens, rows.Largest(c.Batch/c.Minibatches, int(steps))), tr, pl)
	return nil
}

func (pl *planner) planEval(ctx context.Context, s *stagePlan) error {
	c := *pl.recipe.Eval
	prompts, err := pl.prompts(ctx, s, "prompts", c.Prompts, "", c.Read.Local, c.Limit, c.MaxPrompt)
	if err != nil {
		return err
	}
	n := len(prompts) * c.Samples
	asked, rows := make([]int, n), plan.Rows{}
	answers := pl.answers.of(n, c.MaxNew)
	for i, a := range answers {
		asked[i] = prompts[i/c.Samples]
		rows.Lengths, rows.Targets = append(rows.Lengths, asked[i]+a), append(rows.Targets, a)
	}
	sampled, err := pl.sampling(ctx, s, asked, answers, n, c.MaxBatch)
	if err != nil {
		return err
	}
	s.phase("sampling", 2*sampled, "%d answers of each side", n)
	lp, err := pl.r.Forward(pl.policy(), rows, c.MicroTokens, plan.Likelihood)
	if err != nil {
		return err
	}
	sc, err := pl.r.Forward(scored(pl.policy()), rows, c.MicroTokens, plan.Ranking)
	if err != nil {
		return err
	}
	scorers := 0
	if c.Judge.Reward != "" {
		scorers++
	}
	if pl.recipe.Reward != nil && c.Judge.Reward != "reward" {
		scorers++
	}
	tokens := float64(rows.Tokens())
	s.phase("scores, divergence, fluency", tokens*(4*lp.Seconds.At(pl.layers)+float64(2*scorers)*sc.Seconds.At(pl.layers)), "%.0f tokens of each side", tokens)
	s.garbage += tokens * (4*lp.Garbage.At(pl.layers) + float64(2*scorers)*sc.Garbage.At(pl.layers))
	s.phase("files", 6*pl.files, "report")
	s.Memory.Activations += int64(float64(min(c.MicroTokens, rows.Tokens())) * lp.Bytes.At(pl.layers))
	return nil
}
