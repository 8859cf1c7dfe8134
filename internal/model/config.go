package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Config is the shape of a model.
type Config struct {
	Vocab, Hidden, Intermediate int
	Layers, Heads, KVHeads      int
	HeadDim                     int
	MaxPositions                int     // what it was trained for; longer sequences run, at the caller's risk
	Eps                         float64 // of the norms
	RopeTheta                   float64
	RopeScaling                 RopeScaling
	Tied                        bool // the head is the embedding
	AttentionBias, MLPBias      bool
	InitStd                     float64 // of random initialisation
	BOS                         int32   // -1 if there is none
	EOS                         []int32
	SequenceClassification      bool // the checkpoint has a scalar head and may have no language-model head
}

// RopeScaling stretches the rotary frequencies.
type RopeScaling struct {
	Type                      string // "" (none), "linear" or "llama3"
	Factor                    float64
	LowFreqFactor, HighFactor float64 // llama3
	OriginalPositions         int     // llama3
}

// supported lists the model types that ParseConfig accepts.
const supported = "llama (Llama, SmolLM, SmolLM2, TinyLlama and others of that shape)"

// fileConfig are the keys of config.json that are read: those before transformers 5 and those since.
type fileConfig struct {
	ModelType          string          `json:"model_type"`
	Architectures      []string        `json:"architectures"`
	Vocab              int             `json:"vocab_size"`
	Hidden             int             `json:"hidden_size"`
	Intermediate       int             `json:"intermediate_size"`
	Layers             int             `json:"num_hidden_layers"`
	Heads              int             `json:"num_attention_heads"`
	KVHeads            *int            `json:"num_key_value_heads"`
	HeadDim            *int            `json:"head_dim"`
	MaxPositions       int             `json:"max_position_embeddings"`
	Eps                *float64        `json:"rms_norm_eps"`
	RopeTheta          *float64        `json:"rope_theta"`
	RopeScaling        *fileRope       `json:"rope_scaling"`
	RopeParameters     *fileRope       `json:"rope_parameters"`
	Tied               bool            `json:"tie_word_embeddings"`
	AttentionBias      bool            `json:"attention_bias"`
	MLPBias            bool            `json:"mlp_bias"`
	HiddenAct          string          `json:"hidden_act"`
	InitStd            *float64        `json:"initializer_range"`
	BOS                *int32          `json:"bos_token_id"`
	EOS                json.RawMessage `json:"eos_token_id"`
	AttentionDropout   float64         `json:"attention_dropout"`
	PartialRotary      *float64        `json:"partial_rotary_factor"`
	QuantizationConfig json.RawMessage `json:"quantization_config"`
	RopeInterleaved    bool            `json:"rope_interleaved"`
}

type fileRope struct {
	RopeType          string   `json:"rope_type"`
	Type              string   `json:"type"`
	Theta             *float64 `json:"rope_theta"`
	Factor            float64  `json:"factor"`
	LowFreqFactor     float64  `json:"low_freq_factor"`
	HighFreqFactor    float64  `json:"high_freq_factor"`
	OriginalPositions int      `json:"original_max_position_embeddings"`
	PartialRotary     *float64 `json:"partial_rotary_factor"`
}

