package run

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// PeakMiB is the largest resident size of this program so far, in MiB.
func PeakMiB() float64 {
	if kib, ok := statusKiB("VmHWM:"); ok {
		return kib / (1 << 10)
	}
	var u syscall.Rusage // on Linux it begins with that of the program that started this one

	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" { // bytes there, KiB elsewhere
		return float64(u.Maxrss) / (1 << 20)
	}
	return float64(u.Maxrss) / (1 << 10)
}

// statusKiB reads a size from Linux's account of this process.
func statusKiB(key string) (float64, bool) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(data), key)
	var kib float64
	if n, err := fmt.Sscan(rest, &kib); !found || n != 1 || err != nil {
		return 0, false
	}
	return kib, true
}

// ResidentBytes is the resident size of this process now; where the system does not say, what the Go runtime holds.
func ResidentBytes() int64 {
	if kib, ok := statusKiB("VmRSS:"); ok {
		return int64(kib) << 10
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

// NoRoom is the error of a stage for whose activations a budget leaves so many bytes, 0 or fewer.
func NoRoom(room int, advice string) error {
	return fmt.Errorf("memory.budget: what is loaded and what training needs besides take at least %.1f MiB more than it: raise it, or %s", float64(1-room)/(1<<20), advice)
}

// OverBudget is the error of a stage whose first step took so many bytes more than a budget leaves; longest is its key that bounds a
// sequence.
func OverBudget(stage, longest string, bytes int) error {
	return fmt.Errorf("memory.budget: activations and gradients take at least %.1f MiB more than it leaves, with every block computed again: lower %s.micro_tokens (a longer sequence goes through alone: %s.%s), or raise the budget",
		float64(bytes)/(1<<20), stage, stage, longest)
}
