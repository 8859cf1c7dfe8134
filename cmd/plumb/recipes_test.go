package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/run"
)

// TestRecipes: every recipe of the project is valid, and those on public data name for each source the copy that the shared
// data hold.
func TestRecipes(t *testing.T) {
	paths, err := filepath.Glob("../../recipes/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recipes: %v", err)
	}
	a := &app{}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			r, _, err := a.loadRecipe(path, recipeFlags{})
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); r.Name != want {
				t.Errorf("its name is %q", r.Name)
			}
			for ref, local := range localCopies(r) {
				if local == "" {
					t.Errorf("%s names no local copy", ref)
					continue
				}
				golden.Shared(t, "data/"+local)
			}
		})
	}
}

// localCopies maps the hub's files of a recipe to the names of their copies.
func localCopies(r *recipe) map[string]string {
	out := map[string]string{}
	add := func(ref, local string) {
		if strings.HasPrefix(ref, "hf://") {
			out[ref] = local
		}
	}
	if r.SFT != nil {
		for _, d := range r.SFT.Data {
			add(d.Path, d.Local)
		}
	}
	if r.Reward != nil {
		for _, d := range r.Reward.Data {
			add(d.Path, d.Local)
		}
		add(r.Reward.Normalise.Prompts, r.Reward.Normalise.Read.Local)
	}
	if r.PPO != nil {
		add(r.PPO.Prompts, r.PPO.Read.Local)
	}
	if r.Eval != nil {
		add(r.Eval.Prompts, r.Eval.Read.Local)
		add(r.Eval.Held, r.Eval.HeldRead.Local)
	}
	return out
}

// TestTrainedLayers: the critic trains as many of the top blocks as the reward model did, whatever the recipe says now.
func TestTrainedLayers(t *testing.T) {
	for _, c := range []struct {
		config string
		want   int
	}{
		{`{"layers": 0, "batch": 4}`, 0}, {`{"layers": 3}`, 3}, {`{"layers": 6}`, 0}, {`{"layers": 40}`, 0},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, run.ManifestName), fmt.Appendf(nil, `{"format": 1, "config": %s}`, c.config), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := trainedLayers(dir, 6); err != nil || got != c.want {
			t.Errorf("%s: %d blocks, %v, want %d", c.config, got, err, c.want)
		}
	}
	if _, err := trainedLayers(t.TempDir(), 6); err == nil {
		t.Error("no error without a reward model")
	}
}