// ParseConfig reads config.json as transformers before 5 (rope_theta, rope_scaling) or since (rope_parameters) writes it. A
// model type or option that is not implemented is refused by name.
func ParseConfig(text []byte) (Config, error) {
	f := fileConfig{MaxPositions: 2048, HiddenAct: "silu"}
	if err := json.Unmarshal(text, &f); err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	c, err := f.config()
	if err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func (f *fileConfig) config() (Config, error) {
	if f.ModelType != "llama" {
		return Config{}, fmt.Errorf("model_type: %q is not supported; supported: %s", f.ModelType, supported)
	}
	switch {
	case f.HiddenAct != "silu" && f.HiddenAct != "swish":
		return Config{}, fmt.Errorf("hidden_act: %q is not supported; silu is", f.HiddenAct)
	case f.AttentionDropout != 0:
		return Config{}, fmt.Errorf("attention_dropout: %v is not supported; set it to 0", f.AttentionDropout)
	case f.PartialRotary != nil && *f.PartialRotary != 1:
		return Config{}, fmt.Errorf("partial_rotary_factor: %v is not supported; 1 is", *f.PartialRotary)
	case !readableQuantisation(f.QuantizationConfig):
		return Config{}, errors.New("quantization_config: of quantised checkpoints only bitsandbytes' 4-bit ones are read; use the unquantised model")
	case f.RopeInterleaved:
		return Config{}, errors.New("rope_interleaved: not supported")
	}
	c := Config{
		Vocab: f.Vocab, Hidden: f.Hidden, Intermediate: f.Intermediate, Layers: f.Layers, Heads: f.Heads,
		KVHeads: or(f.KVHeads, f.Heads), MaxPositions: f.MaxPositions, Eps: or(f.Eps, 1e-6), Tied: f.Tied,
		AttentionBias: f.AttentionBias, MLPBias: f.MLPBias, InitStd: or(f.InitStd, 0.02), BOS: or(f.BOS, -1),
		RopeTheta: or(f.RopeTheta, 10000),
	}
	if f.Heads > 0 {
		c.HeadDim = or(f.HeadDim, f.Hidden/f.Heads)
		if f.HeadDim == nil && f.Hidden%f.Heads != 0 {
			return Config{}, fmt.Errorf("hidden_size: %d is not a multiple of num_attention_heads %d, and there is no head_dim", f.Hidden, f.Heads)
		}
	}
	for _, a := range f.Architectures {
		c.SequenceClassification = c.SequenceClassification || a == "LlamaForSequenceClassification"
	}
	var err error
	if c.EOS, err = oneOrMany(f.EOS); err != nil {
		return Config{}, fmt.Errorf("eos_token_id: %w", err)
	}
	for _, r := range []*fileRope{f.RopeScaling, f.RopeParameters} {
		if r == nil {
			continue
		}
		c.RopeTheta = or(r.Theta, c.RopeTheta)
		if c.RopeScaling, err = r.scaling(c.MaxPositions); err != nil {
			return Config{}, fmt.Errorf("rope_scaling: %w", err)
		}
	}
	return c, c.Validate()
}

func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

func oneOrMany(m json.RawMessage) ([]int32, error) {
	if len(m) == 0 || string(m) == "null" {
		return nil, nil
	}
	var many []int32
	if m[0] == '[' {
		return many, json.Unmarshal(m, &many)
	}
	var one int32
	err := json.Unmarshal(m, &one)
	return []int32{one}, err
}

func (r *fileRope) scaling(maxPositions int) (RopeScaling, error) {
	if r.PartialRotary != nil && *r.PartialRotary != 1 {
		return RopeScaling{}, fmt.Errorf("partial_rotary_factor: %v is not supported; 1 is", *r.PartialRotary)
	}
	kind := r.RopeType
	if kind == "" {
		kind = r.Type
	}
	s := RopeScaling{Type: kind, Factor: r.Factor}
	switch kind {
	case "", "default":
		return RopeScaling{}, nil
	case "linear":
	case "llama3":
		s.LowFreqFactor, s.HighFactor, s.OriginalPositions = r.LowFreqFactor, r.HighFreqFactor, r.OriginalPositions
		if s.OriginalPositions == 0 {
			s.OriginalPositions = maxPositions
		}
		if !(s.LowFreqFactor > 0 && s.HighFactor > s.LowFreqFactor) || s.OriginalPositions < 1 {
			return RopeScaling{}, errors.New("llama3: low_freq_factor, high_freq_factor and original_max_position_embeddings must be positive and in order")
		}
	default:
		return RopeScaling{}, fmt.Errorf("type %q is not supported; linear and llama3 are", kind)
	}
	if !(s.Factor > 0) || math.IsInf(s.Factor, 0) {
		return RopeScaling{}, fmt.Errorf("factor: %v is not a positive number", s.Factor)
	}
	return s, nil
}

// Limits that no real model of this family reaches; beyond them a config is damaged, not large.
const (
	maxWidth = 1 << 17
	maxVocab = 1 << 22
	maxDepth = 1 << 10
)

// Validate checks ranges and cross-field facts.
func (c Config) Validate() error {
	for _, f := range []struct {
		name       string
		value, max int
	}{
		{"vocab_size", c.Vocab, maxVocab},
		{"hidden_size", c.Hidden, maxWidth},
		{"intermediate_size", c.Intermediate, 4 * maxWidth},
		{"num_hidden_layers", c.Layers, maxDepth},
		{"num_attention_heads", c.Heads, maxWidth},
		{"num_key_value_heads", c.KVHeads, c.Heads},
		{"head_dim", c.HeadDim, 1 << 12},
		{"max_position_embeddings", c.MaxPositions, 1 << 26},
	} {
		if f.value < 1 || f.value > f.max {
			return fmt.Errorf("%s: %d is not in 1..%d", f.name, f.value, f.max)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("num_attention_heads: %d is not a multiple of num_key_value_heads %d", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head_dim: %d is odd", c.HeadDim)
	case c.Heads*c.HeadDim > 4*maxWidth:
		return fmt.Errorf("head_dim: %d heads of %d are too wide", c.Heads, c.HeadDim)
	case !(c.Eps > 0 && c.Eps < 1):
		return fmt.Errorf("rms_norm_eps: %v is not in (0,1)", c.Eps)
	case !(c.RopeTheta > 0) || math.IsInf(c.RopeTheta, 0):
		return fmt.Errorf("rope_theta: %v is not a positive number", c.RopeTheta)
	case !(c.InitStd >= 0) || math.IsInf(c.InitStd, 0):
		return fmt.Errorf("initializer_range: %v is not a number from 0 on", c.InitStd)
	}
	for _, id := range append([]int32{c.BOS}, c.EOS...) {
		if int(id) >= c.Vocab {
			return fmt.Errorf("bos_token_id, eos_token_id: %d is not below vocab_size %d", id, c.Vocab)
		}
	}
	return nil
}

// JSON is the model's config.json with the keys transformers had before 5, which every version reads.
func (c Config) JSON(dtype string) []byte {
	out := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "vocab_size": c.Vocab, "hidden_size": c.Hidden,
		"intermediate_size": c.Intermediate, "num_hidden_layers": c.Layers, "num_attention_heads": c.Heads,
		"num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim, "max_position_embeddings": c.MaxPositions,
		"rms_norm_eps": c.Eps, "rope_theta": c.RopeTheta, "rope_scaling": nil, "tie_word_embeddings": c.Tied,
		"attention_bias": c.AttentionBias, "mlp_bias": c.MLPBias, "hidden_act": "silu", "initializer_range": c.InitStd,
		"bos_token_id": nil, "eos_token_id": nil, "torch_dtype": dtype, "use_cache": true,
	}
	if c.SequenceClassification {
		out["architectures"] = []string{"LlamaForSequenceClassification"}
		out["num_labels"] = 1
	}
	if c.BOS >= 0 {
		out["bos_token_id"] = c.BOS
	}
	if len(c.EOS) == 1 {
		out["eos_token_id"] = c.EOS[0]
	} else if len(c.EOS) > 1 {
		out["eos_token_id"] = c.EOS
	}
	switch s := c.RopeScaling; s.Type {
	case "linear":
		out["rope_scaling"] = map[string]any{"rope_type": "linear", "factor": s.Factor}
	case "llama3":
		out["rope_scaling"] = map[string]any{
			"rope_type": "llama3", "factor": s.Factor, "low_freq_factor": s.LowFreqFactor,
			"high_freq_factor": s.HighFactor, "original_max_position_embeddings": s.OriginalPositions,
		}
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		panic("model: Config.JSON: " + err.Error())
	}
	return append(b, '\n')
}

// readableQuantisation tells whether a quantization_config is none, or bitsandbytes' in 4 bits.
func readableQuantisation(raw json.RawMessage) bool {
	if len(raw) == 0 || string(raw) == "null" {
		return true
	}
	var q struct {
		Method string `json:"quant_method"`
		In4    bool   `json:"load_in_4bit"`
	}
	return json.Unmarshal(raw, &q) == nil && q.Method == "bitsandbytes" && q.In4
}
