package run

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plumb/internal/smalldisk"
)

func TestFullDiskLeavesNothingHalfWritten(t *testing.T) {
	root := smalldisk.New(t, 256<<10)
	d := openRun(t, root, "r")
	s := d.Stage("sft")
	begin(t, s, Manifest{})
	if err := s.WriteFile("keep.txt", writeText("kept")); err != nil {
		t.Fatal(err)
	}
	small := func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), []byte("1"), 0o644) }
	if err := s.Checkpoint(1, small); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 1<<20)
	noSpace := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
			t.Errorf("%s: error %v, want one that says to free space", what, err)
		}
	}
	noSpace("WriteFile", s.WriteFile("keep.txt", func(w io.Writer) error { _, err := w.Write(big); return err }))
	noSpace("Checkpoint", s.Checkpoint(2, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "x"), big, 0o644)
	}))
	if data, _ := os.ReadFile(s.Path("keep.txt")); string(data) != "kept" {
		t.Errorf("keep.txt holds %d bytes", len(data))
	}
	if step, dir, ok := s.Latest(); !ok || step != 1 || !exists(filepath.Join(dir, "x")) {
		t.Errorf("latest %d %v", step, ok)
	}
	a, err := s.Append("log.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 5000) + "\n")
	for err == nil {
		_, err = a.Write(line)
	}
	noSpace("Append", err)
	info, _ := os.Stat(s.Path("log.jsonl"))
	if info.Size() != a.Size() || a.Size()%int64(len(line)) != 0 {
		t.Errorf("log.jsonl has %d bytes, %d recorded; want whole lines of %d", info.Size(), a.Size(), len(line))
	}
	for _, dir := range []string{s.Path(), s.Path(stateDir)} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), tempPrefix) {
				t.Errorf("%s was left behind", e.Name())
			}
		}
	}
	// Space again: it goes on.
	if err := os.Truncate(s.Path("log.jsonl"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(2, small); err != nil {
		t.Errorf("after space was freed: %v", err)
	}
}

// A stage whose files cannot be closed is not finished, and can still be told to have failed.
func TestFinishThatFailsCanBeRecorded(t *testing.T) {
	d, err := Open(t.TempDir(), "r")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := d.Stage("sft")
	if _, err := s.Begin(Manifest{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Timing(1, []KV{{Key: "seconds", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	s.timing.f.Close() // as a disk that gives out
	if err := s.Finish(1, nil); err == nil {
		t.Fatal("a file that could not be closed was passed over")
	}
	if err := s.Fail(Failed, errors.New("disk")); err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(s.Path())
	if err != nil || m.State != Failed || m.Error != "disk" {
		t.Errorf("state %s, error %q, %v", m.State, m.Error, err)
	}
}

func TestTornTimingLineIsDropped(t *testing.T) {
	d := openRun(t, t.TempDir(), "r")
	s := d.Stage("sft")
	begin(t, s, Manifest{})
	if err := os.WriteFile(s.Path(timingFile), []byte("{\"step\":1}\n{\"st"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Timing(2, []KV{{"tokens_per_second", 10}}); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(s.Path(timingFile))
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 || lines[0] != `{"step":1}` || !strings.HasPrefix(lines[1], `{"step":2,"time":"`) || !strings.HasSuffix(lines[1], `,"tokens_per_second":10}`) {
		t.Errorf("%q", data)
	}
}
