package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBenchGate: the gate of make bench-gate passes a ratio down to 10 % below what is committed, fails below that, and judges
// neither another processor's nor another work's.
func TestBenchGate(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	dir := t.TempDir()
	file := func(name, cpu string, ratios map[string]float64) string {
		var rows []string
		for work, ratio := range ratios {
			rows = append(rows, fmt.Sprintf(`{"work": %q, "peer": "torch", "quantity": "GFLOP/s", "ratio": %g, "machine": {"cpu": %q, "kernels": "avx2"}}`, work, ratio, cpu))
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("["+strings.Join(rows, ",")+"]"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	committed := file("committed", "EPYC", map[string]float64{"sft": 2, "ppo": 1.5})
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		measured string
		code     int
		say      string
	}{
		{file("same", "EPYC", map[string]float64{"sft": 2, "ppo": 1.6}), 0, "ok         sft"},
		{file("little", "EPYC", map[string]float64{"sft": 1.81}), 0, "not measured: ppo"},
		{file("much", "EPYC", map[string]float64{"sft": 1.79, "ppo": 1.5}), 1, "REGRESSION sft"},
		{file("elsewhere", "Xeon", map[string]float64{"sft": 1}), 0, "nothing committed for Xeon"},
		{file("new", "EPYC", map[string]float64{"reward": 1}), 0, "not judged: reward"},
		{broken, 2, "broken"},
	} {
		out, err := exec.Command(python, "../../scripts/bench_gate.py", c.measured, committed).CombinedOutput()
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.say) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", filepath.Base(c.measured), code, c.code, c.say, out)
		}
	}
}

// TestPeersAbsent: where no peer is, make bench-peers says so and exits 3.
func TestPeersAbsent(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	cmd := exec.Command(python, "../../scripts/bench_peers.py", "plumb", "kernels.test")
	cmd.Env = append(os.Environ(), "PLUMB_SHARED="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(out), "no peer can be run: no ") {
		t.Errorf("%v:\n%s", err, out)
	}
}
