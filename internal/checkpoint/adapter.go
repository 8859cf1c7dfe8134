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

const (
	adapterConfigFile  = "adapter_config.json"
	adapterWeightsFile = "adapter_model.safetensors"
)

// NamedTensor is a tensor in memory.
type NamedTensor struct {
	Name  string
	Shape []int
	Data  []float32 // row-major
}

// Adapter is a PEFT adapter folder.
type Adapter struct {
	ConfigJSON []byte // adapter_config.json as it is: every field, known or not
	Tensors    []NamedTensor
	Metadata   map[string]string
}

// ReadAdapter reads a PEFT adapter folder: adapter_config.json, which must be an object, and all tensors of
// adapter_model.safetensors, sorted by name, as float32. A NaN or an infinite weight is an error that names it.
func ReadAdapter(dir string) (*Adapter, error) {
	fsys := os.DirFS(dir)
	display := filepath.Join(dir, adapterConfigFile)
	config, err := readSmall(fsys, adapterConfigFile, display, maxSide)
	if err != nil {
		return nil, err
	}
	if err := checkObject(config); err != nil {
		return nil, fmt.Errorf("%s: %w", display, err)
	}
	f, err := openIn(fsys, adapterWeightsFile, filepath.Join(dir, adapterWeightsFile))
	if err != nil {
		if old := strings.TrimSuffix(adapterWeightsFile, ".safetensors") + ".bin"; exists(filepath.Join(dir, old)) {
			return nil, fmt.Errorf("open adapter %s: only %s, a pickled PyTorch file, which is not read; save it as safetensors", dir, old)
		}
		return nil, err
	}
	defer f.Close()
	tensors, metadata, err := readSafetensors(f)
	if err != nil {
		return nil, err
	}
	a := &Adapter{ConfigJSON: config, Metadata: metadata}
	for i := range tensors {
		t := &tensors[i]
		v, err := t.float32s()
		if err != nil {
			return nil, err
		}
		if err := t.explain(CheckFinite(t.name, v)); err != nil {
			return nil, err
		}
		a.Tensors = append(a.Tensors, NamedTensor{t.name, t.shape, v})
	}
	slices.SortFunc(a.Tensors, func(x, y NamedTensor) int { return strings.Compare(x.Name, y.Name) })
	return a, nil
}

// WriteAdapter writes a PEFT adapter folder: the tensors as F32, sorted by name, and the config as it is given. Both
// files are written atomically, the config last: where it is, the weights are whole.
func WriteAdapter(dir string, configJSON []byte, tensors []NamedTensor) error {
	if err := checkObject(configJSON); err != nil {
		return fmt.Errorf("write adapter %s: %s: %w", dir, adapterConfigFile, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write adapter %s: %w", dir, cause(err))
	}
	sorted := slices.SortedFunc(slices.Values(tensors), func(x, y NamedTensor) int { return strings.Compare(x.Name, y.Name) })
	entries := make([]Entry, len(sorted))
	for i, t := range sorted {
		entries[i] = Entry{Name: t.Name, DType: F32, Shape: t.Shape, Float32: func() ([]float32, error) { return t.Data, nil }}
	}
	if err := WriteSafetensors(filepath.Join(dir, adapterWeightsFile), entries, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(dir, adapterConfigFile), configJSON)
}

// checkObject tells whether text is one JSON object without repeated keys at its top.
func checkObject(text []byte) error {
	return eachMember(text, func(_ string, d *json.Decoder) error {
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return jsonError(err)
		}
		return nil
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
