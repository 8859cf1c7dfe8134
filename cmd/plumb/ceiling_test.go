package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

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
