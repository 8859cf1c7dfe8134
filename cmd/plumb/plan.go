package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plumb/internal/config"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/plan"
	"plumb/internal/run"
	"plumb/internal/ui"
)

// planReport is what plumb plan prints; --json prints it whole.
type planReport struct {
	CPU      string            `json:"cpu"`
	Kernels  string            `json:"kernels"`
	Ceilings []kernels.Ceiling `json:"ceilings"` // with one thread, and with all
	Base     *planBase         `json:"base,omitempty"`
	Stages   []stagePlan       `json:"stages,omitempty"`
	WhatIf   []whatIf          `json:"what_if,omitempty"`
	Measured float64           `json:"measured_seconds"` // spent on measuring
}

type planBase struct {
	Name       string  `json:"name"`
	Layers     int     `json:"layers"`
	Bytes      int64   `json:"bytes"`
	Load       float64 `json:"load_seconds"`
	Answer     float64 `json:"answer_tokens"` // mean length taken for an answer
	AnswerFrom string  `json:"answer_from"`
}

// stagePlan is one stage: what it will take.
type stagePlan struct {
	Stage   string      `json:"stage"`
	Seconds float64     `json:"seconds"`
	Phases  []planPhase `json:"phases"`
	Memory  planMemory  `json:"memory"`
	Fits    string      `json:"fits,omitempty"` // the largest batch

	garbage float64 // bytes that the stage leaves to the collector in all
	budget  int64   // memory.budget; 0: none
	taped   taped
}

type planPhase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Note    string  `json:"note"`
}

// planMemory is resident memory by part, in bytes.
type planMemory struct {
	Program     int64 `json:"program"`     // code and what the runtime keeps
	Base        int64 `json:"base"`        // packed weights
	Data        int64 `json:"data"`        // what was read and encoded, tokenizer included
	Adapters    int64 `json:"adapters"`    // values, gradients, packed copies
	Optimizer   int64 `json:"optimizer"`   // moments
	Activations int64 `json:"activations"` // the tapes, at the largest micro-batch
	Cache       int64 `json:"kv_cache"`
	Head        int64 `json:"head"`    // logits
	Garbage     int64 `json:"garbage"` // what the collector lets lie
	Total       int64 `json:"total"`
}

// whatIf is the plan with one key changed.
type whatIf struct {
	Change string      `json:"change"`
	Stages []stagePlan `json:"stages"`
}

func (a *app) planCmd() *cobra.Command {
	var o recipeFlags
	var ifs []string
	cmd := &cobra.Command{
		Use:   "plan [RECIPE] [flags]",
		Short: "Say what a recipe will take: memory by part, time by phase",
		Long: `Measures this machine for some seconds on a few blocks of the recipe's own base and
prints, for each stage, memory by part, time by phase and the largest batch that fits.
Nothing is trained and nothing is kept. Without a RECIPE it measures the machine alone.

--what-if KEY=VALUE shows what another value of a key of the recipe would change.`,
		Example: `  plumb plan recipes/quickstart.yaml --what-if sft.recompute=true --what-if ppo.critic.layers=2`,
		Args:    args("one RECIPE at most", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.plan(cmd.Context(), args, o, ifs)
		},
	}
	o.register(cmd)
	cmd.Flags().StringArrayVar(&ifs, "what-if", nil, "KEY=VALUE: what that would change; may be repeated")
	return cmd
}

// planTime is given to measuring the machine at each number of threads, and planMegabytes is what bandwidth is measured on.
const (
	planTime      = time.Second
	planMegabytes = 256
)

