package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/checkpoint"
	"plumb/internal/model"
	"plumb/internal/run"
	"plumb/internal/tensor"
	"plumb/internal/ui"
)

// exportConfig is the recipe's section export.
type exportConfig struct {
	// From is the stage whose result is exported: ppo, sft or reward. Default: the run's last policy.
	From string
	// Formats are merged (a Hugging Face folder with the adapter folded in) and adapter (PEFT's layout). Default merged.
	Formats []string
	// DType of merged weights: keep (as the base stores them), bf16, f16 or f32. Default keep.
	DType string `yaml:"dtype"`
	// ShardMiB is the largest weights file in MiB, 0 for no limit. Default 4000.
	ShardMiB int `yaml:"shard_mib"`
}

func defaultExport() exportConfig {
	return exportConfig{Formats: []string{"merged"}, DType: "keep", ShardMiB: 4000}
}

var exportTypes = map[string]checkpoint.DType{"keep": "", "bf16": checkpoint.BF16, "f16": checkpoint.F16, "f32": checkpoint.F32}

// Validate names every value out of range.
func (c *exportConfig) Validate() error {
	var errs []error
	if c.From != "" && !slices.Contains([]string{"ppo", "sft", "reward"}, c.From) {
		errs = append(errs, fmt.Errorf("from: %q, want ppo, sft or reward", c.From))
	}
	if len(c.Formats) == 0 {
		errs = append(errs, errors.New("formats: name merged, adapter or both"))
	}
	for _, f := range c.Formats {
		if f != "merged" && f != "adapter" {
			errs = append(errs, fmt.Errorf("formats: %q, want merged or adapter", f))
		}
	}
	if _, ok := exportTypes[c.DType]; !ok {
		errs = append(errs, fmt.Errorf("dtype: %q, want keep, bf16, f16 or f32", c.DType))
	}
	if c.ShardMiB < 0 {
		errs = append(errs, fmt.Errorf("shard_mib: %d, want 0 or more", c.ShardMiB))
	}
	return errors.Join(errs...)
}

func (a *app) exportCmd() *cobra.Command {
	var o recipeFlags
	var to string
	c := defaultExport()
	cmd := &cobra.Command{
		Use:   "export RECIPE | export MODEL --to DIR",
		Short: "Write a merged Hugging Face folder or a PEFT adapter",
		Long: `With a recipe: the stage export of its run. With a model (a run or stage folder, an
adapter folder, a GGUF file): the same into --to.

A merged folder is read back and its logits compared with the model's; the largest
difference is printed. Of a reward model the gain is folded into score.weight, the
bias kept in plumb.json and printed. An adapter on an embedded or GGUF base gets the
base written beside it, for programs that know neither.`,
		Example: "  plumb export recipe.yaml\n  plumb export runs/imdb/ppo --to imdb-merged\n  plumb export runs/imdb/ppo --to imdb-adapter --formats adapter",
		Args:    args("one RECIPE or MODEL", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return a.pipe(cmd.Context(), args[0], o, "export")
			}
			if err := c.Validate(); err != nil {
				return usageError{err}
			}
			if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
				return usagef("--to %s: the folder is not empty", to)
			}
			l, err := a.load(cmd.Context(), args[0], "")
			if err != nil {
				return err
			}
			_, _, err = a.export(cmd.Context(), l, c, to, len(c.Formats) > 1)
			return err
		},
	}
	o.register(cmd)
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "folder to write, with MODEL")
	f.StringSliceVar(&c.Formats, "formats", c.Formats, "with --to: merged, adapter or both")
	f.StringVar(&c.DType, "dtype", c.DType, "with --to: type of merged weights: keep, bf16, f16, f32")
	return cmd
}

// exportStage is the stage export of a recipe.
func (p *pipeline) exportStage(ctx context.Context) (stageJob, error) {
	c := *p.recipe.Export
	from := c.From
	if from == "" {
		dir, err := run.LastPolicy(p.dir.Path(), policies...)
		if err != nil {
			return stageJob{}, err
		}
		from = filepath.Base(dir)
	}
	base, err := p.trunk(ctx)
	if err != nil {
		return stageJob{}, err
	}
	m := manifestOf(base)
	m.Parents = []run.Parent{{Role: "model", Path: p.dir.Path(from)}}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		l, err := p.load(ctx, p.dir.Path(from), "")
		if err != nil {
			return stageResult{}, err
		}
		outputs, results, err := p.export(ctx, l, c, s.Path(), true)
		return stageResult{results: results, outputs: outputs}, err
	}}, nil
}

