package main

import (
	"context"
	"slices"

	"plumb/internal/optim"
	"plumb/internal/plan"
	"plumb/ppo"
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
	s.phase("steps", seconds+float64(steps)*pl.r.Optimizer(n, c.Optimizer.Bits), "%d of %d pairs, %.0f tokens each", steps, c.Batch, meanPair*float64(c.Batch))
	if held > 0 {
		times := (steps + c.EvalEvery - 1) / c.EvalEvery
		s.phase("held out", float64(times*held)*meanPair*fw.Seconds.At(pl.layers), "%d pairs, %d times", held, times)
	}
	if k := c.Normalise.Samples; k > 0 {
		asked := max(1, meanPair-2*pl.answers.mean()) // a pair is a prompt and two answers, or two prompts
		if pl.dropsAlone() {
			asked = max(1, meanPair/2-pl.answers.mean())
		}
		prompts := slices.Repeat([]int{int(asked)}, k)
		answers := pl.answers.of(k, c.Normalise.MaxNew)
		t, err := pl.sampling(ctx, s, prompts, answers, 1, k, 64, "")
		if err != nil {
			return err
		}
		s.phase("normalising", t+(meanPair+asked)/2*float64(k)*fw.Seconds.At(pl.layers), "%d answers", k)
	}
	s.garbage += meanPair * float64(train*c.Epochs) * tr.Garbage.At(pl.layers)
	s.checkpoints(pl, steps/c.SaveEvery, 12*n)
	s.Memory.Adapters = int64(20 * n)
	s.Memory.Optimizer = int64(optim.StateBytes(c.Optimizer.Bits, n))
	s.Memory.Activations += int64(float64(min(c.MicroTokens, int(float64(held)*meanPair))) * fw.Bytes.At(pl.layers))
	s.tape(pl, min(c.MicroTokens, rows.Largest(2*c.Batch, steps)), c.Layers, tr, fw, meanPair*float64(train*c.Epochs), false)
	return nil
}

// ppoPlan is what the parts of a ppo stage share.
type ppoPlan struct {
	c              ppo.Config
	rows           plan.Rows // prompts with their responses
	tokens         float64   // of all of them
	policy, critic plan.Adapter
	logp, score    plan.Pass // forward
	trunk          bool      // what lies below the critic's trained blocks is computed once an update
}

func (pl *planner) planPPO(ctx context.Context, s *stagePlan) error {
	c := *pl.recipe.PPO
	if c.Critic.Layers == 0 && pl.recipe.Reward != nil {
		c.Critic.Layers = pl.recipe.Reward.Layers
	}
	x := ppoPlan{c: c, policy: pl.policy(), critic: scored(pl.policy())}
	prompts, err := pl.prompts(ctx, s, "prompts", c.Prompts, c.Read.Local, c.Read.Options(0, pl.recipe.Seed), c.MaxPrompt)
	if err != nil {
		return err
	}
	s.ceiling()
	answers := pl.answers.of(c.Episodes, c.Sampling.MaxNew)
	asked, drawn := make([]int, c.Episodes), slices.Clone(answers)
	for i, n := range answers {
		asked[i] = prompts[i%len(prompts)]
		x.rows.Lengths, x.rows.Targets = append(x.rows.Lengths, asked[i]+n-1), append(x.rows.Targets, n)
		if c.Stop.After > 0 { // generated to the end and cut then
			drawn[i] = c.Sampling.MaxNew
		}
	}
	x.tokens = float64(x.rows.Tokens())
	x.trunk = c.Critic.Layers > 0 && c.Critic.Layers < pl.layers && !c.Critic.Shared
	rolled, err := pl.sampling(ctx, s, asked, drawn, 1, c.Batch, c.Sampling.MaxBatch, c.Sampling.KVCache)
	if err != nil {
		return err
	}
	s.phase("sampling", rolled, "%d answers, %d at a time", c.Episodes, min(c.Sampling.MaxBatch, c.Batch))
	if err := pl.ppoExperience(s, &x); err != nil {
		return err
	}
	return pl.ppoLearning(s, &x)
}

