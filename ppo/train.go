package ppo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/peft"
	"plumb/internal/run"
)

// Prompt is something to respond to.
type Prompt struct {
	IDs  []int32 // as the policy reads it, never empty
	Text string  // for the record
}

// Inputs are what Train works on. All adapters stand on Model, which is read only.
type Inputs struct {
	Model     *model.Model
	Policy    *peft.Adapter // trained in place; starts as a copy of the SFT adapter, or fresh
	Reference *peft.Adapter // frozen; nil is the bare base
	Critic    *peft.Adapter // trained in place, with a scalar head; starts as the reward model; nil with critic.shared
	// CriticGain and CriticBias are the reward model's own, so that V starts as the reward it gives: the gain is multiplied into
	// the head, the bias added to every V. A gain of 0 is none, that is 1.
	CriticGain, CriticBias float64
	Scorer                 Scorer
	Prompts                []Prompt
	StopIDs                []int32                               // what ends a response
	Text                   func(prompt, response []int32) string // what a response adds to its prompt's text, for the record
	Seed                   uint64
	Ceiling                float64 // GFLOP/s that perf/mfu is a share of; 0 leaves it out
	// Room is the memory in bytes that activations and gradients may take when so many bytes besides are still to come; nil: any.
	// It is asked after the first sampling and scoring.
	Room     func(coming int) int
	Base     string   // base_model_name_or_path of the adapters that are saved
	Progress Progress // nil shows nothing
}

// Progress shows a person how far the training is; *ui.Progress is one.
type Progress interface {
	Start(label, unit string, done, total int)
	Set(done int, note string)
	Printf(format string, args ...any)
}

// silent shows nothing.
type silent struct{}

func (silent) Start(string, string, int, int) {}
func (silent) Set(int, string)                {}
func (silent) Printf(string, ...any)          {}

// Result is how a training ended.
type Result struct {
	Updates int
	Metrics []run.KV // of the last update made
	Outputs []string // folders of the stage that are its result
}

// Train runs the updates that are left, as numbered in the package comment, in a stage that has begun. When ctx is done it
// stores the last whole update and returns ctx's error. Called again, with the adapters it was called with first, it goes on
// from there and ends with the same bytes as a training that was not interrupted.
func Train(ctx context.Context, c Config, in Inputs, s *run.Stage) (_ Result, err error) {
	if err := in.check(c); err != nil {
		return Result{}, err
	}
	if in.Text == nil {
		in.Text = func(_, _ []int32) string { return "" }
	}
	l := newLearner(in, c)
	defer func() {
		if cerr := l.close(); err == nil {
			err = cerr
		}
	}()
	if c.Optimizer.Paged {
		if err := l.page(s.Path()); err != nil {
			return Result{}, err
		}
	}
	st := newState(c, s.Manifest())
	if step, dir, ok := s.Latest(); ok {
		var err error
		if st, err = l.load(dir, s.Manifest()); err != nil {
			return Result{}, err
		}
		l.loaded = true
		if st.Update != step {
			return Result{}, fmt.Errorf("resume from %s: it holds update %d", dir, st.Update)
		}
	}
	l.show.Start("ppo", "episodes", st.Episodes, c.Episodes)
	save := func(dir string) error { return l.save(dir, st) }
	for st.Update < c.Updates() {
		watch := in.Model.Pool().Watch()
		tr, err := l.experience(ctx, in, st)
		if err != nil {
			if ctx.Err() != nil { // nothing has moved since the last whole update
				return Result{}, errors.Join(ctx.Err(), s.CheckpointNow(st.Update, save))
			}
			return Result{}, err
		}
		sampled := watch.Spent()

		// 5. to 7. From here on the state moves.
		l.advantages(tr, st)

		// 8. Learn. An interruption is obeyed at once if the last whole update is stored, else once this one is.
		learning := ctx
		if step, _, ok := s.Latest(); st.Update > 0 && !(ok && step == st.Update) {
			learning = context.WithoutCancel(ctx)
		}
		policyLR, criticLR := l.rates(st)
		steps, err := l.learn(learning, tr, st, func(x *step) error { return dumpStep(s, x, st.Update+1, in.Seed, in.Text) })
		if err != nil {
			return Result{}, err
		}
		st.Update++
		st.Episodes += tr.B()
		st.note(metrics(tr, c, st, steps, policyLR, criticLR))
		l.show.Set(st.Episodes, "") // else the line that stays at the end is a batch behind

		// 9. Adapt beta.
		k := Controller{Coef: st.Coef, Target: c.KL.Target, Horizon: c.KL.Horizon, Min: c.KL.Min, Max: c.KL.Max}
		k.Update(SummariseKL(tr.KL, tr.Starts, 0).Mean, tr.B())
		st.Coef = k.Coef

		// 10. Record.
		if err := s.Log(st.Update, st.Last); err != nil {
			return Result{}, err
		}
		if err := appendRollouts(s, tr, st.Update, in.Text); err != nil {
			return Result{}, err
		}
		if err := s.Timing(st.Update, timing(tr, sampled, watch.Spent(), in.Ceiling)); err != nil {
			return Result{}, err
		}
		l.say(st, run.Values(st.Last))

		// 11. Checkpoint.
		if st.Update%c.SaveEvery == 0 || st.Update == c.Updates() {
			if err := s.Checkpoint(st.Update, save); err != nil {
				return Result{}, err
			}
		}
		if ctx.Err() != nil && st.Update < c.Updates() {
			return Result{}, errors.Join(ctx.Err(), s.CheckpointNow(st.Update, save))
		}
	}
	return l.finish(s, in, st)
}

