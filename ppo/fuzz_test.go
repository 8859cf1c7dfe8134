package ppo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/run"
)

// FuzzState: no ppo.json makes readState panic, an error names the file, and what is taken is written and read the same.
func FuzzState(f *testing.F) {
	for _, s := range []string{
		`{"update":2,"episodes":16,"kl_coef":0.1,"last_metrics":[["a",1],["b",null]],"best_update":1}`, `{"update":-1}`, `{"episodes":-5}`, `{"update":1,"best_update":2}`,
		`{"last_metrics":[[]]}`, `{"last_metrics":[["a"]]}`, `{"last_metrics":[[1,2]]}`, `{"last_metrics":[null]}`, `{"last_metrics":null}`, `null`, `{`,
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, stateFile)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		st, err := readState(dir)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		if st.Update < 0 || st.Episodes < 0 || st.BestUpdate < 0 || st.BestUpdate > st.Update {
			t.Errorf("%+v was taken", st)
		}
		if err := run.WriteState(dir, stateFile, st); err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if st, err = readState(dir); err != nil {
			t.Fatal(err)
		}
		if err := run.WriteState(dir, stateFile, st); err != nil {
			t.Fatal(err)
		}
		if second, err := os.ReadFile(path); err != nil || string(second) != string(first) {
			t.Errorf("written as %s, read again %s, %v", first, second, err)
		}
	})
}
