package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb/internal/run"
	"plumb/internal/ui"
)

// TestKeptCeiling: what make bench-ceiling kept for this processor and number of threads is the ceiling where it is more than what
// is measured now; what it kept for others is not.
func TestKeptCeiling(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	cpu := run.ThisMachine("").CPU
	_, path := readCeilings()
	kept := []keptCeiling{{cpu, 1, 3e6, "torch"}, {cpu, 2, 4e6, "torch"}, {"another", 1, 5e6, "torch"}, {cpu, 1, 1e-3, "plumb"}}
	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want float64 // 0: what is measured
	}{{string(text), 3e6}, {"broken", 0}, {"[]", 0}} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		a := &app{threads: 1, err: &said}
		a.theme = ui.NewTheme(&said, func(string) string { return "" })
		a.progress = ui.NewProgress(&said, a.theme, false, time.Now)
		got := a.findCeiling()
		if c.want > 0 && got != c.want || c.want == 0 && (got < 0.01 || got > 1e5) {
			t.Errorf("kept %.20s: ceiling %g GFLOP/s, want %g", c.text, got, c.want)
		}
		if by := strings.Contains(said.String(), "torch's"); by != (c.want > 0) {
			t.Errorf("kept %.20s: said %q", c.text, said.String())
		}
	}
}

// TestUtilisation: steps weigh by their time: (0.5·1 + 0.8·3) / 4 = 0.725. Lines without a share, of another start, do not count.
func TestUtilisation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "timing.jsonl")
	if used, seconds, err := utilisation(path); used != 0 || seconds != 0 || err != nil {
		t.Errorf("no file: %g, %g, %v", used, seconds, err)
	}
	text := `{"step":1,"seconds":1,"perf/mfu":0.5}
{"step":2,"seconds":9}
{"step":2,"seconds":3,"perf/mfu":0.8}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if used, seconds, err := utilisation(path); math.Abs(used-0.725) > 1e-12 || seconds != 4 || err != nil {
		t.Errorf("%g over %g s, %v; want 0.725 over 4 s", used, seconds, err)
	}
}
