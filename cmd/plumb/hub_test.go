package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"plumb/internal/golden"
)

// hub serves the files of folders as repositories org/NAME, as the hub does, and counts what it is asked.
func hub(t *testing.T, folders map[string]string) (address string, asked *atomic.Int64) {
	t.Helper()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	asked = new(atomic.Int64)
	mux := http.NewServeMux()
	for name, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var tree []map[string]any
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			large := map[string]any{"oid": fmt.Sprintf("%x", sha256.Sum256(data)), "size": len(data)}
			tree = append(tree, map[string]any{"type": "file", "path": e.Name(), "size": len(data), "oid": "x", "lfs": large})
		}
		mux.HandleFunc("/api/models/org/"+name+"/revision/main", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"sha":%q}`, commit) })
		mux.HandleFunc("/api/models/org/"+name+"/tree/"+commit, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(tree) })
		files := "/org/" + name + "/resolve/" + commit + "/"
		mux.Handle(files, http.StripPrefix(files, http.FileServer(http.Dir(folder))))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// A model by its name on the hub, a GGUF file or a folder, is fetched once, and found again without the network; with --offline
// nothing is asked, and what was never fetched is an error.
func TestModelByHubName(t *testing.T) {
	tiny := t.TempDir()
	data, err := os.ReadFile(tinyGGUF)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(tiny, "tiny.gguf"), string(data))
	llama := golden.Dir(t, "models/llama")
	address, asked := hub(t, map[string]string{"tiny": tiny, "llama": llama})
	t.Setenv("HF_ENDPOINT", address)
	t.Setenv("HF_TOKEN", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	text, ids := []any{map[string]any{"text": "abc"}}, []any{map[string]any{"ids": []int32{5, 9, 2, 77, 30, 4}}}
	refused := func(name string) {
		t.Helper()
		var errOut bytes.Buffer
		before := asked.Load()
		code := plumb(context.Background(), []string{"score", name, "--offline"}, strings.NewReader(""), &bytes.Buffer{}, &errOut)
		if code != exitFailure || !strings.Contains(errOut.String(), name) || !strings.Contains(errOut.String(), "not in the cache") || asked.Load() != before {
			t.Errorf("%s, offline: exit %d, %d questions: %s", name, code, asked.Load()-before, errOut.String())
		}
	}
	refused("org/tiny")
	want := do(t, ids, "score", llama)[0]
	for _, how := range [][]string{nil, {"--offline"}} {
		before := asked.Load()
		for _, verb := range []string{"tokenize", "score"} {
			if got := do(t, text, append([]string{verb, "org/tiny"}, how...)...)[0]; !slices.Equal(field[[]int32](t, got, "ids"), []int32{1, 0, 3, 4, 5}) {
				t.Errorf("%s %v: ids %s", verb, how, got["ids"])
			}
		}
		if got := do(t, ids, append([]string{"score", "org/llama"}, how...)...)[0]; string(got["logprobs"]) != string(want["logprobs"]) {
			t.Errorf("%v: log-probabilities %s, want %s", how, got["logprobs"], want["logprobs"])
		}
		if n := asked.Load() - before; how != nil && n != 0 {
			t.Errorf("offline, the hub was asked %d times", n)
		} else if how == nil && n < 7 { // three names are looked up, two lists and at least two files are fetched
			t.Errorf("the hub was asked %d times", n)
		}
	}
	refused("org/other")
}
