package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/checkpoint"
	"plumb/internal/run"
	"plumb/reward"
)

// What export writes.
const (
	formatMerged = "merged"
	formatPEFT   = "peft"
)

// exportConfig is the recipe's section export.
type exportConfig struct {
	// From is the stage whose result is exported: ppo, sft or reward. Default: the run's last policy.
	From string
	// Format is merged (a Hugging Face folder with the adapter folded in), peft (the adapter in PEFT's layout) or both. Default
	// merged.
	Format []string
	// DType of merged weights: keep (as the base stores them; f32 where those are quantised), bf16, f16 or f32. Default keep.
	DType string `yaml:"dtype"`
	// ShardMiB is the largest weights file in MiB, 0 for no limit. Default 4000.
	ShardMiB int `yaml:"shard_mib"`
}

func defaultExport() exportConfig {
	return exportConfig{Format: []string{formatMerged}, DType: "keep", ShardMiB: 4000}
}

var exportTypes = map[string]checkpoint.DType{"keep": "", "bf16": checkpoint.BF16, "f16": checkpoint.F16, "f32": checkpoint.F32}

// Validate names every value out of range.
func (c *exportConfig) Validate() error {
	var errs []error
	if c.From != "" && !slices.Contains([]string{"ppo", "sft", "reward"}, c.From) {
		errs = append(errs, fmt.Errorf("from: %q, want ppo, sft or reward", c.From))
	}
	if len(c.Format) == 0 {
		errs = append(errs, errors.New("format: name merged, peft or both"))
	}
	for _, f := range c.Format {
		if f != formatMerged && f != formatPEFT {
			errs = append(errs, fmt.Errorf("format: %q, want merged or peft", f))
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
	var out, adapter string
	c := defaultExport()
	cmd := &cobra.Command{
		Use:   "export RECIPE | export MODEL --out DIR",
		Short: "Write a merged Hugging Face folder or a PEFT adapter",
		Long: `With a recipe: the stage export of its run. With a MODEL (a run or stage folder, an
adapter folder, a model folder, a GGUF file) and --out: the same into a new folder.

What was written is opened again: its weights must be those that were to be written,
and its logits (a reward model's scores) are compared with the model's own; the
largest difference is printed. A reward model's gain is folded into score.weight, its
bias is kept in plumb.json and printed. A base that was held in few bits (quantize) is
dequantised in the merge, and the perplexity before and after it is printed too. Beside an adapter on an embedded or GGUF base
lies the base, in base/, for programs that read neither; beside one on another base
that was held in few bits lies plumb.json, which says so.`,
		Example: "  plumb export recipe.yaml\n  plumb export runs/imdb/ppo --out imdb-merged\n  plumb export runs/imdb/ppo --out imdb-adapter --format peft",
		Args:    args("one RECIPE or MODEL", 1, 1),
		RunE: func(cmd *cobra.Command, given []string) error {
			ctx := cmd.Context()
			if out == "" {
				if ext := filepath.Ext(given[0]); ext != ".yaml" && ext != ".yml" {
					return usagef("plumb export %s wants --out DIR", given[0])
				}
				return a.pipe(ctx, given[0], o, "export")
			}
			if err := c.Validate(); err != nil {
				return usageError{err}
			}
			if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
				return usagef("--out %s: the folder is not empty", out)
			}
			l, err := a.load(ctx, given[0], adapter)
			if err != nil {
				return err
			}
			// An adapter beside its base names it, and its readers look from where they were started.
			dir, err := filepath.Abs(out)
			if err != nil {
				return err
			}
			_, err = a.export(ctx, l, c, func(format string) string {
				if len(c.Format) == 1 {
					return dir
				}
				return filepath.Join(dir, format)
			})
			return err
		},
	}
	o.register(cmd)
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "folder to write, with MODEL")
	f.StringVar(&adapter, "adapter", "", "with --out: PEFT adapter folder to put on the model")
	f.StringSliceVar(&c.Format, "format", c.Format, "with --out: merged, peft or both")
	f.StringVar(&c.DType, "dtype", c.DType, "with --out: type of merged weights: keep, bf16, f16, f32")
	f.IntVar(&c.ShardMiB, "shard-mib", c.ShardMiB, "with --out: largest weights file in MiB, 0 for no limit")
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
		l, err := p.onBase(ctx, p.dir.Path(from))
		if err != nil {
			return stageResult{}, err
		}
		results, err := p.export(ctx, l, c, func(format string) string { return s.Path(format) })
		return stageResult{results: results, outputs: slices.Clone(c.Format)}, err
	}}, nil
}

// exported is what was written, as printed with --json.
type exported struct {
	Path   string `json:"path"`
	Format string `json:"format"`
	// The largest difference of what (logits or scores) from the model's own, and their largest size.
	What      string  `json:"what,omitempty"`
	Apart     float64 `json:"max_abs_diff"`
	Magnitude float64 `json:"max_abs"`
	// Perplexity on tales, of the model on its base in few bits and of what was written; 0 for other bases.
	Before float64 `json:"perplexity_before,omitempty"`
	After  float64 `json:"perplexity_after,omitempty"`
	Base   string  `json:"base,omitempty"`    // that the adapter names
	Held   string  `json:"base_in,omitempty"` // nf4 or int8, where the base has to be held in that
	Gain   float64 `json:"gain,omitempty"`    // of a reward model, folded into score.weight
	Bias   float64 `json:"bias,omitempty"`    // of a reward model, kept in plumb.json
}

