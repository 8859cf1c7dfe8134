//go:build linux

package kernels

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestPagedWantsItsSpace: on a disk with too little room Paged fails; a file with holes in it would end the program when the first
// page is written that there is no room for. What fits is zero and can be written.
func TestPagedWantsItsSpace(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	if _, _, err := Paged(dir, 1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("1 MiB on a disk of 256 KiB: error %v, want no space", err)
	}
	b, release, err := Paged(dir, 128<<10)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 128<<10 || slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
		t.Errorf("%d bytes, not all zero", len(b))
	}
	b[len(b)-1] = 1
	if err := release(); err != nil {
		t.Error(err)
	}
}

// TestWriteZeros is for systems that cannot reserve space.
func TestWriteZeros(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const n = 1<<20 + 5
	if err := writeZeros(f, n); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(f.Name()); err != nil || !slices.Equal(b, make([]byte, n)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
