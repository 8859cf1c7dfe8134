package checkpoint

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// get fetches with short pauses.
func (h *fakeHub) get(t *testing.T, ref, cache string, change ...func(*fetcher)) (string, error) {
	t.Helper()
	f, err := newFetcher(FetchOptions{CacheDir: cache, Endpoint: h.hub.URL, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	f.pause = time.Millisecond
	for _, c := range change {
		c(f)
	}
	return f.fetch(context.Background(), ref)
}

func offline(f *fetcher) { f.Offline = true }

// model is a sharded repository with things in it that are not to be fetched.
func model() map[string]string {
	tensor := func(name string) string {
		return string(safetensorsFile(`{"`+name+`":{"dtype":"F32","shape":[50000],"data_offsets":[0,200000]}}`, 200000))
	}
	return map[string]string{
		"config.json": `{"model_type":"llama"}`, "README.md": "#", "pytorch_model.bin": "x", "onnx/model.safetensors": "x",
		"tokenizer.json": "{}", "a.safetensors": tensor("a"), "b.safetensors": tensor("b"),
		indexFile: `{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}`,
	}
}

func TestFetchModel(t *testing.T) {
	h := newFakeHub(t, model(), "a.safetensors", "b.safetensors")
	cache := t.TempDir()
	if _, err := h.get(t, "org/name", cache, offline); err == nil || !strings.Contains(err.Error(), "offline") || len(h.log) > 0 {
		t.Fatalf("offline without a cache: %v, requests %q", err, h.log)
	}
	var last FetchProgress
	dir, err := h.get(t, "org/name", cache, func(f *fetcher) { f.Progress = func(p FetchProgress) { last = p } })
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if !slices.Equal(s.Names(), []string{"a", "b"}) || string(s.ConfigJSON) != `{"model_type":"llama"}` {
		t.Errorf("names %q, config %s", s.Names(), s.ConfigJSON)
	}
	if want := (FetchProgress{"b.safetensors", int64(len(h.files["b.safetensors"])), int64(len(h.files["b.safetensors"]))}); last != want {
		t.Errorf("progress ends at %+v, want %+v", last, want)
	}
	entries, _ := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := []string{"a.safetensors", "b.safetensors", "config.json", indexFile, "tokenizer.json"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if slices.ContainsFunc(h.auth, func(s string) bool { return s != "" }) {
		t.Errorf("the token went to another server: %q", h.auth)
	}
	// From now on one question online, none by commit or offline.
	for _, c := range []struct {
		ref    string
		change []func(*fetcher)
		asks   int
	}{{"org/name", nil, 1}, {"org/name@" + testCommit, nil, 0}, {"org/name", []func(*fetcher){offline}, 0}, {"org/name/config.json", []func(*fetcher){offline}, 0}} {
		before := len(h.log)
		again, err := h.get(t, c.ref, cache, c.change...)
		if err != nil || !strings.HasPrefix(again, dir) || len(h.log)-before != c.asks {
			t.Errorf("%s: %s, %v, requests %q, want %d", c.ref, again, err, h.log[before:], c.asks)
		}
	}
}

func TestFetchChoice(t *testing.T) {
	for name, c := range map[string]struct {
		ref   string
		files map[string]string
		path  string // relative to the commit's folder
		want  string // of the error
	}{
		"gguf":     {"org/name", map[string]string{"m.gguf": "x", "config.json": "{}"}, "m.gguf", ""},
		"ggufs":    {"org/name", map[string]string{"m.gguf": "x", "n.gguf": "y"}, "", "org/name/m.gguf: m.gguf, n.gguf"},
		"one":      {"org/name/n.gguf", map[string]string{"m.gguf": "x", "n.gguf": "y"}, "n.gguf", ""},
		"sub":      {"org/name/q/n.gguf", map[string]string{"q/n.gguf": "y"}, "q/n.gguf", ""},
		"missing":  {"org/name/z.gguf", map[string]string{"m.gguf": "x"}, "", "no file z.gguf"},
		"pickled":  {"org/name", map[string]string{"pytorch_model.bin": "x"}, "", "pickled"},
		"nothing":  {"org/name", map[string]string{"README.md": "x"}, "", "no model.safetensors"},
		"adapter":  {"org/name", map[string]string{"adapter_config.json": "{}", "adapter_model.safetensors": "x"}, "adapter_model.safetensors/..", ""},
		"data":     {"datasets/org/name", map[string]string{"data/t.jsonl.gz": "x", "v.parquet": "y", "README.md": "z", "load.py": "p"}, "data/..", ""},
		"data-one": {"datasets/org/name/data/t.jsonl", map[string]string{"data/t.jsonl": "x"}, "data/t.jsonl", ""},
		"no-data":  {"datasets/org/name", map[string]string{"README.md": "z"}, "", "no .jsonl"},
		"unlisted": {"org/name", map[string]string{indexFile: `{"weight_map":{"a":"c.safetensors"}}`}, "", "c.safetensors, which the repository does not have"},
		"unknown":  {"org/other", nil, "", "(Repository not found)"},
		"empty":    {"org/name/e.json", map[string]string{"e.json": ""}, "e.json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t, c.files)
			got, err := h.get(t, c.ref, t.TempDir())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil || !strings.HasSuffix(got, filepath.Join(testCommit, c.path)) || !exists(got) {
				t.Errorf("%s, %v, want %s", got, err, c.path)
			}
			if name == "data" && (exists(filepath.Join(got, "load.py")) || !exists(filepath.Join(got, "v.parquet"))) {
				t.Error("wrong files of the data set")
			}
		})
	}
}

// A connection that is cut more often than a download may fail without progress: each request asks only for what is
// missing.
func TestFetchResumes(t *testing.T) {
	for _, etag := range []string{`"v1"`, "", `W/"weak"`} {
		h := newFakeHub(t, model(), "a.safetensors")
		h.etag, h.cuts = etag, []int{100_000, 50_000, 1, 1, 1, 1, 1}
		got, err := h.get(t, "org/name/a.safetensors", t.TempDir())
		if err != nil || mustRead(t, got) != h.files["a.safetensors"] {
			t.Fatalf("etag %s: %v", etag, err)
		}
		if h.requests("cdn /a.safetensors bytes=") != 7 || h.requests("cdn") != 8 || h.requests("cdn /a.safetensors bytes=150001-") != 1 {
			t.Errorf("etag %s: requests %q", etag, h.log)
		}
	}
}

// A download that failed is taken up by the next run.
func TestFetchResumesNextRun(t *testing.T) {
	h := newFakeHub(t, model(), "a.safetensors")
	cache := t.TempDir()
	h.cuts = []int{120_000}
	_, err := h.get(t, "org/name/a.safetensors", cache, func(f *fetcher) {
		f.Progress = func(p FetchProgress) {
			if p.Done >= 120_000 {
				f.client.CloseIdleConnections()
				h.mu.Lock()
				h.status = []int{404, 404}
				h.mu.Unlock()
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "the first 120000 bytes are kept") {
		t.Fatalf("error %v", err)
	}
	h.status = nil
	got, err := h.get(t, "org/name/a.safetensors", cache)
	if err != nil || mustRead(t, got) != h.files["a.safetensors"] || h.requests("bytes=120000-") == 0 {
		t.Errorf("%v, requests %q", err, h.log)
	}
}

// The file changes between two runs: what had arrived is thrown away, whether the server says so or the hash does.
func TestFetchChangedFile(t *testing.T) {
	for etag, requests := range map[string]int{`"v2"`: 2, `"v1"`: 3} {
		h := newFakeHub(t, model(), "a.safetensors")
		h.cuts = []int{50_000}
		cache := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		f, err := newFetcher(FetchOptions{CacheDir: cache, Endpoint: h.hub.URL})
		if err != nil {
			t.Fatal(err)
		}
		f.Progress = func(p FetchProgress) { cancel() }
		if _, err := f.fetch(ctx, "org/name/a.safetensors"); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want cancellation", err)
		}
		changed := []byte(h.files["a.safetensors"])
		for i := 100; i < 1000; i++ {
			changed[i] ^= 1
		}
		h.files["a.safetensors"], h.etag = string(changed), etag
		got, err := h.get(t, "org/name/a.safetensors", cache)
		if err != nil || mustRead(t, got) != string(changed) || h.requests("cdn") != requests {
			t.Errorf("etag %s: %v, requests %q, want %d for the data", etag, err, h.log, requests)
		}
	}
}

func TestFetchAddress(t *testing.T) {
	h := newFakeHub(t, map[string]string{"x.jsonl": `{"a":1}`}, "x.jsonl")
	address, sum := h.cdn.URL+"/x.jsonl", sum256(`{"a":1}`)
	cache := t.TempDir()
	for name, c := range map[string]struct {
		ref, sha256, want string
	}{
		"no hash":       {address, "", "sha256 is needed"},
		"short":         {address, "abc", "not 64 hexadecimal"},
		"fragment":      {address + "#sha256=abc", "", "64 hexadecimal digits may follow"},
		"contradiction": {address + "#sha256=" + sum, sum256("x"), "another sha256"},
		"wrong":         {address, sum256("x"), "its sha256 is " + sum + ", not " + sum256("x")},
		"404":           {h.cdn.URL + "/y", sum, "404 Not Found"},
		"plain http":    {"http://example.org/x", sum, "not encrypted"},
		"scheme":        {"ftp://example.org/x", sum, "only https"},
		"not a name":    {"./nowhere/x.jsonl", "", "no such file here"},
		"hub sha":       {"org/name", sum, "sha256 belongs to a single file"},
	} {
		f, err := newFetcher(FetchOptions{CacheDir: cache, Endpoint: h.hub.URL, SHA256: c.sha256})
		if err == nil {
			f.pause = time.Millisecond
			_, err = f.fetch(context.Background(), c.ref)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	for _, sub := range []string{"files/*/*", "partial/*"} {
		left, _ := filepath.Glob(filepath.Join(cache, sub))
		for _, p := range left {
			if !strings.HasSuffix(p, ".lock") {
				t.Errorf("%s is left of refused downloads", p)
			}
		}
	}
	got, err := h.get(t, address+"#sha256="+strings.ToUpper(sum), cache)
	if err != nil || mustRead(t, got) != `{"a":1}` || filepath.Base(got) != "x.jsonl" {
		t.Errorf("%s, %v", got, err)
	}
	h.cdn.Close()
	if again, err := h.get(t, address, cache, func(f *fetcher) { f.SHA256 = sum }); err != nil || again != got {
		t.Errorf("from the cache: %s, %v", again, err)
	}
	if same, err := h.get(t, got, cache); err != nil || same != got {
		t.Errorf("a local path: %s, %v", same, err)
	}
	if len(h.auth) == 0 || slices.Contains(h.auth, "Bearer secret") {
		t.Errorf("an address got the hub's token: %q", h.auth)
	}
}

func TestFetchRetries(t *testing.T) {
	h := newFakeHub(t, model(), "a.safetensors")
	h.status = []int{503, 429, 0, 500}
	if _, err := h.get(t, "org/name/config.json", t.TempDir()); err != nil {
		t.Errorf("temporary failures: %v", err)
	}
	h.status = slices.Repeat([]int{503}, 20)
	if _, err := h.get(t, "org/name/config.json", t.TempDir()); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable (5 attempts)") || len(h.status) != 15 {
		t.Errorf("error %v, %d answers left", err, len(h.status))
	}
	h.status = []int{404}
	if _, err := h.get(t, "org/name/config.json", t.TempDir(), func(f *fetcher) { f.Token = "" }); err == nil || !strings.Contains(err.Error(), "set HF_TOKEN") {
		t.Errorf("error %v", err)
	}
}

// A server that stops sending without closing the connection.
func TestFetchStalls(t *testing.T) {
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Write([]byte("abc"))
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer stuck.Close()
	defer close(release)
	h := newFakeHub(t, nil)
	_, err := h.get(t, stuck.URL+"/x#sha256="+sum256("x"), t.TempDir(), func(f *fetcher) { f.stall = 20 * time.Millisecond })
	if !errors.Is(err, errStalled) {
		t.Errorf("error %v, want %v", err, errStalled)
	}
}

func TestFetchRedirects(t *testing.T) {
	target := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) }))
	defer s.Close()
	h := newFakeHub(t, nil)
	for to, want := range map[string]string{"http://example.org/x": "not encrypted", "/again": "10 redirects", "file:///etc/passwd": "only https"} {
		target = to
		if _, err := h.get(t, s.URL+"/x#sha256="+sum256("x"), t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("to %s: error %v, want %q", to, err, want)
		}
	}
}

// What a hostile hub may answer.
func TestFetchHostileHub(t *testing.T) {
	file := func(path string, size int, oid string) []map[string]any {
		return []map[string]any{{"type": "file", "path": path, "size": size, "oid": oid}}
	}
	for name, c := range map[string]struct {
		ref  string
		tree any
		want string
	}{
		"outside":  {"datasets/org/name", file("../../evil.json", 1, gitSum("x")), "no .jsonl"},
		"absolute": {"datasets/org/name", file("/tmp/evil.json", 1, gitSum("x")), "no .jsonl"},
		"not list": {"org/name", map[string]any{"a": 1}, "not what the hub answers"},
		"too long": {"org/name/config.json", file("config.json", 1, gitSum("{")), "more than its 1 bytes"},
		"no hash":  {"org/name/config.json", file("config.json", 22, ""), "lists no hash"},
		"hash":     {"org/name/config.json", file("config.json", 22, gitSum("x")), "git hash"},
		"short":    {"org/name/config.json", file("config.json", 23, gitSum("x")), "5 attempts"},
		"lfs":      {"org/name/x", []map[string]any{{"type": "file", "path": "x", "size": 1, "lfs": map[string]any{"oid": "../x", "size": 1}}}, "lists the sha256"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t, model())
			h.tree = func() any { return c.tree }
			if _, err := h.get(t, c.ref, t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// Two processes want the same file: one fetches it, the other waits and finds it.
func TestFetchTwoProcesses(t *testing.T) {
	if address := os.Getenv("PLUMB_TEST_FETCH"); address != "" {
		if p, err := Fetch(context.Background(), address, FetchOptions{CacheDir: os.Getenv("PLUMB_TEST_CACHE")}); err != nil || !exists(p) {
			t.Errorf("%s, %v", p, err)
		}
		return
	}
	content := strings.Repeat("x", 1<<20)
	var mu sync.Mutex
	count := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		count++
		mu.Unlock()
		time.Sleep(300 * time.Millisecond) // both are running by now
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}))
	defer s.Close()
	cache := t.TempDir()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c := exec.Command(os.Args[0], "-test.run=^TestFetchTwoProcesses$")
			c.Env = append(os.Environ(), "PLUMB_TEST_FETCH="+s.URL+"/f#sha256="+sum256(content), "PLUMB_TEST_CACHE="+cache)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if count != 1 {
		t.Errorf("%d downloads, want 1", count)
	}
}

func TestParseHub(t *testing.T) {
	for ref, want := range map[string]hubRef{
		"org/name":                    {"models", "org/name", "main", ""},
		"org/name@v1.0":               {"models", "org/name", "v1.0", ""},
		"org/name@v1/a/b.gguf":        {"models", "org/name", "v1", "a/b.gguf"},
		"datasets/org/n.a-m_e/t.json": {"datasets", "org/n.a-m_e", "main", "t.json"},
	} {
		if got, ok := parseHub(ref); !ok || got != want {
			t.Errorf("%s: %+v, %v", ref, got, ok)
		}
	}
	for _, ref := range []string{"name", "/org/name", "./org/name", "org/name/", "org/..", "org/name/../x", "org/na--me", "org/name@", "~/org/name", "org/name@a/../../b", "org/a b"} {
		if got, ok := parseHub(ref); ok {
			t.Errorf("%s is taken for %+v", ref, got)
		}
	}
}
