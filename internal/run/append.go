package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Appended is a file that only grows, record by record. Its length is recorded
// in every checkpoint and it is cut back to it on resume.
type Appended struct {
	f    *os.File
	path string
	size int64
}

// openAppended opens path for appending at the given length, cutting what lies
// beyond it.
func openAppended(path string, size int64) (*Appended, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, full("make folder of", path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, full("open", path, err)
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, full("cut", path, err)
	}
	return &Appended{f: f, path: path, size: size}, nil
}

// Write appends one whole record: all of p, or, on an error, nothing.
func (a *Appended) Write(p []byte) (int, error) {
	n, err := a.f.WriteAt(p, a.size)
	if err != nil {
		// What a full disk let through is taken back.
		return 0, full("append to", a.path, errors.Join(err, a.f.Truncate(a.size)))
	}
	a.size += int64(n)
	return n, nil
}

// Size is the file's length in bytes.
func (a *Appended) Size() int64 { return a.size }

// sync makes what was appended survive a power cut.
func (a *Appended) sync() error {
	if err := a.f.Sync(); err != nil {
		return full("sync", a.path, err)
	}
	return nil
}

var _ io.Writer = (*Appended)(nil)

// Append opens a file of the stage that only grows. After a resume it holds
// what it held at the checkpoint, and nothing where the checkpoint has none of
// that name. Each Write must be one whole record (a line, a zstd frame).
func (s *Stage) Append(name string) (*Appended, error) {
	s.mustBegin("Append")
	if a, ok := s.appended[name]; ok {
		return a, nil
	}
	a, err := openAppended(s.Path(name), s.lengths[name])
	if err != nil {
		return nil, err
	}
	s.appended[name] = a
	return a, nil
}

// cutAppended cuts the files of a checkpoint to their recorded lengths.
func (s *Stage) cutAppended(lengths map[string]int64) error {
	for name, n := range lengths {
		if err := os.Truncate(s.Path(name), n); err != nil {
			return fmt.Errorf("cut %s to its length at the checkpoint: %w", s.Path(name), err)
		}
	}
	return nil
}

// wholeLines is the length of path up to its last newline: a line torn by a
// power cut is dropped. 0 where the file is absent.
func wholeLines(path string) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4096)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] == '\n' {
				return end - n + i + 1, nil
			}
		}
		end -= n
	}
	return 0, nil
}
