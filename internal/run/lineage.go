package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// Summary is a run folder at a glance.
type Summary struct {
	Name   string
	Path   string
	PID    int        // of the process that owns it now; 0 for none
	Stages []Manifest // in the order they started
}

// State is the run's: that of its last stage, where a stage still marked
// running by a dead process counts as interrupted.
func (s Summary) State() State {
	if len(s.Stages) == 0 {
		return Interrupted
	}
	return s.StageState(len(s.Stages) - 1)
}

// StageState is the state of the i-th stage, a dead process taken into account.
func (s Summary) StageState(i int) State {
	st := s.Stages[i].State
	if st == Running && s.PID == 0 {
		return Interrupted
	}
	return st
}

// Inspect reads one run folder.
func Inspect(path string) (Summary, error) {
	s := Summary{Name: filepath.Base(path), Path: path}
	entries, err := os.ReadDir(path)
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		if !e.IsDir() || stagePrevious(e.Name()) {
			continue
		}
		m, err := ReadManifest(filepath.Join(path, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, err
		}
		s.Stages = append(s.Stages, m)
	}
	sort.SliceStable(s.Stages, func(i, j int) bool { return s.Stages[i].Timing.Started < s.Stages[j].Timing.Started })
	if pid, held := Held(path); held {
		s.PID = max(pid, 1)
	}
	return s, nil
}

// List reads every run folder under root, sorted by name.
func List(root string) ([]Summary, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var runs []Summary
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if info, err := os.Stat(path); err != nil || !info.IsDir() || CheckName(e.Name()) != nil {
			continue
		}
		s, err := Inspect(path)
		if err != nil {
			return nil, err
		}
		if len(s.Stages) > 0 || exists(filepath.Join(path, lockName)) {
			runs = append(runs, s)
		}
	}
	return runs, nil
}

// IsStage reports whether path is a stage folder: it holds a run.json.
func IsStage(path string) bool { return exists(filepath.Join(path, ManifestName)) }

// IsRun reports whether path is a run folder: some folder in it is a stage.
func IsRun(path string) bool {
	s, err := Inspect(path)
	return err == nil && len(s.Stages) > 0
}

// LastPolicy is the stage folder of a run's last finished policy: the first
// finished one of the given stages (later stages first: ppo, sft).
func LastPolicy(path string, stages ...string) (string, error) {
	for _, name := range stages {
		dir := filepath.Join(path, name)
		m, err := ReadManifest(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if m.State == Finished {
			return dir, nil
		}
	}
	return "", fmt.Errorf("run folder %s has no finished policy (looked for %v); finish a stage first, or name a stage folder", path, stages)
}

// Link is one stage in a lineage: where it is, what it served as, and what it
// was made of in turn.
type Link struct {
	Role     string
	Path     string
	Manifest Manifest
	Stale    bool // its outputs are no longer those its child was made of
	Missing  bool
	Parents  []Link
}

// Lineage follows parents from a stage folder to the base. Depth is bounded;
// run folders cannot form a cycle except by hand.
func Lineage(stageDir string) (Link, error) {
	m, err := ReadManifest(stageDir)
	if err != nil {
		return Link{}, err
	}
	return lineage(stageDir, m, 0), nil
}

func lineage(stageDir string, m Manifest, depth int) Link {
	l := Link{Path: stageDir, Manifest: m}
	if depth > 32 {
		return l
	}
	for _, p := range m.Parents {
		dir := p.Path
		if !filepath.IsAbs(dir) {
			if inside := filepath.Join(filepath.Dir(stageDir), dir); IsStage(inside) {
				dir = inside
			}
		}
		pm, err := ReadManifest(dir)
		if err != nil {
			l.Parents = append(l.Parents, Link{Role: p.Role, Path: p.Path, Missing: true})
			continue
		}
		pl := lineage(dir, pm, depth+1)
		pl.Role, pl.Stale = p.Role, pm.OutputsHash() != p.SHA256
		l.Parents = append(l.Parents, pl)
	}
	return l
}
