package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// llama is what the metadata of a GGUF file of that architecture say about the model.
type llama struct {
	g      *GGUF
	layers int64
	width  int64
	mlp    int64
	heads  int64
	kv     int64
	head   int64 // elements of one head
	length int64 // longest context

	eps, theta float64
	window     int64
	rope       map[string]any // rope_scaling of config.json, nil for none
	tied       bool
	biases     map[string]bool // "attn_q", ... that have one
	vocab      int64
}

// llama reads the metadata and refuses what the Llama architecture of Hugging Face has no place for.
func (g *GGUF) llama() (*llama, error) {
	l := &llama{g: g, biases: make(map[string]bool), tied: true}
	for _, need := range []struct {
		key string
		to  *int64
	}{
		{"block_count", &l.layers},
		{"embedding_length", &l.width},
		{"feed_forward_length", &l.mlp},
		{"attention.head_count", &l.heads},
		{"context_length", &l.length},
	} {
		v, ok, err := l.whole(need.key)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("metadata key llama.%s is missing", need.key)
		}
		*need.to = v
	}
	if l.heads < 1 || l.layers < 1 || l.width < 1 {
		return nil, fmt.Errorf("%d layers, width %d, %d heads", l.layers, l.width, l.heads)
	}
	if err := l.attention(); err != nil {
		return nil, err
	}
	if err := l.refuse(); err != nil {
		return nil, err
	}
	for _, t := range g.tensors {
		switch {
		case t.name == "output.weight":
			l.tied = false
		case t.name == "token_embd.weight" && len(t.shape) == 2:
			l.vocab = int64(t.shape[0])
		case strings.HasSuffix(t.name, ".bias"):
			parts := strings.Split(t.name, ".")
			l.biases[parts[len(parts)-2]] = true
		}
	}
	if l.vocab == 0 {
		tokens, _ := g.Metadata["tokenizer.ggml.tokens"].([]string)
		l.vocab = int64(len(tokens))
	}
	return l, l.ropeScaling()
}

// whole reads an integer key of the architecture. An array (one value a layer) is taken when all agree.
func (l *llama) whole(key string) (v int64, ok bool, err error) {
	raw, ok := l.g.Metadata["llama."+key]
	if !ok {
		return 0, false, nil
	}
	if list, isList := raw.([]uint32); isList && len(list) > 0 {
		for _, x := range list {
			if x != list[0] {
				return 0, false, fmt.Errorf("metadata key llama.%s differs between layers, which is not read", key)
			}
		}
		raw = list[0]
	}
	if list, isList := raw.([]int32); isList && len(list) > 0 {
		for _, x := range list {
			if x != list[0] {
				return 0, false, fmt.Errorf("metadata key llama.%s differs between layers, which is not read", key)
			}
		}
		raw = list[0]
	}
	v, ok = whole(raw)
	if !ok || v < 0 || v > math.MaxInt32 {
		return 0, false, fmt.Errorf("metadata key llama.%s is %v", key, raw)
	}
	return v, true, nil
}

// float reads a number of the architecture, or returns the default. The shortest decimal of a float32 is kept.
func (l *llama) float(key string, otherwise float64) (float64, error) {
	raw, ok := l.g.Metadata["llama."+key]
	if !ok {
		return otherwise, nil
	}
	var v float64
	switch x := raw.(type) {
	case float32:
		b, err := json.Marshal(x)
		if err != nil {
			return 0, fmt.Errorf("metadata key llama.%s is %v", key, raw)
		}
		if err := json.Unmarshal(b, &v); err != nil {
			return 0, fmt.Errorf("metadata key llama.%s: %w", key, err)
		}
	case float64:
		v = x
	default:
		n, ok := whole(raw)
		if !ok {
			return 0, fmt.Errorf("metadata key llama.%s is %v", key, raw)
		}
		v = float64(n)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("metadata key llama.%s is %v", key, raw)
	}
	return v, nil
}

