package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Folder is a Hugging Face folder to be written.
type Folder struct {
	ConfigJSON []byte            // config.json as it shall be
	Entries    []Entry           // weights in the order they are to be stored
	ShardBytes int64             // largest weights file, 0 for no limit
	Files      map[string][]byte // tokenizer and other files by name; see Source.SideFiles
}

// Write writes the folder into dir, which is created. Every file is written atomically; config.json comes last and an
// old one is removed first, so that a folder cut off half-way is not taken for a model.
func (f *Folder) Write(dir string) error {
	if err := checkObject(f.ConfigJSON); err != nil {
		return fmt.Errorf("write model %s: config.json: %w", dir, err)
	}
	names := make([]string, 0, len(f.Files))
	for name := range f.Files {
		if !plainName(name) || name == "config.json" {
			return fmt.Errorf("write model %s: %q is not a name for a side file", dir, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write model %s: %w", dir, cause(err))
	}
	config := filepath.Join(dir, "config.json")
	if err := os.Remove(config); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write model %s: %w", dir, err)
	}
	if err := WriteSharded(dir, f.Entries, f.ShardBytes); err != nil {
		return err
	}
	for _, name := range names {
		if err := writeFileAtomic(filepath.Join(dir, name), f.Files[name]); err != nil {
			return err
		}
	}
	return writeFileAtomic(config, f.ConfigJSON)
}

// Entry describes a tensor of s for writing in another type.
func (s *Source) Entry(name string, d DType) (Entry, error) {
	t, err := s.find(name)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Name: name, DType: d, Shape: slices.Clone(t.shape), Float32: func() ([]float32, error) { return s.Float32(name) }}, nil
}

// SideFiles returns the tokenizer, template and generation files that lie beside the weights of a Hugging Face folder,
// by name. For GGUF there are none.
func (s *Source) SideFiles() (map[string][]byte, error) {
	out := make(map[string][]byte)
	if s.fsys == nil {
		return out, nil
	}
	for _, name := range []string{
		"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
		"tokenizer.model", "chat_template.jinja", "generation_config.json",
	} {
		b, err := readSmall(s.fsys, name, path.Join(s.dir, name), maxSide)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[name] = b
	}
	return out, nil
}

// SetConfig returns config with the value of key replaced, or added at the end, and everything else in its place.
func SetConfig(config []byte, key string, value any) ([]byte, error) {
	var v bytes.Buffer
	if err := encodeJSON(&v, value); err != nil {
		return nil, fmt.Errorf("config.json: %s: %w", key, err)
	}
	return editConfig(config, key, v.Bytes())
}

// DropConfig returns config without key.
func DropConfig(config []byte, key string) ([]byte, error) { return editConfig(config, key, nil) }

// editConfig puts value in the place of key's, or takes key out if it is nil.
func editConfig(config []byte, key string, value []byte) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	found := false
	member := func(name string, raw []byte) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if err := encodeJSON(&b, name); err != nil {
			return err
		}
		b.WriteByte(':')
		b.Write(raw)
		return nil
	}
	err := eachMember(config, func(name string, d *json.Decoder) error {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return jsonError(err)
		}
		if name == key {
			found, raw = true, value
		}
		if raw == nil {
			return nil
		}
		return member(name, raw)
	})
	if err == nil && !found && value != nil {
		err = member(key, value)
	}
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// SetConfigDType names the type of the weights in a config.json, under the key it already uses: dtype, as
// transformers 5 writes it, or torch_dtype.
func SetConfigDType(config []byte, d DType) ([]byte, error) {
	name, ok := map[DType]string{F32: "float32", F16: "float16", BF16: "bfloat16"}[d]
	if !ok {
		return nil, fmt.Errorf("config.json: no name for %s", d)
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", jsonError(err))
	}
	if _, v5 := c["dtype"]; v5 {
		return SetConfig(config, "dtype", name)
	}
	return SetConfig(config, "torch_dtype", name)
}
