package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// Entry is one tensor to be written.
type Entry struct {
	Name  string
	DType DType // F32, F16 or BF16; U8 with Bytes
	Shape []int
	// Float32 returns the values, row-major. It is called once, when the tensor's turn comes, so that a model larger
	// than memory can be written. Values are rounded to DType, to the nearest, ties to even.
	Float32 func() ([]float32, error)
	// Bytes returns the elements of a U8 tensor, called like Float32.
	Bytes func() []byte
}

// count returns the number of elements.
func (e *Entry) count() (int, error) {
	dims := make([]int64, len(e.Shape))
	for i, d := range e.Shape {
		dims[i] = int64(d)
	}
	_, n, err := checkShape(dims)
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", e.Name, err)
	}
	switch e.DType {
	case F32, F16, BF16:
	case U8:
		if e.Bytes == nil {
			return 0, fmt.Errorf("tensor %q: U8 without Bytes", e.Name)
		}
	default:
		return 0, fmt.Errorf("tensor %q: %q is not written, only F32, F16 and BF16 are", e.Name, e.DType)
	}
	if n > math.MaxInt/elementBytes(e.DType) {
		return 0, fmt.Errorf("tensor %q: shape %v is too large", e.Name, e.Shape)
	}
	return n, nil
}

// WriteSafetensors writes one file, atomically: a temporary file, fsync, rename, fsync of the folder. Tensors stand
// in the order given; metadata is written before them, its keys sorted. The bytes depend on nothing else. Readers
// such as PyTorch want metadata {"format": "pt"}.
func WriteSafetensors(path string, entries []Entry, metadata map[string]string) error {
	header, err := buildHeader(entries, metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeAtomic(path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for i := range entries {
			if err := writeValues(w, &entries[i]); err != nil {
				return fmt.Errorf("tensor %q: %w", entries[i].Name, err)
			}
		}
		return nil
	})
}

// buildHeader returns the length word and the JSON header, padded with spaces so that the data start at a multiple
// of 8.
func buildHeader(entries []Entry, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if metadata != nil {
		b.WriteString(`"__metadata__":`)
		if err := encodeJSON(&b, metadata); err != nil {
			return nil, err
		}
	}
	seen := make(map[string]bool, len(entries))
	var at int64
	for i := range entries {
		e := &entries[i]
		if e.Name == "" || e.Name == "__metadata__" || seen[e.Name] {
			return nil, fmt.Errorf("tensor name %q is empty, reserved or used twice", e.Name)
		}
		seen[e.Name] = true
		n, err := e.count()
		if err != nil {
			return nil, err
		}
		size := int64(n) * int64(elementBytes(e.DType))
		if at > math.MaxInt64-size {
			return nil, errors.New("the tensors together are too large")
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		if err := encodeJSON(&b, e.Name); err != nil {
			return nil, err
		}
		shape := e.Shape
		if shape == nil {
			shape = []int{}
		}
		b.WriteByte(':')
		if err := encodeJSON(&b, struct {
			DType   DType    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{e.DType, shape, [2]int64{at, at + size}}); err != nil {
			return nil, err
		}
		at += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len()-8 > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, at most %d are read", b.Len()-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-8))
	return b.Bytes(), nil
}

// encodeJSON appends compact JSON without HTML escapes.
func encodeJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
	return nil
}

// writeValues writes one tensor, rounded to its type. A finite value that its type cannot hold is an error.
func writeValues(w io.Writer, e *Entry) error {
	if e.DType == U8 {
		b := e.Bytes()
		if n, _ := e.count(); len(b) != n {
			return fmt.Errorf("%d bytes for shape %v", len(b), e.Shape)
		}
		_, err := w.Write(b)
		return err
	}
	v, err := e.Float32()
	if err != nil {
		return err
	}
	if n, _ := e.count(); len(v) != n {
		return fmt.Errorf("%d values for shape %v", len(v), e.Shape)
	}
	size := elementBytes(e.DType)
	chunk := make([]byte, 0, decodeChunk)
	for i, x := range v {
		if chunk, err = appendValue(chunk, e.DType, x); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		if len(chunk)+size > cap(chunk) || i == len(v)-1 {
			if _, err := w.Write(chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	return nil
}

func appendValue(b []byte, d DType, x float32) ([]byte, error) {
	le := binary.LittleEndian
	switch d {
	case F32:
		return le.AppendUint32(b, math.Float32bits(x)), nil
	case BF16:
		h := ToBFloat16(x)
		if h&0x7fff == 0x7f80 && !math.IsInf(float64(x), 0) {
			return b, fmt.Errorf("%g is beyond the range of BF16", x)
		}
		return le.AppendUint16(b, h), nil
	default:
		h := ToFloat16(x)
		if h&0x7fff == 0x7c00 && !math.IsInf(float64(x), 0) {
			return b, fmt.Errorf("%g is beyond the range of F16, which ends at 65504; use bf16 or f32", x)
		}
		return le.AppendUint16(b, h), nil
	}
}

// writeAtomic writes a file that is either whole or absent. The temporary name is always the same, so that what a killed
// process leaves behind is overwritten by the next; two processes must not write the same file.
func writeAtomic(path string, write func(io.Writer) error) error {
	dir, name := filepath.Split(path)
	f, err := os.OpenFile(filepath.Join(dir, "."+name+".tmp"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	return writeAs(f, path, write)
}

// writeAs writes the open temporary file f and renames it to path.
func writeAs(f *os.File, path string, write func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, cause(err))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeFileAtomic is writeAtomic of bytes at hand.
func writeFileAtomic(path string, b []byte) error {
	return writeAtomic(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// syncDir makes a rename inside dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
