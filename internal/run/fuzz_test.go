package run

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzManifest: no run.json makes a reader panic, an error names the file, and one that is taken is written and read the same.
func FuzzManifest(f *testing.F) {
	for _, s := range []string{
		`{"format":1,"stage":"sft","state":"done","seed":7,"config":{"lr":1e-4,"peft":{"r":[1,2]}},"results":{"loss":0.5,"x":null},"outputs":[{"path":"a","bytes":1,"sha256":"ab"}],"made":{"sha256":"c"},"timing":{"seconds":1}}`,
		`{"format":1,"data":[{"name":"d"}],"parents":[{"role":"policy","path":"../x"}],"config":null}`,
		`{"format":2}`, `null`, `{"format":1,"results":[1]}`, `{"format":1,"results":{"a":"b"}}`, `{"format":1,"config":{"a":`, ``,
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, ManifestName)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := ReadManifest(dir)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		_, _ = checkParent(Manifest{}, dir)
		_ = m.OutputsHash()
		if diff := changes(m, m); diff != nil {
			t.Errorf("it differs from itself: %v", diff)
		}
		changes(m, Manifest{Config: []byte(`{"lr":1}`)})
		var first, second bytes.Buffer
		if err := m.encode(&first); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, first.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		if m, err = ReadManifest(dir); err != nil {
			t.Fatalf("what was written of it: %v", err)
		}
		if err := m.encode(&second); err != nil || second.String() != first.String() {
			t.Errorf("written as\n%s\nread again\n%s\n%v", first.String(), second.String(), err)
		}
	})
}

// FuzzState: what is no state is an error that names the file, and a state that is taken is written and read the same.
func FuzzState(f *testing.F) {
	for _, s := range []string{`{"step":3,"loss":0.5,"names":["a"]}`, `null`, ` null `, `{}`, `{"step":1e99}`, `{"step":"x"}`, `[`, ``} {
		f.Add([]byte(s))
	}
	type state struct {
		Step  int
		Loss  float64
		Names []string
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "s.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		var s, again state
		if err := ReadState(dir, "s.json", &s); err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		if strings.TrimSpace(string(text)) == "null" {
			t.Error("nothing was taken for a state")
		}
		if err := WriteState(dir, "s.json", s); err != nil {
			t.Fatal(err)
		}
		if err := ReadState(dir, "s.json", &again); err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%+v, read again %+v, %v", s, again, err)
		}
	})
}

// FuzzCheckpoint: a damaged checkpoint.json costs its checkpoint, which is said with its folder, and never the stage: that goes
// on from the one before.
func FuzzCheckpoint(f *testing.F) {
	const whole = `{"step":2,"appended":{"log":1},"files":[{"path":"s.json","bytes":2,"sha256":"4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"}]}`
	for _, s := range []string{
		whole,
		`{"step":2,"appended":{"log":1},"files":[]}`, `{"step":2,"appended":{"log":-1}}`, `{"step":2,"appended":{"../r":1}}`, `{"step":2,"appended":{".":0}}`,
		`{"step":2,"files":[{"path":"../x","bytes":1,"sha256":""}]}`, `{"step":2,"files":[{"path":"","bytes":4096}]}`, `{"step":3}`, `null`, `{`, ``,
	} {
		f.Add([]byte(s))
	}
	root := f.TempDir()
	d, err := Open(root, "r")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	s := d.Stage("sft")
	if _, err := s.Begin(Manifest{}); err != nil {
		f.Fatal(err)
	}
	if err := s.Checkpoint(1, func(dir string) error { return WriteState(dir, "s.json", 1) }); err != nil {
		f.Fatal(err)
	}
	log, second := s.Path("log"), s.stepPath(2)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(log, []byte("a line\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(second, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(second, checkpointFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := WriteState(second, "s.json", 1); err != nil {
			t.Fatal(err)
		}
		s.latestOK = false
		notes, err := s.findLatest()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case bytes.Equal(text, []byte(whole)) && s.latest != 2:
			t.Errorf("a whole checkpoint was passed over: %v", notes)
		case !s.latestOK:
			t.Error("no checkpoint was found")
		case s.latest == 1 && (len(notes) != 1 || !strings.Contains(notes[0], second) || exists(second)):
			t.Errorf("the second one was passed over, with notes %v", notes)
		}
	})
}
