package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plumb/internal/config"
	"plumb/internal/run"
	"plumb/internal/ui"
)

func (a *app) runsCmd() *cobra.Command {
	var lineage bool
	cmd := &cobra.Command{
		Use:   "runs [NAME ...]",
		Short: "List runs; show one with its stages; compare several; trace lineage",
		Long: `Without names: every run under --runs, with its stages and their state.
With one name (or folder, or stage folder): its stages, results and inputs.
With several: their results side by side.`,
		Example: "  plumb runs\n  plumb runs imdb --lineage\n  plumb runs imdb imdb-b",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, names []string) error {
			switch {
			case len(names) == 0:
				return a.listRuns()
			case lineage:
				return a.showLineage(names)
			case len(names) == 1:
				return a.showRun(names[0])
			}
			return a.compareRuns(names)
		},
	}
	cmd.Flags().BoolVar(&lineage, "lineage", false, "follow what a run or stage was made of, down to the base")
	return cmd
}

// runJSON is a run as printed with --json.
type runJSON struct {
	Name   string         `json:"name"`
	Path   string         `json:"path"`
	State  run.State      `json:"state"`
	PID    int            `json:"pid,omitempty"`
	Stages []run.Manifest `json:"stages"`
}

func toJSON(s run.Summary) runJSON {
	stages := append([]run.Manifest{}, s.Stages...)
	for i := range stages {
		stages[i].State = s.StageState(i)
	}
	return runJSON{s.Name, s.Path, s.State(), s.PID, stages}
}

func (a *app) listRuns() error {
	runs, err := run.List(a.runs)
	if err != nil {
		return err
	}
	if a.json {
		list := make([]runJSON, len(runs))
		for i, s := range runs {
			list[i] = toJSON(s)
		}
		return a.printJSON(list)
	}
	if len(runs) == 0 {
		a.note("no runs in %s", a.runs)
		return nil
	}
	rows := make([][]string, len(runs))
	for i, s := range runs {
		var stages []string
		seconds, started := 0.0, ""
		for j, m := range s.Stages {
			stages = append(stages, m.Stage+a.mark(s.StageState(j)))
			seconds += m.Timing.Seconds
			if started == "" {
				started = m.Timing.Started
			}
		}
		rows[i] = []string{s.Name, a.state(s.State()), strings.Join(stages, " "), ui.Duration(time.Duration(seconds * float64(time.Second))), localTime(started)}
	}
	return ui.Table(a.out, a.theme, []string{"run", "state", "stages", "time", "started"}, rows)
}

// mark is a stage's state as one sign.
func (a *app) mark(s run.State) string {
	switch s {
	case run.Finished:
		return a.theme.Good.Render("✓")
	case run.Failed:
		return a.theme.Bad.Render("✗")
	case run.Running:
		return a.theme.Accent.Render("…")
	}
	return a.theme.Warn.Render("‖")
}

func (a *app) state(s run.State) string {
	switch s {
	case run.Finished:
		return a.theme.Good.Render(string(s))
	case run.Failed:
		return a.theme.Bad.Render(string(s))
	case run.Running:
		return a.theme.Accent.Render(string(s))
	}
	return a.theme.Warn.Render(string(s))
}

