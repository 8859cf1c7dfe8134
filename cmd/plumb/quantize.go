package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/internal/checkpoint"
	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tales"
	"plumb/internal/tensor"
	"plumb/reward"
)

// quantisations are the values of the recipe's key quantize.
var quantisations = []string{"nf4", "int8"}

// checkQuantize names what is wrong with a recipe's quantize.
func (r *recipe) checkQuantize() error {
	switch {
	case r.Quantize == "":
	case !slices.Contains(quantisations, r.Quantize):
		return fmt.Errorf("quantize: %q, want nf4, int8 or nothing", r.Quantize)
	case r.SFT != nil && r.SFT.Peft.Method != "lora":
		return fmt.Errorf("quantize: %s: sft.peft.method %s trains every weight, and weights in few bits cannot be trained; use lora", r.Quantize, r.SFT.Peft.Method)
	}
	return nil
}

// quantisedSum is the identity of a base held in few bits: everything made on it is bound to it as to another model.
func quantisedSum(sum, kind string) string {
	if kind == "" {
		return sum
	}
	return run.HashBytes([]byte("plumb quantised base 1\n" + kind + "\n" + sum + "\n"))
}

// heldIn says what the base was held in that an adapter folder learned on: of a stage's own folders run.json knows, of an
// exported one plumb.json. It is "" for a base as it is stored, and where nothing is said.
func heldIn(dir string) (string, error) {
	if m, err := trainedIn(dir); m != nil || err != nil {
		return m.Base.Quantize, err
	}
	var side adapterSide
	err := readJSON(filepath.Join(dir, sideFile), &side)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read %s: %w", filepath.Join(dir, sideFile), err)
	}
	if side.Quantize != "" && !slices.Contains(quantisations, side.Quantize) {
		return "", fmt.Errorf("%s: quantize: %q, want nf4 or int8", filepath.Join(dir, sideFile), side.Quantize)
	}
	return side.Quantize, nil
}

// trainedIn reads the manifest of the stage whose adapter lies in dir; nil where that is no stage's.
func trainedIn(dir string) (*run.Manifest, error) {
	dir = filepath.Clean(dir)
	if stage := filepath.Dir(dir); run.IsStage(stage) && (filepath.Base(dir) == adapterDir || filepath.Base(dir) == criticDir) {
		m, err := run.ReadManifest(stage)
		return &m, err
	}
	return nil, nil
}

// adapterSide is plumb.json of an exported adapter.
type adapterSide struct {
	*reward.Scale
	// Quantize is what its base has to be held in, nf4 or int8, where that is not what is stored.
	Quantize string `json:"quantize,omitempty"`
}

// asHeld names a value of quantize.
func asHeld(kind string) string {
	if kind == "" {
		return "as it is stored"
	}
	return "in " + kind
}

// fewBits is a checkpoint as the model takes it: what is stored in few bits as it is, else, where kind says so, linear
// layers quantised, from the cache if they are there.
type fewBits struct {
	*checkpoint.Source
	kind  string
	cache *checkpoint.Source // or nil
	pool  *kernels.Pool
	next  func() error // called before each matrix, if not nil; its error ends the reading
}

// FewBits implements model.FewBitsWeights.
func (w fewBits) FewBits(name string, layer bool) (*kernels.Quantised, error) {
	if w.next != nil {
		if err := w.next(); err != nil {
			return nil, err
		}
	}
	if w.kind == "" || !layer {
		own, err := w.Source.FewBits(name)
		return (*kernels.Quantised)(own), err
	}
	switch dtype, _, _ := w.Info(name); dtype {
	case "NF4", "FP4", "INT8":
		return nil, fmt.Errorf("%s is stored as %s already: leave quantize out", name, dtype)
	}
	if w.cache != nil {
		_, want, _ := w.Info(name)
		if _, shape, _ := w.cache.Info(name); !slices.Equal(shape, want) {
			return nil, fmt.Errorf("%s: %s is missing or not of shape %v; delete the file", w.cache.Path, name, want)
		}
		q, err := w.cache.FewBits(name)
		if err == nil && q == nil {
			err = fmt.Errorf("%s: %s is not in few bits; delete the file", w.cache.Path, name)
		}
		return (*kernels.Quantised)(q), err
	}
	v, err := w.Float32(name)
	if err != nil {
		return nil, err
	}
	if w.kind == "int8" {
		return w.pool.QuantiseInt8(v), nil
	}
	return w.pool.QuantiseNF4(v), nil
}

// Keys of a cache file's metadata.
const (
	cachedBase = "plumb.base"
	cachedKind = "plumb.quantize"
)

