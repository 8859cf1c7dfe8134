package dataset

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"plumb/internal/chat"
)

func mixture(t testing.TB, seed uint64, sources ...Source) *Mixture {
	t.Helper()
	m, err := NewMixture(seed, sources)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMixtureVisitsRowsInWeightedPasses(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var sources []Source
		for i := range rapid.IntRange(1, 4).Draw(r, "sources") {
			sources = append(sources, Source{
				Name: fmt.Sprint(i), Size: rapid.IntRange(1, 40).Draw(r, "size"),
				Weight: rapid.SampledFrom([]float64{1, 0.25, 0.5, 2, 1.3}).Draw(r, "weight"),
			})
		}
		m, err := NewMixture(rapid.Uint64().Draw(r, "seed"), sources)
		if err != nil {
			r.Skip() // an epoch of nothing
		}
		seen := make([][]int, len(sources))
		for i, s := range sources {
			seen[i] = make([]int, s.Size)
		}
		const epochs = 5
		for e := range epochs {
			for _, ref := range m.Epoch(e) {
				seen[ref.Source][ref.Row]++
			}
			for i, s := range sources {
				// Passes are whole: no row is two visits ahead of another. After e+1 epochs weight·size·(e+1)
				// visits were due; rounding to whole rows loses at most a half.
				total := 0
				for _, n := range seen[i] {
					total += n
				}
				if slices.Max(seen[i])-slices.Min(seen[i]) > 1 {
					r.Errorf("source %d, epoch %d: visits %v", i, e, seen[i])
				}
				if due := s.Weight * float64(s.Size) * float64(e+1); math.Abs(float64(total)-due) > 0.5+1e-9 {
					r.Errorf("source %d, epoch %d: %d visits, %v due", i, e, total, due)
				}
			}
		}
	})
}

func TestMixtureIsResumedAnywhere(t *testing.T) {
	m := mixture(t, 7, Source{"a", 10, 1}, Source{"b", 7, 0.5})
	w, err := m.Walk(Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	var all []Ref
	var cursors []Cursor
	for range 60 {
		cursors = append(cursors, w.Cursor())
		all = append(all, w.Next())
	}
	for i, c := range cursors {
		again, err := mixture(t, 7, Source{"a", 10, 1}, Source{"b", 7, 0.5}).Walk(c)
		if err != nil {
			t.Fatal(err)
		}
		for k := i; k < len(all); k++ {
			if r := again.Next(); r != all[k] {
				t.Fatalf("from %+v: row %d is %v, want %v", c, k, r, all[k])
			}
		}
	}
	if reflect.DeepEqual(m.Epoch(0), m.Epoch(2)) || reflect.DeepEqual(m.Epoch(0), mixture(t, 8, Source{"a", 10, 1}, Source{"b", 7, 0.5}).Epoch(0)) {
		t.Error("other epochs or seeds give the same order")
	}
	if _, err := m.Walk(Cursor{0, 99}); err == nil {
		t.Error("a cursor beyond the epoch: no error")
	}
}

func TestMixtureReportsShares(t *testing.T) {
	m := mixture(t, 1, Source{"a", 30, 1}, Source{"b", 20, 0.5})
	got := m.Shares(0, func(r Ref) int { return 1 + r.Source*2 })
	// 30 rows of 1 token, 10 of 3.
	want := []Share{{m.sources[0], 30, 30, 0.75, 0.5}, {m.sources[1], 10, 30, 0.25, 0.5}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range [][]Source{{}, {{"a", 0, 1}}, {{"a", 5, -1}}, {{"a", 5, math.NaN()}}, {{"a", 5, math.Inf(1)}}, {{"a", 5, 0.1}}, {{"a", 5, 1e18}}} {
		if _, err := NewMixture(1, bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestSplitKeepsPromptsTogether(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringMatching("[a-h]"), 1, 60).Draw(r, "keys")
		share := rapid.Float64Range(0, 0.9).Draw(r, "share")
		seed := rapid.Uint64().Draw(r, "seed")
		train, held, err := Split(keys, share, seed)
		groups := map[string]int{}
		for _, k := range keys {
			groups[k]++
		}
		if len(groups) < 2 && share > 0 {
			if err == nil {
				r.Error("one prompt was divided")
			}
			return
		}
		if err != nil {
			r.Fatal(err)
		}
		all := append(slices.Clone(train), held...)
		slices.Sort(all)
		for i, v := range all {
			if v != i {
				r.Fatalf("the parts %v and %v are not the whole", train, held)
			}
		}
		largest := 0
		for _, n := range groups {
			largest = max(largest, n)
		}
		side := map[string]bool{}
		for _, i := range held {
			side[keys[i]] = true
		}
		for _, i := range train {
			if side[keys[i]] {
				r.Errorf("%q is in both parts", keys[i])
			}
		}
		if d := math.Abs(float64(len(held)) - share*float64(len(keys))); d > float64(largest) {
			r.Errorf("%d of %d held out, share %v, largest group %d", len(held), len(keys), share, largest)
		}
		if share > 0 && (len(held) == 0 || len(train) == 0) {
			r.Errorf("parts of %d and %d", len(train), len(held))
		}
	})
}

func TestSplitDoesNotDependOnOrder(t *testing.T) {
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprint("prompt ", i))
	}
	in := func(keys []string, seed uint64) map[string]bool {
		_, held, err := Split(keys, 0.1, seed)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]bool{}
		for _, i := range held {
			m[keys[i]] = true
		}
		return m
	}
	a := in(keys, 1)
	back := slices.Clone(keys)
	slices.Reverse(back)
	if len(a) != 20 || !reflect.DeepEqual(a, in(back, 1)) || reflect.DeepEqual(a, in(keys, 2)) {
		t.Errorf("%d held out, or they depend on the order or not on the seed", len(a))
	}
	kept := 0
	for k := range in(append(keys, "one", "two", "three"), 1) {
		kept += btoi(a[k])
	}
	if kept < 17 { // three records more can push out at most three keys of twenty
		t.Errorf("only %d of 20 stay held out after three records more", kept)
	}
}

