package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"plumb/internal/checkpoint"
	"plumb/internal/dataset"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/sft"
)

func (a *app) sftCmd() *cobra.Command {
	return a.stageCmd("sft", "Tune a model on demonstrations, or pretrain it on plain text",
		"Runs the stage sft of a recipe: demonstrations in, a policy adapter (or a whole model) out.")
}

func (p *pipeline) sftStage(ctx context.Context) (stageJob, error) {
	c := *p.recipe.SFT
	base, err := p.needBase(ctx)
	if err != nil {
		return stageJob{}, err
	}
	m := manifestOf(base)
	var paths []string
	for _, d := range c.Data {
		path, src, err := p.dataOr(ctx, d.Path, d.SHA256, d.Local)
		if err != nil {
			return stageJob{}, fmt.Errorf("sft.data: %w", err)
		}
		paths = append(paths, path)
		m.Data = append(m.Data, src)
	}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		in, err := p.sftInputs(base, c, paths)
		if err != nil {
			return stageResult{}, err
		}
		done, err := sft.Train(ctx, c, in, s)
		if err != nil {
			return stageResult{}, err
		}
		results := sftResults(done, len(in.Held) > 0)
		if done.StoppedAt != "" {
			p.note("sft: stopped early: %s", done.StoppedAt)
		}
		output, err := p.saveSFT(s, base, in)
		return stageResult{step: done.Steps, results: results, outputs: []string{output}}, err
	}}, nil
}

// sftResults are the main numbers; those of held-out rows only where there are any.
func sftResults(done sft.Summary, held bool) []run.KV {
	results := []run.KV{{Key: "loss", Value: done.Loss}, {Key: "num_tokens", Value: float64(done.Tokens)}}
	if held {
		results = append(results, run.KV{Key: "eval_loss", Value: done.EvalLoss}, run.KV{Key: "best_step", Value: float64(done.BestStep)})
	}
	return results
}

// sftInputs reads and mixes the data and makes what is to be trained.
func (p *pipeline) sftInputs(base *loaded, c sft.Config, paths []string) (sft.Inputs, error) {
	in := sft.Inputs{Model: base.Model, Seed: p.recipe.Seed, Ceiling: p.ceiling(), Room: p.room(base), Progress: p.stepsOf("sft")}
	modules := base.Model.Modules()
	var err error
	switch c.Peft.Method {
	case "scratch":
		if in.Model, err = model.NewRandom(base.Model.Config, p.recipe.Seed, p.pool()); err != nil {
			return in, err
		}
		in.Adapter = peft.NewFull(in.Model.Modules())
	case "full":
		in.Adapter = peft.NewFull(modules)
	default:
		if in.Adapter, err = peft.New(loraConfig(c.Peft), modules, p.recipe.Seed); err != nil {
			return in, fmt.Errorf("sft.peft: %w", err)
		}
	}
	p.note("sft: %d of %d parameters are trained", in.Adapter.Trainable(), base.Model.Parameters())
	in.Train, in.Held, err = p.sftRows(base, c, paths)
	return in, err
}

func loraConfig(c sft.Peft) peft.Config {
	out := peft.Default()
	out.R, out.Alpha, out.UseRSLoRA, out.Dropout = c.R, c.Alpha, c.RSLoRA, c.Dropout
	out.Targets, out.ModulesToSave, out.TaskType = peft.Names(c.Targets...), c.ModulesToSave, "CAUSAL_LM"
	for _, x := range c.RankPattern {
		out.RankPattern = append(out.RankPattern, peft.Pattern{Expr: x.Name, Value: x.Value})
	}
	for _, x := range c.AlphaPattern {
		out.AlphaPattern = append(out.AlphaPattern, peft.Pattern{Expr: x.Name, Value: x.Value})
	}
	return out
}

// sftRows reads every source, holds out by prompt, mixes by weight and packs.
func (p *pipeline) sftRows(base *loaded, c sft.Config, paths []string) (train, held []sft.Row, err error) {
	enc, err := base.encoder()
	if err != nil {
		return nil, nil, err
	}
	sources := make([][]dataset.Example, len(paths))
	keys := make([][]string, len(paths))
	for i, d := range c.Data {
		if sources[i], keys[i], err = p.sftSource(enc, c, paths[i], d.Options(d.Limit, p.recipe.Seed)); err != nil {
			return nil, nil, fmt.Errorf("sft.data: %w", err)
		}
	}
	learned, heldOut, err := splitSources(sources, keys, c.Eval, p.recipe.Seed)
	if err != nil {
		return nil, nil, fmt.Errorf("sft.eval: %w", err)
	}
	mixed, err := p.mix(c.Data, learned)
	if err != nil {
		return nil, nil, err
	}
	if train, err = p.sftPack("to train on", mixed, c); err != nil {
		return nil, nil, err
	}
	held, err = p.sftPack("held out", heldOut, c)
	return train, held, err
}

