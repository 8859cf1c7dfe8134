package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxAnswer is the longest answer of the hub's API that is read, in bytes.
const maxAnswer = 64 << 20

// hubFile is one file of a repository, as the hub's tree lists it.
type hubFile struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"` // SHA-1 of the git blob
	LFS  *struct {
		OID  string `json:"oid"` // SHA-256 of the content
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// hub fetches a repository, or one file of it. The cache holds, under hub/models--org--name:
//
//	refs/REVISION     the commit a branch or tag stood for when it was last looked up
//	COMMIT/...        the files
//	whole/COMMIT      present once everything that belongs to the model is there; holds the path to return
func (f *fetcher) hub(ctx context.Context, h hubRef) (string, error) {
	root := filepath.Join(f.CacheDir, "hub", h.kind+"--"+strings.ReplaceAll(h.id, "/", "--"))
	commit := h.revision
	fixed := isCommit(commit)
	if f.Offline && !fixed {
		b, err := os.ReadFile(filepath.Join(root, "refs", h.revision))
		if err != nil || !isCommit(strings.TrimSpace(string(b))) {
			return "", fmt.Errorf("%s: not in the cache (%s), and offline", h, f.CacheDir)
		}
		commit = strings.TrimSpace(string(b))
	}
	if f.Offline || fixed { // a commit never changes: what is here needs no question
		if p, ok := cached(root, commit, h.file); ok {
			return p, nil
		}
		if f.Offline {
			return "", fmt.Errorf("%s: not or only partly in the cache (%s), and offline", h, f.CacheDir)
		}
	}
	if err := f.checkEndpoint(); err != nil {
		return "", err
	}
	commit, err := f.resolve(ctx, h)
	if err != nil {
		return "", err
	}
	if err := writeNote(filepath.Join(root, "refs", h.revision), commit+"\n"); err != nil {
		return "", err
	}
	if p, ok := cached(root, commit, h.file); ok {
		return p, nil
	}
	tree, err := f.tree(ctx, h, commit)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, commit)
	if h.file != "" {
		file, ok := tree[h.file]
		if !ok {
			return "", fmt.Errorf("%s: the repository has no file %s", h, h.file)
		}
		return filepath.Join(dir, filepath.FromSlash(h.file)), f.hubFile(ctx, h, commit, file, dir)
	}
	single, err := f.repository(ctx, h, commit, tree, dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, single), writeNote(filepath.Join(root, "whole", commit), single)
}

