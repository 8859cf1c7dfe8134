package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockName holds the owner's process id while a run is open and is empty afterwards.
const lockName = ".lock"

// Dir is a run folder that this process owns until Close.
type Dir struct {
	path string
	name string
	lock *os.File
}

// LockedError says that another process owns a run folder.
type LockedError struct {
	Path string
	PID  int // 0 where it could not be read
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("run folder %s is in use by %s; wait for it, stop it, or give this run another name", e.Path, who)
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

// CheckName reports whether name can be a run's: letters, digits, '.', '_' and
// '-', starting with a letter, a digit or '_', at most 100 characters.
func CheckName(name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("run name %q: use letters, digits, '.', '_' and '-' (at most 100, not starting with '.' or '-')", name)
	}
	return nil
}

// Open makes root/name where it is absent and takes its lock. A folder that
// another process has open is refused with a *LockedError.
func Open(root, name string) (*Dir, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(root, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, full("make run folder", path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, full("open run folder", path, err)
	}
	err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
	for try := 0; errors.Is(err, syscall.EWOULDBLOCK) && try < 5; try++ {
		time.Sleep(10 * time.Millisecond) // Held, in another process, takes the lock for a moment.
		err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		defer lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &LockedError{Path: path, PID: lockPID(lock)}
		}
		return nil, fmt.Errorf("lock run folder %s: %w", path, err)
	}
	d := &Dir{path: path, name: name, lock: lock}
	if err := d.writePID(); err != nil {
		lock.Close()
		return nil, full("lock run folder", path, err)
	}
	if err := removeAllTemps(path); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close gives the folder back. The lock file stays, empty: removing it would
// let a process that has just opened it lock a file nobody else can see.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Truncate(0)
	err = errors.Join(err, d.lock.Close())
	d.lock = nil
	return err
}

// Name is the run's name, the last element of its path.
func (d *Dir) Name() string { return d.name }

// Path is the run folder, or a place inside it.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// WriteFile writes a file of the run folder itself, whole or not at all.
func (d *Dir) WriteFile(name string, write func(io.Writer) error) error {
	return WriteFile(d.Path(name), write)
}

// Stage is the part of the run that one stage owns. Nothing is made on disk
// until Begin.
func (d *Dir) Stage(name string) *Stage {
	if err := CheckName(name); err != nil {
		panic("run: Stage: bad name")
	}
	return &Stage{run: d, name: name, path: d.Path(name), keep: 2}
}

func (d *Dir) writePID() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func lockPID(f *os.File) int {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return pid
}

// Held reports whether some process owns the run folder now, and which.
func Held(path string) (pid int, held bool) {
	f, err := os.Open(filepath.Join(path, lockName))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if err := flock(f, syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return lockPID(f), true
	}
	return 0, false
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
