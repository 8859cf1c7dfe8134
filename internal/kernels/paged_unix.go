//go:build unix

package kernels

import (
	"fmt"
	"os"
	"syscall"
)

// Paged returns n zero bytes that lie in a file in dir rather than in memory: the system keeps in memory what there is room
// for, and writes the rest back. The file has no name any more, so that nothing is left behind however the program ends (the
// name of a moment begins with what clears itself when a run is opened); its space is free again after release, after which
// the bytes must not be touched. All of its space is taken at once: a disk that is full later would end the program.
func Paged(dir string, n int) (b []byte, release func() error, err error) {
	f, err := os.CreateTemp(dir, ".tmp-paged-*")
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, func() error { return nil }, nil
	}
	if err := reserve(f, n); err != nil {
		return nil, nil, fmt.Errorf("a file of %d bytes in %s: %w", n, dir, err)
	}
	b, err = syscall.Mmap(int(f.Fd()), 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map a file of %d bytes in %s: %w", n, dir, err)
	}
	return b, func() error { return syscall.Munmap(b) }, nil
}

// writeZeros makes an empty file n zero bytes long, all of them written.
func writeZeros(f *os.File, n int) error {
	zeros := make([]byte, 1<<20)
	for n > 0 {
		m, err := f.Write(zeros[:min(n, len(zeros))])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}
