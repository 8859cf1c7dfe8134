package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// do runs one command line and returns the records it wrote.
func do(t *testing.T, in []any, args ...string) []map[string]json.RawMessage {
	t.Helper()
	var stdin, out, errOut bytes.Buffer
	enc := json.NewEncoder(&stdin)
	for _, r := range in {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if code := plumb(context.Background(), append(args, "-q"), &stdin, &out, &errOut); code != exitOK {
		t.Fatalf("plumb %s: exit %d: %s", strings.Join(args, " "), code, errOut.String())
	}
	var records []map[string]json.RawMessage
	for dec := json.NewDecoder(&out); dec.More(); {
		var r map[string]json.RawMessage
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

func field[T any](t *testing.T, r map[string]json.RawMessage, key string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(r[key], &v); err != nil {
		t.Fatalf("field %q is %s: %v", key, r[key], err)
	}
	return v
}

func int32s(v []int64) []int32 {
	out := make([]int32, len(v))
	for i, x := range v {
		out[i] = int32(x)
	}
	return out
}

// near compares with an absolute bound.
func near[T float32 | float64](t *testing.T, what string, got, want []T, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if !(math.Abs(float64(got[i])-float64(want[i])) <= tolerance) {
			t.Errorf("%s: value %d is %v, want %v within %g", what, i, got[i], want[i], tolerance)
			return
		}
	}
}

// TestScoreAndGenerateAgreeWithTransformers runs the verbs on the Llama
// checkpoints. Tolerances are those in golden.json: ten times the distance
// between float32 and float64.
func TestScoreAndGenerateAgreeWithTransformers(t *testing.T) {
	for _, set := range []struct{ folder, values string }{
		{"llama", "llama"},
		{"llama-bf16", "llama-bf16"},
		{"llama-sharded", "llama"},
		{"llama-tied", "llama-tied"},
		{"llama-tied-head-only", "llama-tied"},
	} {
		t.Run(set.folder, func(t *testing.T) {
			dir := golden.Dir(t, "models/"+set.folder)
			values := golden.Dir(t, "models/"+set.values)
			want := golden.Tensors(t, values+"/golden.safetensors")
			if set.folder == "llama-sharded" {
				want = golden.Tensors(t, golden.Dir(t, "models/llama")+"/golden.safetensors")
			}
			var in []any
			for i := range 3 {
				in = append(in, map[string]any{"ids": int32s(want[fmt.Sprintf("input_ids.%d", i)].I), "n": i})
			}
			for i, r := range do(t, in, "score", dir) {
				logp := want[fmt.Sprintf("logprobs.%d", i)].F
				near(t, fmt.Sprintf("log-probabilities of sequence %d", i), field[[]float32](t, r, "logprobs"), logp, 4e-5)
				sum := 0.0
				for _, x := range logp {
					sum += float64(x)
				}
				near(t, "sum", []float64{field[float64](t, r, "sum")}, []float64{sum}, 4e-5*float64(len(logp)))
				if n := field[int](t, r, "n"); n != i {
					t.Errorf("record %d carries n=%d", i, n)
				}
			}
			for i, r := range do(t, in, "generate", dir, "--greedy", "--ignore-stop", "--max-new", "24") {
				greedy, ok := want[fmt.Sprintf("greedy.%d", i)]
				if !ok {
					t.Fatalf("the reference has no greedy.%d", i)
				}
				// The reference holds the continuation, or prompt and continuation.
				ref := int32s(greedy.I)
				got := field[[]int32](t, r, "completion_ids")
				if !slices.Equal(got, ref[len(ref)-len(got):]) {
					t.Errorf("greedy continuation of %d: %v, want %v", i, got, ref)
				}
				if s := field[string](t, r, "stop"); s != "length" {
					t.Errorf("stop %q, want length", s)
				}
			}
		})
	}
}

// TestScoreWithAdapters agrees with PEFT: log-probabilities from the golden
// logits, scores of a reward model.
func TestScoreWithAdapters(t *testing.T) {
	base := golden.Dir(t, "models/llama")
	ids := golden.Tensors(t, base+"/golden.safetensors")
	var in []any
	for i := range 3 {
		in = append(in, map[string]any{"ids": int32s(ids[fmt.Sprintf("input_ids.%d", i)].I)})
	}
	for _, name := range []string{"lora-all-linear", "lora-rslora", "lora-modules-to-save"} {
		t.Run(name, func(t *testing.T) {
			dir := golden.Dir(t, "peft/"+name)
			want := golden.Tensors(t, dir+"/golden.safetensors")
			for i, r := range do(t, in, "score", base, "--adapter", dir) {
				logits := want[fmt.Sprintf("logits.%d", i)]
				seq := ids[fmt.Sprintf("input_ids.%d", i)].I
				near(t, "log-probabilities", field[[]float32](t, r, "logprobs"), fromLogits(logits.F, logits.Shape[1], seq), 2*7e-5)
			}
		})
	}
	t.Run("reward", func(t *testing.T) {
		dir := golden.Dir(t, "peft/reward-llama")
		want := golden.Tensors(t, dir+"/golden.safetensors")["scores"].F
		for i, r := range do(t, in, "score", base, "--adapter", dir) {
			near(t, "score", []float64{field[float64](t, r, "score")}, []float64{float64(want[i])}, 5e-5)
		}
	})
}

// fromLogits is log softmax at the next ids, in float64. A log-probability is a
// logit less their log-sum-exp, each of which may be off by the logits' bound.
func fromLogits(logits []float32, vocab int, ids []int64) []float32 {
	var out []float32
	for i := range len(ids) - 1 {
		row := logits[i*vocab : (i+1)*vocab]
		sum := 0.0
		for _, z := range row {
			sum += math.Exp(float64(z))
		}
		out = append(out, float32(float64(row[ids[i+1]])-math.Log(sum)))
	}
	return out
}

// TestRealModel runs the verbs on SmolLM2-135M-Instruct: ids through the chat
// template, log-probabilities, greedy answers. The bound is the file's own
// float32 error of the logits, times ten for another order of summation.
func TestRealModel(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of arithmetic")
	}
	dir := golden.SmolLM2(t, "hf")
	var g struct {
		Prompts []struct {
			Kind     string
			Messages []map[string]string
			Text     string
			IDs      []int32
			Logprobs []float32
			Greedy   []int32   `json:"greedy_ids"`
			GreedyLP []float32 `json:"greedy_logprobs"`
			Text2    string    `json:"greedy_text"`
		}
		Error float64 `json:"prompts_float32_error_max_abs_logit"`
	}
	golden.JSON(t, golden.Dir(t, "smollm2")+"/golden.json", &g)
	if len(g.Prompts) == 0 {
		t.Fatal("no prompts in the reference")
	}
	var texts, prompts []any
	for _, p := range g.Prompts {
		if p.Kind == "chat" {
			texts = append(texts, map[string]any{"messages": p.Messages})
			prompts = append(prompts, map[string]any{"messages": p.Messages})
		} else {
			texts = append(texts, map[string]any{"text": p.Text})
			prompts = append(prompts, map[string]any{"prompt": p.Text})
		}
	}
	for i, r := range do(t, texts, "tokenize", dir, "--generation-prompt") {
		if got := field[[]int32](t, r, "ids"); !slices.Equal(got, g.Prompts[i].IDs) {
			t.Errorf("ids of prompt %d: %v, want %v", i, got, g.Prompts[i].IDs)
		}
	}
	for i, r := range do(t, texts, "score", dir, "--generation-prompt") {
		near(t, fmt.Sprintf("log-probabilities of prompt %d", i), field[[]float32](t, r, "logprobs"), g.Prompts[i].Logprobs, 10*g.Error)
	}
	for i, r := range do(t, prompts, "generate", dir, "--greedy", "--max-new", "40") {
		want := g.Prompts[i]
		if got := field[[]int32](t, r, "completion_ids"); !slices.Equal(got, want.Greedy) {
			t.Errorf("greedy answer %d: %v, want %v", i, got, want.Greedy)
			continue
		}
		near(t, "log-probabilities", field[[]float32](t, r, "logprobs"), want.GreedyLP, 10*g.Error)
		stop := "length"
		if want.Greedy[len(want.Greedy)-1] == 2 {
			stop = "eos"
		}
		if got := field[string](t, r, "stop"); got != stop {
			t.Errorf("stop of %d: %s, want %s", i, got, stop)
		}
		text := strings.TrimSuffix(want.Text2, "<|im_end|>")
		if got := field[string](t, r, "completion"); got != text {
			t.Errorf("text of %d: %q, want %q", i, got, text)
		}
	}
}

// TestSampledLogProbsAreTheScorers compares to the bit: what generate drew, and
// what score says of the same ids.
func TestSampledLogProbsAreTheScorers(t *testing.T) {
	dir := golden.Shared(t, "models/stories260k")
	in := []any{map[string]any{"prompt": "Once upon a time"}, map[string]any{"prompt": "The cat"}}
	var again []any
	var want [][]float32
	var starts []int
	prompts := do(t, []any{map[string]any{"text": "Once upon a time"}, map[string]any{"text": "The cat"}}, "tokenize", dir)
	for i, r := range do(t, in, "generate", dir, "--samples", "3", "--seed", "5", "--max-new", "60", "--batch", "2") {
		ids := field[[]int32](t, prompts[i/3], "ids")
		again = append(again, map[string]any{"ids": append(slices.Clone(ids), field[[]int32](t, r, "completion_ids")...)})
		want = append(want, field[[]float32](t, r, "logprobs"))
		starts = append(starts, len(ids)-1)
		if s := field[int](t, r, "sample"); s != i%3 {
			t.Errorf("record %d is sample %d", i, s)
		}
	}
	if len(want) != 6 {
		t.Fatalf("%d records, want 6", len(want))
	}
	for i, r := range do(t, again, "score", dir) {
		if got := field[[]float32](t, r, "logprobs")[starts[i]:]; !slices.Equal(got, want[i]) {
			t.Errorf("sample %d: drawn with %v, scored %v", i, want[i], got)
		}
	}
}
