package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"plumb/internal/kernels"
	"plumb/internal/run"
	"plumb/internal/ui"
)

// profiler is --profile: it follows one command from start to end.
type profiler struct {
	dir   string
	cpu   *os.File
	began time.Time
}

// profile is operations.json: where a command's time went.
type profile struct {
	CPU        string              `json:"cpu"`
	Kernels    string              `json:"kernels"`
	Ceiling    kernels.Ceiling     `json:"ceiling"`
	Seconds    float64             `json:"seconds"` // of the command
	Work       kernels.Work        `json:"work"`
	Operations []kernels.Operation `json:"operations"`
}

// startProfile begins to follow the command, where --profile asks for it.
func (a *app) startProfile() error {
	if a.profileDir == "" || a.profiler != nil {
		return nil
	}
	if err := os.MkdirAll(a.profileDir, 0o755); err != nil {
		return usagef("--profile: %w", err)
	}
	f, err := os.Create(filepath.Join(a.profileDir, "cpu.pprof"))
	if err != nil {
		return usagef("--profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(fmt.Errorf("--profile: %w", err), f.Close())
	}
	a.profiler = &profiler{dir: a.profileDir, cpu: f, began: time.Now()}
	return nil
}

// stopProfile writes the files and prints the table. The ceiling is measured last, so that it is no part of what it judges.
func (a *app) stopProfile() error {
	r := a.profiler
	if r == nil {
		return nil
	}
	a.profiler = nil
	p := profile{Seconds: time.Since(r.began).Seconds(), CPU: run.ThisMachine("").CPU, Kernels: kernels.Variant()}
	pprof.StopCPUProfile()
	if err := r.cpu.Close(); err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	pool := a.pool()
	p.Operations, p.Work = pool.Operations(), pool.Work()
	if err := writeTo(filepath.Join(r.dir, "heap.pprof"), func(w io.Writer) error {
		runtime.GC() // the profile is of what the last collection left
		return pprof.WriteHeapProfile(w)
	}); err != nil {
		return err
	}
	p.Ceiling = pool.MeasureCeiling(400*time.Millisecond, 128)
	if err := writeTo(filepath.Join(r.dir, "operations.json"), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}); err != nil {
		return err
	}
	if err := writeTo(filepath.Join(r.dir, "operations.txt"), func(w io.Writer) error { return p.print(w, ui.NewTheme(w, func(string) string { return "" })) }); err != nil {
		return err
	}
	if a.quiet {
		return nil
	}
	return p.print(a.err, a.errTheme)
}

// writeTo writes a file that nothing else is read from meanwhile.
func writeTo(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("--profile: write %s: %w", path, err)
	}
	return nil
}

// print writes the table by operation. An operation's rate is over its own time on all threads together; the share of the
// ceiling is that of kernels.Ceiling.Share.
func (p *profile) print(w io.Writer, theme ui.Theme) error {
	var rows [][]string
	in := 0.0
	for _, o := range p.Operations {
		in += o.Seconds
	}
	number := func(x float64) string {
		if x == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", x)
	}
	for _, o := range p.Operations {
		shape, kind := "", ""
		if o.Out > 0 {
			shape, kind = fmt.Sprintf("%dx%d", o.Out, o.In), fmt.Sprintf("%d bit", o.Bits)
		}
		rows = append(rows, []string{
			o.Name, shape, kind, fmt.Sprintf("%.0f", float64(o.Rows)/float64(o.Calls)), fmt.Sprint(o.Calls), fmt.Sprintf("%.3f", o.Seconds),
			fmt.Sprintf("%.1f %%", 100*o.Seconds/p.Seconds), number(o.Flops / o.Seconds / 1e9), number(o.Bytes / o.Seconds / 1e9),
			fmt.Sprintf("%.0f %%", 100*p.Ceiling.Share(o.Flops, o.Bytes, o.Seconds)),
		})
	}
	rows = append(rows, []string{"outside the kernels", "", "", "", "", fmt.Sprintf("%.3f", p.Seconds-in), fmt.Sprintf("%.1f %%", 100*(p.Seconds-in)/p.Seconds)})
	if err := ui.Table(w, theme, []string{"operation", "out x in", "weights", "rows", "calls", "seconds", "time", "GFLOP/s", "GB/s", "of ceiling"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%.2f s; %.1f GFLOP of products, and %.1f once more to save memory\nceiling: %s\n", p.Seconds, p.Work.Flops/1e9, p.Work.Recomputed/1e9, ceilingLine(p.Ceiling))
	return err
}

func ceilingLine(c kernels.Ceiling) string {
	return fmt.Sprintf("%.1f GFLOP/s in a large product, %.1f GB/s reading memory, %.1f copying it; %d threads, %s kernels", c.GFLOPS, c.Read, c.Copy, c.Threads, kernels.Variant())
}
