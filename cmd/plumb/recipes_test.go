package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/golden"
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

// TestCriticTrainsAsManyBlocks: unless the recipe says otherwise, the critic trains as many of the top blocks as the reward model.
func TestCriticTrainsAsManyBlocks(t *testing.T) {
	for _, c := range []struct {
		reward, critic string
		want           int
	}{
		{"", "", 0}, {"layers: 3", "", 3}, {"layers: 3", "layers: 1", 1}, {"", "layers: 2", 2},
	} {
		path := filepath.Join(t.TempDir(), "r.yaml")
		text := fmt.Sprintf("version: 1\nbase: embedded:tales\nreward: {data: [{path: labels.db}], %s}\nppo: {prompts: p.jsonl, critic: {%s}}\n", c.reward, c.critic)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r, _, err := (&app{}).loadRecipe(path, recipeFlags{})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.PPO.Critic.Layers; got != c.want {
			t.Errorf("reward {%s}, critic {%s}: the critic trains %d blocks, want %d", c.reward, c.critic, got, c.want)
		}
	}
}