func localTime(rfc3339 string) string {
	t, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// findRun takes a run's name under --runs or the path of a run folder.
func (a *app) findRun(name string) (run.Summary, error) {
	path := filepath.Join(a.runs, name)
	if run.CheckName(name) != nil || !dirExists(path) {
		path = expandHome(name)
	}
	s, err := run.Inspect(path)
	if errors.Is(err, fs.ErrNotExist) {
		runs, err := run.List(a.runs)
		if err != nil {
			return s, err
		}
		var names []string
		for _, r := range runs {
			names = append(names, r.Name)
		}
		return s, usagef("no run %q in %s%s", name, a.runs, didYouMean(config.Nearest(name, names)))
	}
	return s, err
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (a *app) showRun(name string) error {
	if path := expandHome(name); run.IsStage(path) {
		m, err := run.ReadManifest(path)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(m)
		}
		return a.showStage(m, m.State)
	}
	s, err := a.findRun(name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(toJSON(s))
	}
	fmt.Fprintf(a.out, "%s  %s  %s\n", a.theme.Title.Render(s.Name), a.state(s.State()), a.theme.Dim.Render(s.Path))
	for i, m := range s.Stages {
		fmt.Fprintln(a.out)
		if err := a.showStage(m, s.StageState(i)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showStage(m run.Manifest, state run.State) error {
	t := a.theme
	fmt.Fprintf(a.out, "%s  %s  step %d  in %s\n", t.Strong.Render(m.Stage), a.state(state), m.Step,
		ui.Duration(time.Duration(m.Timing.Seconds*float64(time.Second))))
	if m.Error != "" {
		fmt.Fprintln(a.out, "  "+t.Bad.Render(m.Error))
	}
	rows := [][]string{{"  seed", strconv.FormatUint(m.Seed, 10)}}
	source := func(what string, s run.Source) {
		if s.SHA256 != "" {
			rows = append(rows, []string{"  " + what, s.Name, t.Dim.Render(s.SHA256[:min(12, len(s.SHA256))])})
		}
	}
	source("base", m.Base)
	source("tokenizer", m.Tokenizer)
	source("template", m.Template)
	for _, d := range m.Data {
		source("data", d)
	}
	for _, p := range m.Parents {
		source(p.Role, run.Source{Name: p.Path, SHA256: p.SHA256})
	}
	rows = append(rows, []string{"  machine", m.Machine.CPU + ", " + m.Machine.Kernels})
	for _, kv := range m.Results {
		rows = append(rows, []string{"  " + kv.Key, strconv.FormatFloat(kv.Value, 'g', 6, 64)})
	}
	return ui.Table(a.out, t, nil, rows)
}

func (a *app) compareRuns(names []string) error {
	header := []string{"result"}
	var keys []string
	values := map[string][]string{}
	all := make([]runJSON, len(names))
	for i, name := range names {
		s, err := a.findRun(name)
		if err != nil {
			return err
		}
		all[i] = toJSON(s)
		header = append(header, s.Name)
		for _, m := range s.Stages {
			for _, kv := range m.Results {
				key := m.Stage + ": " + kv.Key
				if values[key] == nil {
					keys = append(keys, key)
					values[key] = make([]string, len(names))
				}
				values[key][i] = strconv.FormatFloat(kv.Value, 'g', 6, 64)
			}
		}
	}
	if a.json {
		return a.printJSON(all)
	}
	rows := make([][]string, len(keys))
	for i, k := range keys {
		rows[i] = append([]string{k}, values[k]...)
	}
	return ui.Table(a.out, a.theme, header, rows)
}

// showLineage prints the tree below each stage: what went in, and whether that
// is still there unchanged.
func (a *app) showLineage(names []string) error {
	var links []run.Link
	for _, name := range names {
		dirs := []string{expandHome(name)}
		if !run.IsStage(dirs[0]) {
			s, err := a.findRun(name)
			if err != nil {
				return err
			}
			dirs = nil
			for _, m := range s.Stages {
				dirs = append(dirs, filepath.Join(s.Path, m.Stage))
			}
		}
		for _, d := range dirs {
			l, err := run.Lineage(d)
			if err != nil {
				return err
			}
			links = append(links, l)
		}
	}
	if a.json {
		return a.printJSON(links)
	}
	for _, l := range links {
		a.printLink(l, "")
	}
	return nil
}

func (a *app) printLink(l run.Link, indent string) {
	what := l.Path
	if l.Role != "" {
		what = l.Role + ": " + what
	}
	switch {
	case l.Missing:
		what += "  " + a.theme.Bad.Render("(no longer there)")
	case l.Stale:
		what += "  " + a.theme.Warn.Render("(changed since)")
	}
	fmt.Fprintln(a.out, indent+what)
	if l.Missing {
		return
	}
	if b := l.Manifest.Base; len(l.Parents) == 0 && b.Name != "" {
		fmt.Fprintf(a.out, "%s  base: %s %s\n", indent, b.Name, a.theme.Dim.Render(b.SHA256[:min(12, len(b.SHA256))]))
	}
	for _, d := range l.Manifest.Data {
		fmt.Fprintf(a.out, "%s  data: %s %s\n", indent, d.Name, a.theme.Dim.Render(d.SHA256[:min(12, len(d.SHA256))]))
	}
	for _, p := range l.Parents {
		a.printLink(p, indent+"  ")
	}
}