// export writes each format into the folder that at gives it, and prints what it wrote.
func (a *app) export(ctx context.Context, l *loaded, c exportConfig, at func(format string) string) (results []run.KV, err error) {
	var all []exported
	for _, format := range c.Format {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x := exported{Path: at(format), Format: format}
		if format == formatPEFT {
			err = a.exportPEFT(ctx, l, &x)
		} else {
			err = a.exportMerged(ctx, l, exportTypes[c.DType], int64(c.ShardMiB)<<20, &x)
		}
		if err != nil && ctx.Err() != nil { // what was not compared to the end is not kept: the same command begins anew
			err = errors.Join(err, os.RemoveAll(x.Path))
		}
		if err != nil {
			return nil, err
		}
		if l.isReward() {
			x.Gain, x.Bias = l.Scale.Gain, l.Scale.Bias
		}
		all = append(all, x)
		results = append(results, run.KV{Key: "export/" + format + "_max_abs_diff", Value: x.Apart})
		if x.Before > 0 {
			results = append(results, run.KV{Key: "export/perplexity_before", Value: x.Before}, run.KV{Key: "export/perplexity_after", Value: x.After})
		}
	}
	if a.json {
		return results, a.printJSON(all)
	}
	for _, x := range all {
		fmt.Fprintf(a.out, "%s: %s, read back; %s differ by at most %.3g (largest %.3g)\n", x.Path, x.Format, x.What, x.Apart, x.Magnitude)
		if x.Before > 0 {
			fmt.Fprintf(a.out, "  the base was held in few bits and is dequantised in the merge; perplexity on tales %.4f before, %.4f after\n", x.Before, x.After)
		}
		if x.Base != "" {
			fmt.Fprintf(a.out, "  on the base %s\n", x.Base)
		}
		if x.Held != "" {
			fmt.Fprintf(a.out, "  held in %s, as it was in training: plumb does so by itself (plumb.json), other programs have to be told\n", x.Held)
		}
		if l.isReward() {
			fmt.Fprintf(a.out, "  reward = score %+.6g: the gain %.6g is folded into score.weight, the bias is in plumb.json\n", x.Bias, x.Gain)
		}
	}
	return results, nil
}

// exportPEFT writes the adapter, beside it a base that other programs cannot
// load by its name, and compares what was written with the model.
func (a *app) exportPEFT(ctx context.Context, l *loaded, x *exported) error {
	if l.Adapter == nil {
		return fmt.Errorf("%s is a whole model, not an adapter: export it as merged", l.Ref)
	}
	adapter := l.Adapter
	if l.isReward() {
		adapter = foldGain(adapter, l.Scale.Gain)
	}
	x.Base = l.Base.Name
	own := strings.HasPrefix(l.Base.Name, embeddedPrefix) || l.Source.GGUF != nil
	if !own {
		x.Held = l.Base.Quantize
	}
	switch {
	case own:
		x.Base = filepath.Join(x.Path, "base")
	case dirExists(expandHome(l.Base.Name)): // else a name on the hub
		abs, err := filepath.Abs(expandHome(l.Base.Name))
		if err != nil {
			return err
		}
		x.Base = abs
	}
	err := run.WriteDir(x.Path, func(temp string) error {
		if own {
			bare := *l
			bare.Adapter = nil
			as := checkpoint.DType("")
			if bare.Model.FewBits() { // what the adapter learned on, not its rounding to 16 bits
				as = checkpoint.F32
			}
			folder, err := bare.folder(as)
			if err != nil {
				return err
			}
			folder.Entries = a.shownEntries(ctx, "write the base", folder.Entries)
			if err := folder.Write(filepath.Join(temp, "base")); err != nil {
				return err
			}
		}
		if err := adapter.Save(temp, x.Base); err != nil {
			return err
		}
		side := adapterSide{Quantize: x.Held}
		if l.isReward() {
			side.Scale = &reward.Scale{Gain: 1, Bias: l.Scale.Bias}
		}
		if side == (adapterSide{}) {
			return nil
		}
		return writeJSON(filepath.Join(temp, sideFile), side)
	})
	if err != nil {
		return err
	}
	base := l.Model
	if own {
		if base, err = a.openModel(ctx, filepath.Join(x.Path, "base")); err != nil {
			return fmt.Errorf("read back %s: %w", x.Base, err)
		}
	}
	if err := a.compareAdapter(ctx, l, base, x); err != nil {
		return fmt.Errorf("read back %s: %w", x.Path, err)
	}
	return nil
}

// tokenizerConfig is a tokenizer_config.json for a tokenizer that came without files.
func (l *loaded) tokenizerConfig() ([]byte, error) {
	cfg := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}
	sp := l.Source.Special
	for key, text := range map[string]string{"bos_token": sp.BOS, "eos_token": sp.EOS, "unk_token": sp.UNK, "pad_token": sp.PAD} {
		if text != "" {
			cfg[key] = text
		}
	}
	return indented(cfg)
}

// generationConfig is a generation_config.json for a model that came without.
func (l *loaded) generationConfig() ([]byte, error) {
	cfg := map[string]any{"_from_model_config": true}
	if id := l.Source.Generation.BOS; id >= 0 {
		cfg["bos_token_id"] = id
	}
	if id := l.Source.Generation.PAD; id >= 0 {
		cfg["pad_token_id"] = id
	}
	switch ids := l.stopIDs(); len(ids) {
	case 0:
	case 1:
		cfg["eos_token_id"] = ids[0]
	default:
		cfg["eos_token_id"] = ids
	}
	return indented(cfg)
}

func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}
