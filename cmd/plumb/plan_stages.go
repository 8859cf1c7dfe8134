package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"

	"plumb/internal/model"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/plan"
	"plumb/internal/ui"
	"plumb/sft"
)

// stage estimates one stage.
func (pl *planner) stage(ctx context.Context, name string) (stagePlan, error) {
	s := stagePlan{Stage: name}
	var err error
	if s.budget, err = pl.recipe.Memory.bytes(); err != nil {
		return s, err
	}
	s.Memory.Program, s.Memory.Base = pl.program, int64(pl.r.Weights.At(pl.layers))
	s.Memory.Data = pl.sidesBytes
	if name == "label" {
		s.Memory.Base = 0
	}
	switch name {
	case "sft":
		err = pl.planSFT(ctx, &s)
	case "pairs":
		err = pl.planPairs(ctx, &s)
	case "label":
		note := "as long as a person takes"
		if pl.recipe.Label.By != "" {
			note = "by " + pl.recipe.Label.By
		}
		s.phase("judging", 0, "%s", note)
	case "reward":
		err = pl.planReward(ctx, &s)
	case "ppo":
		err = pl.planPPO(ctx, &s)
	case "eval":
		err = pl.planEval(ctx, &s)
	case "export":
		s.phase("writing", pl.writing(int(min(pl.r.Weights.At(pl.layers), 64<<20)))*max(1, pl.r.Weights.At(pl.layers)/(64<<20)), "of the base's size; reading it back takes as long as loading")
		s.Phases[0].Seconds += 2 * pl.r.Load.At(pl.layers)
	}
	for _, p := range s.Phases {
		s.Seconds += p.Seconds
	}
	s.total()
	return s, err
}

func (s *stagePlan) phase(name string, seconds float64, format string, args ...any) {
	s.Phases = append(s.Phases, planPhase{name, seconds, fmt.Sprintf(format, args...)})
}

// ceiling is what the denominator of perf/mfu costs a stage that trains.
func (s *stagePlan) ceiling() { s.phase("ceiling", ceilingTime.Seconds(), "the machine's own product") }

// total adds up, with what the collector lets lie: as much again in percent as it is set to, if the steps leave so much; and while
// the stage reads, of what it has read by then.
func (s *stagePlan) total() {
	m := &s.Memory
	live := m.Base + m.Data + m.Adapters + m.Optimizer + m.Activations + m.Cache + m.Head
	percent := s.percent()
	m.Garbage = min(live*percent/100, int64(s.garbage))
	m.Garbage = max(m.Garbage, (m.Base+m.Data)*(100+percent)/100-live)
	m.Total = m.Program + live + m.Garbage
}

// percent is what the collector lets lie, of what is alive.
func (s *stagePlan) percent() int64 {
	if s.budget > 0 {
		return int64(boundedPercent(s.Memory.Base))
	}
	return int64(garbagePercent(s.Memory.Base))
}

// fits says by how much one thing can grow: per bytes a unit, now units.
func (s *stagePlan) fits(what string, now int, per float64) {
	s.total()
	m := s.Memory
	room := availableBytes()
	if room == 0 || per <= 0 {
		return
	}
	more := (float64(room) - float64(m.Total)) / (per * (1 + float64(s.percent())/100))
	most := int(float64(now) + more)
	if most < 1 {
		s.Fits = fmt.Sprintf("none in %.0f MiB", float64(room)/(1<<20))
		return
	}
	s.Fits = fmt.Sprintf("%s %d in %.0f MiB", what, most, float64(room)/(1<<20))
}

// adapterOf is what sft trains, by name of its settings.
func (pl *planner) adapterOf(c *sft.Config) plan.Adapter {
	if c == nil {
		return plan.Adapter{Name: "none", New: func(m *model.Model) (*peft.Adapter, error) { return peft.New(peft.Default(), m.Modules(), 1) }}
	}
	if c.Peft.Method != "lora" {
		return plan.Adapter{Name: "full", New: func(m *model.Model) (*peft.Adapter, error) { return peft.NewFull(m.Modules()), nil }}
	}
	return plan.Adapter{Name: fmt.Sprint(c.Peft), New: func(m *model.Model) (*peft.Adapter, error) { return peft.New(loraConfig(c.Peft), m.Modules(), 1) }}
}

