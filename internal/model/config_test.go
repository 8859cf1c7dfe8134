package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

const plain = `{"model_type":"llama","vocab_size":32,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4}`

// with sets keys of a plain config.json.
func with(t testing.TB, pairs ...string) []byte {
	t.Helper()
	f := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(plain), &f); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		f[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What transformers assumes where config.json says nothing (LlamaConfig's defaults).
func TestConfigDefaults(t *testing.T) {
	c, err := ParseConfig([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Vocab: 32, Hidden: 16, Intermediate: 24, Layers: 2, Heads: 4, KVHeads: 4, HeadDim: 4, MaxPositions: 2048, Eps: 1e-6,
		RopeTheta: 10000, InitStd: 0.02, BOS: -1,
	}
	x, _ := json.Marshal(c)
	y, _ := json.Marshal(want)
	if string(x) != string(y) {
		t.Errorf("%s, want %s", x, y)
	}
	c, err = ParseConfig(with(t, "eos_token_id", "[2, 7]", "num_key_value_heads", "2", "head_dim", "6"))
	if err != nil || !slices.Equal(c.EOS, []int32{2, 7}) || c.KVHeads != 2 || c.HeadDim != 6 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestUnsupportedConfigsAreRefusedByName(t *testing.T) {
	for _, test := range []struct{ key, value, want string }{
		{"model_type", `"qwen2"`, `"qwen2" is not supported; supported: llama`},
		{"hidden_act", `"gelu"`, "hidden_act"},
		{"rope_scaling", `{"rope_type":"yarn","factor":4}`, `"yarn"`},
		{"rope_scaling", `{"type":"linear","factor":0}`, "factor"},
		{"rope_scaling", `{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1}`, "llama3"},
		{"rope_parameters", `{"rope_type":"dynamic","factor":4,"rope_theta":1}`, `"dynamic"`},
		{"quantization_config", `{"load_in_4bit":true}`, "quantization_config"},
		{"partial_rotary_factor", "0.5", "partial_rotary_factor"},
		{"attention_dropout", "0.1", "attention_dropout"},
		{"num_key_value_heads", "3", "num_key_value_heads"},
		{"num_attention_heads", "5", "head_dim"},
		{"hidden_size", "-1", "hidden_size"},
		{"vocab_size", "99999999999", "vocab_size"},
		{"num_hidden_layers", "1000000", "num_hidden_layers"},
		{"head_dim", "3", "odd"},
		{"eos_token_id", "32", "eos_token_id"},
		{"eos_token_id", `"x"`, "eos_token_id"},
		{"rms_norm_eps", "0", "rms_norm_eps"},
		{"rope_theta", "-1", "rope_theta"},
	} {
		_, err := ParseConfig(with(t, test.key, test.value))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s = %s: error %v should name %s", test.key, test.value, err, test.want)
		}
	}
}

// linear divides every frequency (transformers' _compute_linear_scaling_rope_parameters); theta from either place.
func TestLinearScaling(t *testing.T) {
	for _, text := range [][]byte{
		with(t, "rope_theta", "100", "rope_scaling", `{"type":"linear","factor":2}`),
		with(t, "rope_parameters", `{"rope_type":"linear","factor":2,"rope_theta":100}`),
	} {
		c, err := ParseConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range c.frequencies() { // 100^(-2i/4)/2
			if want := math.Pow(10, -float64(i)) / 2; math.Abs(f-want) > 1e-7 {
				t.Errorf("frequency %d is %v, want %v", i, f, want)
			}
		}
	}
}

// A checkpoint that does not fit its config is refused by the tensor's name.
func TestDamagedCheckpointsAreRefused(t *testing.T) {
	dir := golden.Dir(t, "models/llama")
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, 1)
	for _, test := range []struct {
		change func(s stored)
		want   string
	}{
		{func(s stored) { delete(s, "model.layers.1.mlp.up_proj.weight") }, "model.layers.1.mlp.up_proj.weight is missing"},
		{func(s stored) { delete(s, "lm_head.weight") }, "lm_head.weight is missing"},
		{func(s stored) { s["model.norm.weight"] = s["lm_head.weight"] }, "model.norm.weight has shape"},
		{func(s stored) { s["model.layers.0.self_attn.q_proj.bias"] = s["model.norm.weight"] }, "no place for 1"},
	} {
		s := stored(golden.Tensors(t, filepath.Join(dir, "model.safetensors")))
		test.change(s)
		if _, err := New(c, s, pool); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v should say %s", err, test.want)
		}
	}
	// Names without "model." are as good.
	s, bare := stored(golden.Tensors(t, filepath.Join(dir, "model.safetensors"))), stored{}
	for n, x := range s {
		bare[strings.TrimPrefix(n, "model.")] = x
	}
	if _, err := New(c, bare, pool); err != nil {
		t.Error(err)
	}
	// A second copy of a tied matrix has to be the same.
	c.Tied = true
	if _, err := New(c, s, pool); err == nil || !strings.Contains(err.Error(), "tie_word_embeddings") {
		t.Errorf("error %v should name tie_word_embeddings", err)
	}
	s["lm_head.weight"] = s["model.embed_tokens.weight"]
	if _, err := New(c, s, pool); err != nil {
		t.Error(err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(plain)
	f.Add(string(with(f, "rope_scaling", `{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4}`, "eos_token_id", "[1,2]")))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig([]byte(text))
		if err != nil {
			return
		}
		again, err := ParseConfig(c.JSON("float32"))
		if err != nil {
			t.Fatalf("%s is written as %s: %v", text, c.JSON("float32"), err)
		}
		x, _ := json.Marshal(c)
		y, _ := json.Marshal(again)
		if string(x) != string(y) {
			t.Fatalf("%s reads as %s and then as %s", text, x, y)
		}
	})
}
