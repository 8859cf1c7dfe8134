package peft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"plumb/internal/checkpoint"
)

// Load reads a LoRA adapter in PEFT's layout for a model with these modules. A key that is missing, left over or of another
// shape is an error, as is a field of adapter_config.json that asks for arithmetic not implemented here.
func Load(dir string, modules []Module) (*Adapter, error) {
	file, err := checkpoint.ReadAdapter(dir)
	if err != nil {
		return nil, err
	}
	a, err := fromFile(file, modules)
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %w", dir, err)
	}
	return a, nil
}

func fromFile(file *checkpoint.Adapter, modules []Module) (*Adapter, error) {
	var cfg Config
	if err := json.Unmarshal(file.ConfigJSON, &cfg); err != nil {
		return nil, fmt.Errorf("adapter_config.json: %w", err)
	}
	a, err := build(cfg, modules)
	if err != nil {
		return nil, err
	}
	tensors := map[string]checkpoint.NamedTensor{}
	for _, t := range file.Tensors {
		tensors[t.Name] = t
	}
	if s, ok := tensors[prefix+"score.weight"]; ok {
		if len(s.Shape) != 2 || s.Shape[0] != 1 || s.Shape[1] != hidden(modules) {
			return nil, fmt.Errorf("score.weight: shape %v is not [1, %d]: one label is supported", s.Shape, hidden(modules))
		}
		a.addScore(s.Shape[1])
	} else if cfg.TaskType == "SEQ_CLS" {
		return nil, fmt.Errorf("task_type is SEQ_CLS but adapter_model.safetensors has no %sscore.weight: the scalar head was lost when it was saved", prefix)
	}
	a.cfg.ModulesToSave = cfg.ModulesToSave // as it was read
	if len(a.params) == 0 {
		return nil, fmt.Errorf("nothing to load")
	}
	if a.Values == nil {
		a.allocate()
	}
	for _, p := range a.params {
		t, ok := tensors[p.Name]
		if !ok {
			return nil, fmt.Errorf("adapter_model.safetensors: %s is missing", p.Name)
		}
		if want := a.shape(p); !slices.Equal(want, t.Shape) {
			return nil, fmt.Errorf("adapter_model.safetensors: %s has shape %v, the configuration and the base want %v", p.Name, t.Shape, want)
		}
		copy(a.Values[p.Off:], t.Data)
		delete(tensors, p.Name)
	}
	return a, a.checkRest(tensors)
}

// hidden is the width of the residual stream.
func hidden(modules []Module) int {
	for _, m := range modules {
		if m.Kind == Embedding {
			return m.In
		}
	}
	return 0
}

// checkRest accepts copies of base weights that PEFT stores beside adapted embeddings, if they are those of this base.
func (a *Adapter) checkRest(tensors map[string]checkpoint.NamedTensor) error {
	for _, m := range a.modules {
		key := prefix + m.Name + ".base_layer.weight"
		t, ok := tensors[key]
		if !ok {
			continue
		}
		delete(tensors, key)
		if !slices.Equal(t.Shape, []int{m.Out, m.In}) {
			return fmt.Errorf("%s has shape %v, the base has [%d %d]", key, t.Shape, m.Out, m.In)
		}
		base := make([]float32, m.size())
		m.Base(base)
		var apart, largest float64
		for i, v := range base {
			apart = max(apart, math.Abs(float64(v-t.Data[i])))
			largest = max(largest, math.Abs(float64(v)))
		}
		if apart > largest/128 { // more than rounding to bfloat16
			return fmt.Errorf("%s differs from the base model by up to %.3g: the adapter belongs to another base", key, apart)
		}
	}
	for name := range tensors {
		return fmt.Errorf("adapter_model.safetensors: %s is not part of the adapter that adapter_config.json describes (%d such keys)", name, len(tensors))
	}
	return nil
}

// shape is the shape of a parameter in a file.
func (a *Adapter) shape(p Param) []int {
	if p.OneD {
		return []int{p.Cols}
	}
	return []int{p.Rows, p.Cols}
}

// Save writes the adapter in PEFT's layout: adapter_model.safetensors, then adapter_config.json with
// base_model_name_or_path base, and compares what it reads back, to the bit. As in PEFT, an embedding or head adapted under its plain name is stored with its base weight.
func (a *Adapter) Save(dir, base string) error {
	if a.full {
		return fmt.Errorf("save adapter %s: every weight is trained: save the whole model instead", dir)
	}
	cfg := a.cfg
	cfg.Base = base
	text, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("save adapter %s: %w", dir, err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "  "); err != nil {
		return fmt.Errorf("save adapter %s: %w", dir, err)
	}
	tensors := a.tensors()
	for i, m := range a.modules {
		if a.sites[i].LoRA == nil || !a.storesBase(m) {
			continue
		}
		w := make([]float32, m.size())
		m.Base(w)
		tensors = append(tensors, checkpoint.NamedTensor{Name: prefix + m.Name + ".base_layer.weight", Shape: []int{m.Out, m.In}, Data: w})
	}
	if err := checkpoint.WriteAdapter(filepath.Clean(dir), pretty.Bytes(), tensors); err != nil {
		return err
	}
	return a.readBack(dir)
}

// readBack loads what was saved; an error where it is not a, bit for bit: a head that was lost or drawn anew shows here, not in use.
func (a *Adapter) readBack(dir string) error {
	b, err := Load(dir, a.modules)
	if err != nil {
		return fmt.Errorf("read back what was saved: %w", err)
	}
	saved := map[string][]float32{}
	for _, t := range b.tensors() {
		saved[t.Name] = t.Data
	}
	for _, t := range a.tensors() {
		for i, v := range t.Data {
			if s := saved[t.Name]; len(s) != len(t.Data) || math.Float32bits(s[i]) != math.Float32bits(v) {
				return fmt.Errorf("read back what was saved in %s: %s is not what was written", dir, t.Name)
			}
		}
	}
	return nil
}

func (a *Adapter) tensors() []checkpoint.NamedTensor {
	var out []checkpoint.NamedTensor
	for _, p := range a.params {
		out = append(out, checkpoint.NamedTensor{Name: p.Name, Shape: a.shape(p), Data: a.Values[p.Off : p.Off+p.Len()]})
	}
	return out
}

// storesBase follows get_peft_model_state_dict: base weights of embeddings and heads are stored when target_modules
// contains embed_tokens or lm_head, as an entry or inside the expression.
func (a *Adapter) storesBase(m Module) bool {
	if m.Kind != Embedding && m.Kind != Head {
		return false
	}
	for _, n := range []string{"embed_tokens", "lm_head"} {
		if slices.Contains(a.cfg.Targets.Names, n) || strings.Contains(a.cfg.Targets.Regex, n) {
			return true
		}
	}
	return false
}
