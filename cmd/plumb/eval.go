package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"plumb/eval"
	"plumb/internal/dataset"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tales"
	"plumb/reward"
)

func (a *app) evalCmd() *cobra.Command {
	return a.stageCmd("eval", "Compare what came out with what went in",
		"Runs the stage eval of a recipe: metrics, paired comparisons by a judge PPO never saw, one report.")
}

// rewardJudge scores answers with a reward model.
type rewardJudge struct{ *reward.Scorer }

// Score is one reward per answer.
func (j rewardJudge) Score(ctx context.Context, answers []eval.Answer) ([]float64, error) {
	texts := make([][]int32, len(answers))
	for i, x := range answers {
		texts[i] = append(append(make([]int32, 0, len(x.PromptIDs)+len(x.IDs)), x.PromptIDs...), x.IDs...)
	}
	return j.Scorer.Score(ctx, texts)
}

// goldJudge is the embedded world's hidden rule.
type goldJudge struct{}

// Score is the gold score of each story for what its prompt asks.
func (goldJudge) Score(_ context.Context, answers []eval.Answer) ([]float64, error) {
	out := make([]float64, len(answers))
	for i, x := range answers {
		q, err := tales.ParseRequest(x.Prompt)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
		out[i] = tales.Gold(q, x.Text)
	}
	return out, nil
}

func (p *pipeline) evalStage(ctx context.Context) (stageJob, error) {
	c := *p.recipe.Eval
	base, err := p.trunk(ctx)
	if err != nil {
		return stageJob{}, err
	}
	m := manifestOf(base)
	in := eval.Inputs{Model: base.Model, Seed: p.recipe.Seed, Before: eval.Policy{Name: "base"}, After: eval.Policy{Name: "base"}, Progress: &phaseProgress{p: p.progress}}
	if err := p.evalSides(base, &in, &m); err != nil {
		return stageJob{}, err
	}
	prompts, src, err := p.dataOr(ctx, c.Prompts, "", c.Read.Local)
	if err != nil {
		return stageJob{}, fmt.Errorf("eval.prompts: %w", err)
	}
	m.Data = append(m.Data, src)
	if err := p.judges(ctx, c, base, &in, &m); err != nil {
		return stageJob{}, err
	}
	held := ""
	if c.Held != "" {
		var src run.Source
		if held, src, err = p.dataOr(ctx, c.Held, "", c.HeldRead.Local); err != nil {
			return stageJob{}, fmt.Errorf("eval.held: %w", err)
		}
		m.Data = append(m.Data, src)
	}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		if err := p.evalTexts(base, &in, c, prompts, held); err != nil {
			return stageResult{}, err
		}
		report, err := eval.Run(ctx, c, in, s)
		if err != nil {
			return stageResult{}, err
		}
		p.note("eval: report in %s", s.Path("report.html"))
		return stageResult{results: evalResults(report), outputs: outputsExist(s, eval.Outputs()...)}, nil
	}}, nil
}

// evalSides are the policy before and after PPO; without PPO, before and after SFT.
func (p *pipeline) evalSides(base *loaded, in *eval.Inputs, m *run.Manifest) error {
	if p.recipe.PPO == nil && (p.recipe.SFT == nil || p.madeBySFT()) {
		return usagef("eval has no two policies on one base to compare: the recipe needs a section ppo, or sft with an adapter")
	}
	side := func(name string) (eval.Policy, error) {
		m.Parents = append(m.Parents, run.Parent{Role: name, Path: p.dir.Path(name)})
		if name == "sft" && p.madeBySFT() {
			return eval.Policy{Name: name}, nil
		}
		a, err := peft.Load(p.dir.Path(name, adapterDir), base.Model.Modules())
		if err != nil {
			return eval.Policy{}, err
		}
		return eval.Policy{Name: name, Adapter: a.Freeze()}, nil
	}
	var err error
	if p.recipe.SFT != nil {
		if in.After, err = side("sft"); err != nil {
			return err
		}
	}
	if p.recipe.PPO != nil {
		in.Before = in.After
		in.After, err = side("ppo")
	}
	return err
}

