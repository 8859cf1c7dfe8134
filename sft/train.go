package sft

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tensor"
)

// Inputs is what the stage trains and on what. Adapter is trained in place.
type Inputs struct {
	Model   *model.Model
	Adapter *peft.Adapter
	Train   []Row
	Held    []Row // may be empty
	Seed    uint64
	Ceiling float64 // GFLOP/s that perf/mfu is a share of; 0 leaves it out
	// Room is the memory in bytes that activations and gradients may take when so many bytes besides are still to come; nil: any.
	Room func(coming int) int

	Progress Progress
}

// Progress is told about every step.
type Progress interface {
	Step(done, total int, line string)
}

// Summary is how training ended.
type Summary struct {
	Steps       int     `json:"steps"`
	Epochs      float64 `json:"epochs"`
	Tokens      int64   `json:"num_tokens"`
	Loss        float64 `json:"loss"`                // of the last step
	EvalLoss    float64 `json:"eval_loss,omitempty"` // of the result
	BestStep    int     `json:"best_step,omitempty"`
	StoppedAt   string  `json:"stopped,omitempty"` // why before the last step
	SkippedRows int     `json:"skipped_nonfinite"` // steps skipped
}

// state is what a resumed run needs besides the vectors.
type state struct {
	Step      int     `json:"step"` // optimizer steps done
	Tokens    int64   `json:"num_tokens"`
	Loss      float64 `json:"loss"`
	BestLoss  float64 `json:"best_eval_loss"`
	BestStep  int     `json:"best_step"` // 0: none measured yet
	Bad       int     `json:"evaluations_without_improvement"`
	Measured  int     `json:"measured"` // the step of the last evaluation
	Stopped   string  `json:"stopped"`
	NonFinite int     `json:"skipped_nonfinite"`
	InRow     int     `json:"skipped_nonfinite_in_row"`
}

// maxNonFinite is how many steps in a row may be skipped before the run ends.
const maxNonFinite = 3

// trainer holds what every step uses.
type trainer struct {
	c     Config
	in    Inputs
	st    *run.Stage
	plan  plan
	tape  *tensor.Tape
	eval  *tensor.Tape
	opt   *optim.AdamW
	loss  *objective.Loss
	rates optim.Schedule
	state state
	best  []float32 // the best parameters so far

	scratch scratch
}

// Train runs the stage's loop and leaves the result in in.Adapter. The caller has begun st and finishes it. When ctx ends, a
// checkpoint is written and ctx's error returned: the same call goes on from there.
func Train(ctx context.Context, c Config, in Inputs, st *run.Stage) (_ Summary, err error) {
	t, err := newTrainer(c, in, st)
	if err != nil {
		return Summary{}, err
	}
	defer func() {
		if cerr := t.opt.Close(); err == nil {
			err = cerr
		}
	}()
	if err := t.resume(); err != nil {
		return Summary{}, err
	}
	if err := t.settle(ctx); err != nil { // what an interruption left undone
		return Summary{}, err
	}
	first := t.state.Step
	for t.state.Step < t.plan.steps && t.state.Stopped == "" {
		if ctx.Err() != nil {
			return Summary{}, t.leave(ctx)
		}
		watch := in.Model.Pool().Watch()
		k := t.state.Step
		// 1. The rows of this step.
		rows := t.plan.rows(k)
		weights, err := t.scratch.stepWeights(rows)
		if err != nil {
			return Summary{}, fmt.Errorf("step %d: %w", k+1, err)
		}
		// 2. and 3. Forward and backward.
		s := t.gradients(rows, weights)
		if over := t.tape.Over(); over > 0 && k == first {
			return Summary{}, run.OverBudget("sft", "max_length", over)
		}
		// 4. Clip, or skip.
		norm := optim.Clip(t.in.Model.Pool(), t.in.Adapter.Grads, c.MaxGradNorm)
		lr := t.rates.LR(k)
		if math.IsNaN(s.loss+norm) || math.IsInf(s.loss+norm, 0) {
			if err := t.skip(k, rows, s.loss, norm); err != nil {
				return Summary{}, err
			}
		} else {
			// 5. Move.
			t.opt.Step(t.in.Adapter.Values, t.in.Adapter.Grads, lr)
			t.state.InRow = 0
		}
		t.in.Adapter.ZeroGrads()
		t.count(s)
		// 6. Log.
		if err := t.log(s, norm, lr, watch.Spent()); err != nil {
			return Summary{}, err
		}
		// 7. and 8. Measure and checkpoint where it is time.
		if err := t.settle(ctx); err != nil {
			return Summary{}, err
		}
	}
	// 9. The best becomes the result.
	return t.finish(), nil
}

