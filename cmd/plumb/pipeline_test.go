package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/internal/golden"
)

// chain makes a folder with a short recipe of every stage that trains, and its data.
func chain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	base := absolute(t, golden.Shared(t, "models/stories260k"))
	recipe := `name: t
base: ` + base + `
seed: 3
sft: {data: [{path: demos.jsonl}], batch: 4, eval: 0.1, eval_every: 4, save_every: 4, peft: {r: 2, alpha: 4}}
pairs: {prompts: prompts.jsonl, max_new: 12, save_every: 2}
reward: {data: [{path: pref.jsonl}], eval: 0.1, batch: 4, save_every: 4, layers: 2, normalise: {samples: 8, max_new: 8}}
ppo: {prompts: prompts.jsonl, episodes: 24, batch: 4, epochs: 1, sampling: {max_new: 12}, critic: {layers: 2}, save_every: 1}
`
	var demos, prefs, prompts strings.Builder
	for i := range 24 {
		fmt.Fprintf(&demos, "{\"prompt\": \"Once upon a time %d Tom saw\", \"completion\": \" a big dog. The end.\"}\n", i)
		fmt.Fprintf(&prefs, "{\"prompt\": \"One day %d Mia was\", \"chosen\": \" happy.\", \"rejected\": \" very sad.\"}\n", i)
		fmt.Fprintf(&prompts, "{\"prompt\": \"One day %d Ben went\"}\n", i)
	}
	for name, text := range map[string]string{"recipe.yaml": recipe, "demos.jsonl": demos.String(), "pref.jsonl": prefs.String(), "prompts.jsonl": prompts.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program is plumb as another process: this test binary under that name.
func program(t *testing.T, dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"plumb"}, args...)
	cmd.Dir, cmd.Stderr = dir, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &errOut
}

// What clocks said, in files that are else the same.
var (
	timingObject = regexp.MustCompile(`(?s)"timing": \{.*?\}`)
	seconds      = regexp.MustCompile(`"seconds": [-+.0-9e]+`)
)

// sums lists every file that is to be the same from run to run. The label
// store, which holds times, is compared by its own tests.
func sums(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "timing.jsonl" || strings.HasPrefix(e.Name(), "labels.db") {
			return err
		}
		data, err := os.ReadFile(p)
		switch e.Name() {
		case "run.json":
			data = timingObject.ReplaceAll(data, nil)
		case "summary.json":
			data = seconds.ReplaceAll(data, nil)
		}
		rel, _ := filepath.Rel(root, p)
		out[rel] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameFiles(t *testing.T, want, got map[string]string) {
	t.Helper()
	for p := range want {
		if got[p] == "" {
			t.Errorf("%s is missing", p)
		} else if got[p] != want[p] {
			t.Errorf("%s differs from the undisturbed run's", p)
		}
	}
	for p := range got {
		if want[p] == "" {
			t.Errorf("%s is there, the undisturbed run has none", p)
		}
	}
}

// TestRunKilledAndInterruptedEndsWithTheSameBytes kills plumb run at random
// moments with SIGKILL and SIGTERM and starts it again until it ends.
func TestRunKilledAndInterruptedEndsWithTheSameBytes(t *testing.T) {
	dir := chain(t)
	began := time.Now()
	cmd, out := program(t, dir, "run", "recipe.yaml", "-q", "--runs", "whole")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole := time.Since(began)
	want := sums(t, filepath.Join(dir, "whole", "t"))
	if len(want) < 30 {
		t.Fatalf("only %d files", len(want))
	}
	for name, signal := range map[string]os.Signal{"SIGKILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			hits := 0
			for most := whole / 2; ; most += most / 4 {
				cmd, out := program(t, dir, "run", "recipe.yaml", "-q", "--runs", name)
				done := make(chan error, 1)
				go func() { done <- cmd.Wait() }()
				var err error
				select {
				case err = <-done:
				case <-time.After(10*time.Millisecond + time.Duration(rand.Int64N(int64(most)))):
					cmd.Process.Signal(signal)
					if err = <-done; err != nil {
						hits++
						// Before the program has taken the signal into its hands it is killed by it: TestSignalsInEveryStage waits for that.
						if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != exitInterrupted && code != -1 {
							t.Fatalf("exit %d after SIGTERM, want %d: %s", code, exitInterrupted, out)
						}
						continue
					}
				}
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				break
			}
			sameFiles(t, want, sums(t, filepath.Join(dir, name, "t")))
			if t.Logf("%d hits", hits); hits == 0 {
				t.Error("the run was never hit before its end")
			}
		})
	}
}

// TestExitCodes is the table that scripts rely on.
func TestExitCodes(t *testing.T) {
	dir := chain(t)
	waiting := "name: w\nbase: " + absolute(t, golden.Shared(t, "models/stories260k")) + "\npairs: {prompts: prompts.jsonl, limit: 4, max_new: 12}\nlabel: {min: 1}\n"
	if err := os.WriteFile(filepath.Join(dir, "waiting.yaml"), []byte(waiting), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
	}{
		{"--version", exitOK},
		{"scroe", exitUsage},
		{"run", exitUsage},
		{"run nothing.yaml", exitUsage},
		{"run recipe.yaml --sft.lr=fast", exitUsage},
		{"score nothing", exitFailure},
		{"run waiting.yaml -q", exitWaiting},
	} {
		cmd, out := program(t, dir, strings.Fields(c.args)...)
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.code {
			t.Errorf("plumb %s: exit %d, want %d: %s", c.args, got, c.code, out)
		}
	}
}
