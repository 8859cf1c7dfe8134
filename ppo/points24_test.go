package ppo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/run"
)

// stopping is a scorer that ends the training while it is asked for the n-th time: as a signal does, or as a crash.
type stopping struct {
	Scorer
	left int
	stop func()
}

func (s *stopping) Scores(ctx context.Context, p, r [][]int32) ([]float64, error) {
	if s.left--; s.left == 0 {
		s.stop()
		return nil, ctx.Err()
	}
	return s.Scorer.Scores(ctx, p, r)
}

// interrupting is a progress line that ends the training in the second epoch of an update.
type interrupting struct {
	silent
	left int
	stop func()
}

func (p *interrupting) Set(_ int, note string) {
	if strings.HasPrefix(note, "learning, epoch 2") {
		if p.left--; p.left == 0 {
			p.stop()
		}
	}
}

func cutOff(t *testing.T, c Config, in Inputs, s *run.Stage, update int, how string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch how {
	case "signal":
		in.Scorer = &stopping{in.Scorer, update, cancel}
	case "signal while learning":
		in.Progress = &interrupting{left: update, stop: cancel}
	case "crash":
		in.Scorer = &stopping{in.Scorer, update, func() { panic("power cut") }}
		defer func() {
			if recover() == nil {
				t.Error("no crash")
			}
		}()
	}
	_, err := Train(ctx, c, in, s)
	if update == 4 && how == "signal while learning" && err == nil {
		return // update 3 is not stored (every second is), so update 4, the last, was finished first
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted in update %d: %v", update, err)
	}
	if err := s.Fail(run.Interrupted, nil); err != nil {
		t.Fatal(err)
	}
}

// 24. Everything an update depends on is in the checkpoint: a training interrupted in any update and started again in a new
// process's place ends with the same bytes, file by file, as one that was not.
func TestPoint24ResumeIsBitExact(t *testing.T) {
	start := func() (Inputs, Config) {
		return toy(t, func(_ *Inputs, c *Config) {
			c.Episodes, c.Batch, c.SaveEvery, c.Minibatches = 28, 8, 2, 2 // four updates, the last of four episodes
			c.KL.Target, c.KL.Horizon, c.Score.Scale, c.Schedule = 3, 20, "running", "cosine"
		})
	}
	in, c := start()
	whole := stage(t, t.TempDir())
	result, err := Train(context.Background(), c, in, whole)
	if err != nil {
		t.Fatal(err)
	}
	want := tree(t, whole.Path())
	if len(want) < 12 {
		t.Fatalf("only %d files", len(want))
	}
	for update := 1; update <= 4; update++ {
		for _, how := range [][]string{{"crash", "signal while learning"}, {"crash", "signal"}}[update%2] {
			what := fmt.Sprintf("update %d, %s", update, how)
			root := t.TempDir()
			in, c := start()
			s, closeRun := begin(t, root)
			cutOff(t, c, in, s, update, how)
			closeRun()

			in, c = start() // adapters as they were at the very start: all must come from the checkpoint
			s, closeRun = begin(t, root)
			if _, err := Train(context.Background(), c, in, s); err != nil {
				t.Fatal(err)
			}
			closeRun()
			s = stage(t, root) // once more, as after a kill between the last checkpoint and the end
			in, c = start()
			again, err := Train(context.Background(), c, in, s)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(result) {
				t.Errorf("%s: result %v, want %v (%v)", what, again, result, err)
			}
			got := tree(t, s.Path())
			for name := range want {
				if !bytes.Equal(got[name], want[name]) {
					t.Errorf("%s: %s differs", what, name)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%s: %d files, want %d", what, len(got), len(want))
			}
		}
	}

	// What a checkpoint belongs to is checked.
	l := newLearner(in, c)
	dir := t.TempDir()
	if err := l.save(dir, newState(c, run.Manifest{Template: run.Source{SHA256: "a"}})); err != nil {
		t.Fatal(err)
	}
	if _, err := l.load(dir, run.Manifest{Template: run.Source{SHA256: "b"}}); err == nil {
		t.Error("a checkpoint made with another chat template was accepted")
	}
}

// tree reads every file below dir but those that hold clock readings.
func tree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "timing.jsonl" || d.Name() == run.ManifestName {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
