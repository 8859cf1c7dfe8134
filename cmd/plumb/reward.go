package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"plumb/internal/dataset"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/rollout"
	"plumb/internal/run"
	"plumb/labeling"
	"plumb/reward"
)

func (a *app) rewardCmd() *cobra.Command {
	var o recipeFlags
	curve := false
	cmd := &cobra.Command{
		Use:   "reward RECIPE [flags]",
		Short: "Train a reward model from judgements",
		Long: `Runs the stage reward of a recipe: comparisons in, an adapter with a scalar head out.

With --curve the stage is left as it is. Reward models are trained on an eighth, a
quarter, half and all of the training prompts instead, as the recipe says, and measured
on the same held-out pairs: accuracy against the number of labels, and what more of them
would give. It takes about three and a half times as long as the stage.`,
		Args: args("one RECIPE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if curve {
				return a.pipe(cmd.Context(), args[0], o, curveStage)
			}
			return a.pipe(cmd.Context(), args[0], o, "reward")
		},
	}
	cmd.Flags().BoolVar(&curve, "curve", false, "draw accuracy against the number of labels, and extrapolate")
	o.register(cmd)
	return cmd
}

// comparisons are the pairs of one source, read once they are needed.
type comparisons struct {
	name string
	read func(context.Context) ([]dataset.Comparison, error)
	list []dataset.Comparison
}

// judgements names what the stage learns from, in its manifest, and finds it.
func (p *pipeline) judgements(ctx context.Context) (*loaded, *peft.Adapter, []comparisons, run.Manifest, error) {
	base, err := p.trunk(ctx)
	if err != nil {
		return nil, nil, nil, run.Manifest{}, err
	}
	m := manifestOf(base)
	adapter, parents, err := p.sftAdapter(base)
	if err != nil {
		return nil, nil, nil, m, err
	}
	m.Parents = parents
	if own := p.recipe.Reward.Peft; adapter != nil && asksForOther(own, adapter.Config()) {
		p.warn("reward.peft is not used: the reward model starts as a copy of the SFT adapter (r %d, alpha %g, dropout %g)", adapter.Config().R, adapter.Config().Alpha, adapter.Config().Dropout)
	}
	var sources []comparisons
	for _, d := range p.recipe.Reward.Data {
		read, src, err := p.comparisons(ctx, d)
		if err != nil {
			return nil, nil, nil, m, fmt.Errorf("reward.data: %w", err)
		}
		sources = append(sources, comparisons{name: d.Path, read: read})
		m.Data = append(m.Data, src)
	}
	return base, adapter, sources, m, nil
}

// readAll reads the pairs of every source.
func readAll(ctx context.Context, sources []comparisons) (err error) {
	for i := range sources {
		if sources[i].list, err = sources[i].read(ctx); err != nil {
			return fmt.Errorf("reward.data: %w", err)
		}
	}
	return nil
}

func (p *pipeline) rewardStage(ctx context.Context) (stageJob, error) {
	c := *p.recipe.Reward
	base, adapter, sources, m, err := p.judgements(ctx)
	if err != nil {
		return stageJob{}, err
	}
	answered := ""
	if c.Normalise.Prompts != "" {
		var src run.Source
		if answered, src, err = p.dataOr(ctx, c.Normalise.Prompts, "", c.Normalise.Read.Local); err != nil {
			return stageJob{}, fmt.Errorf("reward.normalise.prompts: %w", err)
		}
		m.Data = append(m.Data, src)
	}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		var prompts []dataset.Prompt
		if answered != "" {
			if prompts, err = p.promptsOf("reward.normalise.prompts", answered, c.Normalise.Read.Options(0, p.recipe.Seed)); err != nil {
				return stageResult{}, err
			}
		}
		if err := readAll(ctx, sources); err != nil {
			return stageResult{}, err
		}
		return p.trainReward(ctx, s, c, base, adapter, sources, prompts)
	}}, nil
}

