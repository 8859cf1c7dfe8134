package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
	maxIndex    = 256 << 20 // bytes; an index is about 100 bytes a tensor
)

// index is the content of a model.safetensors.index.json.
type index struct {
	files map[string]string // tensor name -> file name
	order []string          // file names, sorted
}

// parseIndex reads the weight_map of an index file. File names must be plain names: an index cannot reach outside
// its own folder.
func parseIndex(text []byte) (*index, error) {
	var raw json.RawMessage
	err := eachMember(text, func(name string, d *json.Decoder) error {
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("%s: %w", name, jsonError(err))
		}
		if name == "weight_map" {
			raw = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, errors.New("no weight_map")
	}
	x := &index{files: make(map[string]string)}
	err = eachMember(raw, func(name string, d *json.Decoder) error {
		var f string
		if err := d.Decode(&f); err != nil {
			return fmt.Errorf("weight_map: %q: %w", name, jsonError(err))
		}
		if !plainName(f) {
			return fmt.Errorf("weight_map: %q: %q is not the name of a file in this folder", name, f)
		}
		x.files[name] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(x.files) == 0 {
		return nil, errors.New("weight_map is empty")
	}
	for _, f := range x.files {
		x.order = append(x.order, f)
	}
	slices.Sort(x.order)
	x.order = slices.Compact(x.order)
	return x, nil
}

// openSharded opens every file of an index and returns all tensors. The index and the files must tell the same
// story: a tensor missing from its file, present in another one as well, or in no index is named.
func openSharded(fsys fs.FS, dir string) (tensors []stored, files []*file, metadata map[string]string, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	display := path.Join(dir, indexFile)
	text, err := readSmall(fsys, indexFile, display, maxIndex)
	if err != nil {
		return nil, nil, nil, err
	}
	x, err := parseIndex(text)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", display, err)
	}
	found := make(map[string]string, len(x.files))
	for _, name := range x.order {
		f, err := openIn(fsys, name, path.Join(dir, name))
		if err != nil {
			return nil, files, nil, fmt.Errorf("%s: %w", display, err)
		}
		files = append(files, f)
		part, meta, err := readSafetensors(f)
		if err != nil {
			return nil, files, nil, err
		}
		if metadata == nil {
			metadata = meta
		}
		for _, t := range part {
			if other, dup := found[t.name]; dup {
				return nil, files, nil, fmt.Errorf("%s: tensor %q is in both %s and %s", display, t.name, other, name)
			}
			found[t.name] = name
			switch want, ok := x.files[t.name]; {
			case !ok:
				return nil, files, nil, fmt.Errorf("%s: tensor %q of %s is not in the index", display, t.name, name)
			case want != name:
				return nil, files, nil, fmt.Errorf("%s: tensor %q is said to be in %s and found in %s", display, t.name, want, name)
			}
		}
		tensors = append(tensors, part...)
	}
	var missing []string
	for name := range x.files {
		if _, ok := found[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, files, nil, fmt.Errorf("%s: %d tensors are missing from their files, the first is %q in %s",
			display, len(missing), missing[0], x.files[missing[0]])
	}
	return tensors, files, metadata, nil
}

// plainName tells whether name is that of a file directly inside a folder.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, `/\:`+"\x00")
}

func closeAll(files []*file) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
