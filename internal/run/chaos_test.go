package run

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	toyEnv   = "PLUMB_RUN_TOY"
	toySteps = 60
)

func TestMain(m *testing.M) {
	if root := os.Getenv(toyEnv); root != "" {
		stop, _ := strconv.Atoi(os.Getenv(toyEnv + "_STOP"))
		if err := toy(root, stop); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var errStopped = errors.New("stopped")

// toy is a stage whose state is one number and whose every file depends on all
// steps before. It stops as if by a signal after step stop (0: never).
func toy(root string, stop int) error {
	d, err := Open(root, "toy")
	if err != nil {
		return err
	}
	defer d.Close()
	s := d.Stage("sft")
	m := Manifest{Seed: 7, Config: json.RawMessage(`{"lr":0.1}`)}
	if done, _, err := s.Done(m); err != nil || done {
		return err
	}
	if _, err := s.Begin(m); err != nil {
		return err
	}
	x := uint64(1)
	first, dir, ok := s.Latest()
	if ok {
		data, err := os.ReadFile(filepath.Join(dir, "x.bin"))
		if err != nil {
			return err
		}
		x = binary.LittleEndian.Uint64(data)
	}
	save := func(dir string) error {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
			return err
		}
		pad := bytes.Repeat([]byte{byte(x)}, 20_000)
		return errors.Join(
			os.WriteFile(filepath.Join(dir, "x.bin"), binary.LittleEndian.AppendUint64(nil, x), 0o644),
			os.WriteFile(filepath.Join(dir, "sub", "pad.bin"), pad, 0o644))
	}
	for step := first + 1; step <= toySteps; step++ {
		x = x*6364136223846793005 + 1442695040888963407
		kvs := []KV{{"loss", float64(x>>40) / 3}, {"lr", 0.1}}
		if step%7 == 0 {
			kvs[0].Value = math.NaN()
		}
		if err := s.Log(step, kvs); err != nil {
			return err
		}
		if err := s.Timing(step, []KV{{"seconds", 1}}); err != nil {
			return err
		}
		if step > 20 { // A file that the first checkpoints know nothing of.
			a, err := s.Append("rollouts/r.jsonl")
			if err != nil {
				return err
			}
			fmt.Fprintf(a, "{\"step\":%d,\"x\":%d}\n", step, x)
		}
		if step%5 == 0 {
			if err := s.Checkpoint(step, save); err != nil {
				return err
			}
		}
		if step == stop {
			return errors.Join(s.CheckpointNow(step, save), s.Fail(Interrupted, nil), errStopped)
		}
	}
	if err := s.WriteDir("adapter", save); err != nil {
		return err
	}
	return s.Finish(toySteps, []KV{{"loss", float64(x)}}, "adapter")
}

// tree reads every file under root that is to be the same from run to run:
// all but timing.jsonl and run.json's timing object.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	timing := regexp.MustCompile(`(?s)"timing": \{.*?\}`)
	files := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch e.Name() {
		case timingFile:
			return nil
		case ManifestName:
			data = timing.ReplaceAll(data, nil)
		}
		files[rel] = string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func sameTree(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, p := range keysOf(want, got) {
		if want[p] != got[p] {
			t.Errorf("%s differs from the undisturbed run's: %d bytes, want %d", p, len(got[p]), len(want[p]))
		}
	}
}

func undisturbed(t *testing.T) map[string]string {
	t.Helper()
	root := t.TempDir()
	if err := toy(root, 0); err != nil {
		t.Fatal(err)
	}
	files := tree(t, root)
	for _, p := range []string{"toy/sft/metrics.jsonl", "toy/sft/rollouts/r.jsonl", "toy/sft/state/step-00000060/x.bin", "toy/sft/adapter/x.bin"} {
		if files[p] == "" {
			t.Fatalf("%s is missing or empty", p)
		}
	}
	return files
}

func TestKilledAtRandomMomentsEndsWithTheSameBytes(t *testing.T) {
	want := undisturbed(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(root string) (*exec.Cmd, *bytes.Buffer) {
		var out bytes.Buffer
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), toyEnv+"="+root)
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &out
	}
	// The whole takes this long; kills are spread over it.
	root := t.TempDir()
	began := time.Now()
	cmd, out := start(root)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole := time.Since(began)
	kills := 0
	for round := 0; round < 20 && kills < 12; round++ {
		root := t.TempDir()
		for most := whole / 2; ; most += most / 4 { // Ever later, so that a busy machine gets there too.
			cmd, out := start(root)
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select {
			case err := <-done:
				if err != nil {
					t.Fatalf("round %d: %v: %s", round, err, out)
				}
			case <-time.After(time.Millisecond + time.Duration(rand.Int64N(int64(most)))):
				cmd.Process.Kill()
				if <-done != nil {
					kills++
					continue
				}
			}
			break
		}
		sameTree(t, want, tree(t, root))
	}
	if kills < 12 {
		t.Errorf("only %d kills hit a living process: the test proves little", kills)
	}
}