// comparisons finds a label store or a file; the function returned reads it.
func (p *pipeline) comparisons(ctx context.Context, d reward.Source) (func(context.Context) ([]dataset.Comparison, error), run.Source, error) {
	if d.IsStore() {
		return p.judged(ctx, d)
	}
	path, src, err := p.dataOr(ctx, d.Path, d.SHA256, d.Local)
	if err != nil {
		return nil, src, err
	}
	return func(context.Context) ([]dataset.Comparison, error) {
		opt := d.Options(d.Limit, p.recipe.Seed)
		opt.Pairs = d.Pairs
		list, s, err := dataset.ReadComparisons(path, p.reading(path, opt))
		if err == nil {
			p.say(s)
		}
		return list, err
	}, src, nil
}

// judged finds a label store, known by the judgements in force.
func (p *pipeline) judged(ctx context.Context, d reward.Source) (func(context.Context) ([]dataset.Comparison, error), run.Source, error) {
	src := run.Source{Name: d.Path}
	path := p.storePath(d.Path)
	store, err := labeling.OpenExisting(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, src, fmt.Errorf("no label store %s: run the stages pairs and label first", path)
	}
	if err != nil {
		return nil, src, err
	}
	defer store.Close()
	if src.SHA256, err = store.Hash(ctx); err != nil {
		return nil, src, err
	}
	return func(ctx context.Context) ([]dataset.Comparison, error) { return p.readJudged(ctx, d, path) }, src, nil
}

// readJudged reads the judgements in force of a label store. Both-bad and
// can't-say are counted, not trained on.
func (p *pipeline) readJudged(ctx context.Context, d reward.Source, path string) ([]dataset.Comparison, error) {
	store, err := labeling.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	var out []dataset.Comparison
	untrained := map[string]int{}
	err = store.EachLabel(ctx, func(j labeling.Judgement) error {
		chosen, rejected, ok := j.Pair()
		if !ok {
			untrained[string(j.Event.Choice)]++
			return nil
		}
		if d.Limit > 0 && len(out) == d.Limit {
			return nil
		}
		prompt, isChat := passageOf(j.Item.Prompt)
		answer := func(i int) dataset.Passage {
			a := j.Item.Answers[i]
			if !isChat {
				return dataset.Passage{Text: a.Text}
			}
			turns := a.Turns
			if len(turns) == 0 {
				turns = []labeling.Message{{Role: "assistant", Content: a.Text}}
			}
			p, _ := passageOf(labeling.Prompt{Messages: turns})
			return p
		}
		out = append(out, dataset.Comparison{
			Origin: dataset.Origin{File: d.Path, Line: int(j.Item.Seq)},
			Prompt: prompt, Chosen: answer(chosen), Rejected: answer(rejected), Better: j.Label(), Margin: j.Margin(),
		})
		return nil
	})
	for _, choice := range sortedKeys(untrained) {
		p.note("%s: %d judged %s, which train nothing", d.Path, untrained[choice], choice)
	}
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s holds no judgement to learn from", path)
	}
	return out, err
}

