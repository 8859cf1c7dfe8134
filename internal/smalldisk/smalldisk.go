// Package smalldisk mounts a file system that is soon full, for tests of what programs do then. Tests only; nothing of the
// product imports it.
package smalldisk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// New is the folder of a new file system of so many bytes, gone with the test. Where none may be mounted the test is skipped.
func New(t testing.TB, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := mount(dir, bytes); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Fill leaves no room in a folder of New, but for so many bytes. It returns what makes room again.
func Fill(t testing.TB, dir string, but int64) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() < but {
		t.Fatalf("there were only %d bytes left, not %d", info.Size(), but)
	}
	if err := errors.Join(f.Truncate(info.Size()-but), f.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
