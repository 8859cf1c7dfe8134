package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"plumb/internal/checkpoint"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tensor"
	"plumb/reward"
)

// exportMerged writes a Hugging Face folder with the adapter folded in, opens it
// again and compares.
func (a *app) exportMerged(ctx context.Context, l *loaded, as checkpoint.DType, shard int64, x *exported) error {
	folder, err := l.folder(as)
	if err != nil {
		return err
	}
	folder.ShardBytes = shard
	weights := folder.Entries
	folder.Entries = a.shownEntries(ctx, "merge and write", weights)
	if l.isReward() {
		if folder.Files[sideFile], err = indented(reward.Scale{Gain: 1, Bias: l.Scale.Bias}); err != nil {
			return err
		}
	}
	if err := run.WriteDir(x.Path, folder.Write); err != nil {
		return err
	}
	if err := sameWeights(x.Path, a.shownEntries(ctx, "read back", weights)); err != nil {
		return fmt.Errorf("read back %s: %w", x.Path, err)
	}
	m, err := a.openModel(ctx, x.Path)
	if err != nil {
		return fmt.Errorf("read back %s: %w", x.Path, err)
	}
	// What a merge may move: fp32 sums in another order 1e-3 of the largest logit, weights rounded to 8 or 11 bits a
	// quarter of it. More is not rounding but another model.
	limit := 0.25
	if e := folder.Entries[0]; e.DType == checkpoint.F32 {
		limit = 1e-3
	}
	if err := a.compareWith(ctx, l, m, nil, x); err != nil {
		return fmt.Errorf("read back %s: %w", x.Path, err)
	}
	if x.Apart > limit*x.Magnitude {
		return fmt.Errorf("%s: %s of the written model differ by up to %g, of %g: more than rounding can do; the folder is not to be used", x.Path, x.What, x.Apart, x.Magnitude)
	}
	if !l.Model.FewBits() || l.isReward() || l.Tokenizer == nil {
		return nil
	}
	if x.Before, err = a.perplexity(ctx, l, l.Model, l.Adapter); err == nil {
		x.After, err = a.perplexity(ctx, l, m, nil)
	}
	return err
}

// folder is the model with its adapter, and a reward model's gain, folded in, as
// a Hugging Face folder. Weights are stored as dtype, "" meaning as the base's own.
func (l *loaded) folder(as checkpoint.DType) (*checkpoint.Folder, error) {
	isReward := l.isReward()
	adapter := l.Adapter
	if isReward && adapter != nil {
		adapter = foldGain(adapter, l.Scale.Gain)
	}
	merged := l.Model.Merge(adapter)
	f := &checkpoint.Folder{}
	for _, name := range merged.Names() {
		if isReward && name == "lm_head.weight" {
			continue // transformers' sequence classification has none
		}
		dtype, shape, _ := merged.Info(name)
		e := checkpoint.Entry{Name: name, DType: as, Shape: shape, Float32: func() ([]float32, error) { return merged.Float32(name) }}
		if e.DType == "" {
			e.DType = l.storedType(name, checkpoint.DType(dtype))
		}
		f.Entries = append(f.Entries, e)
	}
	if isReward && l.Adapter.Score() == nil { // the head is the checkpoint's own
		scaleEntry(f.Entries, l.Scale.Gain)
	}
	var err error
	if f.ConfigJSON, err = l.mergedConfig(merged, f.Entries[0].DType); err != nil {
		return nil, err
	}
	f.Files, err = l.exportFiles()
	return f, err
}

// storedType is the type a tensor has in the base's file, where that is no block
// format; else what it has in memory.
func (l *loaded) storedType(name string, inMemory checkpoint.DType) checkpoint.DType {
	if d, _, ok := l.Source.Info(name); ok {
		switch d := checkpoint.DType(d); d {
		case checkpoint.F32, checkpoint.F16, checkpoint.BF16:
			return d
		}
	}
	return inMemory
}

// mergedConfig is config.json of the merged model.
func (l *loaded) mergedConfig(merged *model.Merged, as checkpoint.DType) ([]byte, error) {
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
	if merged.Config.SequenceClassification {
		err := errors.Join(
			set("architectures", []string{"LlamaForSequenceClassification"}),
			set("id2label", map[string]string{"0": "LABEL_0"}),
			set("label2id", map[string]int{"LABEL_0": 0}))
		// transformers reads the score at the last token that is not the padding: a padding token that is also an end token would
		// move it to the token before.
		if pad := l.Source.Generation.PAD; pad >= 0 && slices.Contains(l.stopIDs(), pad) {
			err = errors.Join(err, set("pad_token_id", nil))
		}
		if err != nil {
			return nil, err
		}
	}
	cfg, err := checkpoint.DropConfig(cfg, "quantization_config") // of a base in few bits: the merged weights are not
	if err != nil {
		return nil, err
	}
	return checkpoint.SetConfigDType(cfg, as)
}

