package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/ui"
)

// prepare is the table of stages: each makes its job from the recipe.
func (p *pipeline) prepare(name string) func(context.Context) (stageJob, error) {
	switch name {
	case "sft":
		return p.sftStage
	case "pairs":
		return p.pairsStage
	case "label":
		return p.labelStage
	case "reward":
		return p.rewardStage
	case curveStage:
		return p.curveJob
	case "ppo":
		return p.ppoStage
	case "eval":
		return p.evalStage
	case "export":
		return p.exportStage
	}
	panic("plumb: prepare: no such stage")
}

// stepProgress shows the steps of sft and reward.
type stepProgress struct {
	p     *ui.Progress
	label string
	on    *bool
}

func (a *app) stepsOf(label string) stepProgress { return stepProgress{a.progress, label, new(bool)} }

// Step is told after each step.
func (s stepProgress) Step(done, total int, line string) {
	if !*s.on {
		s.p.Start(s.label, "steps", max(done-1, 0), total)
		*s.on = true
	}
	s.p.Set(done, line)
}

// phaseProgress shows the phases of eval.
type phaseProgress struct {
	p    *ui.Progress
	what string // the phase that is shown
}

// Step is told how far a phase is.
func (s *phaseProgress) Step(what, unit string, done, total int) {
	if what != s.what {
		s.what = what
		s.p.Start(what, unit, done, total)
	}
	s.p.Set(done, "")
}

// madeBySFT reports whether sft trains every weight, so that what follows
// stands on its model and not on the recipe's base.
func (p *pipeline) madeBySFT() bool {
	return p.recipe.SFT != nil && p.recipe.SFT.Peft.Method != "lora"
}

// trunk is the frozen model that the stages after sft stand on: the recipe's
// base, or the whole model that sft made.
func (p *pipeline) trunk(ctx context.Context) (*loaded, error) {
	if !p.madeBySFT() {
		return p.needBase(ctx)
	}
	if p.base != nil && p.base.StageDir != "" {
		return p.base, nil
	}
	l, err := p.load(ctx, p.dir.Path("sft"), "")
	if err != nil {
		return nil, err
	}
	l.Base.Name = "sft" // from the run folder, wherever that lies
	p.base = l
	return l, nil
}

// sftAdapter is a fresh copy of the run's SFT adapter; nil, and no parent, where
// the recipe has no sft or sft made a whole model.
func (p *pipeline) sftAdapter(base *loaded) (*peft.Adapter, []run.Parent, error) {
	if p.recipe.SFT == nil {
		return nil, nil, nil
	}
	parents := []run.Parent{{Role: "policy", Path: p.dir.Path("sft")}}
	if p.madeBySFT() {
		return nil, parents, nil
	}
	a, err := peft.Load(p.dir.Path("sft", adapterDir), base.Model.Modules())
	return a, parents, err
}

// onBase loads a model that a recipe names beside its base. An adapter goes
// on the base that is in memory already.
func (p *pipeline) onBase(ctx context.Context, ref string) (*loaded, error) {
	base, err := p.trunk(ctx)
	if err != nil {
		return nil, err
	}
	if ref == p.recipe.Base && !p.madeBySFT() || p.madeBySFT() && ref == p.dir.Path("sft") {
		l := *base
		l.Ref = filepath.Base(ref)
		return &l, nil
	}
	at, err := p.locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if at.adapter == "" {
		l, err := p.load(ctx, ref, "")
		if err == nil && l.Tok.SHA256 != base.Tok.SHA256 {
			err = fmt.Errorf("%s has another tokenizer than the base", ref)
		}
		return l, err
	}
	if at.stage != nil && at.stage.Base.SHA256 != base.Base.SHA256 {
		return nil, fmt.Errorf("%s stands on %s, the recipe on %s", ref, at.stage.Base, base.Base)
	}
	if at.quantize != base.Base.Quantize {
		return nil, fmt.Errorf("%s learned on a base held %s, the recipe holds it %s", ref, asHeld(at.quantize), asHeld(base.Base.Quantize))
	}
	l := *base
	l.Ref, l.Stage, l.StageDir = p.refName(ref), at.stage, at.stageDir
	a, err := peft.Load(at.adapter, base.Model.Modules())
	if err != nil {
		return nil, err
	}
	l.Adapter = a.Freeze()
	if l.isReward() {
		l.Scale, err = readScale(at.adapter)
	}
	return &l, err
}

// refName shortens a path inside the run folder, so that files do not depend
// on where the run folder lies.
func (p *pipeline) refName(ref string) string {
	if rel, err := filepath.Rel(p.dir.Path(), ref); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return ref
}

// manifestOf starts a manifest on a base.
func manifestOf(base *loaded) run.Manifest {
	m := run.Manifest{Base: base.Base, Tokenizer: base.Tok, Template: base.Tmpl}
	if base.Template != nil {
		m = m.WithTemplate(base.Template.Source())
	}
	return m
}

// outputsExist keeps those of the names that a stage folder has.
func outputsExist(s *run.Stage, names ...string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return !exists(s.Path(), n) })
}
