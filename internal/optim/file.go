package optim

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
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
	b := make([]byte, 1<<16)
	return readFile(path, 4*len(x), func(r io.Reader) error {
		for len(x) > 0 {
			n := min(len(x), len(b)/4)
			if _, err := io.ReadFull(r, b[:4*n]); err != nil {
				return err
			}
			for i := range n {
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			}
			x = x[n:]
		}
		return nil
	})
}

// SameVector reads back what WriteVector stored; an error where it is not x, bit for bit.
func SameVector(path string, x []float32) error {
	y := make([]float32, len(x))
	if err := ReadVector(path, y); err != nil {
		return err
	}
	for i, v := range x {
		if math.Float32bits(y[i]) != math.Float32bits(v) {
			return fmt.Errorf("%s: value %d reads back as %g, %g was written", path, i, y[i], v)
		}
	}
	return nil
}

// readFile opens a file of exactly size bytes for read.
func readFile(path string, size int, read func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != int64(size) {
		return fmt.Errorf("read %s: %d bytes, want %d for what is trained", path, st.Size(), size)
	}
	if err := read(f); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// vectors are the files of the state by suffix, beside the parameters: .m and .v, and with 8 bits .m8, .v8 (codes), .m8.scale
// and .v8.scale.
func (o *AdamW) vectors(values []float32) (floats map[string][]float32, bytes map[string][]byte) {
	floats = map[string][]float32{".values": values, ".m": o.m, ".v": o.v}
	if o.config.Bits == 8 {
		floats[".m8.scale"], floats[".v8.scale"] = o.mScale, o.vScale
		bytes = map[string][]byte{".m8": o.m8, ".v8": o.v8}
	}
	return floats, bytes
}

// Save stores the optimizer's state beside the parameters it moves: NAME.values, NAME.json and those of vectors in dir.
func (o *AdamW) Save(dir, name string, values []float32) error {
	path := filepath.Join(dir, name)
	floats, bytes := o.vectors(values)
	for suffix, x := range floats {
		if err := WriteVector(path+suffix, x); err != nil {
			return err
		}
	}
	for suffix, x := range bytes {
		if err := os.WriteFile(path+suffix, x, 0o644); err != nil {
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
	floats, bytes := o.vectors(values)
	for suffix, x := range floats {
		if err := ReadVector(path+suffix, x); err != nil {
			return err
		}
	}
	for suffix, x := range bytes {
		err := readFile(path+suffix, len(x), func(r io.Reader) error {
			_, err := io.ReadFull(r, x)
			return err
		})
		if err != nil {
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
	if s.Steps < 0 || strings.TrimSpace(string(text)) == "null" {
		return fmt.Errorf("read %s.json: it holds no number of steps", path)
	}
	o.steps = s.Steps
	return nil
}
