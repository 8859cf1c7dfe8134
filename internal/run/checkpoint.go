package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

const (
	stateDir       = "state"
	checkpointFile = "checkpoint.json"
	templateFile   = "inputs/chat_template.jinja"
)

// checkpointManifest is checkpoint.json, written last: without it, or with one
// sum wrong, the checkpoint does not exist.
type checkpointManifest struct {
	Step int `json:"step"`
	// Extra marks a checkpoint off the schedule (a signal came). The next one
	// on schedule removes it, or the stage's end, so that an interrupted run ends with the same
	// folders as an undisturbed one.
	Extra            bool             `json:"extra"`
	NonFiniteMetrics int              `json:"nonfinite_metrics"`
	Appended         map[string]int64 `json:"appended"` // bytes
	Files            []File           `json:"files"`
}

// Checkpoint writes state/step-<step>: write fills the empty folder it is
// given; sums, lengths of the appended files and syncs are added here, and the
// whole is renamed into place. Older ones are then pruned to the last Keep and
// the pinned ones. On an error the checkpoints before remain as they were.
func (s *Stage) Checkpoint(step int, write func(dir string) error) error {
	return s.checkpoint(step, false, write)
}

// CheckpointNow is Checkpoint outside the schedule, for a stage that is being
// interrupted; it does nothing where this step's checkpoint exists. Call it
// after the scheduled one of the same step had its chance:
//
//	if step%cfg.SaveEvery == 0 { s.Checkpoint(step, save) }
//	if ctx.Err() != nil { s.CheckpointNow(step, save); return ctx.Err() }
func (s *Stage) CheckpointNow(step int, write func(dir string) error) error {
	if step == s.latest && s.latestOK {
		return nil
	}
	return s.checkpoint(step, true, write)
}

// Keep sets how many checkpoints are kept (2 unless told; at least 1).
func (s *Stage) Keep(n int) { s.keep = max(n, 1) }

// Pin keeps the checkpoints of these steps (the best ones, say) from being
// pruned; it replaces the pins before. Pins are not stored: a resumed stage
// pins again.
func (s *Stage) Pin(steps ...int) {
	s.pinned = map[int]bool{}
	for _, n := range steps {
		s.pinned[n] = true
	}
}

func (s *Stage) checkpoint(step int, extra bool, write func(dir string) error) error {
	s.mustBegin("Checkpoint")
	if step < 0 {
		panic("run: Checkpoint: negative step")
	}
	m := checkpointManifest{Step: step, Extra: extra, NonFiniteMetrics: s.nonFinite, Appended: map[string]int64{}}
	for name, n := range s.lengths {
		m.Appended[name] = n // Not opened since the resume: as long as it was.
	}
	for name, a := range s.appended {
		if err := a.sync(); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(a.path)); err != nil {
			return err
		}
		m.Appended[name] = a.Size()
	}
	err := WriteDir(s.stepPath(step), func(dir string) error {
		if err := write(dir); err != nil {
			return err
		}
		files, err := hashTree(dir, ".")
		if err != nil {
			return err
		}
		m.Files = files
		data, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, checkpointFile), append(data, '\n'), 0o644)
	})
	if err != nil {
		return fmt.Errorf("checkpoint at step %d: %w", step, err)
	}
	if err := syncDir(s.path); err != nil {
		return err
	}
	s.latest, s.latestOK = step, true
	return s.prune(false)
}

// Latest is the checkpoint to go on from: its step and folder. ok is false
// where there is none and the stage starts at its beginning.
func (s *Stage) Latest() (step int, dir string, ok bool) {
	s.mustBegin("Latest")
	if !s.latestOK {
		return 0, "", false
	}
	return s.latest, s.stepPath(s.latest), true
}

func (s *Stage) stepPath(step int) string {
	return s.Path(stateDir, fmt.Sprintf("step-%08d", step))
}

// steps lists the steps of the checkpoint folders, ascending, valid or not.
func (s *Stage) steps() ([]int, error) {
	entries, err := os.ReadDir(s.Path(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), "step-")
		if n, err := strconv.Atoi(digits); ok && err == nil && e.IsDir() {
			steps = append(steps, n)
		}
	}
	sort.Ints(steps)
	return steps, nil
}

// readCheckpoint reads and verifies one checkpoint: every file has its sum,
// every appended file is at least as long as recorded.
func (s *Stage) readCheckpoint(step int) (checkpointManifest, error) {
	var m checkpointManifest
	dir := s.stepPath(step)
	data, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		return m, fmt.Errorf("%s is missing", checkpointFile)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", checkpointFile, err)
	}
	if m.Step != step {
		return m, fmt.Errorf("%s says step %d", checkpointFile, m.Step)
	}
	if len(m.Files) == 0 {
		return m, fmt.Errorf("%s names no file", checkpointFile)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return m, fmt.Errorf("%s names %q, outside the folder", checkpointFile, f.Path)
		}
	}
	if err := checkFiles(dir, m.Files); err != nil {
		return m, err
	}
	for name, n := range m.Appended {
		if n < 0 || !filepath.IsLocal(filepath.FromSlash(name)) {
			return m, fmt.Errorf("%s names %q of %d bytes, which is no file of the stage", checkpointFile, name, n)
		}
		info, err := os.Stat(s.Path(name))
		if err != nil || !info.Mode().IsRegular() {
			return m, fmt.Errorf("%s, which it belongs to, is missing or no file", name)
		}
		if info.Size() < n {
			return m, fmt.Errorf("%s has %d bytes, it had %d at the checkpoint", name, info.Size(), n)
		}
	}
	return m, nil
}

// findLatest picks the newest valid checkpoint, cuts the appended files to it
// and removes damaged newer ones, saying so in notes.
func (s *Stage) findLatest() (notes []string, err error) {
	if err := removeTemps(s.Path(stateDir)); err != nil {
		return nil, err
	}
	steps, err := s.steps()
	if err != nil {
		return nil, err
	}
	for i := len(steps) - 1; i >= 0; i-- {
		m, err := s.readCheckpoint(steps[i])
		if err != nil {
			notes = append(notes, fmt.Sprintf("checkpoint %s is damaged and was removed: %v", s.stepPath(steps[i]), err))
			if err := removeDir(s.stepPath(steps[i])); err != nil {
				return notes, err
			}
			continue
		}
		s.latest, s.latestOK = m.Step, true
		s.nonFinite = m.NonFiniteMetrics
		s.lengths = m.Appended
		return notes, s.cutAppended(m.Appended)
	}
	return notes, nil
}

// prune removes what is older than the last Keep on schedule, except pins. One
// off the schedule stays only while it is the newest of all and the stage is not finished.
func (s *Stage) prune(finished bool) error {
	steps, err := s.steps()
	if err != nil {
		return err
	}
	kept := 0
	for i := len(steps) - 1; i >= 0; i-- {
		step := steps[i]
		keep := s.pinned[step]
		if s.isExtra(step) {
			keep = !finished && (keep || i == len(steps)-1)
		} else if kept < s.keep {
			keep = true
			kept++
		}
		if keep {
			continue
		}
		if err := removeDir(s.stepPath(step)); err != nil {
			return fmt.Errorf("remove old checkpoint: %w", err)
		}
	}
	return nil
}

func (s *Stage) isExtra(step int) bool {
	var m checkpointManifest
	data, err := os.ReadFile(filepath.Join(s.stepPath(step), checkpointFile))
	return err == nil && json.Unmarshal(data, &m) == nil && m.Extra
}
