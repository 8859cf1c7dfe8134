package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
)

// tinyGGUF is a Llama of two layers and twelve tokens by gguf-py, described in its folder's README.
const tinyGGUF = "../../internal/checkpoint/testdata/tiny-llama.gguf"

// A GGUF file is a model to every verb. In its vocabulary a, b, c and e are 3, 4, 5 and 7; the space in front of a text, which SentencePiece
// puts there, is in no token: <unk>, 0, behind BOS, 1. Log-probabilities and the greedy continuation were computed with transformers
// 5.24.0 in float64 from the weights that the README tells; float32 is apart by 2e-5.
func TestVerbsOnGGUF(t *testing.T) {
	text := map[string]any{"text": "abc"}
	ids := []int32{1, 0, 3, 4, 5}
	if got := do(t, []any{text}, "tokenize", tinyGGUF)[0]; !slices.Equal(field[[]int32](t, got, "ids"), ids) {
		t.Errorf("tokenize gives %s, want %v", got["ids"], ids)
	}
	got := do(t, []any{text}, "score", tinyGGUF)[0]
	if !slices.Equal(field[[]int32](t, got, "ids"), ids) {
		t.Errorf("score gives the ids %s, want %v", got["ids"], ids)
	}
	near(t, "log-probabilities", field[[]float64](t, got, "logprobs"), []float64{-13.38786862, -45.88084689, -10.21376027, -58.24673995}, 2e-4)
	near(t, "sum", []float64{field[float64](t, got, "sum")}, []float64{-127.72921573}, 8e-4)
	got = do(t, []any{map[string]any{"prompt": "ab"}}, "generate", tinyGGUF, "--greedy", "--max-new", "4")[0]
	if want := []int32{7, 0, 0, 0}; !slices.Equal(field[[]int32](t, got, "completion_ids"), want) || field[string](t, got, "completion") != "e" {
		t.Errorf("generate gives %s %s, want %v", got["completion"], got["completion_ids"], want)
	}
	var summary checkpoint.Summary
	if err := json.Unmarshal([]byte(command(t, "inspect", tinyGGUF, "--json")), &summary); err != nil {
		t.Fatal(err)
	}
	// Embedding and head 2·12·32, two layers of 2·32 + 2·32·32 + 2·16·32 + 3·64·32, the last norm 32, and 4 frequencies.
	if summary.Format != "gguf" || summary.Architecture != "llama" || summary.Parameters != 19364 || len(summary.Tensors) != 22 {
		t.Errorf("inspect gives %s, %s, %d parameters in %d tensors", summary.Format, summary.Architecture, summary.Parameters, len(summary.Tensors))
	}
	if shown := command(t, "inspect", tinyGGUF); !strings.Contains(shown, "gguf, llama  19.4k parameters") {
		t.Errorf("inspect prints\n%s", shown)
	}
}

// tinyGGUFAdapter trains an adapter on the tiny model, in the run g of dir, and returns the folder of its stage.
func tinyGGUFAdapter(t *testing.T, dir string) string {
	t.Helper()
	demos, recipe, runs := filepath.Join(dir, "letters.jsonl"), filepath.Join(dir, "g.yaml"), filepath.Join(dir, "runs")
	put(t, demos, strings.Repeat("{\"prompt\": \"ab\", \"completion\": \"ce\"}\n{\"prompt\": \"ba\", \"completion\": \"ec\"}\n", 4))
	put(t, recipe, fmt.Sprintf("base: %s\nsft: {data: [{path: %s}], eval: 0, batch: 2, lr: 0.01, peft: {r: 2, alpha: 4}}\n", absolute(t, tinyGGUF), demos))
	command(t, "sft", recipe, "--runs", runs, "-q")
	return filepath.Join(runs, "g", "sft")
}

// An adapter trained on a GGUF file is exported with the base beside it, in the types that the file has: the numbers of the README to
// the bit. Both together, and merged, say what the run says.
func TestExportAdapterOnGGUF(t *testing.T) {
	dir := t.TempDir()
	trained := tinyGGUFAdapter(t, dir)
	out := filepath.Join(dir, "out")
	base := filepath.Join(out, formatPEFT, "base")
	x := exportTo(t, out, trained, "--format", "peft,merged")
	if len(x) != 2 || x[0].Base != base || x[0].Apart != 0 || x[0].What != "logits" {
		t.Fatalf("exported %+v, want the base in %s and no difference", x, base)
	}
	tensors := golden.Tensors(t, filepath.Join(base, "model.safetensors"))
	if len(tensors) != 21 {
		t.Errorf("%d tensors", len(tensors))
	}
	// The numbers of the weights as the README counts them.
	for name, k := range map[string]int{"model.embed_tokens.weight": 0, "model.layers.0.input_layernorm.weight": 1, "model.layers.0.self_attn.q_proj.weight": 2, "model.layers.1.self_attn.k_proj.weight": 12, "model.norm.weight": 19, "lm_head.weight": 20} {
		got := tensors[name]
		if want := map[bool]string{true: "F32", false: "F16"}[strings.Contains(name, "norm")]; got.DType != want {
			t.Errorf("%s is stored as %s, want %s", name, got.DType, want)
		}
		stored := checkpointFloats(t, base, name)
		for i, v := range stored {
			if want := float32((7*i+13*k)%509-254) / 64; v != want {
				t.Fatalf("%s: value %d is %v, want %v", name, i, v, want)
			}
		}
		if len(stored) < 32 {
			t.Errorf("%s has %d values", name, len(stored))
		}
	}
	text := []any{map[string]any{"text": "abce"}}
	want, bare := do(t, text, "score", trained)[0], do(t, text, "score", tinyGGUF)[0]
	if string(want["logprobs"]) == string(bare["logprobs"]) {
		t.Fatal("the adapter changes nothing")
	}
	got := do(t, text, "score", filepath.Join(out, formatPEFT))[0]
	if string(got["ids"]) != "[1,0,3,4,5,7]" || string(got["logprobs"]) != string(want["logprobs"]) {
		t.Errorf("the exported adapter gives %s %s, want those of the run, %s %s", got["ids"], got["logprobs"], want["ids"], want["logprobs"])
	}
	got = do(t, text, "score", filepath.Join(out, formatMerged))[0]
	near(t, "merged", field[[]float64](t, got, "logprobs"), field[[]float64](t, want, "logprobs"), 0.25*x[1].Magnitude)
}

// checkpointFloats are the values of one tensor of a model folder.
func checkpointFloats(t *testing.T, dir, name string) []float32 {
	t.Helper()
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	v, err := src.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
