package pairs

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// Levenshtein distances, from the literature and by hand.
func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"kitten", "sitting", 3}, // Wagner and Fischer's example
		{"saturday", "sunday", 3},
		{"abc", "abc", 0},
		{"", "abc", 3},
		{"abcdef", "bcdefa", 2},
	} {
		a, b := strings.Split(c.a, ""), strings.Split(c.b, "")
		if got := distance(a, b, 8); got != c.want {
			t.Errorf("distance(%s, %s) = %d, want %d", c.a, c.b, got, c.want)
		}
		for most := range 8 {
			// Near cuts off by length first, as distance demands.
			if max(len(a), len(b))-min(len(a), len(b)) > most {
				continue
			}
			if got := distance(a, b, most); (got <= most) != (c.want <= most) || got <= most && got != c.want {
				t.Errorf("distance(%s, %s) within %d = %d, want %d or more than %d", c.a, c.b, most, got, c.want, most)
			}
		}
	}
}

// The band changes nothing: against the recurrence itself, on random words of a small alphabet.
func TestBandedDistanceIsTheRecurrence(t *testing.T) {
	r := rng.New(7)
	text := func() []string {
		w := make([]string, r.IntN(9))
		for i := range w {
			w[i] = strconv.Itoa(r.IntN(3))
		}
		return w
	}
	for range 5000 {
		a, b := text(), text()
		want := recurrence(a, b)
		for most := max(len(a), len(b)) - min(len(a), len(b)); most < 10; most++ {
			got := distance(a, b, most)
			if (got <= most) != (want <= most) || got <= most && got != want {
				t.Fatalf("distance(%v, %v) within %d = %d, the recurrence gives %d", a, b, most, got, want)
			}
		}
	}
}

func recurrence(a, b []string) int {
	switch {
	case len(a) == 0:
		return len(b)
	case len(b) == 0:
		return len(a)
	case a[0] == b[0]:
		return recurrence(a[1:], b[1:])
	}
	return 1 + min(recurrence(a[1:], b), recurrence(a, b[1:]), recurrence(a[1:], b[1:]))
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"The cat's 3rd  hat.\n": {"The", "cat", "'", "s", "3rd", "hat", "."},
		"猫が好き ok":               {"猫", "が", "好", "き", "ok"},
		"naïve e\u0301":         {"naïve", "e\u0301"},
		" \n":                   nil,
	} {
		if got := words(text); !slices.Equal(got, want) {
			t.Errorf("words(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestMakeDropsTheNearIdentical(t *testing.T) {
	twenty := strings.Repeat("word ", 19)
	answers := func(texts ...string) []Answer {
		out := make([]Answer, len(texts))
		for i, s := range texts {
			out[i] = Answer{Text: s, IDs: []int32{1, 2}, Stop: "eos"}
		}
		return out
	}
	for _, c := range []struct {
		name    string
		answers []Answer
		near    float64
		pair    string
		want    [][2]int
		counts  Counts
	}{
		{"different", answers("a b", "c d"), 0.95, All, [][2]int{{0, 1}}, Counts{Pairs: 1}},
		{"white space", answers("a b", " a\n b "), 1, All, nil, Counts{Identical: 1, Single: 1}},
		// One word of 20 differs: similarity 0.95.
		{"at the limit", answers(twenty+"one", twenty+"two"), 0.95, All, nil, Counts{Near: 1, Single: 1}},
		{"below the limit", answers(twenty+"one", twenty+"two"), 0.951, All, [][2]int{{0, 1}}, Counts{Pairs: 1}},
		{"only white space counts", answers(twenty+"one", twenty+"two"), 1, All, [][2]int{{0, 1}}, Counts{Pairs: 1}},
		{"four, all", answers("a", "b", "a", "c"), 0.95, All, [][2]int{{0, 1}, {0, 3}, {1, 3}}, Counts{Identical: 1, Pairs: 3}},
		{"four, next", answers("a", "b", "a", "c"), 0.95, Next, [][2]int{{0, 1}, {1, 3}}, Counts{Identical: 1, Pairs: 2}},
		{"both empty", answers("", " "), 0.95, All, nil, Counts{Identical: 1, Single: 1}},
		{"one empty", answers("", "a"), 0.95, All, [][2]int{{0, 1}}, Counts{Pairs: 1}},
	} {
		cfg := Default()
		cfg.Near, cfg.Pair = c.near, c.pair
		got, n := Make(&cfg, c.answers)
		c.counts.Prompts, c.counts.Answers = 1, len(c.answers)
		c.counts.Tokens, c.counts.Stopped = 2*len(c.answers), len(c.answers)
		if !reflect.DeepEqual(got, c.want) || n != c.counts {
			t.Errorf("%s: pairs %v, counts %+v, want %v, %+v", c.name, got, n, c.want, c.counts)
		}
	}
}

func TestAnswersComeFromPoliciesAndTemperaturesInTurn(t *testing.T) {
	cfg := Default()
	cfg.Temperature = []float64{0.7, 1}
	var got []string
	for j := range 6 {
		p, temp := cfg.source(j, 2)
		got = append(got, strconv.Itoa(p)+"@"+strconv.FormatFloat(temp, 'g', -1, 64))
	}
	if want := []string{"0@0.7", "1@0.7", "0@1", "1@1", "0@0.7", "1@0.7"}; !slices.Equal(got, want) {
		t.Errorf("answers of %v, want %v", got, want)
	}
	if p, temp := cfg.source(1, 1); p != 0 || temp != 1 {
		t.Errorf("the second answer of one policy: policy %d at %g, want 0 at 1", p, temp)
	}
}

// letters decodes ids for a test.
type letters struct{}

func (letters) Decode(ids []int32, _ bool) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(strconv.Itoa(int(id)) + " ")
	}
	return b.String()
}

