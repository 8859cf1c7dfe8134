package reward

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/run"
)

func openModel(t *testing.T) *model.Model {
	t.Helper()
	src, err := checkpoint.Open(golden.Dir(t, "models/llama"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := model.ParseConfig(src.ConfigJSON)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(cfg, src, kernels.NewPool(2))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newAdapter(t *testing.T, m *model.Model, dropout float64) *peft.Adapter {
	t.Helper()
	a, err := peft.New(peft.Default(), m.Modules(), 3)
	if err != nil {
		t.Fatal(err)
	}
	a.AddScoreHead(m.Config.Hidden, 4, 0.1)
	return a
}

// invent makes pairs in which the better answer ends with a larger id, three answers a prompt.
func invent(n, vocab int) []Pair {
	out := make([]Pair, n)
	for i := range out {
		r := rng.New(12, uint64(i))
		prompt := []int32{int32(i / 3 % vocab), 5}
		side := func(low, high int) []int32 {
			ids := slices.Clone(prompt)
			for range 1 + r.IntN(5) {
				ids = append(ids, int32(r.IntN(vocab)))
			}
			return append(ids, int32(low+r.IntN(high-low)))
		}
		out[i] = Pair{Prompt: string(rune('a' + i/3)), Chosen: side(vocab/2, vocab), Rejected: side(3, vocab/2), Better: 1}
		if i%7 == 6 {
			out[i].Better = 0.5
		}
	}
	return out
}

func testConfig() Config {
	c := Default()
	c.Data = []Source{{Path: "none"}}
	c.Batch, c.MicroTokens, c.LR, c.EvalEvery, c.SaveEvery = 6, 40, 1e-2, 3, 2
	return c
}

var errKilled = errors.New("killed")

type stopper struct {
	after, seen int
	stop        func()
}

func (s *stopper) Step(_, _ int, _ string) {
	switch s.seen++; s.seen {
	case s.after:
		s.stop()
	case -s.after:
		panic(errKilled)
	}
}

func attempt(ctx context.Context, c Config, in Inputs, st *run.Stage) (a Result, err error) {
	defer func() {
		if r := recover(); r == errKilled {
			err = errKilled
		} else if r != nil {
			panic(r)
		}
	}()
	return Train(ctx, c, in, st)
}

// trainThrough trains in root, interrupted (every > 0) or killed once (every < 0) after that many steps.
func trainThrough(t *testing.T, m *model.Model, c Config, pairs []Pair, root string, every int) (*peft.Adapter, Result) {
	t.Helper()
	for {
		d, err := run.Open(root, "test")
		if err != nil {
			t.Fatal(err)
		}
		st := d.Stage("reward")
		if _, err := st.Begin(run.Manifest{}); err != nil {
			t.Fatal(err)
		}
		a := newAdapter(t, m, 0.1)
		ctx, stop := context.WithCancel(context.Background())
		in := Inputs{Model: m, Adapter: a, Train: pairs[:36], Held: pairs[36:], Seed: 1, Progress: &stopper{after: every, stop: stop}}
		acc, err := attempt(ctx, c, in, st)
		stop()
		if err == nil {
			err = st.Finish(acc.Steps, nil)
		}
		d.Close()
		switch err {
		case nil:
			return a, acc
		case errKilled:
			every = 0
		case context.Canceled:
		default:
			t.Fatal(err)
		}
	}
}

// Interrupted or killed at any step, also where no scheduled checkpoint follows: every file but the timing has the same bytes.
func TestInterruptedRunsEndInTheSameBytes(t *testing.T) {
	m := openModel(t)
	pairs := invent(48, m.Vocab)
	for _, saveEvery := range []int{2, 4, 100} { // of 6 steps
		c := testConfig()
		c.SaveEvery, c.EvalEvery = saveEvery, 4
		whole := t.TempDir()
		want, done := trainThrough(t, m, c, pairs, whole, 0)
		if done.Held.N == 0 || done.Held.N == 12 || done.Steps != 6 {
			t.Fatalf("%d of 12 held-out pairs counted after %d steps: ties must not be", done.Held.N, done.Steps)
		}
		for _, every := range []int{1, 2, 3, 5, -3, -5} {
			parts := t.TempDir()
			got, again := trainThrough(t, m, c, pairs, parts, every)
			if !slices.Equal(want.Values, got.Values) || done.Held.Accuracy != again.Held.Accuracy || done.Steps != again.Steps {
				t.Errorf("saved every %d steps, interrupted at %d: other parameters, accuracy or steps", saveEvery, every)
			}
			sameFiles(t, filepath.Join(whole, "test", "reward"), filepath.Join(parts, "test", "reward"))
		}
	}
}

var timing = regexp.MustCompile(`(?s)"timing": \{.*?\}`)

// Within any room that suffices a training gives the same bits; one that does not is refused, and the key to lower is named.
func TestRoomChangesNothing(t *testing.T) {
	m, c := openModel(t), testConfig()
	pairs := invent(40, m.Vocab)
	train := func(room func(int) int) (a *peft.Adapter, again float64, err error) {
		before := m.Pool().Work()
		dir, err := run.Open(t.TempDir(), "r")
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		st := dir.Stage("reward")
		if _, err := st.Begin(run.Manifest{}); err != nil {
			t.Fatal(err)
		}
		a = newAdapter(t, m, 0)
		_, err = Train(context.Background(), c, Inputs{Model: m, Adapter: a, Train: pairs, Seed: 1, Room: room}, st)
		return a, m.Pool().Work().Sub(before).Recomputed, err
	}
	want, once, err := train(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, again, err := train(func(coming int) int {
		if coming < 8*len(want.Values) {
			t.Errorf("%d bytes are to come, the moments alone are %d", coming, 8*len(want.Values))
		}
		return 1 << 20
	})
	if err != nil || !slices.Equal(want.Values, got.Values) {
		t.Error("another reward model", err)
	}
	if again < 1.2*once {
		t.Errorf("%g operations were computed again, without a bound %g", again, once)
	}
	if _, _, err = train(func(int) int { return 1000 }); err == nil || !strings.Contains(err.Error(), "lower reward.micro_tokens") {
		t.Error(err)
	}
}

func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	list := func(root string) map[string]string {
		out := map[string]string{}
		err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() || info.Name() == "timing.jsonl" {
				return err
			}
			text, err := os.ReadFile(path)
			rel, _ := filepath.Rel(root, path)
			out[rel] = timing.ReplaceAllString(string(text), "")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	x, y := list(a), list(b)
	for name := range x {
		if y[name] != x[name] {
			t.Errorf("%s differs", name)
		}
	}
	for name := range y {
		if _, ok := x[name]; !ok {
			t.Errorf("%s is there, the undisturbed run has none", name)
		}
	}
}

// What separates the pairs is learned, on prompts that were not trained on.
func TestLearnsWhatSeparatesThePairs(t *testing.T) {
	m := openModel(t)
	pairs := invent(300, m.Vocab)
	for _, p := range pairs {
		p.Chosen[len(p.Chosen)-1], p.Rejected[len(p.Rejected)-1] = int32(m.Vocab-1), 3
	}
	c := testConfig()
	c.Epochs, c.Batch, c.EvalEvery = 2, 10, 1000
	root := t.TempDir()
	d, err := run.Open(root, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	st := d.Stage("reward")
	if _, err := st.Begin(run.Manifest{}); err != nil {
		t.Fatal(err)
	}
	a := newAdapter(t, m, 0)
	in := Inputs{Model: m, Adapter: a, Train: pairs[:240], Held: pairs[240:]}
	before, err := Measure(context.Background(), m, a, in.Held, 100)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Train(context.Background(), c, in, st)
	if err != nil {
		t.Fatal(err)
	}
	if !(after.Held.Accuracy > 0.9 && after.Held.Interval.Low > before.Accuracy) {
		t.Errorf("accuracy %.3f before, %.3f after on pairs that one token separates", before.Accuracy, after.Held.Accuracy)
	}
	// Saved and loaded, the head scores the same bits; a head that is lost is noticed.
	scorer := &Scorer{Model: m, Adapter: a, Scale: Scale{2, 0.5}, MicroTokens: 64}
	probe := [][]int32{pairs[0].Chosen, pairs[1].Rejected}
	if err := Save(context.Background(), scorer, st, "models/llama", probe); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(m, st.Path(AdapterDir))
	if err != nil {
		t.Fatal(err)
	}
	x, _ := scorer.Score(context.Background(), probe)
	y, _ := loaded.Score(context.Background(), probe)
	if !slices.Equal(x, y) || loaded.Scale != scorer.Scale {
		t.Errorf("scores %v after loading, %v before", y, x)
	}
	plain, err := peft.New(peft.Default(), m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	headless := t.TempDir()
	if err := plain.Save(headless, "models/llama"); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(m, headless); err == nil || !strings.Contains(err.Error(), "score.weight") {
		t.Errorf("an adapter without a head was taken for a reward model: %v", err)
	}
}

// The reference's scores of padded batches (PEFT, sequence classification), within its tolerance.
func TestScoresAgainstPEFT(t *testing.T) {
	dir := golden.Dir(t, "peft/reward-llama")
	m := openModel(t)
	s, err := Load(m, dir)
	if err != nil {
		t.Fatal(err)
	}
	ref := golden.Tensors(t, filepath.Join(dir, "golden.safetensors"))
	compared, want := 0, ref["scores"]
	for name, x := range ref {
		if !strings.HasPrefix(name, "input_ids.") {
			continue
		}
		var ids []int32
		for _, v := range x.I {
			ids = append(ids, int32(v))
		}
		i, err := strconv.Atoi(strings.TrimPrefix(name, "input_ids."))
		if err != nil {
			continue
		}
		got, err := s.Score(context.Background(), [][]int32{ids})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got[0]-float64(want.F[i])) > 5e-5 {
			t.Errorf("%s scores %g, want %g", name, got[0], want.F[i])
		}
		compared++
	}
	if compared != 3 {
		t.Fatalf("nothing compared; the reference has %v", keys(ref))
	}
}

func keys(m map[string]golden.Tensor) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// A prompt's pairs are consecutive in every epoch's order, and every pair is taken once an epoch.
func TestPlanKeepsAPromptTogether(t *testing.T) {
	pairs := invent(31, 50)
	c := testConfig()
	c.Epochs, c.Batch = 2, 5
	p := newPlan(c, pairs, 9)
	var first []string
	for e := range 2 {
		var order []string
		seen := 0
		for k := e * p.perEpoch; k < (e+1)*p.perEpoch; k++ {
			for _, x := range p.pairs(k) {
				seen++
				if len(order) == 0 || order[len(order)-1] != x.Prompt {
					order = append(order, x.Prompt)
				}
			}
		}
		if seen != 31 || len(order) != 11 {
			t.Errorf("epoch %d takes %d pairs in %d runs of prompts, want 31 in 11", e, seen, len(order))
		}
		if e == 0 {
			first = order
		} else if slices.Equal(first, order) {
			t.Error("both epochs have the same order")
		}
	}
}

// By hand: scores 1, 2, 3 have mean 2 and biased deviation √(2/3).
func TestFindScale(t *testing.T) {
	s, err := FindScale([]float64{1, 2, 3}, true)
	if err != nil || math.Abs(s.Gain-math.Sqrt(1.5)) > 1e-15 || math.Abs(s.Bias+2*math.Sqrt(1.5)) > 1e-15 {
		t.Errorf("scale %+v, %v", s, err)
	}
	if _, err := FindScale([]float64{1, math.NaN()}, true); err == nil {
		t.Error("a score that is no number was averaged")
	}
}

func TestScoresThatAreNoNumbersAreRefused(t *testing.T) {
	m := openModel(t)
	a := newAdapter(t, m, 0)
	for i := range a.Values {
		a.Values[i] = float32(math.Inf(1))
	}
	if _, err := Measure(context.Background(), m, a, invent(3, m.Vocab), 30); err == nil || !strings.Contains(err.Error(), "diverged") {
		t.Errorf("%v", err)
	}
}

// Without a pair that counts there is no accuracy to tell.
func TestNothingMeasured(t *testing.T) {
	if s := (Accuracy{}).String(); !strings.Contains(s, "not measured") {
		t.Errorf("%q", s)
	}
}

// Exchanging the sides and the label leaves the loss as it is and negates the gap.
func TestSwapNegatesTheGap(t *testing.T) {
	m := openModel(t)
	a := newAdapter(t, m, 0)
	pairs := invent(9, m.Vocab)
	swapped := slices.Clone(pairs)
	for i, p := range pairs {
		swapped[i].Chosen, swapped[i].Rejected, swapped[i].Better = p.Rejected, p.Chosen, 1-p.Better
	}
	x, err := Measure(context.Background(), m, a, pairs, 30)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Measure(context.Background(), m, a, swapped, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(x.Loss-y.Loss) > 1e-12 || x.Gap != -y.Gap {
		t.Errorf("loss %g and %g, gap %g and %g", x.Loss, y.Loss, x.Gap, y.Gap)
	}
}
