package model

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

var adapterSets = []string{
	"lora-default-targets", "lora-all-linear", "lora-patterns", "lora-rslora", "lora-modules-to-save", "lora-layers",
	"lora-regex", "lora-embedding", "lora-tied-embedding",
}

// openAdapter loads a golden adapter on its base.
func openAdapter(t testing.TB, dir string) (*Model, *peft.Adapter) {
	t.Helper()
	var c struct {
		Base string `json:"base_model_name_or_path"`
	}
	golden.JSON(t, filepath.Join(dir, "adapter_config.json"), &c)
	m := openModel(t, golden.Dir(t, c.Base), "config.json")
	a, err := peft.Load(dir, m.Modules())
	if err != nil {
		t.Fatal(err)
	}
	return m, a
}

// inMemory is the name PEFT has in memory for a key of its file.
func inMemory(name string, a *peft.Adapter) string {
	for _, saved := range a.Config().ModulesToSave {
		if strings.HasSuffix(name, saved+".weight") {
			return strings.TrimSuffix(name, "weight") + "modules_to_save.weight"
		}
	}
	return name
}

func TestAdaptersAgainstPEFT(t *testing.T) {
	for _, name := range adapterSets {
		t.Run(name, func(t *testing.T) {
			dir := golden.Dir(t, "peft/"+name)
			r := openReference(t, dir)
			m, a := openAdapter(t, dir)
			tape := tensor.NewInferenceTape(m.Pool())
			for s, ids := range r.ids {
				tape.Reset()
				logits := m.Logits(tape, a, m.Hidden(tape, a, Pack(ids)), allRows(len(ids)))
				within(t, fmt.Sprintf("logits.%d", s), logits.Data, r.tensors[fmt.Sprintf("logits.%d", s)].F, r.limit(t, "logits"))
			}
			checkAdapterGradients(t, m, a, r)
			checkMerged(t, m, a, r)
			checkSaved(t, m, a, dir)
		})
	}
}

func checkAdapterGradients(t *testing.T, m *Model, a *peft.Adapter, r reference) {
	t.Helper()
	loss := lossAndGrads(tensor.NewTape(m.Pool()), m, a, r)
	// The loss is a mean of log-probabilities, each no farther off than twice a logit.
	if d := math.Abs(loss - float64(r.tensors["loss"].F[0])); d > 2*r.limit(t, "logits") {
		t.Errorf("loss: %v apart", d)
	}
	seen := 0
	for _, p := range a.Params() {
		want, ok := r.tensors["grad."+inMemory(p.Name, a)]
		if !ok {
			t.Errorf("the reference has no gradient of %s", p.Name)
			continue
		}
		seen++
		within(t, "grad."+p.Name, a.Grads[p.Off:p.Off+p.Len()], want.F, r.limit(t, "gradients")*largest(want.F))
	}
	for n := range r.tensors {
		if strings.HasPrefix(n, "grad.") {
			seen--
		}
	}
	if seen != 0 {
		t.Errorf("%d gradients of the reference were not compared", -seen)
	}
}

func checkMerged(t *testing.T, m *Model, a *peft.Adapter, r reference) {
	t.Helper()
	g := m.Merge(a)
	for name, want := range r.tensors {
		weight, ok := strings.CutPrefix(name, "merged_weight.")
		if !ok {
			continue
		}
		got, err := g.Float32(weight)
		if err != nil {
			t.Fatal(err)
		}
		within(t, name, got, want.F, 2e-6) // "merged_weight abs 2e-6" in golden.json
	}
	merged, err := New(g.Config, g, m.Pool())
	if err != nil {
		t.Fatal(err)
	}
	tape := tensor.NewInferenceTape(m.Pool())
	for s, ids := range r.ids {
		tape.Reset()
		logits := merged.Logits(tape, nil, merged.Hidden(tape, nil, Pack(ids)), allRows(len(ids)))
		want := r.tensors[fmt.Sprintf("logits.%d", s)].F
		within(t, fmt.Sprintf("merged logits.%d", s), logits.Data, want, 3e-4+r.limit(t, "logits"))
	}
}

// checkSaved compares what Save writes with what PEFT wrote: keys, shapes, values and every field of the configuration.
func checkSaved(t *testing.T, m *Model, a *peft.Adapter, dir string) {
	t.Helper()
	out := t.TempDir()
	if err := a.Save(out, a.Config().Base); err != nil {
		t.Fatal(err)
	}
	got, want := golden.Tensors(t, filepath.Join(out, "adapter_model.safetensors")), golden.Tensors(t, filepath.Join(dir, "adapter_model.safetensors"))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("saved tensors differ: %v, want %v", keys(got), keys(want))
	}
	if g, w := fields(t, out), fields(t, dir); !reflect.DeepEqual(g, w) {
		for k := range w {
			if !reflect.DeepEqual(g[k], w[k]) {
				t.Errorf("adapter_config.json: %s is %v, want %v", k, g[k], w[k])
			}
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				t.Errorf("adapter_config.json: %s is not a field of PEFT's", k)
			}
		}
	}
	again, err := peft.Load(out, m.Modules())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.Values, a.Values) {
		t.Error("values changed on the way through the folder")
	}
}