// sftSource reads one file and encodes it; key i is what row i may not share with a row held out.
func (p *pipeline) sftSource(enc *dataset.Encoder, c sft.Config, path string, opt dataset.Options) (rows []dataset.Example, keys []string, err error) {
	length := dataset.Length{Max: c.MaxLength, Cut: dataset.Cut(c.Overlong)}
	var counts dataset.Counts
	if c.Task == "pretrain" {
		texts, s, err := dataset.ReadTexts(path, p.reading(path, opt))
		if err != nil {
			return nil, nil, err
		}
		p.say(s)
		if c.Packing {
			length.Max = 0 // Long documents go on in the next row.
		}
		if rows, counts, err = enc.Texts(texts, length); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.File, err)
		}
		p.sayCounts(s.File, counts)
		for _, x := range rows {
			keys = append(keys, texts[x.Record].Text)
		}
		return rows, keys, nil
	}
	ds, s, err := dataset.ReadDemonstrations(path, p.reading(path, opt))
	if err != nil {
		return nil, nil, err
	}
	p.sayRead(s)
	segments, err := enc.Segments(ds[0])
	if err != nil {
		return nil, nil, err
	}
	p.note("first record, what is learned between « and »:\n%s", clipText(dataset.Marked(segments), 800))
	if rows, counts, err = enc.Demonstrations(ds, length); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.File, err)
	}
	p.sayCounts(s.File, counts)
	for _, x := range rows {
		keys = append(keys, ds[x.Record].PromptKey())
	}
	return rows, keys, nil
}

// splitSources holds rows of several sources out, so that no key is on both sides, whatever source it is in.
func splitSources[E any](sources [][]E, keys [][]string, share float64, seed uint64) (train [][]E, held []E, err error) {
	_, out, err := dataset.Split(slices.Concat(keys...), share, seed)
	if err != nil {
		return nil, nil, err
	}
	train = make([][]E, len(sources))
	at := 0
	for s, rows := range sources {
		for _, x := range rows {
			if len(out) > 0 && out[0] == at { // Both ascend.
				held, out = append(held, x), out[1:]
			} else {
				train[s] = append(train[s], x)
			}
			at++
		}
	}
	return train, held, nil
}

// mix takes each source's rows by its share: with weights, as many rows in all
// as there are, of each source its weight over the sum; some come several times
// then, and others not at all.
func (p *pipeline) mix(data []sft.Source, sources [][]dataset.Example) ([]dataset.Example, error) {
	total, sum := 0, 0.0
	for i, rows := range sources {
		total += len(rows)
		sum += data[i].Weight
	}
	mixture := make([]dataset.Source, len(sources))
	for i, rows := range sources {
		mixture[i] = dataset.Source{Name: data[i].Path, Size: len(rows), Weight: 1}
		if len(rows) == 0 {
			p.warn("sft: every row of %s is held out", data[i].Path)
			mixture[i].Weight = 0
		} else if sum > 0 {
			mixture[i].Weight = data[i].Weight / sum * float64(total) / math.Max(float64(len(rows)), 1)
		}
	}
	m, err := dataset.NewMixture(p.recipe.Seed, mixture)
	if err != nil {
		return nil, fmt.Errorf("sft.data: %w", err)
	}
	var out []dataset.Example
	for _, r := range m.Epoch(0) {
		out = append(out, sources[r.Source][r.Row])
	}
	if len(sources) > 1 {
		for _, s := range m.Shares(0, func(r dataset.Ref) int { return len(sources[r.Source][r.Row].IDs) }) {
			p.note("sft: %s gives %d rows, %.1f %% of them and %.1f %% of the tokens", s.Name, s.Rows, 100*s.RowShare, 100*s.TokenShare)
		}
	}
	return out, nil
}

// sftPack makes rows for the model: one an example, or filled up to MaxLength.
func (p *pipeline) sftPack(what string, examples []dataset.Example, c sft.Config) ([]sft.Row, error) {
	if len(examples) == 0 {
		return nil, nil
	}
	var rows []sft.Row
	if !c.Packing {
		for _, x := range examples {
			w := append([]float32(nil), x.Weights...)
			w[0] = 0
			rows = append(rows, sft.Row{IDs: x.IDs, Weights: w, Starts: []int32{0, int32(len(x.IDs))}})
		}
		return rows, nil
	}
	strategy := dataset.PackBFD
	if c.Task == "pretrain" {
		strategy = dataset.PackWrapped
	}
	bins, empty, lost, err := dataset.PackExamples(examples, c.MaxLength, strategy)
	if err != nil {
		return nil, err
	}
	if empty > 0 || lost > 0 {
		p.warn("sft: packed rows %s: %d have nothing to learn and were left out; %d tokens were cut off", what, empty, lost)
	}
	for _, b := range bins {
		rows = append(rows, sft.Row{IDs: b.IDs, Weights: b.Weights, Starts: b.Starts})
	}
	return rows, nil
}

// saveSFT writes the adapter, or the whole model where every weight was trained.
func (p *pipeline) saveSFT(s *run.Stage, base *loaded, in sft.Inputs) (string, error) {
	if !in.Adapter.Full() {
		return adapterDir, s.WriteDir(adapterDir, func(dir string) error { return in.Adapter.Save(dir, base.Base.Name) })
	}
	whole := *base
	whole.Model, whole.Adapter = in.Model, in.Adapter
	folder, err := whole.folder(checkpoint.F32)
	if err != nil {
		return "", err
	}
	if err := s.WriteDir(modelDir, folder.Write); err != nil {
		return "", err
	}
	src, err := checkpoint.Open(s.Path(modelDir))
	if err != nil {
		return "", err
	}
	defer src.Close()
	sum, err := src.Hash()
	if err != nil {
		return "", err
	}
	s.SetMade(run.Source{Name: "sft", SHA256: sum})
	return modelDir, nil
}