func (a *app) plan(ctx context.Context, args []string, o recipeFlags, ifs []string) error {
	program := int64(run.PeakMiB()*(1<<20)) - alive()
	r := planReport{CPU: run.ThisMachine("").CPU, Kernels: kernels.Variant()}
	began := time.Now()
	if len(args) == 0 {
		if len(ifs) > 0 {
			return usagef("--what-if wants a RECIPE")
		}
		r.Ceilings = a.planCeilings()
		r.Measured = time.Since(began).Seconds()
		return a.printPlan(&r)
	}
	changed := make([]recipeFlags, len(ifs)) // mistakes before minutes
	for i, change := range ifs {
		key, value, ok := strings.Cut(change, "=")
		if !ok {
			return usagef("--what-if %s: want KEY=VALUE", change)
		}
		changed[i] = o
		changed[i].keys = append(append([]config.Flag{}, o.keys...), config.Flag{Key: key, Value: value})
		if _, _, err := a.loadRecipe(args[0], changed[i]); err != nil {
			return fmt.Errorf("--what-if %s: %w", change, err)
		}
	}
	memo := &rehearsals{of: map[string]*plan.Rehearsal{}}
	base, stages, err := a.planRecipe(ctx, args[0], o, memo, program)
	if err != nil {
		return err
	}
	r.Base, r.Stages = base, stages
	program = outsideHeap(program)
	for i := range r.Stages {
		r.Stages[i].Memory.Program = program
		r.Stages[i].total()
		r.Stages[i].within()
	}
	for i, change := range ifs {
		_, stages, err := a.planRecipe(ctx, args[0], changed[i], memo, program)
		if err != nil {
			return fmt.Errorf("--what-if %s: %w", change, err)
		}
		for i := range stages {
			stages[i].within()
		}
		r.WhatIf = append(r.WhatIf, whatIf{change, stages})
	}
	r.Ceilings = a.planCeilings() // last: its arrays are no part of any stage
	r.Measured = time.Since(began).Seconds()
	return a.printPlan(&r)
}

// planCeilings measures the machine with one thread and with all.
func (a *app) planCeilings() []kernels.Ceiling {
	var out []kernels.Ceiling
	for _, n := range []int{1, a.pool().Threads()} {
		if n == 1 && len(out) == 1 {
			break
		}
		p := kernels.NewPool(n)
		out = append(out, p.MeasureCeiling(planTime, planMegabytes))
		p.Close()
	}
	return out
}

// rehearsals keeps the rehearsal of each base, as it is held, between what-ifs.
type rehearsals struct {
	of    map[string]*plan.Rehearsal
	sides int64
}

// planRecipe reads the recipe and its data as the stages will, in a folder of its own that is removed.
func (a *app) planRecipe(ctx context.Context, path string, o recipeFlags, memo *rehearsals, program int64) (*planBase, []stagePlan, error) {
	rec, resolved, err := a.loadRecipe(path, o)
	if err != nil {
		return nil, nil, err
	}
	tmp, err := os.MkdirTemp("", "plumb-plan-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(tmp)
	quiet := *a
	quiet.quiet, quiet.err = true, io.Discard
	quiet.progress = ui.NewProgress(io.Discard, a.errTheme, true, a.now)
	p := &pipeline{app: &quiet, recipe: rec, resolved: resolved, dataDir: o.dataDir}
	if p.dir, err = run.Open(tmp, rec.Name); err != nil {
		return nil, nil, err
	}
	defer p.dir.Close()
	names := p.stages()
	if len(names) == 0 {
		return nil, nil, usagef("%s has no stage; add a section: %s", path, strings.Join(stageOrder, ", "))
	}
	pl := &planner{pipeline: p, tmp: tmp, program: program}
	if err := pl.prepare(ctx, memo); err != nil {
		return nil, nil, fmt.Errorf("base: %w", err)
	}
	var stages []stagePlan
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		s, err := pl.stage(ctx, name)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		stages = append(stages, s)
	}
	return &planBase{
		Name: rec.Base, Layers: pl.layers, Bytes: int64(pl.r.Weights.At(pl.layers)), Load: pl.r.Load.At(pl.layers),
		Answer: pl.answers.mean(), AnswerFrom: pl.answers.from,
	}, stages, nil
}

// planner estimates the stages of one recipe.
type planner struct {
	*pipeline
	tmp        string
	program    int64 // resident before anything was read
	sidesBytes int64 // what is alive beside the weights: tokenizer, template

	sides   *loaded // the base without its weights
	cfg     model.Config
	layers  int
	r       *plan.Rehearsal
	answers answerLengths
	files   float64 // seconds to write a small file to the end
}

