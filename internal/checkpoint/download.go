package checkpoint

import (
	"context"
	"crypto/sha1" // git's own hash of small files
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// remote is a file to download. At least one of the hashes is known.
type remote struct {
	url     string
	name    string // for progress
	shown   string // for errors
	size    int64  // -1 when unknown
	sha256  string
	gitSHA1 string // of "blob SIZE\x00" and the content
	hub     bool   // the token belongs to it
}

// attempts is how often in a row a connection may bring nothing before the download fails.
const attempts = 5

// errMismatch marks a download that is whole and not what was asked for.
var errMismatch = errors.New("the download is not the file that was asked for")

// download brings r to dst. The part that has arrived lies in the cache's partial folder, with the ETag it belongs to
// and a lock beside it, so that another process, or the next run, goes on where this one stops.
func (f *fetcher) download(ctx context.Context, r remote, dst string) error {
	if exists(dst) {
		return nil
	}
	partial := filepath.Join(f.CacheDir, "partial")
	for _, dir := range []string{partial, filepath.Dir(dst)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("fetch %s: %w", r.shown, err)
		}
	}
	key := sha256.Sum256([]byte(dst))
	p := &part{path: filepath.Join(partial, hex.EncodeToString(key[:16]))}
	unlock, err := lock(ctx, p.path+".lock")
	if err != nil {
		return fmt.Errorf("fetch %s: lock the cache: %w", r.shown, err)
	}
	defer unlock()
	if exists(dst) { // another process was faster
		return nil
	}
	if err := f.complete(ctx, r, p); err != nil {
		if n := p.size(); n > 0 {
			return fmt.Errorf("fetch %s: %w; the first %d bytes are kept, run again to go on", r.shown, err, n)
		}
		return fmt.Errorf("fetch %s: %w", r.shown, err)
	}
	if err := os.Rename(p.path, dst); err != nil {
		return fmt.Errorf("fetch %s: %w", r.shown, err)
	}
	_ = os.Remove(p.path + ".etag")
	return syncDir(filepath.Dir(dst))
}

// complete fills the part and verifies it. A part that an earlier run had begun and that turns out wrong is fetched once
// more from its start.
func (f *fetcher) complete(ctx context.Context, r remote, p *part) error {
	begun := p.size() > 0
	err := f.fill(ctx, r, p)
	if err == nil {
		err = p.verify(r)
	}
	if err == nil || !errors.Is(err, errMismatch) {
		return err
	}
	p.discard()
	if !begun {
		return err
	}
	if err = f.fill(ctx, r, p); err == nil {
		err = p.verify(r)
	}
	if errors.Is(err, errMismatch) {
		p.discard()
	}
	return err
}