// experience is steps 1 to 5 as far as nothing of the state moves: responses, log-probabilities, values and raw scores.
func (l *learner) experience(ctx context.Context, in Inputs, st *state) (*Trajectories, error) {
	// 1. Roll out.
	tr, err := l.rollOut(ctx, in, st)
	if err != nil {
		return nil, err
	}
	// 2. The policy's log-probabilities.
	l.show.Set(st.Episodes, "scoring")
	if tr.OldLogp, err = l.logprobs(ctx, l.policy.adapter, tr); err != nil {
		return nil, err
	}
	// 3. and 4. The reference's, the divergence, and the critic's values.
	if tr.RefLogp, tr.OldValues, err = l.judged(ctx, tr); err != nil {
		return nil, err
	}
	tr.KL = l.kl(tr)
	// 5. Scores.
	if !l.scoreOnTrunk {
		tr.RawScores, err = in.Scorer.Scores(ctx, tr.Prompts, tr.Responses)
	}
	return tr, checkScores(tr, err)
}

// advantages is steps 5 to 7: scores, rewards, advantages and returns.
func (l *learner) advantages(tr *Trajectories, st *state) {
	c := l.c
	// 5. The scores' shape.
	tr.Scores = shape(tr.RawScores, tr.Ended, c, st)
	// 6. Rewards.
	tr.KLCoef = st.Coef
	tr.Rewards = Rewards(tr.KL, tr.Starts, tr.Scores, tr.KLCoef)
	if c.Whiten.Rewards {
		tr.Rewards = Whiten(tr.Rewards, objective.Variance, true)
	}
	// 7. Advantages and returns.
	tr.Advantages, tr.Returns = Advantages(tr.Rewards, tr.OldValues, tr.Starts, c.Gamma, c.Lambda)
	if c.Whiten.Advantages {
		tr.Advantages = Whiten(tr.Advantages, objective.Variance, false)
	}
}

// finish writes the results: the policy as a PEFT folder, and the critic beside it.
func (l *learner) finish(s *run.Stage, in Inputs, st *state) (Result, error) {
	r := Result{Updates: st.Update, Metrics: st.Last, Outputs: []string{"adapter"}}
	copy(in.Policy.Values, l.policy.adapter.Values) // without the value head that a shared trunk carries at the end
	if err := s.WriteDir("adapter", func(dir string) error { return in.Policy.Save(dir, in.Base) }); err != nil {
		return Result{}, err
	}
	if l.critic != l.policy {
		r.Outputs = append(r.Outputs, "critic")
		err := s.WriteDir("critic", func(dir string) error {
			if err := l.critic.adapter.Save(dir, in.Base); err != nil {
				return err
			}
			// As a reward model keeps them: the gain is in the head by now.
			scale := fmt.Sprintf("{\n  \"gain\": 1,\n  \"bias\": %s\n}\n", strconv.FormatFloat(l.bias, 'g', -1, 64))
			return os.WriteFile(filepath.Join(dir, "plumb.json"), []byte(scale), 0o644)
		})
		if err != nil {
			return Result{}, err
		}
	}
	return r, nil
}

