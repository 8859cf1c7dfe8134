package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Summary says what lies in a weights file, without reading the weights.
type Summary struct {
	Path         string          `json:"path"`
	Format       string          `json:"format"` // "safetensors", "gguf" or "adapter"
	Architecture string          `json:"architecture,omitempty"`
	Parameters   int64           `json:"parameters"` // elements of float and block-quantised tensors
	Bytes        int64           `json:"bytes"`      // of tensor data
	Types        []TypeSummary   `json:"types"`      // largest first
	Tensors      []TensorSummary `json:"tensors"`    // by name
	Metadata     map[string]any  `json:"metadata,omitempty"`
	Config       json.RawMessage `json:"config,omitempty"` // config.json or adapter_config.json
}

// TypeSummary is the share of one element type.
type TypeSummary struct {
	DType    DType `json:"dtype"`
	Tensors  int   `json:"tensors"`
	Elements int64 `json:"elements"`
	Bytes    int64 `json:"bytes"`
}

// TensorSummary describes one tensor. GGUF tensors have the names of the file here.
type TensorSummary struct {
	Name  string `json:"name"`
	DType DType  `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
	File  string `json:"file"`
}

// Inspect reads the headers of a model folder, an adapter folder, a .safetensors or a .gguf file of any
// architecture. Long arrays of GGUF metadata are replaced by their length.
func Inspect(path string) (*Summary, error) {
	switch {
	case strings.EqualFold(filepath.Ext(path), ".gguf"):
		return inspectGGUF(path)
	case isAdapter(path):
		return inspectAdapter(path)
	}
	s, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	sum := &Summary{Path: path, Format: s.Format, Metadata: textMetadata(s.Metadata), Config: rawJSON(s.ConfigJSON)}
	var c struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
	}
	if s.ConfigJSON != nil {
		if err := json.Unmarshal(s.ConfigJSON, &c); err != nil {
			return nil, fmt.Errorf("%s: config.json: %w", path, err)
		}
	}
	sum.Architecture = c.ModelType
	if len(c.Architectures) > 0 {
		sum.Architecture = c.Architectures[0]
	}
	sum.add(s.tensors)
	return sum, nil
}

// isAdapter tells a PEFT folder from a model folder that happens to hold an adapter's config as well.
func isAdapter(dir string) bool {
	return exists(filepath.Join(dir, adapterConfigFile)) &&
		!exists(filepath.Join(dir, weightsFile)) && !exists(filepath.Join(dir, indexFile))
}

func inspectGGUF(path string) (*Summary, error) {
	g, err := OpenGGUF(path)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	sum := &Summary{Path: path, Format: "gguf", Metadata: make(map[string]any)}
	sum.Architecture, _ = g.Metadata["general.architecture"].(string)
	for key, v := range g.Metadata {
		sum.Metadata[key] = shorten(v)
	}
	sum.add(g.tensors)
	return sum, nil
}

func inspectAdapter(dir string) (*Summary, error) {
	config, err := readSmall(os.DirFS(dir), adapterConfigFile, filepath.Join(dir, adapterConfigFile), maxSide)
	if err != nil {
		return nil, err
	}
	var c struct {
		Type string `json:"peft_type"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, adapterConfigFile), err)
	}
	f, err := openFile(filepath.Join(dir, adapterWeightsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tensors, metadata, err := readSafetensors(f)
	if err != nil {
		return nil, err
	}
	sum := &Summary{Path: dir, Format: "adapter", Architecture: c.Type, Metadata: textMetadata(metadata), Config: rawJSON(config)}
	sum.add(tensors)
	return sum, nil
}

// add counts the tensors in.
func (s *Summary) add(tensors []stored) {
	types := make(map[DType]*TypeSummary)
	for _, t := range tensors {
		s.Tensors = append(s.Tensors, TensorSummary{t.name, t.dtype, t.shape, t.bytes, filepath.Base(t.file.name)})
		s.Bytes += t.bytes
		if isFloat(t.dtype) {
			s.Parameters += int64(t.count)
		}
		if types[t.dtype] == nil {
			types[t.dtype] = &TypeSummary{DType: t.dtype}
		}
		y := types[t.dtype]
		y.Tensors++
		y.Elements += int64(t.count)
		y.Bytes += t.bytes
	}
	slices.SortFunc(s.Tensors, func(a, b TensorSummary) int { return strings.Compare(a.Name, b.Name) })
	for _, y := range types {
		s.Types = append(s.Types, *y)
	}
	slices.SortFunc(s.Types, func(a, b TypeSummary) int {
		if a.Bytes != b.Bytes {
			return int(min(max(b.Bytes-a.Bytes, -1), 1))
		}
		return strings.Compare(string(a.DType), string(b.DType))
	})
}

// isFloat tells parameters from index and mask buffers.
func isFloat(d DType) bool {
	switch d {
	case I64, I32, I16, I8, U64, U32, U16, U8, Bool:
		return false
	}
	return true
}

func textMetadata(m map[string]string) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func rawJSON(text []byte) json.RawMessage {
	if !json.Valid(text) {
		return nil
	}
	return text
}

// shorten replaces a long array by its length.
func shorten(v any) any {
	const most = 8
	n, kind := 0, ""
	switch x := v.(type) {
	case []string:
		n, kind = len(x), "strings"
	case []float32:
		n, kind = len(x), "floats"
	case []float64:
		n, kind = len(x), "floats"
	case []int32:
		n, kind = len(x), "integers"
	case []uint32:
		n, kind = len(x), "integers"
	case []any:
		n, kind = len(x), "arrays"
	case []uint8: // would be printed as text
		n, kind = len(x), "bytes"
		if n <= most {
			return fmt.Sprint(x)
		}
	}
	if n > most {
		return fmt.Sprintf("[%d %s]", n, kind)
	}
	return v
}

// CheckWeights reads every float tensor once and returns an error for each that holds a NaN or an infinite value, or
// that cannot be read; nil when all are sound.
func (s *Source) CheckWeights() error {
	var errs []error
	for i := range s.tensors {
		t := &s.tensors[i]
		if !isFloat(t.dtype) {
			continue
		}
		if _, err := s.Float32(t.name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
