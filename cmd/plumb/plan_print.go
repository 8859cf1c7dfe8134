package main

import (
	"fmt"
	"io"
	"time"

	"plumb/internal/ui"
)

// printPlan writes the tables.
func (a *app) printPlan(r *planReport) error {
	if a.json {
		return a.printJSON(r)
	}
	w := a.out
	for _, c := range r.Ceilings {
		fmt.Fprintf(w, "machine  %s: %s\n", r.CPU, ceilingLine(c))
	}
	if r.Base == nil {
		return nil
	}
	fmt.Fprintf(w, "base     %s: %d blocks, %s, read in %.1f s\n", r.Base.Name, r.Base.Layers, ui.Bytes(r.Base.Bytes), r.Base.Load)
	fmt.Fprintf(w, "answers  taken to be %.0f tokens long (%s)\n", r.Base.Answer, r.Base.AnswerFrom)
	fmt.Fprintf(w, "measured in %.0f s; times are those of a machine that does nothing else\n\n", r.Measured)
	var rows [][]string
	total := 0.0
	for _, s := range r.Stages {
		for i, p := range s.Phases {
			name := ""
			if i == 0 {
				name = s.Stage
			}
			rows = append(rows, []string{name, p.Name, fmt.Sprintf("%.1f", p.Seconds), p.Note})
		}
		rows = append(rows, []string{"", "together", fmt.Sprintf("%.1f", s.Seconds), ui.Duration(time.Duration(s.Seconds * float64(time.Second)))})
		total += s.Seconds
	}
	rows = append(rows, []string{"all", "", fmt.Sprintf("%.1f", total), ui.Duration(time.Duration(total * float64(time.Second)))})
	if err := ui.Table(w, a.theme, []string{"stage", "phase", "seconds", ""}, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := r.printMemory(w, a.theme); err != nil {
		return err
	}
	return r.printWhatIf(w, a.theme)
}

// printMemory writes memory by part, in MiB.
func (r *planReport) printMemory(w io.Writer, theme ui.Theme) error {
	mib := func(n int64) string {
		if n == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", float64(n)/(1<<20))
	}
	var rows [][]string
	for _, s := range r.Stages {
		m := s.Memory
		rows = append(rows, []string{
			s.Stage, mib(m.Program), mib(m.Base), mib(m.Data), mib(m.Adapters), mib(m.Optimizer), mib(m.Activations), mib(m.Cache), mib(m.Head), mib(m.Garbage),
			mib(m.Total), s.Fits,
		})
	}
	return ui.Table(w, theme, []string{"MiB", "program", "base", "data", "adapters", "optimizer", "activations", "KV cache", "head", "garbage", "total", "largest batch that fits"}, rows)
}

// printWhatIf writes what each change does to each stage it touches.
func (r *planReport) printWhatIf(w io.Writer, theme ui.Theme) error {
	for _, x := range r.WhatIf {
		fmt.Fprintf(w, "\nwith %s\n", x.Change)
		was := map[string]stagePlan{}
		for _, s := range r.Stages {
			was[s.Stage] = s
		}
		var rows [][]string
		for _, s := range x.Stages {
			o := was[s.Stage]
			rows = append(rows, []string{
				s.Stage, fmt.Sprintf("%.1f", o.Seconds), fmt.Sprintf("%.1f", s.Seconds), change(s.Seconds, o.Seconds),
				fmt.Sprintf("%.1f", float64(o.Memory.Total)/(1<<20)), fmt.Sprintf("%.1f", float64(s.Memory.Total)/(1<<20)),
				change(float64(s.Memory.Total), float64(o.Memory.Total)),
			})
		}
		if err := ui.Table(w, theme, []string{"stage", "seconds", "then", "", "MiB", "then", ""}, rows); err != nil {
			return err
		}
	}
	return nil
}

// change is a difference in percent, where there is one.
func change(now, was float64) string {
	if was == 0 || now == was {
		return ""
	}
	return fmt.Sprintf("%+.0f %%", 100*(now-was)/was)
}
