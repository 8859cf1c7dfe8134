package sft

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/optim"
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

func newStage(t *testing.T, root string) *run.Stage {
	t.Helper()
	d, err := run.Open(root, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	st := d.Stage("sft")
	if _, err := st.Begin(run.Manifest{}); err != nil {
		t.Fatal(err)
	}
	return st
}

func newAdapter(t *testing.T, m *model.Model, dropout float64) *peft.Adapter {
	t.Helper()
	cfg := peft.Default()
	cfg.Dropout = dropout
	a, err := peft.New(cfg, m.Modules(), 3)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// invent makes rows of random ids in which each target follows from the one before, so that there is something to learn.
func invent(n, vocab int) []Row {
	out := make([]Row, n)
	for i := range out {
		r := rng.New(11, uint64(i))
		row := Row{IDs: []int32{int32(r.IntN(vocab))}, Weights: []float32{0}}
		for j := range 3 + r.IntN(9) {
			row.IDs = append(row.IDs, (row.IDs[j]*5+3)%int32(vocab))
			row.Weights = append(row.Weights, float32(j%3))
		}
		out[i] = row
	}
	return out
}

func testConfig() Config {
	c := Default()
	c.Data = []Source{{Path: "none"}}
	c.Batch, c.MicroTokens, c.LR, c.EvalEvery, c.SaveEvery, c.Epochs = 4, 40, 1e-2, 3, 2, 2
	return c
}

// The twenty steps of PEFT's LoRA training that the reference recorded: loss, gradient norm and rate of every step, and the
// adapter it ended with. The reference says how far float32 was from float64: 4e-6 in the loss, 2e-5 in the parameters; ours
// is another float32, so twice that is allowed.
func TestTrajectoryAgainstPEFT(t *testing.T) {
	dir := golden.Dir(t, "peft/train-lora")
	m := openModel(t)
	var ref struct {
		Steps []struct {
			LossFloat64 float64   `json:"loss_float64"`
			NormFloat64 float64   `json:"grad_norm_float64"`
			LR          []float64 `json:"lr"`
		} `json:"steps"`
	}
	golden.JSON(t, filepath.Join(dir, "golden.json"), &ref)
	tensors := golden.Tensors(t, filepath.Join(dir, "golden.safetensors"))
	a, err := peft.Load(filepath.Join(dir, "initial"), m.Modules())
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig()
	c.Batch, c.Epochs, c.LR, c.Warmup, c.MicroTokens = 4, 1, 0.01, 0.2, 30
	c.Optimizer.WeightDecay = 0.01
	order := tensors["micro_batches"].I
	train := make([]Row, len(order))
	for i, at := range rng.New(5, orderStream, 0).Perm(len(order)) {
		var row Row
		for _, id := range tensors[fmt.Sprintf("row.%d.input_ids", order[i])].I {
			row.IDs = append(row.IDs, int32(id))
		}
		for _, w := range tensors[fmt.Sprintf("row.%d.loss_mask", order[i])].I {
			row.Weights = append(row.Weights, float32(w))
		}
		train[at] = row
	}
	tr, err := newTrainer(c, Inputs{Model: m, Adapter: a, Train: train, Seed: 5}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tr.plan.steps != len(ref.Steps) || tr.plan.steps != 20 {
		t.Fatalf("%d steps planned, the reference has %d", tr.plan.steps, len(ref.Steps))
	}
	for k, want := range ref.Steps {
		got, norm := oneStep(t, tr, k)
		if d := math.Abs(got - want.LossFloat64); d > 8e-6 {
			t.Errorf("step %d: loss %.9g, want %.9g", k, got, want.LossFloat64)
		}
		if d := math.Abs(norm/want.NormFloat64 - 1); d > 1e-5 {
			t.Errorf("step %d: gradient norm %.9g, want %.9g", k, norm, want.NormFloat64)
		}
		if lr := tr.rates.LR(k); math.Abs(lr-want.LR[0]) > 1e-12 {
			t.Errorf("step %d: rate %g, want %g", k, lr, want.LR[0])
		}
	}
	final, err := peft.Load(filepath.Join(dir, "final"), m.Modules())
	if err != nil {
		t.Fatal(err)
	}
	for i := range final.Values {
		if d := math.Abs(float64(final.Values[i] - a.Values[i])); d > 4e-5 {
			t.Fatalf("parameter %d is %g, want %g", i, a.Values[i], final.Values[i])
		}
	}
}

func oneStep(t *testing.T, tr *trainer, k int) (loss, norm float64) {
	t.Helper()
	rows := tr.plan.rows(k)
	w, err := tr.scratch.stepWeights(rows)
	if err != nil {
		t.Fatal(err)
	}
	s := tr.gradients(rows, w)
	norm = optim.Clip(tr.in.Model.Pool(), tr.in.Adapter.Grads, tr.c.MaxGradNorm)
	tr.opt.Step(tr.in.Adapter.Values, tr.in.Adapter.Grads, tr.rates.LR(k))
	tr.in.Adapter.ZeroGrads()
	return s.loss, norm
}

// Interrupted after any step and gone on in another process, also where no scheduled checkpoint follows: the same bytes in
// every file but the timing.
func TestInterruptedRunsEndInTheSameBytes(t *testing.T) {
	m := openModel(t)
	rows := invent(20, m.Vocab)
	train := func(c Config, root string, stopAfter int) (*peft.Adapter, Summary) {
		for {
			a := newAdapter(t, m, 0.1)
			d, err := run.Open(root, "test")
			if err != nil {
				t.Fatal(err)
			}
			st := d.Stage("sft")
			if _, err := st.Begin(run.Manifest{}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			p := &stopper{after: stopAfter, stop: stop}
			s, err := attempt(func() (Summary, error) {
				return Train(ctx, c, Inputs{Model: m, Adapter: a, Train: rows[:16], Held: rows[16:], Seed: 1, Progress: p}, st)
			})
			stop()
			if err == nil {
				err = st.Finish(s.Steps, nil)
			}
			d.Close()
			if err == errKilled {
				stopAfter = 0
				continue
			}
			if err == nil {
				return a, s
			}
			if err != context.Canceled {
				t.Fatal(err)
			}
		}
	}
	for _, saveEvery := range []int{2, 5, 100} { // of 8 steps, measured every 3
		c := testConfig()
		c.SaveEvery = saveEvery
		whole := t.TempDir()
		want, ws := train(c, whole, 0)
		if ws.Steps != 8 || ws.BestStep == 0 || ws.Tokens == 0 {
			t.Fatalf("undisturbed: %+v", ws)
		}
		for _, every := range []int{1, 2, 3, 5, 7, -3, -4, -7} {
			parts := t.TempDir()
			got, gs := train(c, parts, every)
			if !slices.Equal(want.Values, got.Values) || ws != gs {
				t.Errorf("saved every %d steps, interrupted every %d: other parameters or summary (%+v, undisturbed %+v)", saveEvery, every, gs, ws)
			}
			sameFiles(t, filepath.Join(whole, "test", "sft"), filepath.Join(parts, "test", "sft"))
		}
	}
}

// errKilled stands for a process that was killed: nothing of its memory is left.
var errKilled = errors.New("killed")

// attempt runs f until it returns or a stopper kills it.
func attempt(f func() (Summary, error)) (s Summary, err error) {
	defer func() {
		if r := recover(); r == errKilled {
			err = errKilled
		} else if r != nil {
			panic(r)
		}
	}()
	return f()
}

// stopper interrupts after so many steps, or kills where the number is negative.
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

var timing = regexp.MustCompile(`(?s)"timing": \{.*?\}`)

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
	if len(x) != len(y) {
		t.Errorf("%d files, undisturbed %d", len(y), len(x))
	}
}

// Packing, micro-batches and the order of the rows are not seen by the gradient: two roundings of a sum of products of n = a few thousand terms
// apart, relative to the largest element. Nor does another cut into micro-batches drop other elements.
func TestPackedRowsGiveTheSameGradients(t *testing.T) {
	m := openModel(t)
	rows := invent(6, m.Vocab)
	var packed Row
	packed.Starts = []int32{0}
	for _, r := range rows {
		packed.IDs, packed.Weights = append(packed.IDs, r.IDs...), append(packed.Weights, r.Weights...)
		packed.Starts = append(packed.Starts, int32(len(packed.IDs)))
	}
	grads := func(rows []Row, micro int, dropout float64) ([]float32, float64) {
		c := testConfig()
		c.MicroTokens = micro
		a := newAdapter(t, m, dropout)
		for i := range a.Values { // B starts at zero, where A has no gradient
			a.Values[i] += 0.01 * float32(i%7)
		}
		tr, err := newTrainer(c, Inputs{Model: m, Adapter: a, Train: rows}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := tr.scratch.stepWeights(rows)
		if err != nil {
			t.Fatal(err)
		}
		s := tr.gradients(rows, w)
		return slices.Clone(a.Grads), s.loss
	}
	var losses []float64
	for _, dropout := range []float64{0, 0.3} {
		want, loss := grads(rows, 1, dropout)
		losses = append(losses, loss)
		largest := 0.0
		for _, g := range want {
			largest = max(largest, math.Abs(float64(g)))
		}
		type split struct {
			rows  []Row
			micro int
		}
		cases := []split{{rows, 1000}, {rows, 20}, {[]Row{packed}, 1}}
		if dropout == 0 { // which tokens it leaves out depends on their place in the step
			back := slices.Clone(rows)
			slices.Reverse(back)
			cases = append(cases, split{back, 1}, split{back, 20}, split{append(slices.Clone(rows[3:]), rows[:3]...), 1000})
		}
		for _, c := range cases {
			got, l := grads(c.rows, c.micro, dropout)
			if math.Abs(l-loss) > 1e-12 {
				t.Errorf("loss %.15g, want %.15g", l, loss)
			}
			for i := range want {
				if d := math.Abs(float64(got[i] - want[i])); d > 64*0x1p-24*largest {
					t.Fatalf("gradient %d is %g, want %g", i, got[i], want[i])
				}
			}
		}
	}
	if losses[0] == losses[1] {
		t.Error("nothing is dropped")
	}
}

func TestNothingToLearnIsRefused(t *testing.T) {
	m := openModel(t)
	rows := invent(4, m.Vocab)
	for i := range rows {
		clear(rows[i].Weights)
	}
	_, err := Train(context.Background(), testConfig(), Inputs{Model: m, Adapter: newAdapter(t, m, 0), Train: rows}, newStage(t, t.TempDir()))
	if err == nil {
		t.Fatal("rows without a target were trained on")
	}
	if _, err := newPlan(testConfig(), nil, 0); err == nil {
		t.Error("no rows were planned for")
	}
}

// A step that is not finite is skipped, and the checkpoint behind it can be written.
func TestCheckpointBehindASkippedStep(t *testing.T) {
	m := openModel(t)
	st := newStage(t, t.TempDir())
	tr, err := newTrainer(testConfig(), Inputs{Model: m, Adapter: newAdapter(t, m, 0), Train: invent(4, m.Vocab)}, st)
	if err != nil {
		t.Fatal(err)
	}
	tr.count(stepStats{loss: 2, tokens: 3})
	if err := tr.skip(1, tr.plan.train, math.NaN(), 1); err != nil {
		t.Fatal(err)
	}
	tr.count(stepStats{loss: math.NaN(), tokens: 4})
	if err := st.Checkpoint(tr.state.Step, tr.save); err != nil {
		t.Fatal(err)
	}
	if s := tr.state; s.Step != 2 || s.Tokens != 7 || s.Loss != 2 {
		t.Errorf("state %+v", s)
	}
}

// The best parameters are the result, and patience ends training that gets worse.
func TestEarlyStopKeepsTheBest(t *testing.T) {
	m := openModel(t)
	c := testConfig()
	c.LR, c.Patience, c.Epochs, c.Schedule, c.EvalEvery = 0.5, 2, 40, "constant", 1
	rows := invent(20, m.Vocab)
	a := newAdapter(t, m, 0)
	in := Inputs{Model: m, Adapter: a, Train: rows[:16], Held: rows[16:]}
	s, err := Train(context.Background(), c, in, newStage(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if s.StoppedAt == "" || s.BestStep == 0 || s.BestStep == s.Steps {
		t.Fatalf("training at a rate that diverges went on: %+v", s)
	}
	tr, err := newTrainer(c, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := tr.evaluate(context.Background(), in.Held)
	if err != nil || e.loss != s.EvalLoss {
		t.Errorf("the result has eval_loss %.9g, the best was %.9g (%v)", e.loss, s.EvalLoss, err)
	}
}
