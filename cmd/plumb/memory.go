package main

import (
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"strings"

	"plumb/internal/model"
	"plumb/internal/run"
)

// memoryConfig is the recipe's section memory.
type memoryConfig struct {
	// Budget is how much memory a run should have resident at most, such as 2GiB or 900MB. To stay within it, sft, reward and ppo
	// compute the activations of as many blocks again as they must: more time, the same bits; where that does not suffice they
	// end after their first step. Sampling and evaluation take what they take. Default: no bound.
	Budget string
}

// bytes is the budget; 0 is none.
func (c memoryConfig) bytes() (int64, error) {
	text := strings.TrimSpace(c.Budget)
	if text == "" {
		return 0, nil
	}
	number := strings.TrimRight(text, "BGKMTibgkmt ")
	unit, known := map[string]float64{
		"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[strings.TrimSpace(text[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || math.IsNaN(n) || n*unit < 1 || n*unit > 1<<50 {
		return 0, fmt.Errorf("%q: want a number and a unit (kB, MB, GB, TB, KiB, MiB, GiB, TiB), such as 2GiB", c.Budget)
	}
	return int64(n * unit), nil
}

// room is what memory.budget leaves to a tape when so many bytes are still to come beside it, less what the collector lets lie; nil
// without a budget. What is garbage already is not counted.
func (p *pipeline) room(base *loaded) func(coming int) int {
	counted := p.roomAsItLies(base)
	if counted == nil {
		return nil
	}
	return func(coming int) int {
		debug.FreeOSMemory()
		return counted(coming)
	}
}

// roomAsItLies is room where garbage is counted: what will be taken again.
func (p *pipeline) roomAsItLies(base *loaded) func(coming int) int {
	budget, err := p.recipe.Memory.bytes()
	if err != nil || budget == 0 {
		return nil
	}
	percent := boundedPercent(int64(base.Model.Bytes()))
	debug.SetGCPercent(percent)
	debug.FreeOSMemory()
	return func(coming int) int {
		free := budget - run.ResidentBytes() - int64(coming)
		if free > 0 {
			free = free * 100 / int64(100+percent)
		}
		return int(free)
	}
}

// boundedPercent is garbagePercent within a budget of memory.
func boundedPercent(base int64) int { return min(garbagePercent(base), 2*leastGarbage) }

// Garbage lies about until it is as much, in percent of what is alive, as the collector is set to: 100, so that a program takes
// twice its memory, unless told otherwise. A large base is nearly all there is and is never scanned, so collecting often is cheap.
const (
	garbageBytes = 32 << 20 // allowed beside the base
	leastGarbage = 10       // percent
)

// garbagePercent is what the collector is set to for a base of so many bytes.
func garbagePercent(base int64) int {
	return int(min(100, max(leastGarbage, 100*garbageBytes/max(base, 1))))
}

// weightBytes is the memory of a checkpoint's tensors once packed.
func weightBytes(w model.Weights) int64 {
	total := int64(0)
	for _, name := range w.Names() {
		dtype, shape, _ := w.Info(name)
		n := int64(4)
		if dtype == "BF16" {
			n = 2
		}
		for _, d := range shape {
			n *= int64(d)
		}
		total += n
	}
	return total
}

// boundGarbage sets the collector for a base of so many bytes, once the program is about to load it.
func boundGarbage(base int64) { debug.SetGCPercent(garbagePercent(base)) }