// count takes a step into the state. A loss that is no number is in the dump, and would be none in a checkpoint.
func (t *trainer) count(s stepStats) {
	t.state.Step++
	t.state.Tokens += int64(s.tokens)
	if !math.IsNaN(s.loss) && !math.IsInf(s.loss, 0) {
		t.state.Loss = s.loss
	}
}

// settle measures and checkpoints after a step, where it is time. An interruption in between is remembered: the state says
// which step was measured last.
func (t *trainer) settle(ctx context.Context) error {
	k := t.state.Step
	last := k == t.plan.steps
	if k > 0 && len(t.in.Held) > 0 && (last || k%t.c.EvalEvery == 0) && t.state.Measured != k {
		if err := t.measure(ctx); errors.Is(err, context.Canceled) {
			return t.leave(ctx)
		} else if err != nil {
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

func newTrainer(c Config, in Inputs, st *run.Stage) (*trainer, error) {
	p, err := newPlan(c, in.Train, in.Seed)
	if err != nil {
		return nil, err
	}
	pool := in.Model.Pool()
	t := &trainer{
		c: c, in: in, st: st, plan: p, tape: tensor.NewTape(pool), eval: tensor.NewInferenceTape(pool),
		opt: optim.NewAdamW(pool, len(in.Adapter.Values), c.Optimizer.config(), in.Adapter.Groups()...), loss: objective.NLL(),
		rates: optim.Schedule{Kind: c.Schedule, Peak: c.LR, Warmup: int(math.Round(c.Warmup * float64(p.steps))), Total: p.steps},
	}
	t.tape.Recompute(c.Recompute)
	if in.Room != nil {
		n := len(in.Adapter.Values)
		coming := optim.TrainingBytes(n, c.Optimizer.Bits, c.Optimizer.Paged)
		if len(in.Held) > 0 {
			coming += 4 * n // the best so far
		}
		room := in.Room(coming)
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

func lengths(rows []Row) []int {
	out := make([]int, len(rows))
	for i, r := range rows {
		out[i] = len(r.IDs)
	}
	return out
}

// skip dumps a step that is not finite.
func (t *trainer) skip(k int, rows []Row, loss, norm float64) error {
	t.state.NonFinite++
	t.state.InRow++
	dump := map[string]any{"step": k + 1, "loss": fmt.Sprint(loss), "grad_norm": fmt.Sprint(norm), "rows": rows}
	if err := t.st.Dump(fmt.Sprintf("step-%08d.json", k+1), dump); err != nil {
		return err
	}
	if t.state.InRow >= maxNonFinite {
		return fmt.Errorf("step %d: loss %g, gradient norm %g: not finite %d times in a row; lower sft.lr, or look at the dumps in %s", k+1, loss, norm, t.state.InRow, t.st.Path("nonfinite"))
	}
	return nil
}

func (t *trainer) log(s stepStats, norm, lr float64, spent kernels.Spent) error {
	step := t.state.Step
	err := t.st.Log(step, []run.KV{
		{Key: "loss", Value: s.loss},
		{Key: "grad_norm", Value: norm},
		{Key: "learning_rate", Value: lr},
		{Key: "epoch", Value: t.plan.epochs(step)},
		{Key: "num_tokens", Value: float64(t.state.Tokens)},
		{Key: "entropy", Value: s.entropy},
		{Key: "mean_token_accuracy", Value: s.accuracy},
	})
	if err != nil {
		return err
	}
	seconds := spent.Seconds
	timing := []run.KV{{Key: "seconds", Value: seconds}, {Key: "tokens_per_s", Value: float64(s.tokens) / seconds}}
	if t.in.Ceiling > 0 {
		timing = append(timing, run.KV{Key: "perf/mfu", Value: spent.Utilisation(t.in.Ceiling)})
	}
	if err := t.st.Timing(step, timing); err != nil {
		return err
	}
	if t.in.Progress != nil {
		t.in.Progress.Step(step, t.plan.steps, fmt.Sprintf("loss %.4f  lr %.2e  %.0f tokens/s", s.loss, lr, float64(s.tokens)/seconds))
	}
	return nil
}

// measure computes eval_loss and remembers the best parameters.
func (t *trainer) measure(ctx context.Context) error {
	s, err := t.evaluate(ctx, t.in.Held)
	if err != nil {
		return err
	}
	if err := t.st.Log(t.state.Step, []run.KV{{Key: "eval_loss", Value: s.loss}, {Key: "eval_entropy", Value: s.entropy}, {Key: "eval_mean_token_accuracy", Value: s.accuracy}}); err != nil {
		return err
	}
	t.state.Measured = t.state.Step
	if s.loss < t.state.BestLoss || t.state.BestStep == 0 && !math.IsNaN(s.loss) && !math.IsInf(s.loss, 0) {
		t.state.BestLoss, t.state.BestStep, t.state.Bad = s.loss, t.state.Step, 0
		t.best = append(t.best[:0], t.in.Adapter.Values...)
		return nil
	}
	t.state.Bad++
	if t.c.Patience > 0 && t.state.Bad >= t.c.Patience {
		t.state.Stopped = fmt.Sprintf("eval_loss has not fallen below %.6g (step %d) for %d evaluations", t.state.BestLoss, t.state.BestStep, t.state.Bad)
	}
	return nil
}

func (t *trainer) finish() Summary {
	s := Summary{
		Steps: t.state.Step, Epochs: t.plan.epochs(t.state.Step), Tokens: t.state.Tokens, Loss: t.state.Loss,
		BestStep: t.state.BestStep, EvalLoss: t.state.BestLoss, StoppedAt: t.state.Stopped, SkippedRows: t.state.NonFinite,
	}
	if t.state.BestStep > 0 {
		copy(t.in.Adapter.Values, t.best)
	}
	return s
}

const stateFile = "sft.json"

// save fills a checkpoint folder.
func (t *trainer) save(dir string) error {
	if err := run.WriteState(dir, stateFile, t.state); err != nil {
		return err
	}
	if t.state.BestStep > 0 {
		if err := optim.WriteVector(filepath.Join(dir, "best.values"), t.best); err != nil {
			return err
		}
	}
	return t.opt.Save(dir, "policy", t.in.Adapter.Values)
}

// resume goes on from the newest checkpoint, if there is one.
func (t *trainer) resume() error {
	step, dir, ok := t.st.Latest()
	if !ok {
		return nil
	}
	var err error
	if t.state, err = readState(dir, step); err != nil {
		return err
	}
	if t.state.BestStep > 0 {
		t.best = make([]float32, len(t.in.Adapter.Values))
		if err := optim.ReadVector(filepath.Join(dir, "best.values"), t.best); err != nil {
			return err
		}
	}
	return t.opt.Load(dir, "policy", t.in.Adapter.Values)
}

// readState reads the state in the folder of a checkpoint of that step. One that cannot be of that step is damaged: it would
// be looked up in the plan.
func readState(dir string, step int) (state, error) {
	var s state
	if err := run.ReadState(dir, stateFile, &s); err != nil {
		return s, err
	}
	if s.Step != step || s.Tokens < 0 || s.Measured < 0 || s.Measured > step || s.BestStep < 0 || s.BestStep > step {
		return s, fmt.Errorf("read %s: it is not the state after step %d", filepath.Join(dir, stateFile), step)
	}
	return s, nil
}