func (p *pipeline) trainReward(ctx context.Context, s *run.Stage, c reward.Config, base *loaded, adapter *peft.Adapter, sources []comparisons, prompts []dataset.Prompt) (stageResult, error) {
	enc, err := base.encoder()
	if err != nil {
		return stageResult{}, err
	}
	policy := adapter // Whose answers normalise the scores.
	if adapter != nil {
		policy = adapter.Clone().Freeze()
	}
	if adapter, err = p.scored(base, c, adapter, p.recipe.Seed); err != nil {
		return stageResult{}, err
	}
	in := reward.Inputs{Model: base.Model, Adapter: adapter, Seed: p.recipe.Seed, Ceiling: p.ceiling(), Room: p.room(base), Progress: p.stepsOf("reward")}
	for _, src := range sources {
		if prompts != nil {
			break
		}
		for _, x := range src.list {
			prompts = append(prompts, dataset.Prompt{Origin: x.Origin, Prompt: x.Prompt})
		}
	}
	if in.Train, in.Held, err = p.splitPairs(enc, c, sources); err != nil {
		return stageResult{}, err
	}
	p.note("reward: %d pairs to train on, %d held out; %d parameters are trained", len(in.Train), len(in.Held), adapter.Trainable())
	asked, err := normaliseOn(enc, prompts, c.Normalise.Samples)
	if err != nil { // Before the training, not behind it.
		return stageResult{}, fmt.Errorf("reward.normalise: %w", err)
	}
	done, err := reward.Train(ctx, c, in, s)
	if err != nil {
		return stageResult{}, err
	}
	accuracy := done.Held
	scorer := &reward.Scorer{Model: base.Model, Adapter: adapter, Scale: reward.Scale{Gain: 1}, MicroTokens: c.MicroTokens}
	if c.Normalise.Samples > 0 {
		if scorer.Scale, err = p.normalise(ctx, c, base, enc, policy, scorer, asked); err != nil {
			return stageResult{}, err
		}
	}
	var probe [][]int32
	for _, pair := range in.Train[:min(8, len(in.Train))] {
		probe = append(probe, pair.Chosen, pair.Rejected)
	}
	if err := reward.Save(ctx, scorer, s, base.Base.Name, probe); err != nil {
		return stageResult{}, err
	}
	if err := writeHeld(s, in.Held, accuracy, scorer.Scale); err != nil {
		return stageResult{}, err
	}
	p.note("reward: %s; gain %.4g, bias %.4g", accuracy, scorer.Scale.Gain, scorer.Scale.Bias)
	results := append(rewardResults(accuracy), run.KV{Key: "gain", Value: scorer.Scale.Gain}, run.KV{Key: "bias", Value: scorer.Scale.Bias})
	return stageResult{step: done.Steps, results: results, outputs: []string{reward.AdapterDir, heldFile}}, nil
}

// scored makes an adapter with a scalar head out of a copy of the SFT adapter, which is nil where there is none.
func (p *pipeline) scored(base *loaded, c reward.Config, adapter *peft.Adapter, seed uint64) (_ *peft.Adapter, err error) {
	if adapter == nil {
		if adapter, err = newLoRA(base, c.Peft, seed); err != nil {
			return nil, fmt.Errorf("reward.peft: %w", err)
		}
	}
	width := base.Model.Config.Hidden
	adapter.AddScoreHead(width, seed, 1/math.Sqrt(float64(width)+1))
	adapter.FreezeBelow(below(base, c.Layers))
	return adapter, nil
}

// splitPairs encodes the pairs of all sources and holds some out, by prompt.
func (p *pipeline) splitPairs(enc *dataset.Encoder, c reward.Config, sources []comparisons) (train, held []reward.Pair, err error) {
	encoded, keys := make([][]reward.Pair, len(sources)), make([][]string, len(sources))
	for i, src := range sources {
		if encoded[i], err = p.rewardPairs(enc, c, src); err != nil {
			return nil, nil, fmt.Errorf("reward.data: %s: %w", src.name, err)
		}
		for _, x := range encoded[i] {
			keys[i] = append(keys[i], x.Prompt)
		}
	}
	parts, held, err := splitSources(encoded, keys, c.Eval, p.recipe.Seed)
	if err != nil {
		return nil, nil, fmt.Errorf("reward.eval: %w", err)
	}
	return slices.Concat(parts...), held, nil
}

