package checkpoint

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Bit for bit the values of gguf-py.
func TestDequantise(t *testing.T) {
	var file struct {
		Cases []struct {
			Type          DType
			Bytes, Values string
		}
	}
	golden.JSON(t, "testdata/dequantise.json", &file)
	if len(file.Cases) != 10 {
		t.Fatalf("%d cases, want 10", len(file.Cases))
	}
	for _, c := range file.Cases {
		raw, bits := unbase64(t, c.Bytes), unbase64(t, c.Values)
		want := make([]float32, len(bits)/4)
		for i := range want {
			want[i] = math.Float32frombits(binary.LittleEndian.Uint32(bits[4*i:]))
		}
		b, ok := decoders(c.Type)
		if !ok || len(raw)/b.bytes*b.values != len(want) {
			t.Fatalf("%s: %d bytes for %d values", c.Type, len(raw), len(want))
		}
		got := make([]float32, len(want))
		b.decode(got, raw)
		sameBits(t, string(c.Type), got, want)
	}
}

func TestTinyLlama(t *testing.T) {
	s := open(t, "testdata/tiny-llama.gguf")
	order := []string{"model.embed_tokens.weight"}
	for l := range 2 {
		for _, m := range []string{
			"input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
			"post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
		} {
			order = append(order, fmt.Sprintf("model.layers.%d.%s.weight", l, m))
		}
	}
	order = append(order, "model.norm.weight", "lm_head.weight")
	for k, name := range order {
		got, err := s.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range got {
			if want := float32((7*i+13*k)%509-254) / 64; x != want {
				t.Fatalf("%s[%d] = %v, want %v", name, i, x, want)
			}
		}
	}
	if want := slices.Sorted(slices.Values(order)); !slices.Equal(s.Names(), want) {
		t.Errorf("names %q, want %q", s.Names(), want)
	}
	if dtype, shape, ok := s.Info("model.layers.0.self_attn.k_proj.weight"); dtype != "F16" || !slices.Equal(shape, []int{16, 32}) || !ok {
		t.Errorf("k_proj is %s %v", dtype, shape)
	}
	var got map[string]any
	if err := json.Unmarshal(s.ConfigJSON, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"architectures": []any{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float32",
		"hidden_size": 32., "intermediate_size": 64., "num_hidden_layers": 2., "num_attention_heads": 4., "num_key_value_heads": 2.,
		"head_dim": 8., "vocab_size": 12., "max_position_embeddings": 128., "rms_norm_eps": 1e-5, "rope_theta": 500000.,
		"tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false,
		"bos_token_id": 1., "eos_token_id": 2., "pad_token_id": 2.,
		"rope_scaling": map[string]any{
			"rope_type": "llama3", "factor": 8., "low_freq_factor": 1., "high_freq_factor": 4., "original_max_position_embeddings": 8192.,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("config %v, want %v", got, want)
	}
	if g := s.Generation; g.BOS != 1 || g.PAD != 2 || !slices.Equal(g.EOS, []int32{2, 8}) {
		t.Errorf("generation %+v", g)
	}
	if want := (SpecialTokens{BOS: "<s>", EOS: "</s>", UNK: "<unk>", PAD: "</s>"}); s.Special != want {
		t.Errorf("special %+v, want %+v", s.Special, want)
	}
	if s.ChatTemplate != "{{ messages }}" || s.ChatTemplates["tool_use"] != "{{ tools }}" {
		t.Errorf("templates %q %q", s.ChatTemplate, s.ChatTemplates)
	}
	if tokens, ok := s.GGUF.Metadata["tokenizer.ggml.tokens"].([]string); !ok || tokens[6] != "▁d" {
		t.Errorf("tokens %v", tokens)
	}
	if scores, ok := s.GGUF.Metadata["tokenizer.ggml.scores"].([]float32); !ok || scores[4] != -1 {
		t.Errorf("scores %v", scores)
	}
}

func TestSmolLM2GGUF(t *testing.T) {
	path := golden.SmolLM2(t, "SmolLM2-135M-Instruct.Q4_1.gguf")
	var file struct {
		Dequantise struct {
			Samples []struct {
				Tensor     string
				Type       DType
				Dims       []int
				FileOffset int64     `json:"file_offset"`
				FirstValue int       `json:"first_value"`
				Bytes      string    `json:"bytes_base64"`
				Values     []float32 `json:"values"`
			}
			Sums map[string]struct {
				Type    DType
				Sum     float64
				Squares float64 `json:"sum_of_squares"`
			} `json:"tensor_sums"`
		}
	}
	golden.JSON(t, golden.Dir(t, "smollm2/golden.json"), &file)
	g, err := OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	byName := make(map[string]stored)
	for _, x := range g.tensors {
		byName[x.name] = x
	}
	for _, want := range file.Dequantise.Samples {
		x := byName[want.Tensor]
		slices.Reverse(want.Dims)
		if x.dtype != want.Type || !slices.Equal(x.shape, want.Dims) {
			t.Fatalf("%s is %s %v, want %s %v", want.Tensor, x.dtype, x.shape, want.Type, want.Dims)
		}
		v, err := x.float32s()
		if err != nil {
			t.Fatal(err)
		}
		sameBits(t, want.Tensor, v[want.FirstValue:want.FirstValue+32], want.Values)
		raw := make([]byte, len(unbase64(t, want.Bytes)))
		if err := g.file.readAt(raw, want.FileOffset); err != nil || string(raw) != string(unbase64(t, want.Bytes)) {
			t.Errorf("%s: bytes at %d differ (%v)", want.Tensor, want.FileOffset, err)
		}
	}
	for name, want := range file.Dequantise.Sums {
		x := byName[name]
		v, err := x.float32s()
		if err != nil {
			t.Fatal(err)
		}
		var sum, squares, size float64
		for _, f := range v {
			sum += float64(f)
			size += math.Abs(float64(f))
			squares += float64(f) * float64(f)
		}
		// Two orders of adding n terms in float64 differ by at most 2 n u times the sum of their sizes, u = 2^-53.
		bound := 2 * float64(len(v)) * 0x1p-53
		if x.dtype != want.Type || math.Abs(sum-want.Sum) > bound*size || math.Abs(squares-want.Squares) > bound*squares {
			t.Errorf("%s: %s sum %v, squares %v, want %+v", name, x.dtype, sum, squares, want)
		}
	}
}

// The Hugging Face folder was made from the GGUF file by another program: the same bits after rounding to bfloat16.
func TestSmolLM2FolderIsGGUF(t *testing.T) {
	a := open(t, golden.SmolLM2(t, "SmolLM2-135M-Instruct.Q4_1.gguf"))
	dir := golden.SmolLM2(t, "hf")
	b := open(t, dir)
	if !slices.Equal(a.Names(), b.Names()) {
		t.Fatalf("names differ: %q and %q", a.Names(), b.Names())
	}
	for _, name := range a.Names() {
		x, err := a.BF16(name)
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.BF16(name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x, y) {
			t.Errorf("%s differs", name)
		}
	}
	var ca, cb map[string]any
	if err := json.Unmarshal(a.ConfigJSON, &ca); err != nil {
		t.Fatal(err)
	}
	golden.JSON(t, filepath.Join(dir, "config.json"), &cb)
	for _, ignored := range []string{"torch_dtype", "attention_dropout", "use_cache"} {
		delete(ca, ignored)
		delete(cb, ignored)
	}
	if !reflect.DeepEqual(ca, cb) {
		t.Errorf("config of the GGUF file %v, of the folder %v", ca, cb)
	}
	if a.ChatTemplate != b.ChatTemplate || a.Special != b.Special || !slices.Equal(a.Generation.EOS, b.Generation.EOS) {
		t.Errorf("template, special tokens or eos differ: %+v %+v", a.Special, b.Special)
	}
}

// Files that hold a vocabulary and no weights.
func TestVocabularyGGUF(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(golden.Shared(t, "tokenizers/llamacpp-vocabs"), "*.gguf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		g, err := OpenGGUF(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if tokens, _ := g.Metadata["tokenizer.ggml.tokens"].([]string); len(tokens) < 1000 {
			t.Errorf("%s: %d tokens", path, len(tokens))
		}
		g.Close()
		arch := g.Metadata["general.architecture"].(string)
		s, err := Open(path)
		if arch == "llama" {
			if err != nil {
				t.Error(err)
			} else {
				s.Close()
			}
		} else if err == nil || !strings.Contains(err.Error(), `"`+arch+`"`) {
			t.Errorf("%s: %v, want a refusal that names %q", path, err, arch)
		}
	}
}