// say prints a line for a person.
func (l *learner) say(st *state, m run.Values) {
	of := func(key string) float64 { v, _ := m.Lookup(key); return v }
	l.show.Printf("update %d/%d  score %.3f +- %.3f  KL %.2f nats  beta %.3g  approxkl %.4f  clipped %.1f %%  critic explains %.2f  stopped %.0f %%  %.0f tokens",
		st.Update, l.c.Updates(), of("objective/scores"), of("objective/scores_se"), of("objective/kl"), of("objective/kl_coef"), of("policy/approxkl_avg"),
		100*of("policy/clipfrac_avg"), of("val/var_explained"), 100*of("val/eos_frac"), of("tokens/responses_len_mean"))
	switch diff := of("rollout/logprob_diff_max"); {
	case diff == 0:
	case l.kv == kernels.KVFloat32:
		l.show.Printf("warning: sampler and trainer disagree by up to %.3g nats a token", diff)
	default:
		l.show.Printf("with sampling.kv_cache %v sampler and trainer differ by up to %.3g nats a token", l.kv, diff)
	}
	if of("objective/kl_alarm") == 1 {
		l.show.Printf("warning: the mean KL from the reference is below 0 by more than three standard errors: the responses do not come from the policy")
	}
}

// timing are the clock readings of an update, of which sampled was spent on experience.
func timing(tr *Trajectories, sampled, all kernels.Spent, ceiling float64) []run.KV {
	learned := kernels.Spent{Work: all.Work.Sub(sampled.Work), Seconds: all.Seconds - sampled.Seconds}
	out := []run.KV{
		{Key: "seconds", Value: all.Seconds},
		{Key: "seconds_experience", Value: sampled.Seconds},
		{Key: "seconds_learning", Value: learned.Seconds},
		{Key: "eps", Value: float64(tr.B()) / all.Seconds},
		{Key: "tokens_per_second", Value: float64(tr.N()) / all.Seconds},
		{Key: "peak_mib", Value: run.PeakMiB()},
	}
	if ceiling > 0 {
		out = append(
			out,
			run.KV{Key: "perf/mfu", Value: all.Utilisation(ceiling)},
			run.KV{Key: "perf/mfu_experience", Value: sampled.Utilisation(ceiling)},
			run.KV{Key: "perf/mfu_learning", Value: learned.Utilisation(ceiling)},
		)
	}
	return out
}

// check refuses inputs that cannot be trained on.
func (in *Inputs) check(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if len(in.Prompts) == 0 {
		return errors.New("prompts: there is none")
	}
	if len(in.StopIDs) == 0 {
		return errors.New("stop.tokens: the model names no end-of-text token; name what ends a response")
	}
	if err := in.Model.Check(in.StopIDs); err != nil {
		return fmt.Errorf("stop tokens: %w", err)
	}
	for i, p := range in.Prompts {
		if len(p.IDs) == 0 {
			return fmt.Errorf("prompts: number %d is empty", i+1)
		}
		if err := in.Model.Check(p.IDs); err != nil {
			return fmt.Errorf("prompts: number %d: %w", i+1, err)
		}
		if n := len(p.IDs) + c.Sampling.MaxNew; n > in.Model.MaxPositions {
			return fmt.Errorf("prompts: number %d has %d tokens; with sampling.max_new %d that is more than the model's %d positions: shorten it, or lower max_new", i+1, len(p.IDs), c.Sampling.MaxNew, in.Model.MaxPositions)
		}
	}
	return in.checkAdapters(c)
}

func (in *Inputs) checkAdapters(c Config) error {
	if in.Policy == nil || in.Policy.Frozen() || in.Policy == in.Reference {
		panic("ppo: Train: the policy must be an adapter of its own")
	}
	if c.Critic.Shared {
		if in.Critic != nil {
			panic("ppo: Train: critic.shared, but a critic was given")
		}
		return nil
	}
	if in.Critic == nil || in.Critic.Score() == nil {
		return errors.New("critic: it has no scalar head; start it from a reward model")
	}
	if n := c.Critic.Layers; n > 0 {
		if n > in.Model.Layers {
			return fmt.Errorf("critic.layers: %d, the model has %d", n, in.Model.Layers)
		}
		in.Critic.FreezeBelow(in.Model.Layers - n)
	}
	if !slices.ContainsFunc(in.Critic.Params(), func(p peft.Param) bool { return p.Trainable }) {
		return errors.New("critic.layers: nothing of the critic is left to train")
	}
	return nil
}
