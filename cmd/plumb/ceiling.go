package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"plumb/internal/kernels"
	"plumb/internal/run"
	"plumb/internal/ui"
)

// keptCeiling is an entry of ceiling.json in the cache folder: a product measured by `make bench-ceiling`, ours or another
// program's, on this machine when it was quiet.
type keptCeiling struct {
	CPU     string  `json:"cpu"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`
	By      string  `json:"by"` // the program: plumb, torch
}

// ceilingTime is what a stage gives to measuring the ceiling.
const ceilingTime = 60 * time.Millisecond

// findCeiling is the denominator of perf/mfu, in GFLOP/s: the larger of our own large product, measured now, and what
// make bench-ceiling has found and kept. It says so once. A pool of its own keeps the measurement out of what is counted.
func (a *app) findCeiling() float64 {
	pool := kernels.NewPool(a.threads)
	defer pool.Close()
	best, by := pool.MeasureGemm(ceilingTime), "measured now"
	kept, path := readCeilings()
	for _, k := range kept {
		if k.CPU == run.ThisMachine("").CPU && k.Threads == pool.Threads() && k.GFLOPS > best {
			best, by = k.GFLOPS, fmt.Sprintf("%s's, from %s", k.By, path)
		}
	}
	a.note("ceiling: %.0f GFLOP/s in a large product (%d threads, %s kernels; %s)", best, pool.Threads(), kernels.Variant(), by)
	return best
}

// readCeilings reads what make bench-ceiling kept; a file that is missing or broken keeps nothing.
func readCeilings() (kept []keptCeiling, path string) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, ""
	}
	path = filepath.Join(dir, "plumb", "ceiling.json")
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &kept) != nil {
		return nil, path
	}
	return kept, path
}

// saySpent ends a stage: how much of the machine its steps used, all starts together, and the memory of the process so far.
func (p *pipeline) saySpent(s *run.Stage) error {
	peak := int64(run.PeakMiB() * (1 << 20))
	memory := fmt.Sprintf("at most %s resident", ui.Bytes(peak))
	if budget, err := p.recipe.Memory.bytes(); err == nil && budget > 0 {
		memory += fmt.Sprintf(", of a memory.budget of %s", ui.Bytes(budget))
		if peak > budget {
			p.warn("%s: %s resident so far, more than memory.budget", s.Name(), ui.Bytes(peak))
		}
	}
	used, seconds, err := utilisation(s.Path("timing.jsonl"))
	if err != nil || seconds == 0 {
		p.note("%s: %s", s.Name(), memory)
		return err
	}
	p.note("%s: perf/mfu %.2f over %s of training; %s", s.Name(), used, ui.Duration(time.Duration(seconds*float64(time.Second))), memory)
	return nil
}

// utilisation is the mean of perf/mfu over the time that a stage's steps took; 0 seconds where it has none.
func utilisation(path string) (used, seconds float64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for dec := json.NewDecoder(f); ; {
		var step struct {
			Seconds float64  `json:"seconds"`
			MFU     *float64 `json:"perf/mfu"`
		}
		if err := dec.Decode(&step); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", path, err)
		}
		if step.MFU != nil {
			used, seconds = used+*step.MFU*step.Seconds, seconds+step.Seconds
		}
	}
	return used / max(seconds, 1e-9), seconds, nil
}
