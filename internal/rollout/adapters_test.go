package rollout

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"plumb/internal/peft"
)

// TestAdaptersTogether: requests of several adapters and of the bare model, mixed in one batch, have the bits they have under each
// alone; one of them replaces every weight, some prompts begin alike, some are equal.
func TestAdaptersTogether(t *testing.T) {
	m, a := small(t, 2)
	full := peft.NewFull(m.Modules())
	shake(full)
	adapters := []*peft.Adapter{a, nil, full}
	base := prompts(m.Vocab, 5)
	base[3].Prompt = base[0].Prompt
	for i := range base[:4] {
		base[i].Prompt = append(slices.Repeat([]int32{7, 9}, sharedTokens), base[i].Prompt...)
	}
	o := Options{Temperature: 1, MaxNew: 9, Seed: 5, StopIDs: everyFifth(m.Vocab)}
	var mixed []Request
	var want []Completion
	for i, r := range base {
		for k := range adapters {
			r.Adapter = (k + i) % len(adapters)
			mixed = append(mixed, r)
			alone := r
			alone.Adapter = 0
			want = append(want, generate(t, m, adapters[r.Adapter], []Request{alone}, o)[0])
		}
	}
	for _, batch := range []int{1, 4, 100} {
		o.MaxBatch = batch
		got, err := Generate(context.Background(), m, adapters, mixed, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range got {
			sameCompletion(t, fmt.Sprintf("batch of %d, request %d of adapter %d", batch, i, mixed[i].Adapter), c, want[i])
		}
	}
	differ := 0
	for i := 0; i < len(want); i += len(adapters) {
		if !slices.Equal(want[i].IDs, want[i+1].IDs) || !slices.Equal(want[i].IDs, want[i+2].IDs) {
			differ++
		}
	}
	if differ < 3 {
		t.Errorf("the adapters hardly matter: they differ in %d of %d prompts", differ, len(base))
	}
}