func (l *llama) attention() error {
	var err error
	var given bool
	if l.kv, given, err = l.whole("attention.head_count_kv"); err != nil {
		return err
	} else if !given {
		l.kv = l.heads
	}
	if l.head, given, err = l.whole("attention.key_length"); err != nil {
		return err
	} else if !given {
		l.head = l.width / l.heads
	}
	if l.kv < 1 || l.heads%l.kv != 0 || l.head < 2 || l.head%2 != 0 {
		return fmt.Errorf("%d heads of %d on %d key heads", l.heads, l.head, l.kv)
	}
	for _, same := range []string{"attention.value_length", "rope.dimension_count"} {
		if v, ok, err := l.whole(same); err != nil {
			return err
		} else if ok && v != l.head {
			return fmt.Errorf("metadata key llama.%s is %d, heads have %d, which is not read", same, v, l.head)
		}
	}
	if l.window, _, err = l.whole("attention.sliding_window"); err != nil {
		return err
	}
	if l.eps, err = l.float("attention.layer_norm_rms_epsilon", 1e-5); err != nil {
		return err
	}
	l.theta, err = l.float("rope.freq_base", 10000)
	return err
}

// refuse names a setting that changes the mathematics and has no counterpart here.
func (l *llama) refuse() error {
	for key, harmless := range map[string]float64{
		"expert_count": 0, "expert_used_count": 0, "attention.scale": 0, "attention.clamp_kqv": 0,
		"attn_logit_softcapping": 0, "final_logit_softcapping": 0, "attention.max_alibi_bias": 0,
		"logit_scale": 1, "embedding_scale": 1, "residual_scale": 1,
		"rope.scaling.attn_factor": 1, "rope.scaling.yarn_log_multiplier": 0,
	} {
		v, err := l.float(key, harmless)
		if err != nil {
			return err
		}
		if v != harmless {
			return fmt.Errorf("metadata key llama.%s is %v, which is not read", key, v)
		}
	}
	for _, key := range []string{"use_parallel_residual"} {
		if v, _ := l.g.Metadata["llama."+key].(bool); v {
			return fmt.Errorf("metadata key llama.%s is true, which is not read", key)
		}
	}
	if v, ok := l.g.Metadata["llama.attention.causal"].(bool); ok && !v {
		return fmt.Errorf("metadata key llama.attention.causal is false, which is not read")
	}
	return nil
}

// ropeScaling reads how rotary frequencies are stretched for long contexts.
func (l *llama) ropeScaling() error {
	kind, _ := l.g.Metadata["llama.rope.scaling.type"].(string)
	factor, err := l.float("rope.scaling.factor", 0)
	if err != nil {
		return err
	}
	if old, err := l.float("rope.scale_linear", 1); err != nil {
		return err
	} else if kind == "" && old != 1 {
		kind, factor = "linear", old
	}
	original, _, err := l.whole("rope.scaling.original_context_length")
	if err != nil {
		return err
	}
	switch kind {
	case "", "none":
	case "linear":
		if factor <= 0 {
			return fmt.Errorf("metadata key llama.rope.scaling.factor is %v", factor)
		}
		l.rope = map[string]any{"rope_type": "linear", "factor": factor}
	case "yarn":
		if factor <= 0 {
			return fmt.Errorf("metadata key llama.rope.scaling.factor is %v", factor)
		}
		l.rope = map[string]any{"rope_type": "yarn", "factor": factor}
		if original > 0 {
			l.rope["original_max_position_embeddings"] = original
		}
	default:
		return fmt.Errorf("metadata key llama.rope.scaling.type is %q, which is not read", kind)
	}
	for i := range l.g.tensors {
		if t := &l.g.tensors[i]; t.name == "rope_freqs.weight" {
			if l.rope != nil {
				return fmt.Errorf("both rope_freqs.weight and llama.rope.scaling.type %q are given", kind)
			}
			return l.llama3(t, original)
		}
	}
	return nil
}

