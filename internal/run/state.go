package run

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// dumpDir is the folder of a stage that Dump writes to.
const dumpDir = "nonfinite"

// WriteState writes v as NAME of a checkpoint's folder dir, for a stage's save: counts and names, what is not a vector.
func WriteState(dir, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o644)
}

// ReadState reads what WriteState wrote into v. A file that holds nothing, which JSON takes for a value of any kind, is damaged.
func ReadState(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if string(bytes.TrimSpace(text)) == "null" {
		return fmt.Errorf("read %s: it holds nothing", path)
	}
	return nil
}

// Dump writes what a skipped step was made of, to be looked at, as JSON to nonfinite/NAME. Numbers in v that may not be finite
// have to be texts: JSON has no others.
func (s *Stage) Dump(name string, v any) error {
	return s.WriteFile(filepath.Join(dumpDir, name), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		return enc.Encode(v)
	})
}
