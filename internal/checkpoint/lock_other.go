//go:build !unix

package checkpoint

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// lock makes a file that must not exist, waiting until its holder removes it or ctx ends. A process that dies leaves it
// behind; it then has to be removed by hand.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			return func() { _ = errors.Join(f.Close(), os.Remove(path)) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), errors.New("waiting for "+path))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
