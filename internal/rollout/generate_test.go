package rollout

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

func newPool(t testing.TB, threads int) *kernels.Pool {
	p := kernels.NewPool(threads)
	t.Cleanup(p.Close)
	return p
}

// small is a random model with more than one vocabulary tile, and an adapter on every matrix.
func small(t testing.TB, threads int) (*model.Model, *peft.Adapter) {
	t.Helper()
	c := model.Config{
		Vocab: 1061, Hidden: 40, Intermediate: 52, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 10, MaxPositions: 8192, Eps: 1e-5,
		RopeTheta: 10000, InitStd: 0.3, BOS: -1, EOS: []int32{7},
	}
	m, err := model.NewRandom(c, 5, newPool(t, threads))
	if err != nil {
		t.Fatal(err)
	}
	cfg := peft.Default()
	cfg.R, cfg.Alpha = 4, 8
	cfg.Targets = peft.Targets{Regex: ".*(_proj|embed_tokens|lm_head)"}
	a, err := peft.New(cfg, m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	shake(a)
	return m, a
}

func shake(a *peft.Adapter) {
	draw := rng.New(9)
	for _, p := range a.Params() {
		for i := range p.Len() {
			a.Values[p.Off+i] += float32(0.1 * draw.Norm())
		}
	}
}

func openFolder(t testing.TB, dir string) *model.Model {
	t.Helper()
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	c, err := model.ParseConfig(src.ConfigJSON)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(c, src, newPool(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// prompts returns requests of various lengths; every third prompt is sampled twice.
func prompts(vocab, n int) []Request {
	draw := rng.New(2)
	var out []Request
	for i := range n {
		ids := make([]int32, 1+draw.IntN(90))
		for k := range ids {
			ids[k] = int32(draw.IntN(vocab))
		}
		out = append(out, Request{Prompt: ids, Episode: uint64(i)})
		if i%3 == 0 {
			out = append(out, Request{Prompt: slices.Clone(ids), Episode: uint64(i), Sample: 1})
		}
	}
	return out
}

func generate(t testing.TB, m *model.Model, a *peft.Adapter, reqs []Request, o Options) []Completion {
	t.Helper()
	cs, err := Generate(context.Background(), m, []*peft.Adapter{a}, reqs, o)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func sameCompletion(t *testing.T, what string, got, want Completion) {
	t.Helper()
	if got.Stop != want.Stop || got.StopString != want.StopString || !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.LogProbs, want.LogProbs) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// samplers are the kinds of distribution that the tests below draw from.
var samplers = map[string]Options{
	"whole":       {Temperature: 1, Seed: 3},
	"temperature": {Temperature: 0.7, Seed: 3},
	"filtered":    {Temperature: 1.3, TopK: 50, TopP: 0.9, MinP: 0.02, Seed: 3},
	"greedy":      {Greedy: true},
	"minimum":     {Temperature: 1, MinNew: 5, Seed: 3},
	"bf16 cache":  {Temperature: 1, Seed: 3, KV: kernels.KVBF16},
	"int8 cache":  {Temperature: 1, Seed: 3, KV: kernels.KVInt8},
}

// TestSameBits: neither batch size, order and company of requests, threads nor kernels change an id or a
// log-probability.
func TestSameBits(t *testing.T) {
	m, a := small(t, 2)
	one, _ := small(t, 1)
	reqs := prompts(m.Vocab, 11)
	for name, o := range samplers {
		t.Run(name, func(t *testing.T) {
			o.MaxNew, o.StopIDs = 12, everyFifth(m.Vocab)
			want := generate(t, m, a, reqs, o)
			lengths := map[int]bool{}
			for _, c := range want {
				lengths[len(c.IDs)] = true
			}
			if len(lengths) < 3 && name != "greedy" {
				t.Fatalf("all completions have nearly the same length: %v", lengths)
			}
			for _, batch := range []int{1, 2, 5, 100} {
				o.MaxBatch = batch
				for i, c := range generate(t, one, a, reqs, o) {
					sameCompletion(t, fmt.Sprintf("batch of %d, one thread, request %d", batch, i), c, want[i])
				}
			}
			perm := rng.New(8).Perm(len(reqs))
			shuffled := make([]Request, len(reqs))
			for i, k := range perm {
				shuffled[i] = reqs[k]
			}
			o.MaxBatch = 4
			for i, c := range generate(t, m, a, shuffled, o) {
				sameCompletion(t, fmt.Sprint("shuffled, request ", perm[i]), c, want[perm[i]])
			}
			for i, r := range reqs[:4] {
				sameCompletion(t, fmt.Sprint("alone, request ", i), generate(t, m, a, []Request{r}, o)[0], want[i])
			}
		})
	}
}

func everyFifth(vocab int) []int32 {
	var ids []int32
	for i := 2; i < vocab; i += 5 {
		ids = append(ids, int32(i))
	}
	return ids
}

// TestSharedBeginning: prompts with a common beginning give what they give without one to share.
func TestSharedBeginning(t *testing.T) {
	m, a := small(t, 2)
	reqs := prompts(m.Vocab, 6)
	head := prompts(m.Vocab, 1)[0].Prompt
	for len(head) < 2*sharedTokens {
		head = append(head, head...)
	}
	for i := range reqs {
		reqs[i].Prompt = append(slices.Clone(head), reqs[i].Prompt...)
	}
	for _, kv := range []kernels.KVType{kernels.KVFloat32, kernels.KVBF16, kernels.KVInt8} {
		o := Options{Temperature: 1, MaxNew: 6, Seed: 1, MaxBatch: 3, KV: kv}
		for i, c := range generate(t, m, a, reqs, o) {
			sameCompletion(t, fmt.Sprint(kv, " cache, request ", i), c, generate(t, m, a, reqs[i:i+1], o)[0])
		}
	}
}

// TestLongPromptsComeInPieces: a prompt goes through the model in pieces that take no more memory than short ones, and nothing
// else changes.
func TestLongPromptsComeInPieces(t *testing.T) {
	m, a := small(t, 2)
	long := func(n int) Request {
		draw, ids := rng.New(uint64(n)), make([]int32, n)
		for i := range ids {
			ids[i] = int32(draw.IntN(m.Vocab))
		}
		return Request{Prompt: ids}
	}
	o := Options{Temperature: 1, MaxNew: 3, Seed: 1, MaxBatch: 8}
	bytes := func(reqs ...Request) int {
		if err := validate(m, 1, reqs, &o); err != nil {
			t.Fatal(err)
		}
		g := newGenerator(m, []*peft.Adapter{a}, reqs, &o)
		for g.next < len(reqs) || len(g.running) > 0 {
			if err := g.token(); err != nil {
				t.Fatal(err)
			}
		}
		for i, c := range g.done {
			logps, _, err := m.LogProbsOf(context.Background(), tensor.NewInferenceTape(m.Pool()), a,
				[]model.Continuation{{Context: reqs[i].Prompt, IDs: c.IDs}}, 1, len(reqs[i].Prompt)+o.MaxNew)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(c.LogProbs, logps[0]) {
				t.Errorf("prompt of %d tokens: sampler %v, trainer %v", len(reqs[i].Prompt), c.LogProbs, logps[0])
			}
		}
		return g.tape.Touched()
	}
	limit := bytes(long(promptTokens))
	for _, reqs := range [][]Request{{long(promptTokens + 1)}, {long(2*promptTokens + 500)}, {long(40), long(promptTokens + 30), long(50)}, {long(2 * promptTokens), long(7)}} {
		if n := bytes(reqs...); n > limit+limit/20 { // a logits row a sequence more
			t.Errorf("%d prompts, the first of %d tokens: %d bytes, a prompt of %d tokens takes %d", len(reqs), len(reqs[0].Prompt), n, promptTokens, limit)
		}
	}
}

// TestLogProbsAreTheTrainers: without filters the sampler's log-probabilities are those of a full forward pass over prompt
// and completion, to the bit, at any temperature.
func TestLogProbsAreTheTrainers(t *testing.T) {
	m, a := small(t, 2)
	reqs := prompts(m.Vocab, 7)
	for _, temperature := range []float32{1, 0.7, 1.9} {
		for _, greedy := range []bool{false, true} {
			cs := generate(t, m, a, reqs, Options{Temperature: temperature, Greedy: greedy, MaxNew: 70, Seed: 5, MaxBatch: 5})
			var all []model.Continuation
			for i, c := range cs {
				all = append(all, model.Continuation{Context: reqs[i].Prompt, IDs: c.IDs})
			}
			logps, _, err := m.LogProbsOf(context.Background(), tensor.NewInferenceTape(m.Pool()), a, all, temperature, 300)
			if err != nil {
				t.Fatal(err)
			}
			for i := range cs {
				if !slices.Equal(cs[i].LogProbs, logps[i]) {
					t.Fatalf("temperature %v, request %d:\nsampler %v\ntrainer %v", temperature, i, cs[i].LogProbs, logps[i])
				}
			}
		}
	}
}

// TestFilteredLogProbs: with filters they are those among the tokens kept: computed here from the logits of a full pass,
// for top-k, in float64.
func TestFilteredLogProbs(t *testing.T) {
	m, a := small(t, 2)
	req := prompts(m.Vocab, 2)[1]
	const k = 5
	c := generate(t, m, a, []Request{req}, Options{Temperature: 1.5, TopK: k, MaxNew: 30, Seed: 5})[0]
	tape := tensor.NewInferenceTape(m.Pool())
	b := model.Pack(append(slices.Clone(req.Prompt), c.IDs...))
	h := m.Hidden(tape, a, b)
	seen := map[int]bool{}
	for i, id := range c.IDs {
		row := slices.Clone(m.Logits(tape, a, h, []int32{int32(len(req.Prompt) - 1 + i)}).Data)
		mine := float64(row[id])
		rank := 0
		for _, z := range row {
			if float64(z) > mine {
				rank++
			}
		}
		seen[rank] = true
		slices.Sort(row)
		sum := 0.0
		for _, z := range row[len(row)-k:] {
			sum += math.Exp((float64(z) - mine) / 1.5)
		}
		// The scaled logit is rounded to float32: u·|z| ≤ 2e-6 for logits below 30.
		if got, want := float64(c.LogProbs[i]), -math.Log(sum); rank >= k || math.Abs(got-want) > 4e-6 {
			t.Errorf("token %d: rank %d, log-probability %v, want %v", i, rank, got, want)
		}
	}
	if len(seen) < 3 {
		t.Errorf("30 draws from the best five fell on %d of them", len(seen))
	}
}

// TestGreedyAgainstReference: the models' reference continuations.
func TestGreedyAgainstReference(t *testing.T) {
	for _, name := range []string{"stories260k", "stories3m"} {
		dir := golden.Shared(t, "models/"+name)
		m := openFolder(t, dir)
		var ref struct {
			Cases []struct {
				IDs    []int32 `json:"input_ids"`
				Greedy []int32 `json:"greedy_ids"`
			} `json:"cases"`
		}
		golden.JSON(t, filepath.Join(dir, "golden.json"), &ref)
		var reqs []Request
		for _, c := range ref.Cases {
			reqs = append(reqs, Request{Prompt: c.IDs})
		}
		cs := generate(t, m, nil, reqs, Options{Greedy: true, MaxNew: 200, IgnoreStop: true})
		for i, c := range ref.Cases {
			want := c.Greedy
			if len(want) > len(c.IDs) && slices.Equal(want[:len(c.IDs)], c.IDs) {
				want = want[len(c.IDs):]
			}
			if n := min(len(want), 200); n == 0 || !slices.Equal(cs[i].IDs[:n], want[:n]) {
				t.Errorf("%s, case %d: %v, want %v", name, i, cs[i].IDs, want)
			}
		}
	}
}

// TestRefusals: what is wrong is said, by name.
func TestRefusals(t *testing.T) {
	m, _ := small(t, 1)
	good := []Request{{Prompt: []int32{1}}}
	for want, c := range map[string]struct {
		reqs []Request
		o    Options
	}{
		"temperature":      {good, Options{MaxNew: 1}},
		"temperature is N": {good, Options{MaxNew: 1, Temperature: float32(math.NaN())}},
		"top-k":            {good, Options{MaxNew: 1, Temperature: 1, TopK: -1}},
		"top-p":            {good, Options{MaxNew: 1, Temperature: 1, TopP: 1.5}},
		"min-p":            {good, Options{MaxNew: 1, Temperature: 1, MinP: math.NaN()}},
		"maximum":          {good, Options{Temperature: 1}},
		"minimum":          {good, Options{Temperature: 1, MaxNew: 3, MinNew: 4}},
		"batch":            {good, Options{Temperature: 1, MaxNew: 3, MaxBatch: -1}},
		"tokenizer":        {good, Options{Temperature: 1, MaxNew: 3, StopStrings: []string{"x"}}},
		"empty stop":       {good, Options{Temperature: 1, MaxNew: 3, StopStrings: []string{""}, Decoder: letters{}}},
		"stop ids":         {good, Options{Temperature: 1, MaxNew: 3, StopIDs: []int32{5000}}},
		"prompt 1 is":      {[]Request{good[0], {}}, Options{Temperature: 1, MaxNew: 3}},
		"prompt 0: token":  {[]Request{{Prompt: []int32{-1}}}, Options{Temperature: 1, MaxNew: 3}},
	} {
		if _, err := Generate(context.Background(), m, nil, c.reqs, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, have %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Temperature: 1, MaxNew: 50}
	o.Token = func(int, int32, float32) { cancel() }
	if _, err := Generate(ctx, m, nil, good, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if cs, err := Generate(context.Background(), m, nil, nil, Options{Temperature: 1, MaxNew: 1}); err != nil || len(cs) != 0 {
		t.Errorf("no requests: %v, %v", cs, err)
	}
}

// TestDamagedWeights: logits that are not numbers end in an error, not in tokens.
func TestDamagedWeights(t *testing.T) {
	m, a := small(t, 1)
	for i := range a.Values {
		a.Values[i] = float32(math.NaN())
	}
	if _, err := Generate(context.Background(), m, []*peft.Adapter{a}, prompts(m.Vocab, 1), Options{Temperature: 1, MaxNew: 3}); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("error %v", err)
	}
}

// TestToken: every token is told once, in its sequence's order, as it is in the result; the number of completions that are whole rises
// to all.
func TestToken(t *testing.T) {
	m, a := small(t, 2)
	reqs := prompts(m.Vocab, 5)
	ids, logps := make([][]int32, len(reqs)), make([][]float32, len(reqs))
	o := Options{Temperature: 1, MaxNew: 9, MaxBatch: 3, Token: func(r int, id int32, logp float32) {
		ids[r], logps[r] = append(ids[r], id), append(logps[r], logp)
	}}
	last := 0
	o.Ended = func(done int) {
		if done <= last {
			t.Errorf("%d completions are whole after %d", done, last)
		}
		last = done
	}
	defer func() {
		if last != len(reqs) {
			t.Errorf("%d completions were told of, want %d", last, len(reqs))
		}
	}()
	for i, c := range generate(t, m, a, reqs, o) {
		if !slices.Equal(c.IDs, ids[i]) || !slices.Equal(c.LogProbs, logps[i]) {
			t.Errorf("request %d: told %v, returned %v", i, ids[i], c.IDs)
		}
	}
}

// Once the sequences run, of two adapters, a token of each leaves no garbage, drawn from all tokens or from some, or the likeliest.
func TestTokensLeaveNoGarbage(t *testing.T) {
	for name, o := range map[string]Options{
		"whole":  {Temperature: 0.8},
		"greedy": {Greedy: true},
		"top-k":  {Temperature: 1, TopK: 20, MinP: 0.01},
	} {
		for _, threads := range []int{1, 2} {
			m, a := small(t, threads)
			o.MaxNew, o.MaxBatch, o.IgnoreStop = 100, 7, true
			reqs := prompts(m.Vocab, 7)
			for i := range reqs {
				reqs[i].Adapter = i % 2
			}
			g := newGenerator(m, []*peft.Adapter{a, nil}, reqs, &o)
			token := func() {
				if err := g.token(); err != nil {
					t.Fatal(err)
				}
			}
			for range 10 {
				token()
			}
			if n := testing.AllocsPerRun(40, token); n != 0 {
				t.Errorf("%s, %d threads: %v allocations a token of seven sequences", name, threads, n)
			}
		}
	}
}