// writeHeld keeps the held-out pairs with their scores: for calibration, and to look at what the model gets wrong.
func writeHeld(s *run.Stage, held []reward.Pair, a reward.Accuracy, scale reward.Scale) error {
	return s.WriteFile(heldFile, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for i, x := range held {
			err := enc.Encode(heldPair{
				Prompt: promptText(x.Record.Prompt), Chosen: promptText(x.Record.Chosen), Rejected: promptText(x.Record.Rejected), Better: x.Better,
				Scores: [2]float64{scale.Gain*a.Chosen[i] + scale.Bias, scale.Gain*a.Rejected[i] + scale.Bias},
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// rewardPairs encodes the pairs of a source.
func (p *pipeline) rewardPairs(enc *dataset.Encoder, c reward.Config, src comparisons) ([]reward.Pair, error) {
	rows, counts, err := enc.Comparisons(src.list, c.MaxLength)
	if err != nil {
		return nil, err
	}
	p.sayCounts(src.name, counts)
	out := make([]reward.Pair, len(rows))
	for i, r := range rows {
		record := src.list[r.Chosen.Record]
		out[i] = reward.Pair{Prompt: record.PromptKey(), Chosen: r.Chosen.IDs, Rejected: r.Rejected.IDs, Margin: r.Margin, Better: r.Better, Record: record}
	}
	return out, nil
}

// streamNormalise keeps the draws of these answers apart from those of other stages with the same seed.
const streamNormalise = 0x6e6f726d // "norm"

// normaliseOn are n answers to be sampled, to the prompts in turn.
func normaliseOn(enc *dataset.Encoder, prompts []dataset.Prompt, n int) ([]rollout.Request, error) {
	var reqs []rollout.Request
	for i := range n {
		pr := prompts[i%len(prompts)]
		ids, err := enc.Prompt(pr)
		if err != nil && pr.Prompt.Empty() {
			return nil, errors.New("whole texts are compared, there is no prompt to answer; name normalise.prompts, or set normalise.samples to 0")
		}
		if err != nil {
			return nil, err
		}
		reqs = append(reqs, rollout.Request{Prompt: ids, Episode: uint64(i)})
	}
	return reqs, nil
}

// normalise samples answers of the SFT policy and finds gain and bias.
func (p *pipeline) normalise(ctx context.Context, c reward.Config, base *loaded, enc *dataset.Encoder, policy *peft.Adapter, scorer *reward.Scorer, reqs []rollout.Request) (reward.Scale, error) {
	n := c.Normalise
	opt := rollout.Default()
	opt.Temperature, opt.MaxNew, opt.Seed, opt.StopIDs = float32(n.Temperature), n.MaxNew, rng.Derive(p.recipe.Seed, streamNormalise), enc.StopIDs()
	p.progress.Start("answers to normalise on", "answers", 0, len(reqs))
	opt.Ended = func(done int) { p.progress.Set(done, "") }
	done, err := rollout.Generate(ctx, base.Model, []*peft.Adapter{policy}, reqs, opt)
	if err != nil {
		return reward.Scale{}, err
	}
	texts := make([][]int32, len(done))
	for i, d := range done {
		texts[i] = append(append([]int32(nil), reqs[i].Prompt...), d.IDs...)
	}
	scores, err := scorer.Score(ctx, texts)
	if err != nil {
		return reward.Scale{}, err
	}
	return reward.FindScale(scores, n.UnitStd)
}

// newLoRA is a fresh adapter where there is no SFT adapter to start from.
func newLoRA(base *loaded, c reward.Peft, seed uint64) (*peft.Adapter, error) {
	cfg := peft.Default()
	cfg.R, cfg.Alpha, cfg.Dropout, cfg.Targets = c.R, c.Alpha, c.Dropout, peft.Names(c.Targets...)
	return peft.New(cfg, base.Model.Modules(), seed)
}

// asksForOther reports whether a recipe sets a shape that a copy of the SFT adapter has not.
func asksForOther(own reward.Peft, has peft.Config) bool {
	unset := reward.Default().Peft
	return own.R != unset.R && own.R != has.R || own.Alpha != unset.Alpha && own.Alpha != has.Alpha || own.Dropout != unset.Dropout && own.Dropout != has.Dropout ||
		!slices.Equal(own.Targets, unset.Targets)
}

// below is the lowest block to train when only the top layers are.
func below(base *loaded, layers int) int {
	if layers == 0 || layers >= base.Model.Layers {
		return -1
	}
	return base.Model.Layers - layers
}
