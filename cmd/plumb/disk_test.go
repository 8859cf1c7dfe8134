package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/run"
	"plumb/internal/smalldisk"
)

// onFullDisk runs a command that has to fail for want of space, and checks that it says so, names the file and says what to do.
func onFullDisk(t *testing.T, file string, out io.Writer, args ...string) {
	t.Helper()
	var errOut bytes.Buffer
	code := plumb(context.Background(), args, strings.NewReader(""), out, &errOut)
	if code != exitFailure {
		t.Errorf("plumb %s: exit %d, want %d: %s", strings.Join(args, " "), code, exitFailure, errOut.String())
	}
	for _, want := range []string{file, "free some space"} {
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("plumb %s: no %q in %s", strings.Join(args, " "), want, errOut.String())
		}
	}
}

// command runs a command that has to succeed.
func command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := plumb(context.Background(), args, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Fatalf("plumb %s: exit %d: %s", strings.Join(args, " "), code, errOut.String())
	}
	return out.String()
}

// labelled makes a store with n judged pairs.
func labelled(t *testing.T, store string, n int) {
	t.Helper()
	var rows strings.Builder
	for i := range n {
		rows.WriteString(`{"prompt": "question ` + strings.Repeat("x", i) + `", "chosen": "good` + strings.Repeat(" and so on", 400) + `", "rejected": "bad"}` + "\n")
	}
	file := filepath.Join(t.TempDir(), "pref.jsonl")
	if err := os.WriteFile(file, []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, "label", "import", file, "--store", store, "-q")
}

func TestLabelExportToAFullDisk(t *testing.T) {
	store := filepath.Join(t.TempDir(), "labels.db")
	labelled(t, store, 3)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no full device here: %v", err)
	}
	defer full.Close()
	for _, format := range []string{"trl", "kto", "argilla", "label-studio", "log"} {
		onFullDisk(t, store, full, "label", "export", "--store", store, "--format", format, "-q")
	}
}

func TestLabelMergeOnAFullDisk(t *testing.T) {
	other, dir := filepath.Join(t.TempDir(), "other.db"), smalldisk.New(t, 2<<20)
	labelled(t, other, 60)
	store := filepath.Join(dir, "labels.db")
	labelled(t, store, 3)
	before := command(t, "label", "export", "--store", store, "--format", "log", "-q")
	free := smalldisk.Fill(t, dir, 128<<10)
	onFullDisk(t, store, io.Discard, "label", "merge", other, "--store", store, "-q")
	if after := command(t, "label", "export", "--store", store, "--format", "log", "-q"); after != before {
		t.Errorf("the store has changed: %d bytes of log, %d before", len(after), len(before))
	}
	free()
	command(t, "label", "merge", other, "--store", store, "-q")
	if got := command(t, "label", "export", "--store", store, "-q"); strings.Count(got, "\n") != 60 {
		t.Errorf("%d rows after space was freed, want 60", strings.Count(got, "\n"))
	}
}

// A folder that did not fit is not there in part, and is written when there is room.
func TestExportToAFullDisk(t *testing.T) {
	llama := golden.Dir(t, "models/llama")
	for format, model := range map[string][]string{
		formatMerged: {golden.Shared(t, "models/stories260k")},
		formatPEFT:   {llama, "--adapter", golden.Dir(t, "peft/lora-all-linear")},
	} {
		t.Run(format, func(t *testing.T) {
			dir := smalldisk.New(t, 8<<20)
			free := smalldisk.Fill(t, dir, 8<<10)
			out := filepath.Join(dir, "exported")
			onFullDisk(t, out, io.Discard, append([]string{"export", "--out", out, "--format", format, "-q"}, model...)...)
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			free()
			exportTo(t, out, append([]string{"--format", format}, model...)...)
		})
	}
}

// The queue of a stage whose pairs do not fit takes none of them; the stage is not done, and is when there is room.
func TestPairsIntoAFullQueue(t *testing.T) {
	dir, disk := chain(t), smalldisk.New(t, 1<<20)
	store := filepath.Join(disk, "labels.db")
	labelled(t, store, 3)
	before := command(t, "label", "export", "--store", store, "--format", "log", "-q")
	recipe := fmt.Sprintf("name: t\nbase: %s\npairs: {prompts: %s, max_new: 12}\nlabel: {store: %s}\n",
		absolute(t, golden.Shared(t, "models/stories260k")), filepath.Join(dir, "prompts.jsonl"), store)
	if err := os.WriteFile(filepath.Join(dir, "recipe.yaml"), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"pairs", filepath.Join(dir, "recipe.yaml"), "--runs", filepath.Join(dir, "runs"), "-q"}
	free := smalldisk.Fill(t, disk, 64<<10)
	onFullDisk(t, store, io.Discard, args...)
	if after := command(t, "label", "export", "--store", store, "--format", "log", "-q"); after != before {
		t.Errorf("the queue has changed: %d bytes of log, %d before", len(after), len(before))
	}
	m, err := run.ReadManifest(filepath.Join(dir, "runs", "t", "pairs"))
	if err != nil || m.State != run.Failed || !strings.Contains(m.Error, "free some space") {
		t.Errorf("the stage is %s, error %q, %v", m.State, m.Error, err)
	}
	free()
	command(t, args...)
	pairs, err := os.ReadFile(filepath.Join(dir, "runs", "t", "pairs", pairsFile))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Count(before, "\n") + strings.Count(string(pairs), "\n")
	if got := strings.Count(command(t, "label", "export", "--store", store, "--format", "log", "-q"), "\n"); got != want || want < 10 {
		t.Errorf("%d lines of log after space was freed, want %d", got, want)
	}
}

// A stage that runs out of space, wherever that is, names the file, leaves nothing half-written and goes on when there is room, to the
// same bytes as one that had room from the start.
func TestStagesOnAFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the stages many times")
	}
	dir, disk := taleChain(t), smalldisk.New(t, 16<<20)
	live := filepath.Join(disk, "t")
	restore(t, live, filepath.Join(dir, "runs", "t"))
	args := func(verb, runs string) []string {
		return []string{verb, filepath.Join(dir, "recipe.yaml"), "--data-dir", dir, "--runs", runs, "-q", "--eval.max_new", "8"}
	}
	for _, stage := range []string{"sft", "pairs", "label", "reward", "ppo", "eval"} {
		command(t, args(stage, filepath.Join(dir, "runs"))...)
		if stage == "pairs" || stage == "label" { // their own tests fill the disk
			command(t, args(stage, disk)...)
			continue
		}
		failed := 0
		for room := int64(2 << 10); ; room *= 13 {
			free := smalldisk.Fill(t, disk, room)
			var errOut bytes.Buffer
			code := plumb(context.Background(), args(stage, disk), strings.NewReader(""), io.Discard, &errOut)
			free()
			if code == exitOK {
				break
			}
			failed++
			for _, want := range []string{live, "free some space"} {
				if code != exitFailure || !strings.Contains(errOut.String(), want) {
					t.Errorf("plumb %s with room for %d bytes: exit %d, want %d and %q: %s", stage, room, code, exitFailure, want, errOut.String())
				}
			}
			for path := range sums(t, live) {
				if strings.Contains(path, ".tmp") {
					t.Errorf("plumb %s with room for %d bytes left %s", stage, room, path)
				}
			}
		}
		if failed < 2 {
			t.Errorf("%s: the disk was full only %d times", stage, failed)
		}
	}
	sameFiles(t, sums(t, filepath.Join(dir, "runs", "t")), sums(t, live))
}