func TestPromptKeys(t *testing.T) {
	a := Demonstration{Conversation: messages("user", "Hi ", "assistant", "x", "user", "y", "assistant", "z")}
	b := Comparison{Prompt: Passage{Messages: messages("user", "hi")}, Chosen: Passage{Messages: messages("assistant", "q")}}
	c := Prompt{Prompt: Passage{Messages: messages("user", "HI")}}
	d := Demonstration{Prompt: Passage{Messages: messages("user", "hi")}, Completion: Passage{Messages: []chat.Message{}}}
	j := Judgement{Prompt: Passage{Messages: messages("user", "hi")}}
	if a.PromptKey() != b.PromptKey() || b.PromptKey() != c.PromptKey() || c.PromptKey() != d.PromptKey() || d.PromptKey() != j.PromptKey() {
		t.Errorf("one prompt has the keys %q %q %q %q %q", a.PromptKey(), b.PromptKey(), c.PromptKey(), d.PromptKey(), j.PromptKey())
	}
	whole := Comparison{Chosen: Passage{Text: "Q: a\nA: yes"}, Rejected: Passage{Text: "Q: a\nA: no"}}
	other := Comparison{Chosen: Passage{Text: "Q: a\nA: 1"}, Rejected: Passage{Text: "Q: a\nA: 2"}}
	if whole.PromptKey() != "q: a\na:" || other.PromptKey() != "q: a\na:" {
		t.Errorf("whole texts: %q %q", whole.PromptKey(), other.PromptKey())
	}
	if (Prompt{Prompt: Passage{Text: "x"}}).PromptKey() == (Prompt{Prompt: Passage{Text: "y"}}).PromptKey() {
		t.Error("different prompts have one key")
	}
}

// TestPackedRowsAreSequencesOfTheirOwn: what is in the bins is what is in the rows, within the size, and a first id
// is never learned.
func TestPackedRowsAreSequencesOfTheirOwn(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var rows []Example
		next := int32(0)
		for range rapid.IntRange(1, 30).Draw(r, "rows") {
			var x Example
			for range rapid.IntRange(1, 25).Draw(r, "length") {
				x.IDs = append(x.IDs, next)
				x.Weights = append(x.Weights, float32(1+next%3))
				next++
			}
			rows = append(rows, x)
		}
		size := rapid.IntRange(2, 30).Draw(r, "size")
		s := rapid.SampledFrom([]Strategy{PackBFD, PackBFDSplit, PackWrapped}).Draw(r, "strategy")
		bins, empty, lost, err := PackExamples(rows, size, s)
		if err != nil {
			r.Fatal(err)
		}
		seen := map[int32]bool{}
		for _, b := range bins {
			if len(b.IDs) > size || len(b.IDs) != len(b.Weights) || int(b.Starts[len(b.Starts)-1]) != len(b.IDs) || b.Starts[0] != 0 {
				r.Fatalf("bin of %d ids, %d weights, starts %v", len(b.IDs), len(b.Weights), b.Starts)
			}
			for i, id := range b.IDs {
				want := float32(1 + id%3)
				if slices.Contains(b.Starts, int32(i)) {
					want = 0
				} else if id != b.IDs[i-1]+1 {
					r.Errorf("%d follows %d inside a sequence", id, b.IDs[i-1])
				}
				if seen[id] || b.Weights[i] != want {
					r.Errorf("id %d twice or with weight %v, want %v", id, b.Weights[i], want)
				}
				seen[id] = true
			}
		}
		if s != PackBFD && lost > 0 && empty == 0 {
			r.Errorf("%s lost %d ids", s, lost)
		}
		if empty == 0 && len(seen)+lost != int(next) {
			r.Errorf("%d ids in bins and %d lost of %d", len(seen), lost, next)
		}
	})
	for _, bad := range []struct {
		size int
		s    Strategy
	}{{0, PackBFD}, {-1, PackWrapped}, {5, "best"}} {
		if _, err := Pack([]int{1}, bad.size, bad.s); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
