//go:build !unix

package kernels

import "errors"

// Paged is not available here.
func Paged(string, int) (b []byte, release func() error, err error) {
	return nil, nil, errors.New("memory that lies in a file is not available on this system; leave optimizer.paged out")
}