// export writes the formats asked for below dir, each in a folder of its name,
// or into dir itself where nested is false.
func (a *app) export(ctx context.Context, l *loaded, c exportConfig, dir string, nested bool) (outputs []string, results []run.KV, err error) {
	for _, f := range c.Formats {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		to := dir
		if nested {
			to = filepath.Join(dir, f)
		}
		if f == "adapter" {
			more, err := a.exportAdapter(l, to)
			if err != nil {
				return nil, nil, err
			}
			outputs = append(outputs, more...)
			continue
		}
		diff, err := a.exportMerged(l, exportTypes[c.DType], int64(c.ShardMiB)<<20, to)
		if err != nil {
			return nil, nil, err
		}
		outputs = append(outputs, f)
		results = append(results, run.KV{Key: "export/max_abs_diff", Value: diff})
	}
	return outputs, results, nil
}

// exportMerged writes a Hugging Face folder, reads it back and returns the
// largest difference of its logits (a reward model: scores) from the model's.
func (a *app) exportMerged(l *loaded, as checkpoint.DType, shard int64, dir string) (float64, error) {
	isReward, scale := l.isReward(), l.Scale
	folder, err := l.folder(as)
	if err != nil {
		return 0, err
	}
	folder.ShardBytes = shard
	if isReward {
		bias, err := json.Marshal(map[string]float64{"gain": 1, "bias": scale.Bias})
		if err != nil {
			return 0, err
		}
		folder.Files["plumb.json"] = append(bias, '\n')
		a.note("reward model: gain %g folded into score.weight; bias %g kept in plumb.json: reward = score + bias", scale.Gain, scale.Bias)
	}
	if err := run.WriteDir(dir, folder.Write); err != nil {
		return 0, err
	}
	diff, err := a.compareExported(l, dir, isReward)
	if err != nil {
		return 0, fmt.Errorf("read back %s: %w", dir, err)
	}
	what := "logits"
	if isReward {
		what = "scores"
	}
	a.note("merged model in %s: largest difference of %s after reading back %.3g", dir, what, diff)
	return diff, nil
}

// folder is the Hugging Face folder of the model with its adapter folded in;
// as "" keeps the type of each weight. Of a reward model the gain is folded too.
func (l *loaded) folder(as checkpoint.DType) (*checkpoint.Folder, error) {
	merged := l.Model.Merge(l.Adapter)
	isReward := l.isReward()
	folder := &checkpoint.Folder{}
	for _, name := range merged.Names() {
		if isReward && name == "lm_head.weight" {
			continue
		}
		dtype, shape, _ := merged.Info(name)
		e := checkpoint.Entry{Name: name, DType: checkpoint.DType(dtype), Shape: shape, Float32: func() ([]float32, error) { return merged.Float32(name) }}
		if as != "" {
			e.DType = as
		}
		if name == "score.weight" {
			e.Float32 = func() ([]float32, error) {
				w, err := merged.Float32(name)
				for i := range w {
					w[i] = float32(float64(w[i]) * l.Scale.Gain)
				}
				return w, err
			}
		}
		folder.Entries = append(folder.Entries, e)
	}
	var err error
	if folder.ConfigJSON, err = l.mergedConfig(merged, isReward, as); err != nil {
		return nil, err
	}
	folder.Files, err = l.sideFiles()
	return folder, err
}

// mergedConfig is config.json of the merged model.
func (l *loaded) mergedConfig(merged *model.Merged, isReward bool, as checkpoint.DType) ([]byte, error) {
	cfg := l.Source.ConfigJSON
	set := func(key string, value any) (err error) {
		cfg, err = checkpoint.SetConfig(cfg, key, value)
		return err
	}
	if merged.Config.Tied != l.Model.Tied {
		if err := set("tie_word_embeddings", merged.Config.Tied); err != nil {
			return nil, err
		}
	}
	if isReward {
		if err := errors.Join(
			set("architectures", []string{"LlamaForSequenceClassification"}),
			set("id2label", map[string]string{"0": "LABEL_0"}),
			set("label2id", map[string]int{"LABEL_0": 0})); err != nil {
			return nil, err
		}
	}
	if as == "" {
		dtype, _, _ := merged.Info("model.embed_tokens.weight")
		as = checkpoint.DType(dtype)
	}
	return checkpoint.SetConfigDType(cfg, as)
}

