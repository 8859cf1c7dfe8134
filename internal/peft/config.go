package peft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Config is a LoRA configuration: the fields of PEFT's adapter_config.json that act here. Every other field of that file
// is either at PEFT's default, and written so, or refused by name when a folder is loaded.
type Config struct {
	// R is the rank of the pairs, > 0. Default 8 (PEFT), 16 in the recipes (TRL).
	R int
	// Alpha scales the update by Alpha/R, or Alpha/sqrt(R) with UseRSLoRA. Default 8 (PEFT).
	Alpha float64
	// Dropout is the probability in [0,1) with which an element of a pair's input is dropped while the tape drops, see
	// tensor.Tape.Drop. Default 0.
	Dropout float64
	// UseRSLoRA takes Alpha/sqrt(R) for the scale (Kalajdzievski 2023).
	UseRSLoRA bool
	// Targets says which modules get a pair.
	Targets Targets
	// Exclude says which of them do not after all.
	Exclude Targets
	// RankPattern and AlphaPattern replace R and Alpha where a pattern matches the end of a module's name; the first
	// match counts.
	RankPattern, AlphaPattern []Pattern
	// ModulesToSave lists module names (matched at the end) that are trained whole.
	ModulesToSave []string
	// LayersToTransform, if not nil, restricts the pairs to blocks of these numbers; LayersPattern names the list of blocks.
	LayersToTransform []int
	LayersPattern     []string
	// InitGaussian draws A from N(0, 1/R) instead of kaiming_uniform(sqrt(5)) = U(-1/sqrt(in), 1/sqrt(in)). B is zero.
	InitGaussian bool
	// TaskType is CAUSAL_LM or SEQ_CLS (a scalar head named score), or empty.
	TaskType string
	// Base is base_model_name_or_path.
	Base string

	oneLayer bool // layers_to_transform was one number, not a list
}

// Default is PEFT's default: rank 8, alpha 8, no dropout, every linear layer but the head.
func Default() Config {
	return Config{R: 8, Alpha: 8, Targets: AllLinear(), TaskType: "CAUSAL_LM"}
}

// Targets names modules: a list of names matched whole or after a dot at the end, or one regular expression that must
// match the whole name, or every linear layer but the head.
type Targets struct {
	Names     []string
	Regex     string
	AllLinear bool
}

// AllLinear is PEFT's "all-linear".
func AllLinear() Targets { return Targets{AllLinear: true} }

// Names lists module names; the single name "all-linear" means AllLinear.
func Names(names ...string) Targets {
	if len(names) == 1 && names[0] == "all-linear" {
		return AllLinear()
	}
	return Targets{Names: names}
}

// Empty says that nothing is named.
func (t Targets) Empty() bool { return len(t.Names) == 0 && t.Regex == "" && !t.AllLinear }

