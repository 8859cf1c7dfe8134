package checkpoint

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const testCommit = "0123456789abcdef0123456789abcdef01234567"

// fakeHub serves one repository the way the hub does: the API, small files itself, large ones by redirect to a second
// server.
type fakeHub struct {
	mu     sync.Mutex
	files  map[string]string // path -> content
	large  map[string]bool   // kept in LFS, served by the second server
	cuts   []int             // the next answers for large files break off after so many bytes
	status []int             // the next answers are these
	log    []string          // "host path [range]" of every request
	auth   []string          // Authorization headers the second server saw
	etag   string
	hub    *httptest.Server
	cdn    *httptest.Server
	tree   func() any // replaces the list of files
}

func newFakeHub(t *testing.T, files map[string]string, large ...string) *fakeHub {
	t.Helper()
	h := &fakeHub{files: files, large: make(map[string]bool), etag: `"v1"`}
	for _, name := range large {
		h.large[name] = true
	}
	h.hub = httptest.NewServer(http.HandlerFunc(h.serveHub))
	h.cdn = httptest.NewServer(http.HandlerFunc(h.serveLarge))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.cdn.Close)
	return h
}

// note records a request and tells whether it has been answered already.
func (h *fakeHub) note(w http.ResponseWriter, r *http.Request, where string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, strings.TrimSpace(where+" "+r.URL.Path+" "+r.Header.Get("Range")))
	if len(h.status) == 0 {
		return false
	}
	status := h.status[0]
	h.status = h.status[1:]
	if status == 0 {
		return false
	}
	w.WriteHeader(status)
	return true
}

func (h *fakeHub) requests(part string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, line := range h.log {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func sum256(s string) string { b := sha256.Sum256([]byte(s)); return hex.EncodeToString(b[:]) }

func gitSum(s string) string {
	b := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(s), s)))
	return hex.EncodeToString(b[:])
}

func (h *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	if h.note(w, r, "hub") {
		return
	}
	p := r.URL.Path
	switch {
	case p == "/api/models/org/name/revision/main", p == "/api/datasets/org/name/revision/main":
		fmt.Fprintf(w, `{"sha":%q}`, testCommit)
	case p == "/api/models/org/name/tree/"+testCommit, p == "/api/datasets/org/name/tree/"+testCommit:
		h.serveTree(w, r)
	case strings.HasPrefix(strings.TrimPrefix(p, "/datasets"), "/org/name/resolve/"+testCommit+"/"):
		name := strings.SplitN(p, testCommit+"/", 2)[1]
		if h.large[name] {
			http.Redirect(w, r, h.cdn.URL+"/"+name, http.StatusFound)
			return
		}
		fmt.Fprint(w, h.files[name])
	default:
		w.Header().Set("X-Error-Message", "Repository not found")
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// serveTree lists the files, two a page.
func (h *fakeHub) serveTree(w http.ResponseWriter, r *http.Request) {
	if h.tree != nil {
		_ = json.NewEncoder(w).Encode(h.tree())
		return
	}
	entries := []map[string]any{{"type": "directory", "path": "sub", "size": 0, "oid": "x"}}
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		e := map[string]any{"type": "file", "path": name, "size": len(h.files[name]), "oid": gitSum(h.files[name])}
		if h.large[name] {
			e["lfs"] = map[string]any{"oid": sum256(h.files[name]), "size": len(h.files[name])}
		}
		entries = append(entries, e)
	}
	at := 0
	fmt.Sscan(r.URL.Query().Get("cursor"), &at)
	end := min(at+2, len(entries))
	if end < len(entries) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, h.hub.URL, r.URL.Path, end))
	}
	_ = json.NewEncoder(w).Encode(entries[at:end])
}

func (h *fakeHub) serveLarge(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.auth = append(h.auth, r.Header.Get("Authorization"))
	h.mu.Unlock()
	if h.note(w, r, "cdn") {
		return
	}
	content, ok := h.files[r.URL.Path[1:]]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if h.etag != "" {
		w.Header().Set("ETag", h.etag)
	}
	h.mu.Lock()
	var cut int
	if len(h.cuts) > 0 {
		cut, h.cuts = h.cuts[0], h.cuts[1:]
	}
	h.mu.Unlock()
	if cut > 0 {
		w = &cutting{ResponseWriter: w, left: cut}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte(content)))
}

// cutting breaks the connection after some bytes of the body.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	if len(b) >= c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}