// writeNote writes a small file of the cache, which other processes may be writing at the same time.
func writeNote(name, text string) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", name, cause(err))
	}
	f, err := os.CreateTemp(dir, ".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, cause(err))
	}
	return writeAs(f, name, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// cached returns the path of a file, or of a repository all of which is there.
func cached(root, commit, file string) (string, bool) {
	if file != "" {
		p := filepath.Join(root, commit, filepath.FromSlash(file))
		return p, exists(p)
	}
	single, err := os.ReadFile(filepath.Join(root, "whole", commit))
	if err != nil {
		return "", false
	}
	p := filepath.Join(root, commit, string(single))
	return p, exists(p)
}

func isCommit(s string) bool {
	return regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`).MatchString(s)
}

func (f *fetcher) checkEndpoint() error {
	u, err := url.Parse(f.Endpoint)
	if err != nil || u.Host == "" {
		return fmt.Errorf("hub endpoint %q: not an address", f.Endpoint)
	}
	return checkScheme(u)
}

// resolve asks which commit a revision stands for.
func (f *fetcher) resolve(ctx context.Context, h hubRef) (string, error) {
	var answer struct {
		SHA string `json:"sha"`
	}
	if _, err := f.ask(ctx, h, f.Endpoint+"/api/"+h.kind+"/"+h.id+"/revision/"+url.PathEscape(h.revision), &answer); err != nil {
		return "", err
	}
	if !isCommit(answer.SHA) {
		return "", fmt.Errorf("%s: the hub answered with the commit %q", h, answer.SHA)
	}
	return answer.SHA, nil
}

// tree lists all files of a commit, page by page.
func (f *fetcher) tree(ctx context.Context, h hubRef, commit string) (map[string]hubFile, error) {
	files := make(map[string]hubFile)
	next := f.Endpoint + "/api/" + h.kind + "/" + h.id + "/tree/" + commit + "?recursive=true"
	for pages := 0; next != ""; pages++ {
		if pages == 1000 {
			return nil, fmt.Errorf("%s: the list of files does not end", h)
		}
		var page []hubFile
		header, err := f.ask(ctx, h, next, &page)
		if err != nil {
			return nil, err
		}
		for _, file := range page {
			if file.Type == "file" && safePath(file.Path) && file.Size >= 0 {
				files[file.Path] = file
			}
		}
		if next, err = nextPage(header, f.Endpoint); err != nil {
			return nil, fmt.Errorf("%s: %w", h, err)
		}
	}
	return files, nil
}

// nextPage returns the address marked rel="next" in a Link header, which must be at the endpoint.
func nextPage(header http.Header, endpoint string) (string, error) {
	m := regexp.MustCompile(`<([^>]*)>\s*;\s*rel="next"`).FindStringSubmatch(header.Get("Link"))
	if m == nil {
		return "", nil
	}
	base, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(m[1])
	if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
		return "", fmt.Errorf("the list of files continues at %q, which is not at the hub", m[1])
	}
	return u.String(), nil
}

// ask reads a JSON answer of the hub's API.
func (f *fetcher) ask(ctx context.Context, h hubRef, address string, v any) (http.Header, error) {
	var header http.Header
	err := f.retry(ctx, func() (bool, error) {
		r, err := f.get(ctx, address, nil, true)
		if err != nil {
			return true, fmt.Errorf("%s: ask the hub: %w", h, err)
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return temporary(r), fmt.Errorf("%s: %w", h, f.refusal(r))
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
		if err != nil {
			return true, fmt.Errorf("%s: ask the hub: %w", h, err)
		}
		if len(body) > maxAnswer {
			return false, fmt.Errorf("%s: the hub's answer is longer than %d bytes", h, maxAnswer)
		}
		header = r.Header
		if err := json.Unmarshal(body, v); err != nil {
			return false, fmt.Errorf("%s: the answer of %s is not what the hub answers: %w", h, address, err)
		}
		return false, nil
	})
	return header, err
}

// refusal says what a status other than 200 means for the reader.
func (f *fetcher) refusal(r *http.Response) error {
	detail := ""
	if m := r.Header.Get("X-Error-Message"); m != "" {
		detail = fmt.Sprintf(" (%.200s)", m)
	}
	switch r.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		hint := "set HF_TOKEN if it is private or gated"
		if f.Token != "" {
			hint = "the token given may not read it, or its terms were not accepted"
		}
		return fmt.Errorf("not found at %s, status %d%s: check the name and the revision; %s", f.Endpoint, r.StatusCode, detail, hint)
	}
	return fmt.Errorf("%s answered %s%s", f.Endpoint, r.Status, detail)
}

// repository fetches what belongs to a model or data set. It returns the path inside dir that stands for it: "" for the
// folder, the name of the file where the repository is a single GGUF.
func (f *fetcher) repository(ctx context.Context, h hubRef, commit string, tree map[string]hubFile, dir string) (string, error) {
	names, err := choose(h, tree)
	if err != nil {
		return "", err
	}
	for i := 0; i < len(names); i++ {
		if err := f.hubFile(ctx, h, commit, tree[names[i]], dir); err != nil {
			return "", err
		}
		if names[i] != indexFile {
			continue
		}
		text, err := readSmall(os.DirFS(dir), indexFile, filepath.Join(dir, indexFile), maxIndex)
		if err != nil {
			return "", err
		}
		x, err := parseIndex(text)
		if err != nil {
			return "", fmt.Errorf("%s: %s: %w", h, indexFile, err)
		}
		for _, shard := range x.order {
			if _, ok := tree[shard]; !ok {
				return "", fmt.Errorf("%s: %s names %s, which the repository does not have", h, indexFile, shard)
			}
			names = append(names, shard)
		}
	}
	if len(names) == 1 && strings.HasSuffix(names[0], ".gguf") {
		return names[0], nil
	}
	return "", nil
}

// choose lists the files of a repository to fetch; the shards of an index are added when it is there.
func choose(h hubRef, tree map[string]hubFile) ([]string, error) {
	var names, ggufs, pickled []string
	for p := range tree {
		switch ext := path.Ext(p); {
		case h.kind == "datasets":
			if isData(p) {
				names = append(names, p)
			}
		case strings.Contains(p, "/"):
		case ext == ".gguf":
			ggufs = append(ggufs, p)
		case ext == ".bin" || ext == ".pt" || ext == ".pth":
			pickled = append(pickled, p)
		}
	}
	slices.Sort(names)
	slices.Sort(ggufs)
	if h.kind == "datasets" {
		if len(names) == 0 {
			return nil, fmt.Errorf("%s: no .jsonl, .json, .csv, .tsv or .parquet file in the repository", h)
		}
		return names, nil
	}
	for _, p := range []string{
		"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
		"added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", adapterConfigFile,
	} {
		if _, ok := tree[p]; ok {
			names = append(names, p)
		}
	}
	for _, weights := range []string{weightsFile, indexFile, adapterWeightsFile} {
		if _, ok := tree[weights]; ok {
			return append(names, weights), nil
		}
	}
	switch {
	case len(ggufs) == 1:
		return ggufs, nil
	case len(ggufs) > 1:
		return nil, fmt.Errorf("%s: several GGUF files; name one of them, as in %s/%s: %s", h, h, ggufs[0], strings.Join(ggufs, ", "))
	case len(pickled) > 0:
		return nil, fmt.Errorf("%s: the weights are pickled (%s), which is not read; look for a revision with safetensors", h, pickled[0])
	}
	return nil, fmt.Errorf("%s: no %s, %s or GGUF file in the repository", h, weightsFile, indexFile)
}

// isData tells the files of a data set from its description.
func isData(p string) bool {
	base := path.Base(p)
	for _, packed := range []string{".gz", ".zst"} {
		base = strings.TrimSuffix(base, packed)
	}
	if strings.HasPrefix(base, ".") || base == "dataset_infos.json" {
		return false
	}
	switch path.Ext(base) {
	case ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt":
		return true
	}
	return false
}

// hubFile fetches one file of a commit into dir, verified by the hash the hub lists.
func (f *fetcher) hubFile(ctx context.Context, h hubRef, commit string, file hubFile, dir string) error {
	prefix := f.Endpoint + "/"
	if h.kind == "datasets" {
		prefix += "datasets/"
	}
	parts := strings.Split(file.Path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	h.file = file.Path
	r := remote{
		url: prefix + h.id + "/resolve/" + commit + "/" + strings.Join(parts, "/"), name: file.Path, shown: h.String(),
		size: file.Size, gitSHA1: file.OID, sha256: f.SHA256, hub: true,
	}
	if file.LFS != nil {
		r.size, r.gitSHA1 = file.LFS.Size, ""
		if r.sha256 != "" && r.sha256 != file.LFS.OID {
			return fmt.Errorf("%s: its sha256 is %s, not %s", h, file.LFS.OID, r.sha256)
		}
		r.sha256 = file.LFS.OID
		if !isSHA256(r.sha256) {
			return fmt.Errorf("%s: the hub lists the sha256 %q", h, r.sha256)
		}
	} else if r.gitSHA1 == "" {
		return errors.New(h.String() + ": the hub lists no hash")
	}
	return f.download(ctx, r, filepath.Join(dir, filepath.FromSlash(file.Path)))
}
