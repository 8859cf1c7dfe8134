package run

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// tempPrefix marks what a dead process may have left half-written; Open and
// Begin remove it.
const tempPrefix = ".tmp-"

// WriteFile writes path whole or not at all: a temporary file beside it,
// synced, renamed over it, and the folder synced. On an error (a full disk
// among them) path keeps what it held.
func WriteFile(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return full("make folder", dir, err)
	}
	f, err := os.CreateTemp(dir, tempPrefix+filepath.Base(path)+"-")
	if err != nil {
		return full("write", path, err)
	}
	temp := f.Name()
	w := bufio.NewWriterSize(f, 1<<16)
	err = write(w)
	err = errors.Join(err, w.Flush())
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return full("write", path, err)
	}
	return syncDir(dir)
}

// WriteDir replaces the folder path by what write puts into the empty folder
// it is given. A reader sees the old folder, none, or the new one, never a part.
func WriteDir(path string, write func(dir string) error) error {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return full("make folder", parent, err)
	}
	temp, err := os.MkdirTemp(parent, tempPrefix+filepath.Base(path)+"-")
	if err != nil {
		return full("write", path, err)
	}
	err = os.Chmod(temp, 0o755)
	if err == nil {
		err = write(temp)
	}
	if err == nil {
		err = syncTree(temp)
	}
	if err != nil {
		os.RemoveAll(temp)
		return full("write", path, err)
	}
	return replaceDir(temp, path)
}

// replaceDir renames the synced folder temp to path; what stood there is moved
// out of the way first, so that it is gone as a whole.
func replaceDir(temp, path string) error {
	parent := filepath.Dir(path)
	old := ""
	if _, err := os.Lstat(path); err == nil {
		old = filepath.Join(parent, tempPrefix+"old-"+filepath.Base(path))
		os.RemoveAll(old)
		if err := os.Rename(path, old); err != nil {
			os.RemoveAll(temp)
			return full("replace", path, err)
		}
	}
	if err := os.Rename(temp, path); err != nil {
		os.RemoveAll(temp)
		return full("write", path, err)
	}
	if err := syncDir(parent); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(old)
	}
	return nil
}

// removeDir removes a folder so that no part of it is ever seen under its name.
func removeDir(path string) error {
	gone := filepath.Join(filepath.Dir(path), tempPrefix+"old-"+filepath.Base(path))
	os.RemoveAll(gone)
	if err := os.Rename(path, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// removeTemps clears what a killed process left directly inside dir.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean %s: %w", dir, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("clean %s: %w", dir, err)
			}
		}
	}
	return nil
}

// removeAllTemps clears what a killed process left anywhere under dir: a stage that is done is not begun again, and some
// files belong to no stage.
func removeAllTemps(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("clean %s: %w", dir, err)
		}
		if !strings.HasPrefix(e.Name(), tempPrefix) || p == dir {
			return nil
		}
		if err := os.RemoveAll(p); err != nil {
			return fmt.Errorf("clean %s: %w", dir, err)
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	// Some filesystems cannot sync a folder; the rename is then as safe as they make it.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// syncTree syncs every file and folder under dir, dir last.
func syncTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			dirs = append(dirs, p)
			return nil
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", p)
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := syncDir(dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// full wraps err once; a full disk gets the sentence a person needs.
func full(doing, path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s %s: %w (nothing half-written was left; free some space and give the same command to go on)", doing, path, err)
	}
	return fmt.Errorf("%s %s: %w", doing, path, err)
}

// File is a file inside a folder: its slash-separated path there, its length
// in bytes and its sha256 in hexadecimal.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// HashFile is the sha256 of a file's content in hexadecimal, and its length.
func HashFile(path string) (sum string, bytes int64, err error) {
	return HashFileTold(path, func(int64, int64) {})
}

// HashFileTold is HashFile; told hears how many bytes of how many are hashed.
func HashFileTold(path string, told func(done, total int64)) (sum string, bytes int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.Copy(h, &toldReader{Reader: f, size: info.Size(), told: told})
	if err != nil {
		return "", 0, fmt.Errorf("hash %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// toldReader tells how much of size bytes has been read.
type toldReader struct {
	io.Reader
	done, size int64
	told       func(done, total int64)
}

func (r *toldReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.done += int64(n)
	r.told(r.done, r.size)
	return n, err
}

// HashBytes is the sha256 of data in hexadecimal.
func HashBytes(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// HashDir lists the regular files under dir with their sums, sorted by path.
func HashDir(dir string) ([]File, error) { return hashTree(dir, ".") }

// hashTree lists the regular files of base/name (a file or a folder) with
// their sums, sorted by path; paths are relative to base.
func hashTree(base, name string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(filepath.Join(base, name), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(base, p)
		if err != nil {
			return err
		}
		sum, n, err := HashFile(p)
		if err != nil {
			return err
		}
		files = append(files, File{Path: filepath.ToSlash(rel), Bytes: n, SHA256: sum})
		return nil
	})
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	return files, err
}

// checkFiles compares files with what lies under base now.
func checkFiles(base string, files []File) error {
	for _, want := range files {
		p := filepath.Join(base, filepath.FromSlash(want.Path))
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("%s is missing", want.Path)
		}
		if info.Size() != want.Bytes {
			return fmt.Errorf("%s has %d bytes, %d were written", want.Path, info.Size(), want.Bytes)
		}
		sum, _, err := HashFile(p)
		if err != nil {
			return err
		}
		if sum != want.SHA256 {
			return fmt.Errorf("%s has changed since it was written", want.Path)
		}
	}
	return nil
}
