package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/config"
	"plumb/internal/kernels"
	"plumb/internal/run"
)

// pipeline is one recipe being run: its folder, and the base that all stages share.
type pipeline struct {
	*app
	recipe   *recipe
	resolved *config.Recipe
	dir      *run.Dir
	dataDir  string

	base *loaded // once needed
}

// stageJob is a stage ready to be run: what goes in, and the work.
type stageJob struct {
	manifest run.Manifest
	// work runs the stage in its begun folder and returns what Finish records.
	work func(ctx context.Context, s *run.Stage) (stageResult, error)
}

// stageResult is what a finished stage leaves.
type stageResult struct {
	step    int
	results []run.KV
	outputs []string // files and folders of the stage folder that are its result
}

// stages are the stages of a recipe in the order they run.
func (p *pipeline) stages() []string {
	var out []string
	for _, name := range stageOrder {
		if string(p.resolved.JSON(name)) != "null" {
			out = append(out, name)
		}
	}
	return out
}

// stageCmd is the verb of one stage; prepare makes its job.
func (a *app) stageCmd(name, short, long string) *cobra.Command {
	var o recipeFlags
	cmd := &cobra.Command{
		Use:   name + " RECIPE [flags]",
		Short: short,
		Long:  long,
		Args:  args("one RECIPE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pipe(cmd.Context(), args[0], o, name)
		},
	}
	o.register(cmd)
	return cmd
}

// runCmd is the whole chain.
func (a *app) runCmd() *cobra.Command {
	var o recipeFlags
	cmd := &cobra.Command{
		Use:   "run RECIPE [flags]",
		Short: "Run every stage of a recipe; skip what is done, resume what was cut off",
		Long: `Runs the recipe's stages in order. A stage whose inputs are unchanged and whose
outputs are whole is skipped; one that was cut off goes on from its last checkpoint
and ends with the same bytes.`,
		Args: args("one RECIPE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pipe(cmd.Context(), args[0], o)
		},
	}
	o.register(cmd)
	return cmd
}

// pipe runs the named stages of a recipe, all where none is named.
func (a *app) pipe(ctx context.Context, path string, o recipeFlags, names ...string) (err error) {
	rec, resolved, err := a.loadRecipe(path, o)
	if err != nil {
		return err
	}
	p := &pipeline{app: a, recipe: rec, resolved: resolved, dataDir: o.dataDir}
	if len(names) == 0 {
		names = p.stages()
	}
	if len(names) == 0 {
		return usagef("%s has no stage; add a section: %s", path, strings.Join(stageOrder, ", "))
	}
	for _, name := range names {
		if section := sectionOf(name); string(resolved.JSON(section)) == "null" {
			return usagef("%s has no section %s; add \"%s: {}\" to it", path, section, section)
		}
	}
	if p.dir, err = run.Open(a.runs, rec.Name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.dir.Close()) }()
	if err := p.saveRecipe(); err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.stage(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if slices.Contains(names, curveStage) {
		return p.showCurve()
	}
	if last := p.stages(); len(names) == len(last) || slices.Contains(names, "eval") {
		return p.summarise()
	}
	return nil
}

// sectionOf is the section of the recipe that a stage is told by.
func sectionOf(stage string) string {
	if stage == curveStage {
		return "reward"
	}
	return stage
}

// saveRecipe keeps the resolved recipe in the run folder; it is a valid recipe.
func (p *pipeline) saveRecipe() error {
	data, err := p.resolved.YAML()
	if err != nil {
		return err
	}
	return p.dir.WriteFile("recipe.yaml", writeBytes(data))
}

// stage runs one stage unless it is done.
func (p *pipeline) stage(ctx context.Context, name string) error {
	prepare := p.prepare(name)
	job, err := prepare(ctx)
	if err != nil {
		return err
	}
	m := p.fill(job.manifest, name)
	s := p.dir.Stage(name)
	done, why, err := s.Done(m)
	if err != nil {
		return err
	}
	if done {
		p.note("%s: done already, from the same inputs", name)
		return nil
	}
	began, err := s.Begin(m)
	if err != nil {
		return err
	}
	p.sayBegun(name, began, why)
	result, err := job.work(ctx, s)
	p.progress.Done()
	if err == nil && (name == "sft" || name == "reward" || name == "ppo") {
		err = stageReport(s, result.results)
		result.outputs = append(result.outputs, reportFile)
	}
	if err == nil {
		if err = s.Finish(result.step, result.results, result.outputs...); err == nil {
			return p.saySpent(s)
		}
	}
	state := run.Failed
	switch {
	case errors.Is(err, errWaiting):
		state = run.Waiting
	case ctx.Err() != nil:
		state = run.Interrupted
	}
	// What the stage could not write, run.json may not take either: the first error is the one to tell.
	if ferr := s.Fail(state, err); ferr != nil && state != run.Failed {
		err = errors.Join(err, ferr)
	}
	if state == run.Interrupted {
		p.warn("%s: interrupted at step %d; the same command goes on from there", name, s.Manifest().Step)
	}
	return err
}