// llama3 finds the parameters of Llama 3's rotary scaling from the divisors it leads to, which are all that GGUF
// keeps. The factor is the largest divisor; low and high frequency factors are 1 and 4 in every published model.
func (l *llama) llama3(t *stored, original int64) error {
	if int64(t.count) != l.head/2 {
		return fmt.Errorf("rope_freqs.weight has %d values, heads have %d pairs", t.count, l.head/2)
	}
	divisors, err := t.float32s()
	if err != nil {
		return err
	}
	if err := CheckFinite(t.name, divisors); err != nil {
		return err
	}
	factor := 1.0
	for _, d := range divisors {
		factor = max(factor, float64(d))
	}
	if factor == 1 {
		return nil
	}
	const low, high = 1.0, 4.0
	for _, original := range []int64{original, 8192} {
		if original == 0 {
			continue
		}
		if matches(divisors, llama3Divisors(l.theta, factor, low, high, float64(original), int(l.head))) {
			l.rope = map[string]any{
				"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
				"original_max_position_embeddings": original,
			}
			return nil
		}
	}
	return fmt.Errorf("rope_freqs.weight does not follow Llama 3's rule (factor %v) for an original context of 8192", factor)
}

// llama3Divisors returns what Llama 3.1 divides each rotary frequency by: 1 where a wavelength fits the original
// context high times or more, factor where it fits low times or fewer, and the inverse of a linear blend between.
func llama3Divisors(theta, factor, low, high, original float64, head int) []float64 {
	out := make([]float64, head/2)
	for i := range out {
		fits := original / (2 * math.Pi) * math.Pow(theta, -float64(2*i)/float64(head)) // wavelengths in the context
		blend := min(max((fits-low)/(high-low), 0), 1)
		out[i] = 1 / ((1-blend)/factor + blend)
	}
	return out
}

// matches allows what computing the divisors in float32 can move them by: a few units in the last place, on the
// steep part of the blend up to factor times that.
func matches(got []float32, want []float64) bool {
	for i, w := range want {
		if math.Abs(float64(got[i])-w) > 1e-4*w {
			return false
		}
	}
	return true
}

// tensors renames the file's tensors and notes which rows must be put back in order.
func (l *llama) tensors(in []stored) ([]stored, error) {
	var out []stored
	for _, t := range in {
		if t.name == "rope_freqs.weight" {
			continue // told by rope_scaling
		}
		gguf := t.name
		var ok bool
		if t.name, ok = llamaName(gguf); !ok {
			return nil, fmt.Errorf("tensor %q has no place in a Llama model", gguf)
		}
		switch {
		case strings.Contains(gguf, ".attn_q."):
			t.heads = int(l.heads)
		case strings.Contains(gguf, ".attn_k."):
			t.heads = int(l.kv)
		}
		if t.heads > 0 && (len(t.shape) == 0 || int64(t.shape[0]) != int64(t.heads)*l.head) {
			return nil, fmt.Errorf("tensor %q has shape %v, not %d heads of %d rows", gguf, t.shape, t.heads, l.head)
		}
		out = append(out, t)
	}
	return out, nil
}

// config writes the config.json that the model's Hugging Face folder would have.
func (l *llama) config() ([]byte, error) {
	c := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float32",
		"hidden_size": l.width, "intermediate_size": l.mlp, "num_hidden_layers": l.layers,
		"num_attention_heads": l.heads, "num_key_value_heads": l.kv, "head_dim": l.head,
		"vocab_size": l.vocab, "max_position_embeddings": l.length, "rms_norm_eps": l.eps,
		"rope_theta": l.theta, "rope_scaling": l.rope, "tie_word_embeddings": l.tied,
		"attention_bias": l.biases["attn_q"], "mlp_bias": l.biases["ffn_gate"],
	}
	if l.window > 0 { // llama.cpp files Mistral under llama
		c["architectures"], c["model_type"], c["sliding_window"] = []string{"MistralForCausalLM"}, "mistral", l.window
	}
	for key, from := range map[string]string{"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"} {
		if v, ok := whole(l.g.Metadata["tokenizer.ggml."+from]); ok {
			c[key] = v
		}
	}
	if l.rope == nil {
		c["rope_scaling"] = nil
	}
	return json.MarshalIndent(c, "", "  ")
}