// newModel builds the model of a source whose sum is given, its linear layers in kind if that is not "". What had to be
// quantised is kept for the next time: beside the checkpoint, or where that cannot be written in the cache folder.
func (a *app) newModel(ctx context.Context, cfg model.Config, src *checkpoint.Source, sum, kind string) (*model.Model, error) {
	w := fewBits{Source: src, kind: kind, pool: a.pool()}
	build := func(doing string) (*model.Model, error) {
		n := matrices(src)
		w.next = a.tensorsOf(ctx, doing+" "+filepath.Base(src.Path), n)
		m, err := model.New(cfg, w, a.pool())
		if err == nil {
			a.progress.Set(n, "")
		}
		return m, err
	}
	if kind == "" {
		return build("load")
	}
	if strings.HasPrefix(src.Path, embeddedPrefix) {
		return build("quantise")
	}
	places := cachePlaces(src.Path, sum, kind)
	for _, path := range places {
		cache, err := a.openCache(path, sum, kind)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			a.warn("%v: quantising anew", err)
			continue
		}
		w.cache = cache
		m, err := build("load")
		return m, errors.Join(err, cache.Close())
	}
	m, err := build("quantise")
	if err != nil {
		return nil, err
	}
	for i, path := range places {
		if err = a.writeCache(ctx, path, m, sum, kind); err == nil {
			a.note("quantised to %s, kept in %s", kind, path)
			break
		}
		if i+1 < len(places) {
			a.note("%v: keeping the quantised weights in %s instead", err, filepath.Dir(places[i+1]))
		}
	}
	if err != nil {
		a.warn("the quantised weights are not kept, every start will quantise anew: %v", err)
	}
	return m, nil
}

// matrices is how many tensors of a checkpoint are matrices.
func matrices(src *checkpoint.Source) int {
	n := 0
	for _, name := range src.Names() {
		if _, shape, _ := src.Info(name); len(shape) == 2 {
			n++
		}
	}
	return n
}

// cachePlaces are where the quantised weights of a checkpoint may lie, the best first.
func cachePlaces(path, sum, kind string) []string {
	name := fmt.Sprintf("plumb-%s-%.16s.safetensors", kind, sum)
	dir := path
	if !dirExists(path) {
		dir = filepath.Dir(path)
	}
	places := []string{filepath.Join(dir, name)}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "plumb", "quantised", name))
	}
	return places
}

// sumSuffix ends the name of the file that holds the SHA-256 of a cache file, as sha256sum writes it.
const sumSuffix = ".sha256"

// sumLine is the content of the sum file of a file.
func (a *app) sumLine(path string) ([]byte, error) {
	name := filepath.Base(path)
	sum, _, err := run.HashFileTold(path, a.bytesOf("hash "+name))
	return fmt.Appendf(nil, "%s  %s\n", sum, name), err
}

// openCache opens a cache file and makes sure that it is what its name says and has the bytes that were written: no code of
// four bits looks wrong by itself.
func (a *app) openCache(path, sum, kind string) (*checkpoint.Source, error) {
	have, err := a.sumLine(path)
	if err != nil {
		return nil, err
	}
	switch want, err := os.ReadFile(path + sumSuffix); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: its sum, %s, is missing", path, filepath.Base(path)+sumSuffix)
	case err != nil:
		return nil, err
	case !bytes.Equal(want, have):
		return nil, fmt.Errorf("%s: not the bytes that were written (the sum in %s is another)", path, filepath.Base(path)+sumSuffix)
	}
	s, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	if s.Metadata[cachedBase] != sum || s.Metadata[cachedKind] != kind {
		return nil, errors.Join(fmt.Errorf("%s: not the %s of %.12s", path, kind, sum), s.Close())
	}
	return s, nil
}

// writeCache writes the model's matrices in few bits, atomically, then their sum.
func (a *app) writeCache(ctx context.Context, path string, m *model.Model, sum, kind string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var entries []checkpoint.Entry
	err := m.EachFewBits(func(name string, w *kernels.Weight) error {
		f := checkpoint.FewBits(*w.Scales())
		more, err := f.Entries(name, []int{w.Out, w.In}, func() []byte { return w.Quantised().Codes })
		entries = append(entries, more...)
		return err
	})
	if err != nil {
		return err
	}
	entries = a.shownEntries(ctx, "write "+filepath.Base(path), entries)
	if err := checkpoint.WriteSafetensors(path, entries, map[string]string{"format": "pt", cachedBase: sum, cachedKind: kind}); err != nil {
		return err
	}
	line, err := a.sumLine(path)
	if err != nil {
		return err
	}
	return run.WriteFile(path+sumSuffix, writeBytes(line))
}

// perplexityDocuments is how many tales a merge is measured on.
const perplexityDocuments = 32

// perplexity is exp of the mean negative log-probability, in nats, of the tokens after the first of each document: the
// first tales of the embedded corpus, whose text every build has.
func (a *app) perplexity(ctx context.Context, l *loaded, m *model.Model, adapter *peft.Adapter) (float64, error) {
	var cs []model.Continuation
	for _, text := range tales.Corpus(perplexityDocuments, talesSeed) {
		ids, err := l.encode(text, true)
		if err != nil {
			return 0, err
		}
		if len(ids) > 1 {
			cs = append(cs, model.Continuation{Context: ids[:1], IDs: ids[1:]})
		}
	}
	tape := tensor.NewInferenceTape(m.Pool())
	a.progress.Start("perplexity", "documents", 0, len(cs))
	sum, n, done := 0.0, 0, 0
	for some := range slices.Chunk(cs, 8) {
		logps, _, err := m.LogProbsOf(ctx, tape, adapter, some, 1, microTokens)
		if err != nil {
			return 0, err
		}
		for _, of := range logps {
			for _, v := range of {
				sum -= float64(v)
				n++
			}
		}
		done += len(some)
		a.progress.Set(done, "")
	}
	a.progress.Done()
	return math.Exp(sum / float64(n)), nil
}
