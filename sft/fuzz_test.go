package sft

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzState: no sft.json makes readState panic, an error names the file, and what is taken is a place in the plan.
func FuzzState(f *testing.F) {
	for _, s := range []string{`{"step":8,"num_tokens":900,"measured":4,"best_step":4,"best_eval_loss":1.5,"stopped":"x"}`, `{"step":-8}`, `{"step":9}`, `{"step":8,"measured":-1}`, `null`, `{}`, `{"step":8.5}`, `[`} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, stateFile)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := readState(dir, 8)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		if s.Step != 8 || s.Measured < 0 || s.Measured > 8 || s.BestStep < 0 || s.BestStep > 8 {
			t.Errorf("%+v was taken", s)
		}
	})
}
