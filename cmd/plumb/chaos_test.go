package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"plumb/internal/run"
)

// TestEvalAndExportKilledEndInTheSameBytes kills the stages eval and export with SIGKILL, at moments spread over the time they
// take, and starts them again: every file of the run is then what it is where nothing was killed.
func TestEvalAndExportKilledEndInTheSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the program many times")
	}
	dir := t.TempDir()
	recipe := `name: t
base: embedded:tales
sft: {data: [{path: "embedded:tales/demonstrations", limit: 8}], eval: 0, batch: 8, peft: {r: 2, alpha: 4}}
eval: {prompts: "embedded:tales/held", limit: 8, max_new: 16, bootstrap: 200, judge: {gold: "embedded:tales"}}
export: {format: [merged, peft], dtype: bf16}
`
	if err := os.WriteFile(filepath.Join(dir, "recipe.yaml"), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	// An adapter that is exported names the folder of its base: all happens in the same one.
	live, trained := filepath.Join(dir, "runs", "t"), filepath.Join(dir, "trained")
	whole := func(verb string) {
		t.Helper()
		cmd, out := program(t, dir, verb, "recipe.yaml", "-q")
		if err := cmd.Wait(); err != nil {
			t.Fatalf("plumb %s: %v: %s", verb, err, out)
		}
	}
	whole("sft")
	if err := os.CopyFS(trained, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"eval", "export"} {
		t.Run(stage, func(t *testing.T) {
			afresh := func() {
				t.Helper()
				if err := os.RemoveAll(live); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(live, os.DirFS(trained)); err != nil {
					t.Fatal(err)
				}
			}
			afresh()
			manifest := filepath.Join(live, stage, run.ManifestName)
			took, _ := killAfter(t, dir, stage, manifest, time.Hour)
			want := sums(t, live)
			if len(want) < 10 {
				t.Fatalf("only %d files", len(want))
			}
			const kills = 3
			hits := 0
			for try := 0; hits < kills && try < 5*kills; try++ {
				afresh()
				part := (float64(hits) + rand.Float64()) / kills
				if _, killed := killAfter(t, dir, stage, manifest, time.Duration(part*float64(took))); !killed {
					took = took * 3 / 4
					continue
				}
				if m, err := run.ReadManifest(filepath.Dir(manifest)); err == nil && m.State != run.Finished {
					hits++
				}
				whole(stage)
				sameFiles(t, want, sums(t, live))
			}
			if hits < kills {
				t.Errorf("only %d kills hit the stage", hits)
			}
		})
	}
}

// killAfter starts a stage and kills it so long after its manifest was there, unless it ends before; it returns how long it
// took from there.
func killAfter(t *testing.T, dir, stage, manifest string, wait time.Duration) (took time.Duration, killed bool) {
	t.Helper()
	cmd, out := program(t, dir, stage, "recipe.yaml", "-q")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	began := time.Now()
	var kill <-chan time.Time
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			if err != nil && !killed {
				t.Fatalf("plumb %s: %v: %s", stage, err, out)
			}
			return time.Since(began), err != nil
		case <-look.C:
			if _, err := os.Stat(manifest); err == nil && kill == nil {
				began, kill = time.Now(), time.After(wait)
			}
		case <-kill:
			killed = true
			_ = cmd.Process.Kill() // it may have ended: then Wait says that there was no kill
		}
	}
}
