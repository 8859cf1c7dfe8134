package optim

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// WriteVector stores x as little-endian float32, bit for bit.
func WriteVector(path string, x []float32) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<16)
	var b [4]byte
	for _, v := range x {
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
		if _, err := w.Write(b[:]); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// ReadVector fills x with what WriteVector stored; another number of elements is an error.
func ReadVector(path string, x []float32) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) != 4*len(x) {
		return fmt.Errorf("read %s: %d bytes, want %d for %d parameters", path, len(b), 4*len(x), len(x))
	}
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return nil
}

// Save stores the optimizer's state beside the parameters it moves: NAME.values, NAME.m, NAME.v and NAME.json in dir.
func (o *AdamW) Save(dir, name string, values []float32) error {
	path := filepath.Join(dir, name)
	for suffix, x := range map[string][]float32{".values": values, ".m": o.m, ".v": o.v} {
		if err := WriteVector(path+suffix, x); err != nil {
			return err
		}
	}
	text, err := json.Marshal(map[string]int{"steps": o.steps})
	if err != nil {
		return err
	}
	return os.WriteFile(path+".json", append(text, '\n'), 0o644)
}

// Load restores what Save stored, values in place.
func (o *AdamW) Load(dir, name string, values []float32) error {
	path := filepath.Join(dir, name)
	for suffix, x := range map[string][]float32{".values": values, ".m": o.m, ".v": o.v} {
		if err := ReadVector(path+suffix, x); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(path + ".json")
	if err != nil {
		return err
	}
	var s struct{ Steps int }
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read %s.json: %w", path, err)
	}
	o.steps = s.Steps
	return nil
}