func (p *pipeline) sayBegun(name string, b run.Begun, why []string) {
	for _, n := range b.Notes {
		p.warn("%s: %s", name, n)
	}
	switch {
	case b.MovedTo != "":
		p.warn("%s: runs again, its inputs have changed; what was there is now %s", name, b.MovedTo)
		for _, c := range b.Changed {
			p.warn("  %s", c)
		}
	case b.Resumed:
		p.note("%s: goes on from its last checkpoint", name)
	case len(why) > 0 && why[0] != "not run yet":
		p.note("%s: runs (%s)", name, why[0])
	default:
		p.note("%s: runs", name)
	}
}

// fill completes a manifest with what is the same for every stage.
func (p *pipeline) fill(m run.Manifest, name string) run.Manifest {
	m.Program = version()
	m.Seed = p.recipe.Seed
	m.Config = p.resolved.JSON(sectionOf(name))
	m.Machine = run.ThisMachine(kernels.Variant())
	m.Timing.Threads = p.threads
	if m.Timing.Threads == 0 {
		m.Timing.Threads = runtime.GOMAXPROCS(0)
	}
	return m
}

// needBase loads the recipe's base, once.
func (p *pipeline) needBase(ctx context.Context) (*loaded, error) {
	if p.base != nil && p.base.StageDir == "" {
		return p.base, nil
	}
	ref := p.recipe.Base
	if p.recipe.SHA256 != "" && !strings.Contains(ref, "#") {
		ref += "#sha256=" + p.recipe.SHA256
	}
	l, err := p.loadAs(ctx, ref, "", p.recipe.Quantize)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if l.Adapter != nil {
		return nil, fmt.Errorf("base: %s is an adapter; name the model it stands on, or export it first", ref)
	}
	l.Base.Name = p.recipe.Base
	if p.recipe.Template != "" {
		path, _, err := p.data(ctx, p.recipe.Template, "")
		if err != nil {
			return nil, fmt.Errorf("template: %w", err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("template: %w", err)
		}
		if err := l.setTemplate(string(text), p.recipe.Template); err != nil {
			return nil, err
		}
	}
	p.base = l
	return l, nil
}

// data finds a file that the recipe names: as written, then in the run folder,
// then under --data-dir (its whole path, then its last element), then on the
// hub or at its address.
func (p *pipeline) data(ctx context.Context, ref, sha256 string) (path string, src run.Source, err error) {
	return p.dataOr(ctx, ref, sha256, "")
}

// dataOr is data for a file that is called local under --data-dir.
func (p *pipeline) dataOr(ctx context.Context, ref, sha256, local string) (path string, src run.Source, err error) {
	path, err = p.find(ctx, ref, sha256, local)
	if err != nil {
		return "", src, err
	}
	sum, err := hashPath(path)
	if err != nil {
		return "", src, err
	}
	if sha256 != "" && !strings.EqualFold(sum, sha256) {
		return "", src, fmt.Errorf("%s has sha256 %s, the recipe wants %s", path, sum, sha256)
	}
	return path, run.Source{Name: ref, SHA256: sum}, nil
}

func (p *pipeline) find(ctx context.Context, ref, sha256, copied string) (string, error) {
	if strings.HasPrefix(ref, embeddedPrefix) {
		return embeddedFile(p.dir.Path("embedded"), ref)
	}
	local := expandHome(ref)
	tries := []string{local, p.dir.Path(local)}
	if p.dataDir != "" && !filepath.IsAbs(local) {
		// The name without a scheme, as the hub's: datasets/org/name/file.
		name := strings.TrimPrefix(strings.TrimPrefix(ref, "hf://"), "https://")
		name, _, _ = strings.Cut(name, "#")
		if copied != "" {
			tries = append(tries, filepath.Join(expandHome(p.dataDir), copied))
		}
		tries = append(tries, filepath.Join(expandHome(p.dataDir), name), filepath.Join(expandHome(p.dataDir), filepath.Base(name)))
	}
	for _, t := range tries {
		if filepath.IsAbs(local) && t != local {
			continue
		}
		if _, err := os.Stat(t); err == nil {
			return t, nil
		}
	}
	got, err := p.fetch(ctx, strings.TrimPrefix(ref, "hf://"), sha256)
	if err != nil {
		hint := ""
		if p.dataDir == "" {
			hint = "; --data-dir says where local copies lie"
		}
		return "", fmt.Errorf("%w (looked for %s%s)", err, strings.Join(tries, ", "), hint)
	}
	return got, nil
}

// hashPath is the sha256 of a file, or of the names and sums of a folder's files.
func hashPath(path string) (string, error) {
	if !dirExists(path) {
		sum, _, err := run.HashFile(path)
		return sum, err
	}
	files, err := run.HashDir(path)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s %s\n", f.SHA256, f.Path)
	}
	return run.HashBytes([]byte(b.String())), nil
}