// exportFiles are the tokenizer, template and generation files of an exported
// model; what its source has no file for is made from what it says.
func (l *loaded) exportFiles() (map[string][]byte, error) {
	files, err := l.Source.SideFiles()
	if err != nil {
		return nil, err
	}
	if l.Tokenizer != nil && files["tokenizer.json"] == nil {
		files["tokenizer.json"] = l.Tokenizer.JSON()
	}
	if l.Tokenizer != nil && files["tokenizer_config.json"] == nil {
		if files["tokenizer_config.json"], err = l.tokenizerConfig(); err != nil {
			return nil, err
		}
	}
	if l.Template != nil && (l.Source.GGUF != nil || l.Template.Source() != l.Source.ChatTemplate) {
		// transformers takes this file before a template in tokenizer_config.json.
		files["chat_template.jinja"] = []byte(l.Template.Source())
	}
	if files["generation_config.json"] == nil {
		if files["generation_config.json"], err = l.generationConfig(); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// foldGain is the adapter with its scalar head multiplied by the gain.
func foldGain(a *peft.Adapter, gain float64) *peft.Adapter {
	if a.Score() == nil {
		return a
	}
	folded := a.Clone()
	for _, p := range folded.Params() {
		if p.Name == "base_model.model.score.weight" {
			scale(folded.Values[p.Off:p.Off+p.Len()], gain)
		}
	}
	return folded.Freeze()
}

// scaleEntry multiplies score.weight, where it is among the entries.
func scaleEntry(entries []checkpoint.Entry, gain float64) {
	for i := range entries {
		if entries[i].Name != "score.weight" {
			continue
		}
		read := entries[i].Float32
		entries[i].Float32 = func() ([]float32, error) {
			w, err := read()
			scale(w, gain)
			return w, err
		}
	}
}

func scale(w []float32, gain float64) {
	for i := range w {
		w[i] = float32(float64(w[i]) * gain)
	}
}

// sameWeights opens a folder and compares every tensor, bit by bit, with what was to be written.
func sameWeights(dir string, entries []checkpoint.Entry) error {
	src, err := checkpoint.Open(dir)
	if err != nil {
		return err
	}
	defer src.Close()
	if n := len(src.Names()); n != len(entries) {
		return fmt.Errorf("%d tensors, %d were written", n, len(entries))
	}
	for _, e := range entries {
		want, err := e.Float32()
		if err != nil {
			return err
		}
		got, err := src.Float32(e.Name) // an infinite or undefined value is an error
		if err != nil {
			return err
		}
		if len(got) != len(want) {
			return fmt.Errorf("%s: %d values, %d were written", e.Name, len(got), len(want))
		}
		for i, w := range want {
			switch e.DType {
			case checkpoint.BF16:
				w = checkpoint.BFloat16(checkpoint.ToBFloat16(w))
			case checkpoint.F16:
				w = checkpoint.Float16(checkpoint.ToFloat16(w))
			}
			if got[i] != w {
				return fmt.Errorf("%s: value %d is %g, %g was written", e.Name, i, got[i], w)
			}
		}
	}
	return nil
}

// openModel opens a model folder that was just written.
func (a *app) openModel(ctx context.Context, dir string) (*model.Model, error) {
	src, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	cfg, err := model.ParseConfig(src.ConfigJSON)
	if err != nil {
		return nil, err
	}
	return a.newModel(ctx, cfg, src, "", "")
}

// compareAdapter loads the adapter just written, on base, and compares.
func (a *app) compareAdapter(ctx context.Context, l *loaded, base *model.Model, x *exported) error {
	adapter, err := peft.Load(x.Path, base.Modules())
	if err != nil {
		return err
	}
	return a.compareWith(ctx, l, base, adapter.Freeze(), x)
}

// compareWith runs the model and the written one on the same ids and records how
// far their logits, or a reward model's scores without bias, are apart.
func (a *app) compareWith(ctx context.Context, l *loaded, m *model.Model, adapter *peft.Adapter, x *exported) error {
	probe := make([]int32, 32)
	r := uint32(1) // a fixed sequence: Knuth's linear congruences
	for i := range probe {
		r = r*1664525 + 1013904223
		probe[i] = int32(r>>8) % int32(l.Model.Vocab)
	}
	rows := make([]int32, len(probe)/2)
	for i := range rows {
		rows[i] = int32(2*i + 1)
	}
	x.What = "logits"
	if l.isReward() {
		x.What = "scores"
	}
	out := func(m *model.Model, a *peft.Adapter) []float32 {
		tape := tensor.NewInferenceTape(m.Pool())
		h := m.Hidden(tape, a, model.Pack(probe))
		if l.isReward() {
			return slices.Clone(m.Scores(tape, a, h, rows).Data)
		}
		return slices.Clone(m.Logits(tape, a, h, rows).Data)
	}
	a.progress.Start("compare "+x.What, "models", 0, 2)
	defer a.progress.Done()
	want := out(l.Model, l.Adapter)
	a.progress.Set(1, "")
	if err := ctx.Err(); err != nil {
		return err
	}
	got := out(m, adapter)
	a.progress.Set(2, "")
	for i := range want {
		w := float64(want[i])
		if l.isReward() {
			w *= l.Scale.Gain
		}
		d := math.Abs(w - float64(got[i]))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Errorf("a %s is %g, it was %g", x.What[:len(x.What)-1], got[i], w)
		}
		x.Apart, x.Magnitude = max(x.Apart, d), max(x.Magnitude, math.Abs(w))
	}
	return nil
}
