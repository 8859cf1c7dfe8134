package kernels

import (
	"errors"
	"os"
	"syscall"
)

// reserve makes an empty file n zero bytes long that the disk has room for.
func reserve(f *os.File, n int) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(n))
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return writeZeros(f, n)
		default:
			return err
		}
	}
}