// policy is the adapter that later stages carry: sft's, or a new one of reward's shape.
func (pl *planner) policy() plan.Adapter {
	if pl.recipe.SFT != nil || pl.recipe.Reward == nil {
		return pl.adapterOf(pl.recipe.SFT)
	}
	w := pl.recipe.Reward.Peft
	return plan.Adapter{Name: fmt.Sprint(w), New: func(m *model.Model) (*peft.Adapter, error) { return newLoRA(&loaded{Model: m}, w, 1) }}
}

// scored is an adapter with a scalar head.
func scored(a plan.Adapter) plan.Adapter {
	return plan.Adapter{Name: a.Name + " scored", New: func(m *model.Model) (*peft.Adapter, error) {
		ad, err := a.New(m)
		if err == nil && ad.Score() == nil {
			ad.AddScoreHead(m.Config.Hidden, 1, 0.01)
		}
		return ad, err
	}}
}

// rowsOf are the sequences of sft rows: the examples of a packed row are sequences of their own.
func rowsOf(rows []sft.Row) plan.Rows {
	var out plan.Rows
	for _, r := range rows {
		starts := r.Starts
		if starts == nil {
			starts = []int32{0, int32(len(r.IDs))}
		}
		for s := range len(starts) - 1 {
			n := 0
			for _, w := range r.Weights[starts[s]+1 : max(starts[s]+1, starts[s+1])] {
				if w > 0 {
					n++
				}
			}
			out.Lengths, out.Targets = append(out.Lengths, int(starts[s+1]-starts[s])), append(out.Targets, n)
		}
	}
	return out
}

// readSFT reads the rows of sft as the stage does.
func (pl *planner) readSFT(ctx context.Context, s *stagePlan, c sft.Config) (train, held []sft.Row, err error) {
	err = s.reading(func() (any, string, error) {
		var paths []string
		for _, d := range c.Data {
			path, _, err := pl.dataOr(ctx, d.Path, d.SHA256, d.Local)
			if err != nil {
				return nil, "", fmt.Errorf("data: %w", err)
			}
			paths = append(paths, path)
		}
		var err error
		train, held, err = pl.sftRows(pl.sides, c, paths)
		return nil, fmt.Sprintf("%d rows to learn from, %d held out", len(train), len(held)), err
	})
	return train, held, err
}

func (pl *planner) planSFT(ctx context.Context, s *stagePlan) error {
	c := *pl.recipe.SFT
	train, held, err := pl.readSFT(ctx, s, c)
	if err != nil {
		return err
	}
	s.ceiling()
	rows, out := rowsOf(train), rowsOf(held)
	if pl.answers.lengths == nil && c.Task == "instruct" {
		pl.answers = answerLengths{rows.Targets, "as those of sft.data"}
	}
	perEpoch := (len(train) + c.Batch - 1) / max(c.Batch, 1)
	steps := max(1, int(math.Ceil(c.Epochs*float64(perEpoch))))
	if c.MaxSteps > 0 {
		steps = min(steps, c.MaxSteps)
	}
	tokens := rows.Tokens() * steps / max(perEpoch, 1)
	perStep := tokens / steps
	a := pl.adapterOf(&c)
	n, err := pl.r.Parameters(a)
	if err != nil {
		return err
	}
	tr, err := pl.r.Train(a, rows, min(c.MicroTokens, perStep), plan.Likelihood, c.Recompute)
	if err != nil {
		return err
	}
	s.phase("steps", float64(tokens)*tr.Seconds.At(pl.layers)+float64(steps)*pl.r.Optimizer(n, c.Optimizer.Bits), "%d of %d rows, %d tokens each", steps, c.Batch, perStep)
	fw, err := pl.r.Forward(a, rows, c.MicroTokens, plan.Likelihood)
	if err != nil {
		return err
	}
	if len(held) > 0 {
		times := (steps + c.EvalEvery - 1) / c.EvalEvery
		s.phase("held out", float64(times*out.Tokens())*fw.Seconds.At(pl.layers), "%d tokens, %d times", out.Tokens(), times)
		s.garbage += float64(times*out.Tokens()) * fw.Garbage.At(pl.layers)
		s.Memory.Activations += int64(float64(min(c.MicroTokens, out.Tokens())) * fw.Bytes.At(pl.layers))
	}
	s.garbage += float64(tokens) * tr.Garbage.At(pl.layers)
	s.checkpoints(pl, steps/c.SaveEvery, 12*n)
	s.Memory.Adapters = int64(12 * n) // values, gradients, packed
	s.Memory.Optimizer = int64(optim.StateBytes(c.Optimizer.Bits, n))
	if len(held) > 0 {
		s.Memory.Adapters += int64(4 * n) // the best so far
	}
	s.tape(pl, min(c.MicroTokens, rows.Largest(c.Batch*len(rows.Lengths)/max(len(train), 1), steps)), 0, tr, fw, float64(tokens), c.Recompute)
	return nil
}