func TestInterruptedByASignalEndsWithTheSameBytes(t *testing.T) {
	want := undisturbed(t)
	root := t.TempDir()
	for _, stop := range []int{3, 17, 20, 23, 24, 42, 59} {
		if err := toy(root, stop); !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		s, err := Inspect(filepath.Join(root, "toy"))
		if err != nil || s.State() != Interrupted {
			t.Fatalf("state %v, %v; want interrupted", s.State(), err)
		}
	}
	if err := toy(root, 0); err != nil {
		t.Fatal(err)
	}
	sameTree(t, want, tree(t, root))
	m, err := ReadManifest(filepath.Join(root, "toy", "sft"))
	if err != nil {
		t.Fatal(err)
	}
	if m.Timing.Starts != 8 || m.NonFiniteMetrics != 8 { // 7, 14, ... 56
		t.Errorf("starts %d, non-finite %d; want 8, 8", m.Timing.Starts, m.NonFiniteMetrics)
	}
}

func TestDamagedCheckpointFallsBackAndSaysSo(t *testing.T) {
	want := undisturbed(t)
	damage := map[string]func(t *testing.T, dir string){
		"a bit": func(t *testing.T, dir string) {
			p := filepath.Join(dir, "x.bin")
			data, _ := os.ReadFile(p)
			data[3] ^= 1
			os.WriteFile(p, data, 0o644)
		},
		"a file gone":        func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "sub", "pad.bin")) },
		"its manifest gone":  func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, checkpointFile)) },
		"its manifest short": func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, checkpointFile), 40) },
	}
	for name, hurt := range damage {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := toy(root, 38); !errors.Is(err, errStopped) { // 30, 35 and the extra 38
				t.Fatal(err)
			}
			hurt(t, filepath.Join(root, "toy", "sft", "state", "step-00000038"))
			hurt(t, filepath.Join(root, "toy", "sft", "state", "step-00000035"))
			d, err := Open(root, "toy")
			if err != nil {
				t.Fatal(err)
			}
			b, err := d.Stage("sft").Begin(Manifest{Seed: 7, Config: json.RawMessage(`{"lr":0.1}`)})
			if err != nil {
				t.Fatal(err)
			}
			if !b.Resumed || len(b.Notes) != 2 || !strings.Contains(b.Notes[0], "step-00000038 is damaged") {
				t.Errorf("resumed %v, notes %q", b.Resumed, b.Notes)
			}
			d.Close()
			if err := toy(root, 0); err != nil {
				t.Fatal(err)
			}
			sameTree(t, want, tree(t, root))
		})
	}
}

func TestCheckpointOfAShortenedLogIsNotUsed(t *testing.T) {
	want := undisturbed(t)
	root := t.TempDir()
	if err := toy(root, 25); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "toy", "sft", metricsFile), 10); err != nil {
		t.Fatal(err)
	}
	if err := toy(root, 0); err != nil { // From the beginning: no checkpoint's log is whole.
		t.Fatal(err)
	}
	sameTree(t, want, tree(t, root))
}

func TestMetricsLines(t *testing.T) {
	files := undisturbed(t)
	lines := strings.Split(strings.TrimSuffix(files["toy/sft/metrics.jsonl"], "\n"), "\n")
	if len(lines) != toySteps {
		t.Fatalf("%d lines, want %d", len(lines), toySteps)
	}
	for i, line := range lines {
		var v struct {
			Step *int
			Loss *float64
			LR   *float64
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if *v.Step != i+1 || (v.Loss == nil) != ((i+1)%7 == 0) || *v.LR != 0.1 {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
	if !strings.HasPrefix(lines[6], `{"step":7,"loss":null,"lr":0.1}`) {
		t.Errorf("line 7: %s", lines[6])
	}
}

func TestPruningKeepsTheLastAndThePinned(t *testing.T) {
	d, err := Open(t.TempDir(), "r")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := d.Stage("sft")
	if _, err := s.Begin(Manifest{}); err != nil {
		t.Fatal(err)
	}
	s.Keep(2)
	for step := 1; step <= 6; step++ {
		if step == 2 {
			s.Pin(2)
		}
		if err := s.Checkpoint(step, func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	steps, _ := s.steps()
	if want := []int{2, 5, 6}; fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("kept %v, want %v", steps, want)
	}
	s.Pin(6)
	if err := s.Checkpoint(7, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if steps, _ = s.steps(); fmt.Sprint(steps) != "[6 7]" {
		t.Errorf("kept %v, want [6 7]", steps)
	}
	failing := errors.New("no")
	if err := s.Checkpoint(8, func(string) error { return failing }); !errors.Is(err, failing) {
		t.Errorf("error %v", err)
	}
	if step, _, ok := s.Latest(); !ok || step != 7 {
		t.Errorf("latest %d %v after a failed checkpoint, want 7", step, ok)
	}
	entries, _ := os.ReadDir(s.Path(stateDir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	if fmt.Sprint(names) != "[step-00000006 step-00000007]" {
		t.Errorf("state/ holds %v", names)
	}
}