// fill downloads until the part is as long as the file.
func (f *fetcher) fill(ctx context.Context, r remote, p *part) error {
	if r.size >= 0 && p.size() == r.size {
		return p.touch()
	}
	return f.retry(ctx, func() (bool, error) {
		before := p.size()
		done, again, err := f.piece(ctx, r, p)
		if err == nil && !done {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && again && p.size() > before {
			return true, progressed{err}
		}
		return again, err
	})
}

// progressed wraps the failure of an attempt that brought something; such do not count.
type progressed struct{ error }

func (p progressed) Unwrap() error { return p.error }

// retry calls try until it succeeds, fails for good, or has failed attempts times in a row without progress.
func (f *fetcher) retry(ctx context.Context, try func() (again bool, err error)) error {
	pause := f.pause
	for failures := 1; ; failures++ {
		again, err := try()
		if err == nil || !again {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var p progressed
		if errors.As(err, &p) {
			failures, pause = 0, f.pause
		}
		if failures == attempts {
			return fmt.Errorf("%w (%d attempts)", err, attempts)
		}
		wait := pause
		var busy retryAfter
		if errors.As(err, &busy) && time.Duration(busy) > wait {
			wait = time.Duration(busy)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		pause *= 2
	}
}

// retryAfter is a server's wish to be left alone for a while.
type retryAfter time.Duration

func (r retryAfter) Error() string { return "asked to wait " + time.Duration(r).String() }

// temporary tells whether the same request may succeed later.
func temporary(r *http.Response) bool {
	return r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout || r.StatusCode >= 500
}

// get sends a GET request. The token goes along only where it belongs.
func (f *fetcher) get(ctx context.Context, address string, header http.Header, token bool) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	r.Header.Set("User-Agent", "plumb")
	if token && f.Token != "" {
		r.Header.Set("Authorization", "Bearer "+f.Token)
	}
	answer, err := f.client.Do(r)
	var u *url.Error
	if errors.As(err, &u) { // its text repeats the address, which may hold credentials
		err = u.Err
	}
	return answer, err
}

// piece makes one request for what is missing and appends what arrives. done says that the file is whole as far as its
// length tells; again that another attempt makes sense.
func (f *fetcher) piece(ctx context.Context, r remote, p *part) (done, again bool, err error) {
	// Bodies as they are: a byte range of a compressed body would not be a range of the file.
	header := http.Header{"Accept-Encoding": {"identity"}}
	from := p.size()
	if r.size >= 0 && from > r.size {
		p.discard()
		from = 0
	}
	if from > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		if tag := p.etag(); tag != "" {
			header.Set("If-Range", tag)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answer, err := f.get(ctx, r.url, header, r.hub)
	if err != nil {
		return false, true, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK: // from the start, also where the file has changed since
		if from > 0 {
			p.discard()
			from = 0
		}
	case http.StatusPartialContent:
		if !strings.HasPrefix(answer.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)) {
			p.discard()
			return false, true, fmt.Errorf("asked for bytes from %d, got %q", from, answer.Header.Get("Content-Range"))
		}
	case http.StatusRequestedRangeNotSatisfiable: // the part is as long as the file, or longer
		if total, ok := rangeTotal(answer); ok && total == from {
			return true, false, nil
		}
		p.discard()
		return false, true, errors.New("the file became shorter")
	default:
		return false, temporary(answer), f.status(answer, r)
	}
	total := r.size
	if total < 0 && answer.ContentLength >= 0 {
		total = from + answer.ContentLength
	}
	if err := p.setETag(answer.Header.Get("ETag")); err != nil {
		return false, false, err
	}
	err = f.append(p, answer.Body, from, total, r.name, cancel)
	if errors.Is(err, errWrite) || errors.Is(err, errMismatch) {
		return false, false, err
	}
	if stalled := context.Cause(ctx); err != nil && stalled != nil {
		err = stalled
	}
	return err == nil && (total < 0 || p.size() == total), true, err
}

// status explains an answer that brings no data.
func (f *fetcher) status(answer *http.Response, r remote) error {
	if r.hub && !temporary(answer) {
		return f.refusal(answer)
	}
	err := fmt.Errorf("the server answered %s", answer.Status)
	if s, convErr := strconv.Atoi(answer.Header.Get("Retry-After")); convErr == nil && s > 0 && s <= 60 {
		return fmt.Errorf("%w, %w", err, retryAfter(time.Duration(s)*time.Second))
	}
	return err
}

func rangeTotal(r *http.Response) (int64, bool) {
	m := regexp.MustCompile(`^bytes \*/(\d+)$`).FindStringSubmatch(r.Header.Get("Content-Range"))
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	return n, err == nil
}

var (
	errWrite   = errors.New("write the cache")
	errStalled = errors.New("the connection brought nothing for too long")
)

// append copies body to the end of the part, at most up to total bytes in all. Nothing for f.stall cancels the request.
func (f *fetcher) append(p *part, body io.Reader, at, total int64, name string, cancel context.CancelCauseFunc) (err error) {
	w, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	defer func() {
		if closing := errors.Join(w.Sync(), w.Close()); closing != nil && err == nil {
			err = fmt.Errorf("%w: %w", errWrite, closing)
		}
	}()
	watchdog := time.AfterFunc(f.stall, func() { cancel(errStalled) })
	defer watchdog.Stop()
	buffer := make([]byte, 1<<18)
	for {
		n, readErr := body.Read(buffer)
		watchdog.Reset(f.stall)
		if total >= 0 && at+int64(n) > total {
			return fmt.Errorf("%w: more than its %d bytes arrive", errMismatch, total)
		}
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return fmt.Errorf("%w: %w", errWrite, err)
			}
			at += int64(n)
			if f.Progress != nil {
				f.Progress(FetchProgress{File: name, Done: at, Total: total})
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// part is a file that is not yet whole.
type part struct{ path string }

func (p *part) size() int64 {
	st, err := os.Stat(p.path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// touch makes an empty file where there is none, for files of no bytes.
func (p *part) touch() error {
	w, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return w.Close()
}

func (p *part) discard() {
	_ = os.Remove(p.path)
	_ = os.Remove(p.path + ".etag")
}

// etag returns the strong validator of what has arrived, "" when there is none.
func (p *part) etag() string {
	b, err := os.ReadFile(p.path + ".etag")
	if err != nil {
		return ""
	}
	return string(b)
}

func (p *part) setETag(tag string) error {
	if tag == "" || strings.HasPrefix(tag, "W/") {
		_ = os.Remove(p.path + ".etag")
		return nil
	}
	if tag == p.etag() {
		return nil
	}
	if err := writeFileAtomic(p.path+".etag", []byte(tag)); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// verify compares length and hashes with what they must be.
func (p *part) verify(r remote) error {
	w, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer w.Close()
	size := p.size()
	if r.size >= 0 && size != r.size {
		return fmt.Errorf("%w: %d bytes instead of %d", errMismatch, size, r.size)
	}
	h256, h1 := sha256.New(), sha1.New()
	fmt.Fprintf(h1, "blob %d\x00", size)
	var hashes []io.Writer
	if r.sha256 != "" {
		hashes = append(hashes, h256)
	}
	if r.gitSHA1 != "" {
		hashes = append(hashes, h1)
	}
	if _, err := io.Copy(io.MultiWriter(hashes...), w); err != nil {
		return err
	}
	for _, c := range []struct {
		name, want string
		h          hash.Hash
	}{{"sha256", r.sha256, h256}, {"git hash", r.gitSHA1, h1}} {
		if got := hex.EncodeToString(c.h.Sum(nil)); c.want != "" && got != c.want {
			return fmt.Errorf("%w: its %s is %s, not %s", errMismatch, c.name, got, c.want)
		}
	}
	return nil
}
