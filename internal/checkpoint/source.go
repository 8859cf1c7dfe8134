package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Source is an open checkpoint: a Hugging Face folder, a single .safetensors file, or a GGUF file. Weights stay in
// the file until they are asked for; Float32, BF16 and Info may be called from many goroutines.
type Source struct {
	Path   string // as given to Open
	Format string // "safetensors" or "gguf"

	ConfigJSON []byte // config.json; for GGUF the equivalent, made from its metadata; nil when there is none

	Tokenizer  TokenizerFiles // of a Hugging Face folder; all empty for GGUF
	GGUF       *GGUF          // header of the GGUF file, nil otherwise; GGUF.Metadata feeds tokenizer.FromGGUF
	Special    SpecialTokens  // bos, eos, ... as text
	Generation Generation     // generation_config.json, or what GGUF says of the same

	ChatTemplate  string            // the default template, "" when the model has none
	ChatTemplates map[string]string // all templates by name, where the model names several ("default", "tool_use")

	Metadata map[string]string // __metadata__ of the (first) safetensors file

	fsys    fs.FS // the folder, and its name in errors; nil for GGUF
	dir     string
	tensors []stored
	byName  map[string]int
	files   []*file

	asStored []stored // where matrices in few bits were put together: the tensors as the file has them, for Hash
}

// Open opens a model: a folder with config.json and model.safetensors (or model.safetensors.index.json), one
// .safetensors file (config.json and tokenizer beside it are read when they are there), or one .gguf file.
func Open(path string) (*Source, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", path, cause(err))
	}
	if st.IsDir() {
		return OpenFS(os.DirFS(path), path)
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gguf":
		return openGGUFSource(path)
	case ".safetensors":
		dir, name := filepath.Split(path)
		if dir == "" {
			dir = "."
		}
		return openFolder(os.DirFS(dir), filepath.Clean(dir), path, name)
	case ".bin", ".pt", ".pth", ".ckpt":
		return nil, fmt.Errorf("open model %s: a pickled PyTorch file is not read; convert it to safetensors", path)
	}
	return nil, fmt.Errorf("open model %s: neither a folder nor a .safetensors or .gguf file", path)
}

// OpenFS opens a Hugging Face folder that lies at the root of fsys, whose files must have positioned reads
// (os.DirFS and embed.FS do). display is what errors call it, and Source.Path.
func OpenFS(fsys fs.FS, display string) (*Source, error) {
	for _, name := range []string{weightsFile, indexFile} {
		if _, err := fs.Stat(fsys, name); err == nil {
			return openFolder(fsys, display, display, name)
		}
	}
	return nil, fmt.Errorf("open model %s: %w", display, explainNoWeights(fsys))
}

// explainNoWeights says what a folder without model.safetensors is instead.
func explainNoWeights(fsys fs.FS) error {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return cause(err)
	}
	var weights, pickled []string
	for _, e := range entries {
		switch n := e.Name(); {
		case n == adapterConfigFile:
			return errors.New("this is an adapter, not a model: give the base model here and the adapter beside it")
		case strings.HasSuffix(n, ".safetensors"), strings.HasSuffix(n, ".gguf"):
			weights = append(weights, n)
		case strings.HasSuffix(n, ".bin"), strings.HasSuffix(n, ".pth"):
			pickled = append(pickled, n)
		}
	}
	switch {
	case len(weights) > 0:
		return fmt.Errorf("no %s or %s in the folder; to open one of %s give its full path",
			weightsFile, indexFile, strings.Join(weights, ", "))
	case len(pickled) > 0:
		return fmt.Errorf("only pickled PyTorch weights (%s), which are not read; convert them to safetensors",
			strings.Join(pickled, ", "))
	}
	return fmt.Errorf("no %s or %s in the folder", weightsFile, indexFile)
}

// openFolder opens the weights file (or index) name inside fsys with everything that lies beside it.
func openFolder(fsys fs.FS, dir, display, name string) (_ *Source, err error) {
	s := &Source{Path: display, Format: "safetensors", fsys: fsys, dir: dir}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if name == indexFile {
		if s.tensors, s.files, s.Metadata, err = openSharded(fsys, dir); err != nil {
			return nil, err
		}
	} else {
		f, err := openIn(fsys, name, path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		s.files = []*file{f}
		if s.tensors, s.Metadata, err = readSafetensors(f); err != nil {
			return nil, err
		}
	}
	if err := s.readSides(fsys, dir); err != nil {
		return nil, err
	}
	if err := s.foldFewBits(); err != nil {
		return nil, err
	}
	s.index()
	return s, nil
}

func (s *Source) index() {
	s.byName = make(map[string]int, len(s.tensors))
	for i, t := range s.tensors {
		s.byName[t.name] = i
	}
}

// Close closes the files. Slices handed out stay valid.
func (s *Source) Close() error { return closeAll(s.files) }

// Names lists the tensors, sorted.
func (s *Source) Names() []string { return names(s.tensors) }

// Info returns the stored type and the shape of a tensor, outermost dimension first.
func (s *Source) Info(name string) (dtype string, shape []int, ok bool) {
	i, ok := s.byName[name]
	if !ok {
		return "", nil, false
	}
	return string(s.tensors[i].dtype), slices.Clone(s.tensors[i].shape), true
}

func (s *Source) find(name string) (*stored, error) {
	i, ok := s.byName[name]
	if !ok {
		return nil, fmt.Errorf("%s: no tensor %q", s.Path, name)
	}
	return &s.tensors[i], nil
}

// Float32 reads a tensor, row-major, as float32: exact for F32, F16 and BF16, dequantised by the format's definition
// for GGUF's block types, rounded for F64 and integers. A NaN or an infinite weight is an error that names it. The
// caller owns the slice.
func (s *Source) Float32(name string) ([]float32, error) {
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	v, err := t.float32s()
	if err != nil {
		return nil, err
	}
	return v, t.explain(CheckFinite(name, v))
}

// BF16 reads a tensor, row-major, as bfloat16: exact where Info says BF16, else Float32 rounded to the nearest, ties
// to even. A NaN or an infinite weight is an error that names it. The caller owns the slice.
func (s *Source) BF16(name string) ([]uint16, error) {
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	v, err := t.bf16s()
	if err != nil {
		return nil, err
	}
	return v, t.explain(CheckFiniteBF16(name, v))
}

// explain adds the file to an error about one tensor.
func (t *stored) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", t.file.name, err)
}