// taped is the tape of a stage that trains.
type taped struct {
	block, output float64 // bytes that a block's activations and its output take in the largest micro-batch
	trained       int     // blocks; 0 where all are computed again anyway
	again         float64 // seconds to compute a block again, for all tokens
}

// tape adds the memory of the tape that records, the head's part apart. Of the blocks so many at the top are trained; those below keep
// their outputs. forward is a pass that is not differentiated, tokens are all that are trained on.
func (s *stagePlan) tape(pl *planner, micro, trained int, p, forward plan.Pass, tokens float64, recompute bool) {
	if trained == 0 || trained > pl.layers {
		trained = pl.layers
	}
	s.taped = taped{float64(micro) * p.Bytes.Block, float64(micro * 4 * pl.cfg.Hidden), trained, tokens * forward.Seconds.Block}
	s.Memory.Head += int64(float64(micro) * p.Bytes.Fixed)
	s.Memory.Activations += int64(s.taped.block*float64(trained) + s.taped.output*float64(pl.layers-trained))
	s.fits("micro_tokens", micro, p.Bytes.Fixed+p.Bytes.Block*float64(trained)+float64(4*pl.cfg.Hidden*(pl.layers-trained)))
	if recompute {
		s.taped.trained = 0
	}
}

// within counts the blocks that memory.budget has computed again: one at a time is there again.
func (s *stagePlan) within() {
	t := s.taped
	if s.budget == 0 || s.Memory.Total <= s.budget {
		return
	}
	activations, k := s.Memory.Activations, 0
	for k < t.trained && s.Memory.Total > s.budget {
		k++
		s.Memory.Activations = activations - int64(float64(k)*(t.block-t.output)-t.block)
		s.total()
	}
	if k > 0 {
		s.phase("computing again", t.again*float64(k), "%d of %d trained blocks", k, t.trained)
		s.Seconds += t.again * float64(k)
	}
	if over := s.Memory.Total - s.budget; over > 0 {
		s.Fits = strings.TrimPrefix(fmt.Sprintf("%s; %s more than memory.budget", s.Fits, ui.Bytes(over)), "; ")
	}
}

func (s *stagePlan) checkpoints(pl *planner, times, bytes int) {
	s.phase("files", float64(times)*pl.writing(bytes)+6*pl.files, "%d checkpoints of %.1f MiB; report and result", times, float64(bytes)/(1<<20))
}

// topPass is the cost of a token in a pass that trains only the top blocks, from a trunk that is at hand or not.
func (pl *planner) topPass(train, forward plan.Pass, top int, trunkAtHand bool) float64 {
	if top == 0 || top >= pl.layers {
		return train.Seconds.At(pl.layers)
	}
	t := train.Seconds.At(top)
	if !trunkAtHand {
		t += forward.Seconds.Block * float64(pl.layers-top)
	}
	return t
}

// availableBytes is the memory that a program could get now, 0 where the system does not say.
func availableBytes() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	var name string
	var kb int64
	for {
		if _, err := fmt.Fscanf(f, "%s %d kB\n", &name, &kb); err != nil {
			return 0
		}
		if name == "MemAvailable:" {
			return kb << 10
		}
	}
}
