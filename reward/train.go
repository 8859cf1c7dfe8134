package reward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"plumb/internal/dataset"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tensor"
)

// Pair is two sequences for one prompt, each prompt and answer with its stop token.
type Pair struct {
	Prompt           string // pairs of one prompt are trained together and held out together
	Chosen, Rejected []int32
	Margin           float64 // reward units
	Better           float64 // probability that Chosen is the better one: 1, or ½ for a tie

	Record dataset.Comparison // what was encoded
}

// Inputs is what the stage trains and on what. Adapter, which has a scalar head, is trained in place.
type Inputs struct {
	Model       *model.Model
	Adapter     *peft.Adapter
	Train, Held []Pair
	Seed        uint64
	Ceiling     float64 // GFLOP/s that perf/mfu is a share of; 0 leaves it out
	// Room is the memory in bytes that activations and gradients may take when so many bytes besides are still to come; nil: any.
	Room     func(coming int) int
	Progress Progress
}

// Progress is told about every step.
type Progress interface {
	Step(done, total int, line string)
}

// state is what a resumed run needs besides the vectors.
type state struct {
	Step      int   `json:"step"`
	Tokens    int64 `json:"num_tokens"`
	Measured  int   `json:"measured"`
	NonFinite int   `json:"skipped_nonfinite"`
	InRow     int   `json:"skipped_nonfinite_in_row"`
}

const maxNonFinite = 3

type trainer struct {
	c      Config
	in     Inputs
	st     *run.Stage
	plan   plan
	tape   *tensor.Tape
	eval   *tensor.Tape
	opt    *optim.AdamW
	loss   *objective.Loss
	rates  optim.Schedule
	state  state
	held   Accuracy // as last measured, after step heldAt
	heldAt int

	scratch scratch
}

// Result is how a training ended.
type Result struct {
	Steps int      // optimizer steps done
	Held  Accuracy // on the held-out pairs
}

// Train runs the stage's loop and leaves the result in in.Adapter. The caller has begun st and finishes it. When ctx ends, a
// checkpoint is written and ctx's error returned: the same call goes on from there.
func Train(ctx context.Context, c Config, in Inputs, st *run.Stage) (_ Result, err error) {
	t, err := newTrainer(c, in, st)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if cerr := t.opt.Close(); err == nil {
			err = cerr
		}
	}()
	if err := t.resume(); err != nil {
		return Result{}, err
	}
	if err := t.settle(ctx); err != nil { // what an interruption left undone
		return Result{}, err
	}
	first := t.state.Step
	for t.state.Step < t.plan.steps {
		if ctx.Err() != nil {
			return Result{}, t.leave(ctx)
		}
		watch := in.Model.Pool().Watch()
		k := t.state.Step
		// 1. The pairs of this step.
		pairs := t.plan.pairs(k)
		// 2. and 3. Score, loss, backward.
		s := t.gradients(pairs)
		if over := t.tape.Over(); over > 0 && k == first {
			return Result{}, run.OverBudget("reward", "max_length", over)
		}
		// 4. Clip, or skip.
		norm := optim.Clip(in.Model.Pool(), in.Adapter.Grads, c.MaxGradNorm)
		lr := t.rates.LR(k)
		if math.IsNaN(s.loss+norm) || math.IsInf(s.loss+norm, 0) {
			if err := t.skip(k, pairs, s.loss, norm); err != nil {
				return Result{}, err
			}
		} else {
			// 5. Move.
			t.opt.Step(in.Adapter.Values, in.Adapter.Grads, lr)
			t.state.InRow = 0
		}
		in.Adapter.ZeroGrads()
		t.state.Step, t.state.Tokens = k+1, t.state.Tokens+int64(s.tokens)
		// 6. Log.
		if err := t.log(s, norm, lr, watch.Spent()); err != nil {
			return Result{}, err
		}
		// 7. and 8. Measure and checkpoint where it is time.
		if err := t.settle(ctx); err != nil {
			return Result{}, err
		}
	}
	if t.heldAt != t.state.Step { // resumed behind the last measurement, or nothing held out
		if t.held, err = Measure(ctx, in.Model, in.Adapter, in.Held, c.MicroTokens); err != nil {
			return Result{}, err
		}
	}
	return Result{Steps: t.state.Step, Held: t.held}, nil
}

func newTrainer(c Config, in Inputs, st *run.Stage) (*trainer, error) {
	if len(in.Train) == 0 {
		return nil, errors.New("reward.data: no pairs to train on")
	}
	if in.Adapter.Score() == nil {
		panic("reward: Train: the adapter has no scalar head")
	}
	pool := in.Model.Pool()
	p := newPlan(c, in.Train, in.Seed)
	t := &trainer{
		c: c, in: in, st: st, plan: p, tape: tensor.NewTape(pool), eval: tensor.NewInferenceTape(pool),
		opt:   optim.NewAdamW(pool, len(in.Adapter.Values), c.Optimizer.config(), in.Adapter.Groups()...),
		loss:  objective.BradleyTerry(c.Centre),
		rates: optim.Schedule{Kind: c.Schedule, Peak: c.LR, Warmup: int(math.Round(c.Warmup * float64(p.steps))), Total: p.steps},
	}
	if in.Room != nil {
		room := in.Room(optim.TrainingBytes(len(in.Adapter.Values), c.Optimizer.Bits, c.Optimizer.Paged))
		if room <= 0 {
			return nil, run.NoRoom(room, "hold the base in fewer bits (quantize)")
		}
		t.tape.Within(room, model.LargestMicro(lengths(in.Train), c.Batch, c.MicroTokens), model.LargestMicro(lengths(in.Held), len(in.Held), c.MicroTokens))
	}
	if c.Optimizer.Paged {
		return t, t.opt.Page(st.Path())
	}
	return t, nil
}