// sideFiles are the tokenizer and template files of an exported model. A GGUF
// file has none: they are made from what it says.
func (l *loaded) sideFiles() (map[string][]byte, error) {
	files, err := l.Source.SideFiles()
	if err != nil {
		return nil, err
	}
	if l.Source.GGUF != nil && l.Tokenizer != nil {
		sp := l.Source.Special
		cfg := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}
		for key, text := range map[string]string{"bos_token": sp.BOS, "eos_token": sp.EOS, "unk_token": sp.UNK, "pad_token": sp.PAD} {
			if text != "" {
				cfg[key] = text
			}
		}
		data, err := json.MarshalIndent(cfg, "", "  ")
		if err != nil {
			return nil, err
		}
		files["tokenizer.json"] = l.Tokenizer.JSON()
		files["tokenizer_config.json"] = append(data, '\n')
	}
	if l.Template != nil && (l.Source.GGUF != nil || l.Template.Source() != l.Source.ChatTemplate) {
		// transformers takes this file before a template in tokenizer_config.json.
		files["chat_template.jinja"] = []byte(l.Template.Source())
	}
	return files, nil
}

// compareExported runs both models on the same ids.
func (a *app) compareExported(l *loaded, dir string, isReward bool) (float64, error) {
	src, err := checkpoint.Open(dir)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	cfg, err := model.ParseConfig(src.ConfigJSON)
	if err != nil {
		return 0, err
	}
	m, err := model.New(cfg, src, a.pool())
	if err != nil {
		return 0, err
	}
	probe := make([]int32, 32)
	x := uint32(1)
	for i := range probe {
		x = x*1664525 + 1013904223
		probe[i] = int32(x>>8) % int32(cfg.Vocab)
	}
	out := func(m *model.Model, adapted bool) []float32 {
		tape := tensor.NewInferenceTape(a.pool())
		ad := l.Adapter
		if !adapted {
			ad = nil
		}
		h := m.Hidden(tape, ad, model.Pack(probe))
		rows := make([]int32, 16)
		for i := range rows {
			rows[i] = int32(2*i + 1)
		}
		if isReward {
			return slices.Clone(m.Scores(tape, ad, h, rows).Data)
		}
		return slices.Clone(m.Logits(tape, ad, h, rows).Data)
	}
	want, got := out(l.Model, true), out(m, false)
	worst := 0.0
	for i := range want {
		w := float64(want[i])
		if isReward {
			w *= l.Scale.Gain
		}
		worst = max(worst, math.Abs(w-float64(got[i])))
	}
	return worst, nil
}

// exportAdapter writes the adapter alone. A base that other programs cannot
// load by name is written beside it.
func (a *app) exportAdapter(l *loaded, dir string) ([]string, error) {
	if l.Adapter == nil {
		return nil, fmt.Errorf("%s is a whole model, not an adapter: export it as merged", l.Ref)
	}
	outputs := []string{filepath.Base(dir)}
	base := l.Base.Name
	if strings.HasPrefix(base, embeddedPrefix) || l.Source.GGUF != nil {
		beside := filepath.Join(filepath.Dir(dir), "base")
		folder := &checkpoint.Folder{ConfigJSON: l.Source.ConfigJSON}
		whole := l.Model.Merge(nil)
		for _, name := range whole.Names() {
			dtype, shape, _ := whole.Info(name)
			folder.Entries = append(folder.Entries, checkpoint.Entry{Name: name, DType: checkpoint.DType(dtype), Shape: shape, Float32: func() ([]float32, error) { return whole.Float32(name) }})
		}
		var err error
		if folder.Files, err = l.sideFiles(); err != nil {
			return nil, err
		}
		if err := run.WriteDir(beside, folder.Write); err != nil {
			return nil, err
		}
		a.note("base of the adapter in %s", beside)
		base = "../base"
		outputs = append(outputs, "base")
	}
	err := run.WriteDir(dir, func(temp string) error {
		if err := l.Adapter.Save(temp, base); err != nil {
			return err
		}
		if !l.isReward() {
			return nil
		}
		scale, err := json.Marshal(l.Scale)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(temp, "plumb.json"), append(scale, '\n'), 0o644)
	})
	if err == nil {
		a.note("adapter in %s (%s), on %s", dir, ui.Bytes(int64(len(l.Adapter.Values))*4), base)
	}
	return outputs, err
}