// UnmarshalJSON reads a list of names, a regular expression, "all-linear" or null.
func (t *Targets) UnmarshalJSON(b []byte) error {
	*t = Targets{}
	if string(b) == "null" {
		return nil
	}
	var s string
	if json.Unmarshal(b, &s) == nil {
		if s == "all-linear" {
			t.AllLinear = true
		} else {
			t.Regex = s
		}
		return nil
	}
	if err := json.Unmarshal(b, &t.Names); err != nil {
		return errors.New("neither a list of names nor a string")
	}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (t Targets) MarshalJSON() ([]byte, error) {
	switch {
	case t.AllLinear:
		return []byte(`"all-linear"`), nil
	case t.Regex != "":
		return plainJSON(t.Regex)
	case t.Names == nil:
		return []byte("null"), nil
	}
	return plainJSON(t.Names)
}

// Pattern is one entry of rank_pattern or alpha_pattern.
type Pattern struct {
	Expr  string
	Value float64
}

// Validate checks ranges; it does not know the modules.
func (c Config) Validate() error {
	switch {
	case c.R <= 0 || c.R > 1<<16:
		return fmt.Errorf("r: %d is not in 1..65536", c.R)
	case math.IsNaN(c.Alpha) || math.IsInf(c.Alpha, 0):
		return errors.New("lora_alpha: not a finite number")
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fmt.Errorf("lora_dropout: %v is not in [0,1)", c.Dropout)
	case c.Targets.Empty() && len(c.ModulesToSave) == 0:
		return errors.New(`target_modules: nothing named; write names, a regular expression or "all-linear"`)
	case c.TaskType != "" && c.TaskType != "CAUSAL_LM" && c.TaskType != "SEQ_CLS":
		return fmt.Errorf("task_type: %q is not supported; CAUSAL_LM and SEQ_CLS are", c.TaskType)
	case len(c.LayersPattern) > 0 && c.LayersToTransform == nil:
		return errors.New("layers_pattern: given without layers_to_transform")
	case c.Targets.Regex != "" && c.LayersToTransform != nil:
		return errors.New("layers_to_transform: has no effect with a regular expression in target_modules")
	}
	for _, p := range c.RankPattern {
		if p.Value != math.Trunc(p.Value) || p.Value <= 0 || p.Value > 1<<16 {
			return fmt.Errorf("rank_pattern[%q]: %v is not an integer in 1..65536", p.Expr, p.Value)
		}
	}
	return nil
}

// inert are the fields of adapter_config.json that are not in Config, with PEFT's default for each: what is written, and
// the only value that is read.
func inert() map[string]any {
	return map[string]any{
		"alora_invocation_tokens": nil, "arrow_config": nil, "auto_mapping": nil, "bias": "none", "corda_config": nil,
		"ensure_weight_tying": false, "eva_config": nil, "kasa_config": nil, "layer_replication": nil,
		"loftq_config": map[string]any{}, "lora_bias": false, "lora_ga_config": nil, "megatron_config": nil,
		"monteclora_config": nil, "peft_type": "LORA", "target_parameters": nil, "trainable_token_indices": nil,
		"use_bdlora": nil, "use_dora": false, "use_qalora": false, "velora_config": nil,
	}
}

// free are fields whose value changes nothing here, with what is written. fan_in_fan_out speaks of Conv1D layers, which no
// supported model has.
func free() map[string]any {
	return map[string]any{
		"fan_in_fan_out": false, "inference_mode": true, "megatron_core": "megatron.core", "peft_version": "0.21.2",
		"qalora_group_size": 16, "revision": nil,
	}
}

// MarshalJSON writes adapter_config.json with every field of PEFT 0.21, sorted, one a line as PEFT does.
func (c Config) MarshalJSON() ([]byte, error) {
	fields := inert()
	maps.Copy(fields, free())
	fields["r"], fields["lora_alpha"], fields["lora_dropout"] = c.R, c.Alpha, pyFloat(c.Dropout)
	fields["use_rslora"], fields["target_modules"] = c.UseRSLoRA, c.Targets
	fields["rank_pattern"], fields["alpha_pattern"] = patterns(c.RankPattern), patterns(c.AlphaPattern)
	fields["exclude_modules"] = c.Exclude
	fields["modules_to_save"] = orNull(c.ModulesToSave)
	fields["layers_pattern"] = orNull(c.LayersPattern)
	fields["layers_to_transform"] = orNull(c.LayersToTransform)
	if c.oneLayer && len(c.LayersToTransform) == 1 {
		fields["layers_to_transform"] = c.LayersToTransform[0]
	}
	fields["init_lora_weights"] = true
	if c.InitGaussian {
		fields["init_lora_weights"] = "gaussian"
	}
	fields["task_type"], fields["base_model_name_or_path"] = stringOrNull(c.TaskType), stringOrNull(c.Base)
	return plainJSON(fields)
}

// UnmarshalJSON reads adapter_config.json. A field that would change the arithmetic in a way that is not implemented is
// an error that names it.
func (c *Config) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	if kind := string(fields["peft_type"]); kind != "" && kind != `"LORA"` {
		return fmt.Errorf("peft_type: %s is not supported; LORA is", kind)
	}
	*c = Config{R: 8, Alpha: 8}
	read := map[string]func(json.RawMessage) error{
		"r": into(&c.R), "lora_alpha": into(&c.Alpha), "lora_dropout": into(&c.Dropout), "use_rslora": into(&c.UseRSLoRA),
		"target_modules": into(&c.Targets), "exclude_modules": into(&c.Exclude), "modules_to_save": into(&c.ModulesToSave),
		"rank_pattern":  func(m json.RawMessage) (err error) { c.RankPattern, err = readPatterns(m); return },
		"alpha_pattern": func(m json.RawMessage) (err error) { c.AlphaPattern, err = readPatterns(m); return },
		"task_type":     into(&c.TaskType), "base_model_name_or_path": into(&c.Base),
		"layers_to_transform": func(m json.RawMessage) error {
			c.oneLayer = len(m) > 0 && m[0] != '[' && string(m) != "null"
			return oneOrMany(m, &c.LayersToTransform)
		},
		"layers_pattern":    func(m json.RawMessage) error { return oneOrMany(m, &c.LayersPattern) },
		"init_lora_weights": c.readInit,
	}
	fixed, ignored := inert(), free()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f, known := read[name]
		_, isFree := ignored[name]
		switch {
		case known:
			if err := f(fields[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		case isFree:
		default:
			if err := mustBeDefault(name, fields[name], fixed); err != nil {
				return err
			}
		}
	}
	if c.LayersToTransform != nil && len(c.LayersToTransform) == 0 {
		c.LayersToTransform = nil
	}
	if len(c.LayersPattern) == 0 {
		c.LayersPattern = nil
	}
	return c.Validate()
}

// readInit accepts the initialisations that leave the base as it is, so that a loaded pair means what it says.
func (c *Config) readInit(m json.RawMessage) error {
	switch s := string(m); s {
	case "true", "false", `"orthogonal"`, `"eva"`, "null":
	case `"gaussian"`:
		c.InitGaussian = true
	default:
		return fmt.Errorf("%s is not supported: it changes the base model; convert the adapter to plain LoRA when saving it in PEFT", s)
	}
	return nil
}

// mustBeDefault refuses a field that is not implemented unless it is at its default or switched off.
func mustBeDefault(name string, got json.RawMessage, fixed map[string]any) error {
	want, err := plainJSON(fixed[name])
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, got); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch s := compact.String(); {
	case s == string(want), s == "null", s == "false", s == "{}", s == "[]":
		return nil
	default:
		return fmt.Errorf("%s: %s is not supported here (plain LoRA has %s)", name, s, want)
	}
}