// judges opens the judge that the recipe names and, beside it, the run's own reward model.
func (p *pipeline) judges(ctx context.Context, c eval.Config, base *loaded, in *eval.Inputs, m *run.Manifest) error {
	open := func(name, dir string) (eval.Scorer, error) {
		man, err := run.ReadManifest(dir)
		if err != nil {
			return eval.Scorer{}, fmt.Errorf("%s is no finished reward stage: %w", dir, err)
		}
		l, err := p.onBase(ctx, dir)
		if err != nil {
			return eval.Scorer{}, err
		}
		if !l.isReward() {
			return eval.Scorer{}, fmt.Errorf("%s has no scalar head: it is no reward model", dir)
		}
		m.Parents = append(m.Parents, run.Parent{Role: name, Path: dir})
		s := &reward.Scorer{Model: l.Model, Adapter: l.Adapter, Scale: l.Scale, MicroTokens: c.MicroTokens}
		return eval.Scorer{Name: p.refName(dir), Hash: scorerHash(man), Judge: rewardJudge{s}}, nil
	}
	var err error
	switch {
	case c.Judge.Gold == talesLabeler:
		in.Judge = eval.Scorer{Name: c.Judge.Gold, Judge: goldJudge{}}
	case c.Judge.Gold != "":
		return usagef("eval.judge.gold: %q, there is %s", c.Judge.Gold, talesLabeler)
	default:
		dir := c.Judge.Reward
		switch {
		case dir == "reward":
			dir = p.dir.Path("reward")
		case !run.IsStage(dir) && run.IsStage(filepath.Join(p.runs, dir)):
			dir = filepath.Join(p.runs, dir)
		}
		if in.Judge, err = open("judge", dir); err != nil {
			return fmt.Errorf("eval.judge: %w", err)
		}
	}
	if p.recipe.Reward == nil {
		return nil
	}
	own, err := open("reward", p.dir.Path("reward"))
	if err != nil {
		return err
	}
	if p.recipe.PPO != nil {
		in.Optimised = []string{own.Hash}
	}
	if own.Hash != in.Judge.Hash {
		in.Proxies = []eval.Scorer{own}
	}
	return nil
}

// scorerHash tells reward models apart by their weights, whatever run they were made in and whatever stands beside them.
func scorerHash(m run.Manifest) string {
	for _, f := range m.Outputs {
		if f.Path == reward.AdapterDir+"/adapter_model.safetensors" {
			return run.HashBytes([]byte(m.Base.SHA256 + " " + f.SHA256))
		}
	}
	return m.OutputsHash()
}

// evalTexts encodes the prompts and the demonstrations held for perplexity.
func (p *pipeline) evalTexts(base *loaded, in *eval.Inputs, c eval.Config, prompts, held string) error {
	enc, err := base.encoder()
	if err != nil {
		return err
	}
	read, err := p.promptsOf("eval.prompts", prompts, c.Read.Options(c.Limit, p.recipe.Seed))
	if err != nil {
		return err
	}
	encoded, counts, err := enc.Prompts(read, c.MaxPrompt)
	if err != nil {
		return fmt.Errorf("eval.prompts: %w", err)
	}
	p.sayCounts("eval.prompts", counts)
	for _, x := range encoded {
		in.Prompts = append(in.Prompts, eval.Prompt{Text: promptText(x.Prompt.Prompt), IDs: x.IDs})
	}
	in.StopIDs = enc.StopIDs()
	in.Decode = func(prompt, ids []int32) string { return base.Tokenizer.DecodeAfter(prompt, ids, true) }
	if held == "" {
		return nil
	}
	ds, s, err := dataset.ReadDemonstrations(held, p.reading(held, c.HeldRead.Options(0, p.recipe.Seed)))
	if err != nil {
		return fmt.Errorf("eval.held: %w", err)
	}
	p.say(s)
	rows, counts, err := enc.Demonstrations(ds, dataset.Length{})
	if err != nil {
		return fmt.Errorf("eval.held: %w", err)
	}
	p.sayCounts("eval.held", counts)
	for _, r := range rows {
		in.Held = append(in.Held, eval.Held{IDs: r.IDs, Weight: r.Weights})
	}
	return nil
}

// promptText is a prompt as a person reads it: a conversation's last message
// where that is all there is, else all turns with their roles.
func promptText(p dataset.Passage) string {
	if !p.IsChat() {
		return p.Text
	}
	if len(p.Messages) == 1 {
		return p.Messages[0].Content
	}
	text := ""
	for _, m := range p.Messages {
		text += m.Role + ": " + m.Content + "\n"
	}
	return text
}

// evalResults are the report's main numbers.
func evalResults(r *eval.Report) []run.KV {
	out := []run.KV{{Key: "kl", Value: r.KL}, {Key: "kl_se", Value: float64(r.KLSE)}}
	for _, c := range r.Comparisons {
		out = append(out, run.KV{Key: c.Role + "/before", Value: c.Before}, run.KV{Key: c.Role + "/after", Value: c.After})
	}
	return out
}

// rewardResults are a reward model's main numbers.
func rewardResults(a reward.Accuracy) []run.KV {
	if a.N == 0 {
		return nil
	}
	return []run.KV{
		{Key: "eval_accuracy", Value: a.Accuracy},
		{Key: "eval_accuracy_low", Value: a.Interval.Low},
		{Key: "eval_accuracy_high", Value: a.Interval.High},
		{Key: "eval_loss", Value: a.Loss},
		{Key: "longer_wins", Value: a.LongerWins},
		{Key: "pairs", Value: float64(a.N)},
	}
}
