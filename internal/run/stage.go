package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// stampFormat is RFC 3339 to the millisecond, always as long, so that stamps sort as text.
const stampFormat = "2006-01-02T15:04:05.000Z"

// Stage is one stage of an open run. Its life: Done, and where that says no,
// Begin; Latest; then Log, Timing, Append, Checkpoint, WriteFile and WriteDir
// as the work goes; Finish, or Fail.
type Stage struct {
	run  *Dir
	name string
	path string

	begun    bool
	manifest Manifest
	start    time.Time

	keep      int
	pinned    map[int]bool
	latest    int
	latestOK  bool
	lengths   map[string]int64 // of appended files at the checkpoint resumed from
	appended  map[string]*Appended
	nonFinite int
	events    *eventFile
	timing    *Appended
}

// Begun says how a stage starts.
type Begun struct {
	Resumed bool     // from the checkpoint Latest gives
	Changed []string // inputs that differ from those of what stood there before
	MovedTo string   // where that went; empty where nothing was moved
	Notes   []string // damaged checkpoints, another machine: to be printed
}

// Name is the stage's name.
func (s *Stage) Name() string { return s.name }

// Path is the stage folder, or a place inside it.
func (s *Stage) Path(elem ...string) string {
	return filepath.Join(append([]string{s.path}, elem...)...)
}

// Manifest is the stage's manifest as begun, or finished.
func (s *Stage) Manifest() Manifest { return s.manifest }

func (s *Stage) mustBegin(method string) {
	if !s.begun {
		panic("run: Stage." + method + ": before Begin")
	}
}

// Done reports whether the stage has nothing to do: finished before, from
// inputs equal to m's, its outputs whole. why says in lines why not.
func (s *Stage) Done(m Manifest) (done bool, why []string, err error) {
	if m, err = s.complete(m); err != nil {
		return false, nil, err
	}
	old, err := ReadManifest(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, []string{"not run yet"}, nil
	}
	if err != nil {
		return false, []string{err.Error()}, nil
	}
	if diff := changes(old, m); diff != nil {
		return false, diff, nil
	}
	if old.State != Finished {
		return false, []string{"not finished: " + string(old.State)}, nil
	}
	if err := checkFiles(s.path, old.Outputs); err != nil {
		return false, []string{"an output is not whole: " + err.Error()}, nil
	}
	s.manifest = old
	return true, nil, nil
}

// complete checks m's parents and fills in their hashes and the names.
func (s *Stage) complete(m Manifest) (Manifest, error) {
	m.Run, m.Stage = s.run.name, s.name
	parents := append([]Parent(nil), m.Parents...)
	for i := range parents {
		dir := parents[i].Path
		if _, err := os.Stat(filepath.Join(dir, ManifestName)); err != nil && !filepath.IsAbs(dir) {
			// A path as recorded: relative to the run folder.
			if here := s.run.Path(dir); exists(filepath.Join(here, ManifestName)) {
				dir = here
			}
		}
		p, err := checkParent(m, dir)
		if err != nil {
			return m, err
		}
		parents[i].SHA256 = p.OutputsHash()
		if rel, ok := inside(s.run.path, dir); ok {
			parents[i].Path = rel
		}
	}
	m.Parents = parents
	return m, nil
}

