package model

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/tensor"
)

// The reference's log-probabilities, and the same bits whatever goes through the model together.
func TestLogProbsOf(t *testing.T) {
	dir := golden.Dir(t, "models/llama")
	r, m := openReference(t, dir), openModel(t, dir, "config.json")
	tape := tensor.NewInferenceTape(m.Pool())
	var cs []Continuation
	for s, ids := range r.ids {
		cs = append(cs, Continuation{ids[:1+s], ids[1+s:]})
	}
	cs = append(cs, Continuation{Context: r.ids[0]})
	var first [][]float32
	for _, micro := range []int{1, len(r.ids[0]) + len(r.ids[1]), 1 << 20} {
		logps, entropies, err := m.LogProbsOf(context.Background(), tape, nil, cs, 1, micro)
		if err != nil {
			t.Fatal(err)
		}
		for s := range r.ids {
			want := r.tensors[fmt.Sprintf("logprobs.%d", s)].F[s:]
			within(t, fmt.Sprintf("continuation %d", s), logps[s], want, r.limit(t, "logprobs"))
			if len(entropies[s]) != len(want) || slices.Min(entropies[s]) <= 0 {
				t.Errorf("entropies of continuation %d: %v", s, entropies[s])
			}
		}
		if len(logps[3]) != 0 {
			t.Errorf("nothing follows, yet there are %d log-probabilities", len(logps[3]))
		}
		if first == nil {
			first = logps
		}
		for s := range logps {
			if !slices.Equal(first[s], logps[s]) {
				t.Errorf("continuation %d depends on the size of the parts", s)
			}
		}
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, _, err := m.LogProbsOf(stopped, tape, nil, cs, 1, 1); err != context.Canceled {
		t.Errorf("a cancelled context gives %v", err)
	}
}
