package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/internal/run"
	"plumb/internal/tales"
)

// taleChain makes a folder with a recipe of all seven stages on the embedded base, as small as they can be, and their data. The
// queue of the run t holds 400 pairs already, so that labeling takes a while.
func taleChain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var demos, prompts, held, queue []any
	user := func(text string) []message { return []message{{"user", text}} }
	for _, d := range tales.Demonstrations(14, 7) {
		demos = append(demos, map[string]any{"messages": append(user(d.Prompt), message{"assistant", d.Completion})})
	}
	for _, p := range tales.Prompts(0, 8, 7) {
		prompts = append(prompts, map[string]any{"prompt": user(p)})
	}
	for _, p := range tales.Prompts(100, 10, 7) {
		held = append(held, map[string]any{"prompt": user(p)})
	}
	for _, p := range tales.Pairs(400, 7) {
		queue = append(queue, map[string]any{"prompt": user(p.Prompt), "answers": []any{map[string]string{"text": p.A}, map[string]string{"text": p.B}}})
	}
	for name, records := range map[string][]any{"demos.jsonl": demos, "prompts.jsonl": prompts, "held.jsonl": held, "queue.jsonl": queue} {
		var b bytes.Buffer
		for _, r := range records {
			if err := encodeLine(&b, r); err != nil {
				t.Fatal(err)
			}
		}
		put(t, filepath.Join(dir, name), b.String())
	}
	put(t, filepath.Join(dir, "recipe.yaml"), `name: t
base: embedded:tales
seed: 3
sft: {data: [{path: demos.jsonl}], batch: 4, eval: 0.1, eval_every: 2, save_every: 2, peft: {r: 2, alpha: 4}}
pairs: {prompts: prompts.jsonl, max_new: 24, save_every: 2}
label: {by: "embedded:tales"}
reward: {data: [{path: labels.db, limit: 20}], eval: 0.25, batch: 4, save_every: 2, layers: 2, normalise: {samples: 8, max_new: 16}}
ppo: {prompts: prompts.jsonl, lr: 0.01, episodes: 8, batch: 4, epochs: 1, sampling: {max_new: 16}, critic: {layers: 2}, save_every: 1}
eval: {prompts: held.jsonl, max_new: 64, bootstrap: 100, judge: {gold: "embedded:tales"}}
export: {format: [merged, peft], dtype: f32}
`)
	if err := os.MkdirAll(filepath.Join(dir, "runs", "t"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "label", "import", filepath.Join(dir, "queue.jsonl"), "--store", filepath.Join(dir, "runs", "t", "labels.db"), "-q")
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// restore makes the folder to what from was.
func restore(t *testing.T, to, from string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
}

// heard is a stderr that does something, once, as soon as a stage says that it runs.
type heard struct {
	said  bytes.Buffer
	stage string
	then  func()
}

func (h *heard) Write(p []byte) (int, error) {
	n, err := h.said.Write(p)
	for line := range strings.Lines(h.said.String()) {
		if h.then != nil && strings.HasSuffix(line, "\n") && (strings.HasPrefix(line, h.stage+": runs") || strings.HasPrefix(line, h.stage+": goes on")) {
			h.then()
			h.then = nil
		}
	}
	return n, err
}

// signalled starts a stage, sends it a signal once it says that it runs and something is in a file, if one is named, and returns its
// exit code and what it said.
func signalled(t *testing.T, dir, stage string, signal os.Signal, file string) (code int, said string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Args, cmd.Dir = []string{"plumb", stage, "recipe.yaml"}, dir
	out := &heard{stage: stage, then: func() {
		for ctx.Err() == nil && file != "" {
			if info, err := os.Stat(file); err == nil && info.Size() > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		_ = cmd.Process.Signal(signal) // it may have ended: its exit code tells
	}}
	cmd.Stderr = out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if out.then != nil {
		t.Fatalf("plumb %s: it did not say that it runs: %s", stage, &out.said)
	}
	return cmd.ProcessState.ExitCode(), out.said.String()
}

// Every stage that gets SIGINT or SIGTERM while it runs ends with exit code 130 as interrupted, and started again with the bytes of
// a run that nobody disturbed.
func TestSignalsInEveryStage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the program many times")
	}
	dir := taleChain(t)
	live, queued, before := filepath.Join(dir, "runs", "t"), filepath.Join(dir, "queued"), filepath.Join(dir, "before")
	whole := func(verb string) {
		t.Helper()
		cmd, out := program(t, dir, verb, "recipe.yaml", "-q")
		if err := cmd.Wait(); err != nil {
			t.Fatalf("plumb %s: %v: %s", verb, err, out)
		}
	}
	restore(t, queued, live)
	// An adapter that is exported names the folder of its base: all happens in the same one.
	whole("run")
	want := sums(t, live)
	if len(want) < 40 {
		t.Fatalf("only %d files", len(want))
	}
	restore(t, live, queued)
	for _, stage := range stageOrder {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			// The first comes as soon as the stage runs, the second once a stage that counts steps has made one.
			counted := ""
			if signal == syscall.SIGTERM && slices.Contains([]string{"sft", "pairs", "reward", "ppo"}, stage) {
				counted = filepath.Join(live, stage, "metrics.jsonl")
			}
			restore(t, before, live)
			code, said := signalled(t, dir, stage, signal, counted)
			for try := 1; code == exitOK; try++ { // it was over before the signal came
				if try == 5 {
					t.Fatalf("%s: %v never came before the end: the stage is too short for this test", stage, signal)
				}
				restore(t, live, before)
				code, said = signalled(t, dir, stage, signal, counted)
			}
			if code != exitInterrupted || !strings.HasSuffix(said, "plumb: interrupted\n") {
				t.Errorf("%s: exit %d after %v, want %d and a word on it: %s", stage, code, signal, exitInterrupted, said)
			}
			m, err := run.ReadManifest(filepath.Join(live, stage))
			if err != nil || m.State != run.Interrupted {
				t.Errorf("%s: the state after %v is %q (%v), want %q", stage, signal, m.State, err, run.Interrupted)
			}
			if counted != "" && m.Step == 0 {
				t.Errorf("%s: nothing was saved at %v", stage, signal)
			}
		}
		whole(stage)
	}
	whole("run") // all is done: only summary.json is written
	sameFiles(t, want, sums(t, live))
}

// A run that one process has open is refused to a second one, whatever the verb, and left as it is.
func TestSecondProcessIsRefused(t *testing.T) {
	dir := taleChain(t)
	d, err := run.Open(filepath.Join(dir, "runs"), "t")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := sums(t, d.Path())
	var all []*exec.Cmd
	var said []*bytes.Buffer
	verbs := append([]string{"run"}, stageOrder...)
	for _, verb := range verbs {
		cmd, out := program(t, dir, verb, "recipe.yaml", "-q")
		all, said = append(all, cmd), append(said, out)
	}
	for i, cmd := range all {
		_ = cmd.Wait() // the exit code says more
		owner := fmt.Sprintf("run folder %s is in use by process %d", filepath.Join("runs", "t"), os.Getpid())
		if code := cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(said[i].String(), owner) {
			t.Errorf("plumb %s: exit %d, want %d and %q: %s", verbs[i], code, exitFailure, owner, said[i])
		}
	}
	sameFiles(t, before, sums(t, d.Path()))
}