// inside gives path relative to folder, where it lies in there.
func inside(folder, path string) (rel string, ok bool) {
	a, errA := filepath.Abs(folder)
	b, errB := filepath.Abs(path)
	if errA != nil || errB != nil {
		return "", false
	}
	rel, err := filepath.Rel(a, b)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Begin starts or resumes the stage. What another configuration or other
// inputs left in its folder is moved to <stage>.previous (replacing an older
// one); what the same inputs left is resumed from its newest valid checkpoint,
// its appended files cut to that. A parent made on another base, tokenizer or
// template is refused with a *MismatchError.
func (s *Stage) Begin(m Manifest) (Begun, error) {
	var b Begun
	if s.begun {
		panic("run: Stage.Begin: twice")
	}
	m, err := s.complete(m)
	if err != nil {
		return b, err
	}
	old, err := ReadManifest(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		b.Changed = []string{err.Error()}
	default:
		b.Changed = changes(old, m)
	}
	if b.Changed != nil {
		b.MovedTo = s.path + ".previous"
		if err := s.moveAside(b.MovedTo); err != nil {
			return b, err
		}
		old = Manifest{}
	}
	if err := os.MkdirAll(s.path, 0o755); err != nil {
		return b, full("make stage folder", s.path, err)
	}
	if err := syncDir(s.run.path); err != nil {
		return b, err
	}
	if err := removeTemps(s.path); err != nil {
		return b, err
	}
	s.appended, s.lengths = map[string]*Appended{}, map[string]int64{}
	b.Notes, err = s.findLatest()
	if err != nil {
		return b, err
	}
	b.Resumed = s.latestOK
	if b.Resumed {
		b.Notes = append(b.Notes, machineNotes(old, m)...)
	}
	m.State, m.Error, m.Outputs, m.Results, m.Made = Running, "", nil, nil, Source{}
	m.Step = s.latest
	m.NonFiniteMetrics = s.nonFinite
	m.Timing.Seconds, m.Timing.Started, m.Timing.Starts = old.Timing.Seconds, old.Timing.Started, old.Timing.Starts+1
	s.start = time.Now()
	if m.Timing.Started == "" {
		m.Timing.Started = s.start.UTC().Format(stampFormat)
	}
	if m.templateText != "" {
		err := WriteFile(s.Path(templateFile), func(w io.Writer) error {
			_, err := io.WriteString(w, m.templateText)
			return err
		})
		if err != nil {
			return b, err
		}
	}
	if err := writeManifest(s.path, m); err != nil {
		return b, err
	}
	s.manifest, s.begun = m, true
	return b, nil
}

func (s *Stage) moveAside(to string) error {
	if exists(to) {
		if err := removeDir(to); err != nil {
			return err
		}
	}
	if err := os.Rename(s.path, to); err != nil {
		return fmt.Errorf("move the previous %s aside: %w", s.name, err)
	}
	return syncDir(s.run.path)
}

func machineNotes(old, now Manifest) []string {
	var notes []string
	note := func(what, a, b string) {
		if a != b {
			notes = append(notes, fmt.Sprintf("resuming with another %s than before: %s -> %s", what, a, b))
		}
	}
	note("program", old.Program, now.Program)
	note("CPU", old.Machine.CPU, now.Machine.CPU)
	note("kernel set", old.Machine.Kernels, now.Machine.Kernels)
	return notes
}

// WriteFile writes a file of the stage, whole or not at all.
func (s *Stage) WriteFile(name string, write func(io.Writer) error) error {
	return WriteFile(s.Path(name), write)
}

// WriteDir replaces a folder of the stage, whole or not at all.
func (s *Stage) WriteDir(name string, write func(dir string) error) error {
	return WriteDir(s.Path(name), write)
}

// SetMade records the whole model that the stage made; before Finish.
func (s *Stage) SetMade(model Source) {
	s.mustBegin("SetMade")
	s.manifest.Made = model
}

// Finish records that the stage is done: its results, and its outputs (files
// or folders, relative to the stage folder) with their sums.
func (s *Stage) Finish(step int, results []KV, outputs ...string) error {
	s.mustBegin("Finish")
	if err := s.sync(); err != nil {
		return err
	}
	m := s.manifest
	m.Outputs = nil
	for _, name := range outputs {
		files, err := hashTree(s.path, name)
		if err != nil {
			return fmt.Errorf("finish %s: %w", s.name, err)
		}
		m.Outputs = append(m.Outputs, files...)
	}
	sort.Slice(m.Outputs, func(i, j int) bool { return m.Outputs[i].Path < m.Outputs[j].Path })
	m.State, m.Step, m.Results, m.NonFiniteMetrics = Finished, step, results, s.nonFinite
	s.stopClock(&m.Timing)
	m.Timing.Finished = time.Now().UTC().Format(stampFormat)
	if err := s.prune(true); err != nil {
		return err
	}
	if err := s.close(); err != nil {
		return err // not finished: Fail says so
	}
	if err := writeManifest(s.path, m); err != nil {
		return err
	}
	s.manifest, s.begun = m, false
	return nil
}

// Fail records why the stage ended before its end: Interrupted, Waiting or
// Failed with a cause. What can be resumed stays.
func (s *Stage) Fail(state State, cause error) error {
	s.mustBegin("Fail")
	m := s.manifest
	m.State, m.Error, m.NonFiniteMetrics = state, "", s.nonFinite
	if s.latestOK {
		m.Step = s.latest
	}
	if state == Failed && cause != nil {
		m.Error = cause.Error()
	}
	s.stopClock(&m.Timing)
	s.manifest, s.begun = m, false
	return errors.Join(writeManifest(s.path, m), s.close())
}

func (s *Stage) stopClock(t *Timing) {
	t.Seconds += time.Since(s.start).Seconds()
	s.start = time.Now()
	t.PeakMiB = PeakMiB()
}

func (s *Stage) sync() error {
	for _, a := range s.appended {
		if err := a.sync(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage) close() error {
	var errs []error
	for _, a := range s.appended {
		errs = append(errs, a.f.Close())
	}
	if s.timing != nil {
		errs = append(errs, s.timing.f.Close())
	}
	s.appended, s.timing, s.events = nil, nil, nil
	return errors.Join(errs...)
}

// stagePrevious reports whether a folder is what Begin moved aside.
func stagePrevious(name string) bool { return strings.HasSuffix(name, ".previous") }