// ppoExperience is what is computed of the responses before learning: log-probabilities of policy and reference, values, scores.
func (pl *planner) ppoExperience(s *stagePlan, x *ppoPlan) error {
	var err error
	if x.logp, err = pl.r.Forward(x.policy, x.rows, x.c.MicroTokens, plan.Likelihood); err != nil {
		return err
	}
	if x.score, err = pl.r.Forward(x.critic, x.rows, x.c.MicroTokens, plan.Value); err != nil {
		return err
	}
	each := 2*x.logp.Seconds.At(pl.layers) + 2*x.score.Seconds.At(pl.layers)
	if x.trunk {
		// One trunk for the critic and the reward model that it was, and for the reference where that is the SFT policy and the reward
		// model was not trained below the critic.
		shared := 1
		if r := pl.recipe.Reward; pl.recipe.SFT != nil && r != nil && r.Layers > 0 && r.Layers <= x.c.Critic.Layers {
			shared++
		}
		each -= float64(shared) * x.score.Seconds.Block * float64(pl.layers-x.c.Critic.Layers)
	}
	s.phase("log-probabilities, values, scores", x.tokens*each, "%.0f tokens, by policy, reference, critic and reward model", x.tokens)
	micro := float64(min(x.c.MicroTokens, int(x.tokens)/x.c.Updates()))
	s.Memory.Activations += int64(micro * (x.logp.Bytes.At(pl.layers) + x.score.Bytes.At(pl.layers)))
	s.garbage += x.tokens * (x.logp.Garbage.At(pl.layers) + x.score.Garbage.At(pl.layers))
	if x.trunk {
		s.Memory.Activations += int64(x.tokens/float64(x.c.Updates())) * int64(4*pl.cfg.Hidden)
	}
	return nil
}

// ppoLearning is the epochs over each batch, of the policy and of a critic that is not on its trunk.
func (pl *planner) ppoLearning(s *stagePlan, x *ppoPlan) error {
	c, updates := x.c, x.c.Updates()
	micro := min(c.MicroTokens, int(x.tokens)/max(updates*c.Minibatches, 1))
	train, err := pl.r.Train(x.policy, x.rows, micro, plan.Policy, c.Recompute)
	if err != nil {
		return err
	}
	value, err := pl.r.Train(x.critic, x.rows, micro, plan.Value, c.Recompute)
	if err != nil {
		return err
	}
	n, err := pl.r.Parameters(x.critic)
	if err != nil {
		return err
	}
	s.Memory.Optimizer = int64(optim.StateBytes(c.Optimizer.Bits, n))
	learn, models := train.Seconds.At(pl.layers), 1
	if !c.Critic.Shared {
		learn += pl.topPass(value, x.score, c.Critic.Layers, x.trunk)
		models = 2
		s.Memory.Optimizer *= 2
	}
	steps := updates * c.Epochs * c.Minibatches
	s.phase("learning", x.tokens*float64(c.Epochs)*learn+float64(steps*models)*pl.r.Optimizer(n, c.Optimizer.Bits), "%d updates of %d epochs", updates, c.Epochs)
	s.garbage += x.tokens * float64(c.Epochs) * (train.Garbage.At(pl.layers) + value.Garbage.At(pl.layers))
	s.checkpoints(pl, updates/c.SaveEvery+1, models*12*n)
	s.Memory.Adapters = int64(40 * n) // of policy and critic, reference and reward model: values and packed, two with gradients
	again := x.tokens * float64(c.Epochs)
	if models == 2 && !x.trunk {
		again *= 2
	}
	s.tape(pl, min(c.MicroTokens, x.rows.Largest(c.Batch/c.Minibatches, steps)), 0, train, x.logp, again, c.Recompute)
	return nil
}

func (pl *planner) planEval(ctx context.Context, s *stagePlan) error {
	c := *pl.recipe.Eval
	prompts, err := pl.prompts(ctx, s, "prompts", c.Prompts, c.Read.Local, c.Read.Options(c.Limit, pl.recipe.Seed), c.MaxPrompt)
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
	sampled, err := pl.sampling(ctx, s, slices.Repeat(asked, 2), slices.Repeat(answers, 2), c.Samples, 2*n, c.MaxBatch, c.KVCache)
	if err != nil {
		return err
	}
	s.phase("sampling", sampled, "%d answers of each side", n)
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
