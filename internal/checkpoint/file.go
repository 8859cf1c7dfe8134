package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"
)

// file is an open weights file. Reads are positioned, so any number of goroutines may share one.
type file struct {
	name string // as shown in errors
	r    io.ReaderAt
	size int64
	c    io.Closer
}

// openFile opens path for positioned reads. Anything that is not a regular file is refused before it is opened,
// so that a pipe or a device cannot block the program.
func openFile(path string) (*file, error) {
	return openIn(os.DirFS(filepath.Dir(path)), filepath.Base(path), path)
}

// openIn opens name inside fsys; display is the name errors use.
func openIn(fsys fs.FS, name, display string) (*file, error) {
	st, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", display, cause(err))
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", display)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", display, cause(err))
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("open %s: the file system has no positioned reads", display), f.Close())
	}
	return &file{name: display, r: r, size: st.Size(), c: f}, nil
}

// cause takes the path out of a bare file error, for messages that already name the file.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && error(p) == err {
		return p.Err
	}
	return err
}

func (f *file) Close() error { return f.c.Close() }

// readAt fills b from offset off. A short file is an error that says so.
func (f *file) readAt(b []byte, off int64) error {
	n, err := f.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		return fmt.Errorf("%s: ends at byte %d, %d bytes from %d were expected (truncated, or changed while open)",
			f.name, off+int64(n), len(b), off)
	}
	return fmt.Errorf("read %s: %w", f.name, cause(err))
}

// readSmall reads a whole file of at most limit bytes from fsys.
func readSmall(fsys fs.FS, name, display string, limit int64) ([]byte, error) {
	f, err := openIn(fsys, name, display)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.size > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read for such a file", display, f.size, limit)
	}
	b := make([]byte, f.size)
	if err := f.readAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

// littleEndian tells whether this machine stores numbers as the files do.
func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}

// bytesOf views the memory of v as bytes, so that a read can land in it without a second copy.
func bytesOf[T float32 | uint16](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
