package sft

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// What a step logs is the weighted mean over its targets of what transformers' logits say there; the eval_ metrics are the same
// of the held-out rows. A log-probability may be off by 4e-5 (golden.json). Where logits may be off by e = 8e-5, an entropy H may be by
// sum p |log p + H| e <= 2 H e, and H is at most log 150 = 5.01.
func TestMetricsAgainstReferenceLogits(t *testing.T) {
	m := openModel(t)
	ref := golden.Tensors(t, golden.Dir(t, "models/llama")+"/golden.safetensors")
	var rows []Row
	var loss, entropy, accuracy, sum float64
	tokens := 0
	for s := range 3 {
		row := Row{Weights: []float32{0}}
		greedy := ref[fmt.Sprintf("greedy.%d", s)].I[0] // the likeliest behind the ids, so that not every target is a miss
		for i, id := range append(ref[fmt.Sprintf("input_ids.%d", s)].I, greedy) {
			row.IDs = append(row.IDs, int32(id))
			if tokens++; i == 0 {
				continue
			}
			w := float64((i + s) % 3)
			row.Weights = append(row.Weights, float32(w))
			logp, h, best := predicted(ref[fmt.Sprintf("logits.%d", s)].F[(i-1)*m.Vocab:i*m.Vocab], int(id))
			loss, entropy, sum = loss-w*logp, entropy+w*h, sum+w
			if best {
				accuracy += w
			}
		}
		rows = append(rows, row)
	}
	c := testConfig()
	c.Batch, c.Epochs, c.MicroTokens, c.EvalEvery, c.LR = 3, 1, 30, 1, 1e-9 // at which nothing moves that could be measured
	st := newStage(t, t.TempDir())
	if _, err := Train(context.Background(), c, Inputs{Model: m, Adapter: newAdapter(t, m, 0), Train: rows, Held: rows}, st); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(st.Path("metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range []struct {
		key              string
		value, tolerance float64
	}{
		{"loss", loss / sum, 4e-5},
		{"entropy", entropy / sum, 8e-4},
		{"mean_token_accuracy", accuracy / sum, 1e-6},
		{"num_tokens", float64(tokens), 0},
		{"epoch", 1, 0},
	} {
		keys := []string{w.key, "eval_" + w.key}
		if w.tolerance == 0 {
			keys = keys[:1]
		}
		for _, key := range keys {
			if x, ok := got[key]; !ok || !(math.Abs(x-w.value) <= w.tolerance) {
				t.Errorf("%s is %.9g (%t), want %.9g", key, x, ok, w.value)
			}
		}
	}
	if accuracy == 0 || accuracy == sum {
		t.Error("all targets are likeliest, or none: the accuracy says nothing")
	}
}

// predicted is what logits say of the id that follows: its log-probability, the entropy, whether it is the likeliest.
func predicted(logits []float32, id int) (logp, entropy float64, best bool) {
	total, likeliest := 0.0, 0
	for i, z := range logits {
		total += math.Exp(float64(z))
		if z > logits[likeliest] {
			likeliest = i
		}
	}
	for _, z := range logits {
		l := float64(z) - math.Log(total)
		entropy -= math.Exp(l) * l
	}
	return float64(logits[id]) - math.Log(total), entropy, likeliest == id
}