func into(dst any) func(json.RawMessage) error {
	return func(m json.RawMessage) error { return json.Unmarshal(m, dst) }
}

// oneOrMany reads a list, a single value, or null.
func oneOrMany[T any](m json.RawMessage, dst *[]T) error {
	if strings.HasPrefix(string(m), "[") || string(m) == "null" {
		return json.Unmarshal(m, dst)
	}
	var one T
	if err := json.Unmarshal(m, &one); err != nil {
		return err
	}
	*dst = []T{one}
	return nil
}

// readPatterns keeps the order of the file, which decides which of two matching patterns counts.
func readPatterns(m json.RawMessage) ([]Pattern, error) {
	d := json.NewDecoder(bytes.NewReader(m))
	t, err := d.Token()
	if err != nil || t == nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, errors.New("not an object of pattern: number")
	}
	var out []Pattern
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		p := Pattern{Expr: key.(string)}
		if err := d.Decode(&p.Value); err != nil {
			return nil, fmt.Errorf("%q: %w", p.Expr, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// patterns marshals in order.
type patterns []Pattern

func (p patterns) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := plainJSON(e.Expr)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(e.Value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// pyFloat writes 0 as 0.0, as Python does for a float.
type pyFloat float64

func (f pyFloat) MarshalJSON() ([]byte, error) {
	if float64(f) == math.Trunc(float64(f)) {
		return []byte(fmt.Sprintf("%.1f", float64(f))), nil
	}
	return json.Marshal(float64(f))
}

func orNull[T any](v []T) any {
	if v == nil {
		return nil
	}
	return v
}

func stringOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// plainJSON marshals without escaping <, > and &.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
