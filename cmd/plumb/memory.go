package main

import (
	"runtime/debug"

	"plumb/internal/model"
)

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