func spell(_ Prompt, ids []int32) string { return letters{}.Decode(ids, true) }

func tiny(t *testing.T, seed uint64) *model.Model {
	t.Helper()
	m, err := model.NewRandom(model.Config{
		Vocab: 40, Hidden: 16, Intermediate: 32, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 8, MaxPositions: 64,
		Eps: 1e-5, RopeTheta: 1e4, Tied: true, InitStd: 0.5, BOS: -1,
	}, seed, kernels.NewPool(2))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What is recorded is true: log-probabilities are those of a forward pass at the recorded temperature, and an answer
// does not depend on the chunk it was sampled in.
func TestSample(t *testing.T) {
	m := tiny(t, 3)
	cfg := Default()
	cfg.PerPrompt, cfg.Temperature, cfg.MaxNew, cfg.MaxBatch = 4, []float64{0.7, 1}, 12, 3
	seed := Seed(11)
	policies := []Policy{{Name: "a", Model: m, StopIDs: []int32{5}, Decoder: letters{}, Text: spell}}
	prompts := []Prompt{{0, [][]int32{{1, 2, 3}}}, {1, [][]int32{{4}}}, {2, [][]int32{{1, 2, 3}}}}
	got, err := Sample(context.Background(), &cfg, seed, policies, prompts, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, as := range got {
		if len(as) != 4 {
			t.Fatalf("prompt %d has %d answers, want 4", i, len(as))
		}
		for j, a := range as {
			if want := []float64{0.7, 1}[j%2]; a.Temperature != want || a.Sample != j || a.Seed != seed || a.Policy != "a" {
				t.Errorf("answer %d of prompt %d: sample %d of %s at %g with seed %d", j, i, a.Sample, a.Policy, a.Temperature, a.Seed)
			}
			tape := tensor.NewInferenceTape(m.Pool())
			logps, _, err := m.LogProbsOf(context.Background(), tape, nil, []model.Continuation{{Context: prompts[i].IDs[0], IDs: a.IDs}}, float32(a.Temperature), 64)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(logps[0], a.LogProbs) {
				t.Errorf("answer %d of prompt %d: %v recorded, a forward pass gives %v", j, i, a.LogProbs, logps[0])
			}
			seen[a.Text] = true
		}
	}
	if len(seen) < 6 {
		t.Errorf("12 answers of a random model are only %d different texts", len(seen))
	}
	alone, err := Sample(context.Background(), &cfg, seed, policies, prompts[2:], nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(alone[0], got[2]) {
		t.Error("a prompt's answers depend on the chunk it is in")
	}
	other, err := Sample(context.Background(), &cfg, Seed(12), policies, prompts, nil)
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(other[0][0].IDs, got[0][0].IDs) && reflect.DeepEqual(other[1][0].IDs, got[1][0].IDs) {
		t.Error("another seed gives the same answers")
	}
}

// Of two policies each answers in its turn, with its own prompt ids and stop ids; two of one model, too.
func TestTwoPolicies(t *testing.T) {
	one, other := tiny(t, 3), tiny(t, 4)
	adapter := peft.NewFull(one.Modules())
	draw := rng.New(5)
	for i := range adapter.Values {
		adapter.Values[i] += float32(0.2 * draw.Norm())
	}
	for what, policies := range map[string][]Policy{
		"two models": {{Name: "a", Model: one, Decoder: letters{}, Text: spell}, {Name: "b", Model: other, Decoder: letters{}, Text: spell}},
		"one model":  {{Name: "a", Model: one, Decoder: letters{}, Text: spell}, {Name: "b", Model: one, Adapter: adapter, Decoder: letters{}, Text: spell}},
		"stops": {
			{Name: "a", Model: one, Decoder: letters{}, Text: spell, StopIDs: everyOther},
			{Name: "b", Model: one, Adapter: adapter, Decoder: letters{}, Text: spell},
		},
	} {
		t.Run(what, func(t *testing.T) { twoPolicies(t, policies) })
	}
}

var everyOther = []int32{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38}

func twoPolicies(t *testing.T, policies []Policy) {
	cfg := Default()
	cfg.PerPrompt, cfg.MaxNew = 4, 8
	ids := [][]int32{{1, 2}, {9, 8, 7}}
	got, err := Sample(context.Background(), &cfg, 1, policies, []Prompt{{3, ids}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for j, a := range got[0] {
		p := policies[j%2]
		logps, _, err := p.Model.LogProbsOf(context.Background(), tensor.NewInferenceTape(p.Model.Pool()), p.Adapter, []model.Continuation{{Context: ids[j%2], IDs: a.IDs}}, 1, 64)
		if err != nil {
			t.Fatal(err)
		}
		if a.Policy != p.Name || !slices.Equal(logps[0], a.LogProbs) {
			t.Errorf("answer %d is of %s with %v; %s gives %v", j, a.Policy, a.LogProbs, p.Name, logps[0])
		}
		last := slices.IndexFunc(a.IDs, func(id int32) bool { return slices.Contains(p.StopIDs, id) })
		if (a.Stop == "length") != (last < 0) || last >= 0 && last != len(a.IDs)-1 {
			t.Errorf("answer %d of %s, which stops at %v, is %v: %s", j, a.Policy, p.StopIDs, a.IDs, a.Stop)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Default()
	good.Prompts = "prompts.jsonl"
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults with prompts: %v", err)
	}
	for key, set := range map[string]func(*Config){
		"prompts":     func(c *Config) { c.Prompts = "" },
		"from":        func(c *Config) { c.From = []string{"a", "b", "c"} },
		"per_prompt":  func(c *Config) { c.PerPrompt = 1 },
		"temperature": func(c *Config) { c.Temperature = []float64{1, 0} },
		"top_p":       func(c *Config) { c.TopP = 0 },
		"min_new":     func(c *Config) { c.MinNew = 1000 },
		"stop":        func(c *Config) { c.Stop = []string{""} },
		"pair":        func(c *Config) { c.Pair = "some" },
		"near":        func(c *Config) { c.Near = 0 },
		"save_every":  func(c *Config) { c.SaveEvery = 0 },
	} {
		c := good
		set(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: Validate gives %v", key, err)
		}
	}
}