// prepare opens the base and reads as much of it as is measured.
func (pl *planner) prepare(ctx context.Context, memo *rehearsals) error {
	ref := pl.recipe.Base
	if pl.recipe.SHA256 != "" && !strings.Contains(ref, "#") {
		ref += "#sha256=" + pl.recipe.SHA256
	}
	at, err := pl.locate(ctx, ref)
	if err != nil {
		return err
	}
	if at.adapter != "" {
		return fmt.Errorf("%s is an adapter; name the model it stands on, or export it first", ref)
	}
	if pl.sides, err = pl.openSides(at, ref); err != nil {
		return err
	}
	if pl.recipe.Template != "" {
		path, _, err := pl.data(ctx, pl.recipe.Template, "")
		if err != nil {
			return fmt.Errorf("template: %w", err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("template: %w", err)
		}
		if err := pl.sides.setTemplate(string(text), pl.recipe.Template); err != nil {
			return err
		}
	}
	if pl.sides.Source == nil || pl.sides.Source.ConfigJSON == nil {
		return errors.New("config.json is missing")
	}
	if pl.cfg, err = model.ParseConfig(pl.sides.Source.ConfigJSON); err != nil {
		return err
	}
	pl.layers = pl.cfg.Layers
	key := ref + " " + pl.recipe.Quantize
	if memo.of[key] == nil {
		w := fewBits{Source: pl.sides.Source, kind: pl.recipe.Quantize, pool: pl.pool()}
		if memo.of[key], err = plan.New(pl.cfg, w, pl.pool()); err != nil {
			return err
		}
	}
	pl.r = memo.of[key]
	if memo.sides == 0 {
		memo.sides = max(alive()-pl.r.Loaded(), 0)
	}
	pl.sidesBytes = memo.sides
	pl.files = pl.writing(64 << 10)
	return nil
}

// writing is the time to write one folder of so many bytes to the disk's end, as a checkpoint is.
func (pl *planner) writing(bytes int) float64 {
	data := make([]byte, bytes)
	best := 0.0
	for i := range 3 {
		began := time.Now()
		err := run.WriteDir(filepath.Join(pl.tmp, "probe"), func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "data"), data, 0o600)
		})
		if took := time.Since(began).Seconds(); err == nil && (i == 0 || took < best) {
			best = took
		}
	}
	return best
}

// outsideHeap is the memory that the program has resident beside its heap, once it has done what a stage does: code, and what the
// runtime keeps for itself. Where the system does not tell, it is what was resident at the start.
func outsideHeap(start int64) int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return start
	}
	for line := range strings.Lines(string(data)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "RssFile: %d kB", &kb); n == 1 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return kb<<10 + int64(m.Sys-m.HeapSys)
		}
	}
	return start
}

// alive is the heap that a collection leaves.
func alive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// reading measures what a stage reads: the time, and what stays.
func (s *stagePlan) reading(read func() (keep any, note string, err error)) error {
	before := alive()
	began := time.Now()
	keep, note, err := read()
	if err != nil {
		return err
	}
	s.phase("data", time.Since(began).Seconds(), "%s", note)
	s.Memory.Data += max(alive()-before, 0)
	runtime.KeepAlive(keep)
	return nil
}

// answerLengths are the lengths, in tokens, that answers are taken to have.
type answerLengths struct {
	lengths []int
	from    string
}

func (l answerLengths) mean() float64 {
	n := 0
	for _, x := range l.lengths {
		n += x
	}
	return float64(n) / float64(max(len(l.lengths), 1))
}

// of gives n lengths of at most limit; where nothing is known every answer is as long as it may be.
func (l answerLengths) of(n, limit int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = limit
		if len(l.lengths) > 0 {
			out[i] = cmp.Or(min(l.lengths[i%len(l.lengths)], limit), 1)
		}
	}
	return out
}