func keys(m map[string]golden.Tensor) []string {
	var out []string
	for k, v := range m {
		out = append(out, fmt.Sprint(k, v.Shape))
	}
	slices.Sort(out)
	return out
}

// fields reads adapter_config.json; target_modules is a set in PEFT and has no order.
func fields(t *testing.T, dir string) map[string]any {
	t.Helper()
	var f map[string]any
	golden.JSON(t, filepath.Join(dir, "adapter_config.json"), &f)
	if list, ok := f["target_modules"].([]any); ok {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
	return f
}

// A fresh adapter has the keys, shapes and fields of one that PEFT made from the same request.
func TestFreshAdaptersAreSavedAsByPEFT(t *testing.T) {
	for _, name := range append(slices.Clone(adapterSets), "reward-llama") {
		t.Run(name, func(t *testing.T) {
			dir := golden.Dir(t, "peft/"+name)
			m, loaded := openAdapter(t, dir)
			cfg := loaded.Config()
			if name == "lora-all-linear" {
				cfg.Targets = peft.AllLinear()
			}
			if name == "reward-llama" {
				cfg.ModulesToSave, cfg.TaskType = nil, "CAUSAL_LM"
			}
			fresh, err := peft.New(cfg, m.Modules(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if name == "reward-llama" {
				fresh.AddScoreHead(m.Config.Hidden, 1, 0.02)
			}
			out := t.TempDir()
			if err := fresh.Save(out, loaded.Config().Base); err != nil {
				t.Fatal(err)
			}
			got, want := golden.Tensors(t, filepath.Join(out, "adapter_model.safetensors")), golden.Tensors(t, filepath.Join(dir, "adapter_model.safetensors"))
			if g, w := keys(got), keys(want); !slices.Equal(g, w) {
				t.Errorf("tensors %v, want %v", g, w)
			}
			g, w := fields(t, out), fields(t, dir)
			if name == "reward-llama" { // PEFT adds its own two names to the one given
				delete(g, "modules_to_save")
				delete(w, "modules_to_save")
			}
			if !reflect.DeepEqual(g, w) {
				t.Errorf("fields %v, want %v", g, w)
			}
		})
	}
}

func TestScoresAgainstTransformers(t *testing.T) {
	dir := golden.Dir(t, "peft/reward-llama")
	r := openReference(t, dir)
	m, a := openAdapter(t, dir)
	tape := tensor.NewInferenceTape(m.Pool())
	b := Pack(r.ids...)
	scores := m.Scores(tape, a, m.Hidden(tape, a, b), allRows(len(b.IDs)))
	for s := range r.ids {
		lo, hi := b.Starts[s], b.Starts[s+1]
		within(t, fmt.Sprint("scores of ", s), scores.Data[lo:hi], r.tensors[fmt.Sprintf("scores_every_position.%d", s)].F, r.limit(t, "scores"))
		within(t, fmt.Sprint("score of ", s), scores.Data[hi-1:hi], r.tensors["scores"].F[s:s+1], r.limit(t, "scores"))
	}
	checkSaved(t, m, a, dir)
	checkMergedScore(t, m, a, r)
}

// A merged reward model keeps its head.
func checkMergedScore(t *testing.T, m *Model, a *peft.Adapter, r reference) {
	t.Helper()
	g := m.Merge(a)
	c, err := ParseConfig(g.Config.JSON("float32"))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := New(c, g, m.Pool())
	if err != nil {
		t.Fatal(err)
	}
	tape := tensor.NewInferenceTape(m.Pool())
	for s, ids := range r.ids {
		score := merged.Scores(tape, nil, merged.Hidden(tape, nil, Pack(ids)), []int32{int32(len(ids) - 1)})
		within(t, "merged score", score.Data, r.tensors["scores"].F[s:s+1], 3e-4)
	}
}

// trajectory is a training run of 20 steps.
type trajectory struct {
	Steps []struct {
		Loss     float64 `json:"loss"`
		GradNorm float64 `json:"grad_norm"`
	} `json:"steps"`
	Recipe struct {
		PeakLR float64 `json:"peak_lr"`
	} `json:"recipe"`
	Measured map[string]any `json:"measured"`
}

func TestTrainingAgainstPEFT(t *testing.T) {
	t.Run("lora", func(t *testing.T) {
		dir := golden.Dir(t, "peft/train-lora")
		m := openModel(t, golden.Dir(t, "models/llama"), "config.json")
		a, err := peft.Load(filepath.Join(dir, "initial"), m.Modules())
		if err != nil {
			t.Fatal(err)
		}
		checkTrajectory(t, m, a, dir, "adapter_model.safetensors")
	})
	t.Run("full", func(t *testing.T) {
		dir := golden.Dir(t, "peft/train-full")
		m := openModel(t, golden.Dir(t, "models/llama"), "config.json")
		checkTrajectory(t, m, peft.NewFull(m.Modules()), dir, "model.safetensors")
	})
}

func checkTrajectory(t *testing.T, m *Model, a *peft.Adapter, dir, final string) {
	t.Helper()
	var run trajectory
	golden.JSON(t, filepath.Join(dir, "golden.json"), &run)
	data := golden.Tensors(t, filepath.Join(dir, "golden.safetensors"))
	batches := data["micro_batches"].I // [steps, 2, 2]
	c := optim.Defaults()
	c.WeightDecay = 0.01
	var groups []optim.Group
	for _, p := range a.Params() {
		decay := 1.0
		if p.OneD {
			decay = 0
		}
		groups = append(groups, optim.Group{Off: p.Off, Len: p.Len(), LRScale: 1, Decay: decay})
	}
	opt := optim.NewAdamW(m.Pool(), len(a.Values), c, groups...)
	schedule := optim.Schedule{Kind: "cosine", Peak: run.Recipe.PeakLR, Warmup: 4, Total: 20}
	tape := tensor.NewTape(m.Pool())
	for step, want := range run.Steps {
		loss := trainStep(tape, m, a, data, batches[4*step:4*step+4])
		norm := optim.Clip(m.Pool(), a.Grads, 1)
		// The tolerances of golden.json: five times the float64 distance is less than the fixed numbers here.
		if d := math.Abs(loss - want.Loss); d > 2e-4 {
			t.Errorf("step %d: loss %v, want %v", step, loss, want.Loss)
		}
		if math.Abs(norm-want.GradNorm) > 1e-3*want.GradNorm {
			t.Errorf("step %d: gradient norm %v, want %v", step, norm, want.GradNorm)
		}
		opt.Step(a.Values, a.Grads, schedule.LR(step))
	}
	tensors := golden.Tensors(t, filepath.Join(dir, "final", final))
	if len(tensors) != len(a.Params()) {
		t.Errorf("%d parameters, want %d", len(a.Params()), len(tensors))
	}
	for _, p := range a.Params() {
		within(t, "final "+p.Name, a.Values[p.Off:p.Off+p.Len()], tensors[p.Name].F, 5e-4)
	}
}

// trainStep is the gradient of one optimizer step: two micro-batches of two rows, one mean over all their targets.
func trainStep(tape *tensor.Tape, m *Model, a *peft.Adapter, data map[string]golden.Tensor, rows []int64) (loss float64) {
	a.ZeroGrads()
	targets := 0
	for _, r := range rows {
		for _, k := range data[fmt.Sprintf("row.%d.loss_mask", r)].I {
			targets += int(k)
		}
	}
	for micro := 0; micro < len(rows); micro += 2 {
		tape.Reset()
		var ids [][]int32
		var masks [][]int64
		for _, r := range rows[micro : micro+2] {
			ids = append(ids, narrow(data[fmt.Sprintf("row.%d.input_ids", r)].I))
			masks = append(masks, data[fmt.Sprintf("row.%d.loss_mask", r)].I)
		}
		b := Pack(ids...)
		at, want := selection(b, masks)
		logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), at, want, 1)
		seed := make([]float64, len(at))
		for i, v := range logp.Data {
			loss -= float64(v) / float64(targets)
			seed[i] = -1 / float64(targets)
		}
		logp.Seed(seed)
		tape.Backward()
	}
	return loss
}

// Fields that would change the arithmetic are refused by name.
func TestUnsupportedAdaptersAreRefused(t *testing.T) {
	m := openModel(t, golden.Dir(t, "models/llama"), "config.json")
	src := golden.Dir(t, "peft/lora-all-linear")
	for field, value := range map[string]string{
		"use_dora": "true", "bias": `"all"`, "peft_type": `"IA3"`, "init_lora_weights": `"pissa"`, "lora_bias": "true",
		"trainable_token_indices": "[1]", "some_new_field": "3", "r": "0", "target_modules": `["nothing"]`, "task_type": `"TOKEN_CLS"`,
	} {
		var f map[string]json.RawMessage
		golden.JSON(t, filepath.Join(src, "adapter_config.json"), &f)
		f[field] = json.RawMessage(value)
		dir := t.TempDir()
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		weights, err := os.ReadFile(filepath.Join(src, "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"adapter_config.json": text, "adapter_model.safetensors": weights} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := peft.Load(dir, m.Modules()); err == nil || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s = %s: error %v should name the field and the folder", field, value, err)
		}
	}
}
