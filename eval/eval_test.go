package eval

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/rollout"
	"plumb/internal/run"
	"plumb/internal/stats"
	"plumb/internal/tensor"
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

func newStage(t *testing.T) *run.Stage {
	t.Helper()
	d, err := run.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	st := d.Stage("eval")
	if _, err := st.Begin(run.Manifest{}); err != nil {
		t.Fatal(err)
	}
	return st
}

// lengthJudge prefers longer answers.
type lengthJudge struct{}

func (lengthJudge) Score(_ context.Context, answers []Answer) ([]float64, error) {
	out := make([]float64, len(answers))
	for i, a := range answers {
		out[i] = float64(len(a.IDs))
	}
	return out, nil
}

func rowsOf(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

func testInputs(t *testing.T, m *model.Model) (Config, Inputs) {
	t.Helper()
	a, err := peft.New(peft.Default(), m.Modules(), 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Values { // away from the base
		a.Values[i] += 0.05 * float32(i%5-2)
	}
	in := Inputs{
		Model: m, Before: Policy{"base", nil}, After: Policy{"tuned", a}, StopIDs: []int32{2}, Seed: 7,
		Judge: Scorer{Name: "length", Judge: lengthJudge{}}, Proxies: []Scorer{{Name: "again", Hash: "proxy", Judge: lengthJudge{}}},
		Decode: func(_, ids []int32) string { return strings.Trim(fmt.Sprint(ids), "[]") },
	}
	for i := range 6 {
		in.Prompts = append(in.Prompts, Prompt{Text: fmt.Sprint("prompt ", i), IDs: []int32{int32(3 + i), 9}})
		in.Held = append(in.Held, Held{IDs: []int32{4, int32(5 + i), 6}, Weight: []float32{0, 0, 1}})
	}
	c := Default()
	c.Prompts, c.MaxNew, c.Bootstrap, c.Judge.Gold, c.Limit = "file", 12, 200, "embedded:tales", 5
	return c, in
}

func TestRunComparesPairedAndReproducibly(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	st := newStage(t)
	r, err := Run(context.Background(), c, in, st)
	if err != nil {
		t.Fatal(err)
	}
	if r.Prompts != 5 || len(r.Comparisons) != 2 || r.Comparisons[0].Role != "judge" || r.Comparisons[1].Role != "proxy" {
		t.Fatalf("%d prompts, comparisons %+v", r.Prompts, r.Comparisons)
	}
	if r.Comparisons[0].Before != r.TextsBefore.LengthMean || r.Comparisons[0].After != r.TextsAfter.LengthMean {
		t.Error("the judge of length and the lengths disagree")
	}
	if !(r.KL > 0) || !(r.KLK3 > 0) {
		t.Errorf("KL of a moved policy: %g, %g", r.KL, r.KLK3)
	}
	if r.PerplexityN != 6 || r.PerplexityB == nil || *r.PerplexityB == *r.PerplexityA {
		t.Errorf("perplexity over %d tokens: %v, %v", r.PerplexityN, r.PerplexityB, r.PerplexityA)
	}
	// Fluency from the model's own logits, one answer after the other.
	for side, got := range map[*[]Answer]stats.Number{&r.before: r.FluencyBefore, &r.after: r.FluencyAfter} {
		nll, n := 0.0, 0
		for _, a := range *side {
			tape := tensor.NewInferenceTape(m.Pool())
			ids := append(append([]int32(nil), a.PromptIDs...), a.IDs...)
			logits := m.Logits(tape, nil, m.Hidden(tape, nil, model.Pack(ids)), rowsOf(len(ids)))
			for i := len(a.PromptIDs); i < len(ids); i++ {
				row := logits.Data[(i-1)*logits.Cols : i*logits.Cols]
				sum := 0.0
				for _, l := range row {
					sum += math.Exp(float64(l))
				}
				nll += math.Log(sum) - float64(row[ids[i]])
				n++
			}
		}
		// float32 logits of size below 10: 1e-5 relative is ample.
		if want := math.Exp(nll / float64(n)); math.Abs(float64(got)/want-1) > 1e-5 {
			t.Errorf("perplexity of the answers %g, want %g", got, want)
		}
	}
	first := map[string][]byte{}
	for _, f := range Outputs() {
		if first[f], err = os.ReadFile(st.Path(f)); err != nil {
			t.Fatal(err)
		}
	}
	var back Report
	if err := json.Unmarshal(first["report.json"], &back); err != nil || back.KL != r.KL {
		t.Errorf("report.json reads back KL %g, %v", back.KL, err)
	}
	if !bytes.Contains(first["report.html"], []byte("tuned compared with base")) || bytes.Count(first["answers.jsonl"], []byte("\n")) != 5 {
		t.Error("the report lacks its title, or the answers their lines")
	}
	again := newStage(t)
	if _, err := Run(context.Background(), c, in, again); err != nil {
		t.Fatal(err)
	}
	for _, f := range Outputs() {
		if text, _ := os.ReadFile(again.Path(f)); !bytes.Equal(text, first[f]) {
			t.Errorf("%s differs the second time", f)
		}
	}
}

// The same policy on both sides draws the same answers: all ties, no divergence.
func TestAPolicyTiesWithItself(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	in.Before.Adapter = in.After.Adapter
	r, err := Run(context.Background(), c, in, newStage(t))
	if err != nil {
		t.Fatal(err)
	}
	if k := r.Comparisons[0]; k.WinRate != 0.5 || k.Ties != 5 || k.P != 1 || r.KL != 0 || r.TextsAfter.IdenticalTo != 1 {
		t.Errorf("%+v, KL %g, identical %g", k, r.KL, r.TextsAfter.IdenticalTo)
	}
}

func TestTheScorerThatPPOOptimisedIsNoJudge(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	in.Judge.Hash, in.Optimised = "abc", []string{"x", "abc"}
	if _, err := Run(context.Background(), c, in, newStage(t)); err == nil || !strings.Contains(err.Error(), "PPO optimised") {
		t.Errorf("a proxy was taken as judge: %v", err)
	}
}

// By hand: differences 1, 0, -1, 3 have mean 0.75, and the first wins two, ties one, loses one.
func TestCompare(t *testing.T) {
	c, err := compare(Scorer{Name: "s"}, []float64{0, 2, 3, 1}, []float64{1, 2, 2, 4}, Default(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if c.Difference != 0.75 || c.Wins != 2 || c.Ties != 1 || c.Losses != 1 || c.WinRate != 0.625 || c.Before != 1.5 || c.After != 2.25 {
		t.Errorf("%+v", c)
	}
	// Two answers to each of two prompts: means 1 and 1.5 before, 1.5 and 3 after.
	cfg := Default()
	cfg.Samples = 2
	if c, err = compare(Scorer{Name: "s"}, []float64{0, 2, 2, 1}, []float64{1, 2, 2, 4}, cfg, 1); err != nil {
		t.Fatal(err)
	}
	// Differences 0.5 and 1.5 have mean 1 and standard error sqrt(0.5/2) = 0.5: t = 2 with one degree of freedom, of which the
	// two-sided p is 1 - 2/pi*atan(2).
	if c.N != 2 || c.Difference != 1 || c.Wins != 2 || math.Abs(c.P-(1-2/math.Pi*math.Atan(2))) > 1e-12 || len(c.BeforeScores) != 4 {
		t.Errorf("two answers a prompt: %+v", c)
	}
	if _, err := compare(Scorer{}, []float64{math.NaN()}, []float64{1}, Default(), 1); err == nil {
		t.Error("a score that is no number was compared")
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	c := Default()
	err := c.Validate()
	if err == nil || !strings.Contains(err.Error(), "prompts") || !strings.Contains(err.Error(), "judge") {
		t.Errorf("%v", err)
	}
	c.Prompts, c.Judge.Reward = "p", "runs/x/reward"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.TopP = 0
	if err := c.Validate(); err == nil {
		t.Error("top_p 0 passed")
	}
}

// The draws are eval's own: those that another stage makes with the recipe's seed give other answers.
func TestDrawsAreEvalsOwn(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	e := &evaluation{cfg: c, in: in}
	both, err := e.answers(context.Background(), in.Before, in.After)
	if err != nil {
		t.Fatal(err)
	}
	got := both[0]
	for i, p := range []Policy{in.Before, in.After} {
		alone, err := e.answers(context.Background(), p)
		if err != nil || !reflect.DeepEqual(alone[0], both[i]) {
			t.Errorf("answers of %s alone are others, %v", p.Name, err)
		}
	}
	if reflect.DeepEqual(both[0], both[1]) {
		t.Error("both sides answer alike")
	}
	var reqs []rollout.Request
	for i, q := range in.Prompts {
		reqs = append(reqs, rollout.Request{Prompt: q.IDs, Episode: uint64(i)})
	}
	same := map[uint64]int{}
	for _, seed := range []uint64{in.Seed, rng.Derive(in.Seed, sampleStream)} {
		done, err := rollout.Generate(context.Background(), m, nil, reqs, rollout.Options{Temperature: 1, StopIDs: in.StopIDs, MaxNew: c.MaxNew, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		for i := range done {
			if slices.Equal(done[i].IDs, got[i].IDs) {
				same[seed]++
			}
		}
	}
	if same[in.Seed] == len(reqs) || same[rng.Derive(in.Seed, sampleStream)] != len(reqs) {
		t.Errorf("of %d answers, %d are those of the recipe's seed, %d those of eval's", len(reqs), same[in.Seed], same[rng.Derive(in.Seed, sampleStream)])
	}
}

// One prompt is enough to look at: what it cannot say is null in report.json, and nothing is escaped for HTML in answers.jsonl.
func TestOnePrompt(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	c.Limit = 1
	in.Prompts[0].Text = "a < b > c & d"
	st := newStage(t)
	r, err := Run(context.Background(), c, in, st)
	if err != nil {
		t.Fatal(err)
	}
	if k := r.Comparisons[0]; k.P != 1 || k.SignP != 1 || !math.IsNaN(float64(k.BeforeSE)) {
		t.Errorf("one answer a side: %+v", k)
	}
	text, err := os.ReadFile(st.Path("report.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"before_se": null`, `"kl_se": null`, `"low": `, `"high": `} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("report.json lacks %s", want)
		}
	}
	if text, _ = os.ReadFile(st.Path("answers.jsonl")); !bytes.Contains(text, []byte(`"a < b > c & d"`)) {
		t.Errorf("answers.jsonl: %s", text)
	}
}
