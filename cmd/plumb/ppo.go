package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/ppo"
	"plumb/reward"
)

func (a *app) ppoCmd() *cobra.Command {
	return a.stageCmd("ppo", "Improve a policy against the reward model, under a KL penalty",
		"Runs the stage ppo of a recipe: the SFT policy and the reward model in, an aligned policy out.")
}

// wholeScorer gives PPO the reward of prompt and response as one sequence.
type wholeScorer struct{ *reward.Scorer }

// Scores is one reward per response.
func (s wholeScorer) Scores(ctx context.Context, prompts, responses [][]int32) ([]float64, error) {
	texts := make([][]int32, len(prompts))
	for i := range texts {
		texts[i] = append(append(make([]int32, 0, len(prompts[i])+len(responses[i])), prompts[i]...), responses[i]...)
	}
	return s.Score(ctx, texts)
}

// RewardModel is the adapter that scores, and how its head's output becomes a reward.
func (s wholeScorer) RewardModel() (a *peft.Adapter, gain, bias float64) {
	return s.Adapter, s.Scale.Gain, s.Scale.Bias
}

func (p *pipeline) ppoStage(ctx context.Context) (stageJob, error) {
	c := *p.recipe.PPO
	base, err := p.trunk(ctx)
	if err != nil {
		return stageJob{}, err
	}
	if p.recipe.Reward == nil {
		return stageJob{}, usagef("ppo needs a reward model: add a section reward to the recipe")
	}
	m := manifestOf(base)
	policy, parents, err := p.sftAdapter(base)
	if err != nil {
		return stageJob{}, err
	}
	m.Parents = append(parents, run.Parent{Role: "reward", Path: p.dir.Path("reward")})
	path, src, err := p.dataOr(ctx, c.Prompts, "", c.Read.Local)
	if err != nil {
		return stageJob{}, fmt.Errorf("ppo.prompts: %w", err)
	}
	m.Data = []run.Source{src}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		enc, err := base.encoder()
		if err != nil {
			return stageResult{}, err
		}
		read, err := p.promptsOf("ppo.prompts", path, c.Read.Options(0, p.recipe.Seed))
		if err != nil {
			return stageResult{}, err
		}
		encoded, counts, err := enc.Prompts(read, c.MaxPrompt)
		if err != nil {
			return stageResult{}, fmt.Errorf("ppo.prompts: %w", err)
		}
		p.sayCounts("ppo.prompts", counts)
		stop, err := base.tokensOf(c.Stop.Tokens)
		if err != nil {
			return stageResult{}, fmt.Errorf("ppo.stop.tokens: %w", err)
		}
		if len(stop) == 0 {
			stop = enc.StopIDs()
		}
		in := ppo.Inputs{
			Model: base.Model, Policy: policy, StopIDs: stop, Seed: p.recipe.Seed, Ceiling: p.ceiling(), Room: p.roomAsItLies(base),
			Base: base.Base.Name, Progress: p.progress,
			Text: func(prompt, response []int32) string { return base.Tokenizer.DecodeAfter(prompt, response, false) },
		}
		for _, x := range encoded {
			in.Prompts = append(in.Prompts, ppo.Prompt{IDs: x.IDs, Text: base.Tokenizer.Decode(x.IDs, false)})
		}
		if policy != nil {
			in.Reference = policy.Clone().Freeze()
		} else {
			w := p.recipe.Reward.Peft
			if in.Policy, err = newLoRA(base, w, p.recipe.Seed); err != nil {
				return stageResult{}, err
			}
			p.note("ppo: the policy starts as a new adapter of rank %d on the model as it is", w.R)
		}
		scorer, err := reward.Load(base.Model, p.dir.Path("reward", reward.AdapterDir))
		if err != nil {
			return stageResult{}, err
		}
		scorer.MicroTokens = c.MicroTokens
		if !c.Critic.Shared {
			if c.Critic.Layers == 0 {
				if c.Critic.Layers, err = trainedLayers(p.dir.Path("reward"), base.Model.Layers); err != nil {
					return stageResult{}, err
				}
			}
			if in.Critic, err = peft.Load(p.dir.Path("reward", reward.AdapterDir), base.Model.Modules()); err != nil {
				return stageResult{}, err
			}
			in.CriticGain, in.CriticBias = scorer.Scale.Gain, scorer.Scale.Bias
		}
		scorer.Adapter.Freeze()
		in.Scorer = wholeScorer{scorer}
		done, err := ppo.Train(ctx, c, in, s)
		if err != nil {
			return stageResult{}, err
		}
		return stageResult{step: done.Updates, results: done.Metrics, outputs: done.Outputs}, nil
	}}, nil
}

// trainedLayers is how many of the top blocks the reward model of a stage folder trained, 0 for all. The recipe may say something else
// by now.
func trainedLayers(stageDir string, depth int) (int, error) {
	m, err := run.ReadManifest(stageDir)
	if err != nil {
		return 0, err
	}
	var c struct{ Layers int }
	if err := json.Unmarshal(m.Config, &c); err != nil {
		return 0, fmt.Errorf("%s: the reward model's settings: %w", stageDir, err)
	}
	if c.Layers >= depth {
		return 0, nil
	}
	return c.Layers, nil
}

// tokensOf are the ids of tokens written as texts: as the vocabulary has them, or as a text that is one token.
func (l *loaded) tokensOf(texts []string) ([]int32, error) {
	var ids []int32
	for _, text := range texts {
		if id, ok := l.Tokenizer.ID(text); ok {
			ids = append(ids, id)
			continue
		}
		got, err := l.encode(text, false)
		if err != nil || len(got) != 1 {
			return nil, fmt.Errorf("%q is not one token of the model's tokenizer", text)
		}
		ids = append(ids, got[0])
	}
	return ids, nil
}