func lengths(pairs []Pair) []int {
	out := make([]int, len(pairs))
	for i, p := range pairs {
		out[i] = len(p.Chosen) + len(p.Rejected)
	}
	return out
}

// settle measures and checkpoints after a step, where it is time. An interruption in between is remembered: the state says
// which step was measured last.
func (t *trainer) settle(ctx context.Context) error {
	k := t.state.Step
	if k > 0 && len(t.in.Held) > 0 && (k == t.plan.steps || k%t.c.EvalEvery == 0) && t.state.Measured != k {
		a, err := Measure(ctx, t.in.Model, t.in.Adapter, t.in.Held, t.c.MicroTokens)
		if errors.Is(err, context.Canceled) {
			return t.leave(ctx)
		} else if err != nil {
			return err
		}
		t.state.Measured, t.held, t.heldAt = k, a, k
		if err := t.st.Log(k, []run.KV{
			{Key: "eval_accuracy", Value: a.Accuracy},
			{Key: "eval_loss", Value: a.Loss},
			{Key: "eval_margin", Value: a.Gap},
			{Key: "eval_mean_reward", Value: a.MeanReward},
		}); err != nil {
			return err
		}
	}
	if k > 0 && k%t.c.SaveEvery == 0 {
		return t.st.Checkpoint(k, t.save)
	}
	return nil
}

// leave writes a checkpoint off the schedule and returns why the loop ends.
func (t *trainer) leave(ctx context.Context) error {
	if err := t.st.CheckpointNow(t.state.Step, t.save); err != nil {
		return err
	}
	return ctx.Err()
}

// skip dumps a step that is not finite.
func (t *trainer) skip(k int, pairs []Pair, loss, norm float64) error {
	t.state.NonFinite++
	t.state.InRow++
	dump := map[string]any{"step": k + 1, "loss": fmt.Sprint(loss), "grad_norm": fmt.Sprint(norm), "pairs": pairs}
	if err := t.st.Dump(fmt.Sprintf("step-%08d.json", k+1), dump); err != nil {
		return err
	}
	if t.state.InRow >= maxNonFinite {
		return fmt.Errorf("step %d: loss %g, gradient norm %g: not finite %d times in a row; lower reward.lr, or look at the dumps in %s", k+1, loss, norm, t.state.InRow, t.st.Path("nonfinite"))
	}
	return nil
}

func (t *trainer) log(s stepStats, norm, lr float64, spent kernels.Spent) error {
	step := t.state.Step
	err := t.st.Log(step, []run.KV{
		{Key: "loss", Value: s.loss},
		{Key: "accuracy", Value: s.accuracy},
		{Key: "margin", Value: s.gap},
		{Key: "min_reward", Value: s.min},
		{Key: "mean_reward", Value: s.mean},
		{Key: "max_reward", Value: s.max},
		{Key: "grad_norm", Value: norm},
		{Key: "learning_rate", Value: lr},
		{Key: "epoch", Value: t.plan.epochs(step)},
		{Key: "num_tokens", Value: float64(t.state.Tokens)},
	})
	if err != nil {
		return err
	}
	rate := float64(s.pairs) / spent.Seconds
	timing := []run.KV{{Key: "seconds", Value: spent.Seconds}, {Key: "pairs_per_s", Value: rate}, {Key: "tokens_per_s", Value: float64(s.tokens) / spent.Seconds}}
	if t.in.Ceiling > 0 {
		timing = append(timing, run.KV{Key: "perf/mfu", Value: spent.Utilisation(t.in.Ceiling)})
	}
	err = t.st.Timing(step, timing)
	if t.in.Progress != nil {
		t.in.Progress.Step(step, t.plan.steps, fmt.Sprintf("loss %.4f  accuracy %.3f  %.1f pairs/s", s.loss, s.accuracy, rate))
	}
	return err
}

const stateFile = "reward.json"

func (t *trainer) save(dir string) error {
	if err := run.WriteState(dir, stateFile, t.state); err != nil {
		return err
	}
	if err := t.opt.Save(dir, "model", t.in.Adapter.Values); err != nil {
		return err
	}
	// Head and adapter to the bit, and so every score.
	return optim.SameVector(filepath.Join(dir, "model.values"), t.in.Adapter.Values)
}

func (t *trainer) resume() error {
	step, dir, ok := t.st.Latest()
	if !ok {
		return nil
	}
	var err error
	if t.state, err = readState(dir, step); err != nil {
		return err
	}
	return t.opt.Load(dir, "model", t.in.Adapter.Values)
}

// readState reads the state in the folder of a checkpoint of that step. One that cannot be of that step is damaged: it would
// be looked up in the plan.
func readState(dir string, step int) (state, error) {
	var s state
	if err := run.ReadState(dir, stateFile, &s); err != nil {
		return s, err
	}
	if s.Step != step || s.Tokens < 0 || s.Measured < 0 || s.Measured > step {
		return s, fmt.Errorf("read %s: it is not the state after step %d", filepath.Join(dir, stateFile), step)
	}
	return s, nil
}
