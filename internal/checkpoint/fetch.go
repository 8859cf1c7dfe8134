package checkpoint

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// FetchOptions says where to look and where to keep. The zero value is ready for the public hub.
type FetchOptions struct {
	// SHA256, in hexadecimal, is what a file must have. An https address needs it, here or as #sha256=... at its end;
	// for a file of the hub it is checked in addition to what the hub says; a whole repository has none.
	SHA256 string
	// Offline forbids the network: what is not in the cache is an error.
	Offline bool
	// CacheDir keeps what was fetched; by default plumb inside the user's cache folder ($XDG_CACHE_HOME).
	CacheDir string
	// Endpoint is the hub's address; by default $HF_ENDPOINT, then https://huggingface.co.
	Endpoint string
	// Token authorises private and gated repositories; by default $HF_TOKEN. It is sent to the endpoint only.
	Token string
	// Progress, when set, hears of every piece that arrives. It is called from one goroutine at a time.
	Progress func(FetchProgress)
}

// FetchProgress is how far the download of one file is.
type FetchProgress struct {
	File        string
	Done, Total int64 // bytes; Total is -1 where the server does not say
}

// fetcher is one call of Fetch.
type fetcher struct {
	FetchOptions
	client *http.Client
	pause  time.Duration // before the first retry; doubles with every further one
	stall  time.Duration // without a byte for so long a connection counts as dead
}

// Fetch returns the local path of ref, downloading it where it is not in the cache. ref is one of
//
//	a path that exists                       returned as it is
//	org/name[@revision][/file]               a model on the hub: its folder (weights as safetensors, config, tokenizer), the
//	                                         only GGUF file it has, or the file named
//	datasets/org/name[@revision][/file]      a data set on the hub: its folder, or the file named
//	https://host/path[#sha256=HEX]           one file
//
// A revision is a branch, a tag or a commit, without a slash. Downloads resume where an earlier one was cut off, are
// verified, and appear under their name only when they are whole; processes that want the same file wait for the one
// that fetches it. Plain http is accepted from this machine only.
func Fetch(ctx context.Context, ref string, o FetchOptions) (string, error) {
	f, err := newFetcher(o)
	if err != nil {
		return "", err
	}
	return f.fetch(ctx, ref)
}

func newFetcher(o FetchOptions) (*fetcher, error) {
	o.Endpoint = strings.TrimRight(cmp.Or(o.Endpoint, os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/")
	o.Token = cmp.Or(o.Token, os.Getenv("HF_TOKEN"))
	o.SHA256 = strings.ToLower(o.SHA256)
	if o.SHA256 != "" && !isSHA256(o.SHA256) {
		return nil, fmt.Errorf("sha256 %q: not 64 hexadecimal digits", o.SHA256)
	}
	if o.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache folder: %w", err)
		}
		o.CacheDir = filepath.Join(dir, "plumb")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	return &fetcher{
		FetchOptions: o, pause: 500 * time.Millisecond, stall: time.Minute,
		client: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
	}, nil
}

// checkRedirect keeps the token at the host it was meant for, and the connection encrypted.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	if err := checkScheme(r.URL); err != nil {
		return err
	}
	if r.URL.Host != via[0].URL.Host {
		r.Header.Del("Authorization")
	}
	return nil
}

// checkScheme refuses plain http, but for this very machine.
func checkScheme(u *url.URL) error {
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if h := u.Hostname(); h == "localhost" || h == "127.0.0.1" || h == "::1" {
			return nil
		}
		return fmt.Errorf("%s is not encrypted; use https", u.Redacted())
	}
	return fmt.Errorf("%s: only https addresses are fetched", u.Redacted())
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

func (f *fetcher) fetch(ctx context.Context, ref string) (string, error) {
	if strings.Contains(ref, "://") {
		return f.address(ctx, ref)
	}
	if _, err := os.Stat(ref); err == nil {
		return ref, nil
	}
	h, ok := parseHub(ref)
	if !ok {
		return "", fmt.Errorf("%s: no such file here, and not a name on the hub (org/name) or an https address", ref)
	}
	if h.file == "" && f.SHA256 != "" {
		return "", fmt.Errorf("%s: sha256 belongs to a single file (%s/FILE); to fix a repository give its commit (%s@COMMIT)",
			ref, ref, h.id)
	}
	p, err := f.hub(ctx, h)
	if err == nil && f.SHA256 != "" { // it may have come into the cache without this check
		if err := (&part{p}).verify(remote{size: -1, sha256: f.SHA256}); err != nil {
			return "", fmt.Errorf("%s: %s: %w", ref, p, err)
		}
	}
	return p, err
}

// address fetches one file by its https address. It is kept by its hash, so a second address of the same file costs
// nothing.
func (f *fetcher) address(ctx context.Context, ref string) (string, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("%s: not an address", ref)
	}
	if err := checkScheme(u); err != nil {
		return "", err
	}
	sum := f.SHA256
	if u.Fragment != "" {
		given, ok := strings.CutPrefix(strings.ToLower(u.Fragment), "sha256=")
		if !ok || !isSHA256(given) {
			return "", fmt.Errorf("%s: after # only sha256= and 64 hexadecimal digits may follow", ref)
		}
		if sum != "" && sum != given {
			return "", fmt.Errorf("%s: the address says another sha256 than the option, %s", ref, sum)
		}
		sum = given
		u.Fragment = ""
	}
	shown := u.Redacted()
	if sum == "" {
		return "", fmt.Errorf("%s: sha256 is needed to verify a download; add #sha256=HEX (curl -sL ADDRESS | sha256sum prints it)", shown)
	}
	name := path.Base(u.Path)
	if !plainName(name) {
		name = "file"
	}
	dst := filepath.Join(f.CacheDir, "files", sum, name)
	if exists(dst) {
		return dst, nil
	}
	if f.Offline {
		return "", fmt.Errorf("%s: not in the cache (%s), and offline", shown, f.CacheDir)
	}
	return dst, f.download(ctx, remote{url: u.String(), name: name, shown: shown, size: -1, sha256: sum}, dst)
}

// hubRef is a name on the hub.
type hubRef struct {
	kind     string // "models" or "datasets"
	id       string // org/name
	revision string
	file     string // "" for the whole repository
}

func (h hubRef) String() string {
	s := h.id
	if h.kind == "datasets" {
		s = "datasets/" + s
	}
	if h.revision != "main" {
		s += "@" + h.revision
	}
	if h.file != "" {
		s += "/" + h.file
	}
	return s
}

// parseHub reads org/name[@revision][/file], with datasets/ before it for a data set.
func parseHub(ref string) (hubRef, bool) {
	const word = `[A-Za-z0-9][A-Za-z0-9._-]*`
	m := regexp.MustCompile(`^(datasets/)?(` + word + `/` + word + `)(?:@(` + word + `))?(?:/(.+))?$`).FindStringSubmatch(ref)
	if m == nil || strings.Contains(m[2], "..") || strings.Contains(m[2], "--") || m[4] != "" && !safePath(m[4]) {
		return hubRef{}, false
	}
	h := hubRef{kind: "models", id: m[2], revision: cmp.Or(m[3], "main"), file: m[4]}
	if m[1] != "" {
		h.kind = "datasets"
	}
	return h, true
}

// safePath tells whether a path that came from elsewhere stays inside the folder it is put in.
func safePath(p string) bool {
	return filepath.IsLocal(p) && path.Clean(p) == p && !strings.ContainsAny(p, "\\:\x00")
}
