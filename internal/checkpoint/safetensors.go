package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
)

// maxHeader is the largest safetensors header read, that of the reference implementation.
const maxHeader = 100_000_000

// stored is one tensor inside a file.
type stored struct {
	name  string // the name it has for the outside: Hugging Face's
	dtype DType
	shape []int // outermost dimension first; empty for a scalar
	count int   // product of shape
	file  *file
	off   int64 // of the first byte in the file
	bytes int64
	few   *parts // of a matrix in few bits, else nil
	heads int    // GGUF llama only: rows are in rotary-pair order, this many heads; 0 elsewhere
}

// readSafetensors checks the header of an open file and returns its tensors in the order of their data, and its
// metadata. Everything is checked against the file's length before it is believed.
func readSafetensors(f *file) ([]stored, map[string]string, error) {
	if f.size < 8 {
		return nil, nil, fmt.Errorf("%s: %d bytes, too short for a safetensors file", f.name, f.size)
	}
	var word [8]byte
	if err := f.readAt(word[:], 0); err != nil {
		return nil, nil, err
	}
	n := binary.LittleEndian.Uint64(word[:])
	if n > maxHeader || int64(n) > f.size-8 {
		return nil, nil, fmt.Errorf("%s: header of %d bytes claimed in a file of %d: not a safetensors file, or truncated",
			f.name, n, f.size)
	}
	header := make([]byte, n)
	if err := f.readAt(header, 8); err != nil {
		return nil, nil, err
	}
	tensors, metadata, err := parseHeader(header)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: header: %w", f.name, err)
	}
	start := 8 + int64(n)
	if err := checkLayout(tensors, f.size-start); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.name, err)
	}
	for i := range tensors {
		tensors[i].file = f
		tensors[i].off += start
	}
	return tensors, metadata, nil
}

// parseHeader reads the JSON object of a safetensors header. Offsets are still relative to the data.
func parseHeader(header []byte) ([]stored, map[string]string, error) {
	var tensors []stored
	var metadata map[string]string
	err := eachMember(header, func(name string, d *json.Decoder) error {
		if name == "__metadata__" {
			if err := d.Decode(&metadata); err != nil {
				return fmt.Errorf("__metadata__: %w", err)
			}
			return nil
		}
		var e struct {
			DType   DType `json:"dtype"`
			Shape   dims  `json:"shape"`
			Offsets dims  `json:"data_offsets"`
		}
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if len(e.Offsets) != 2 || e.Shape == nil {
			return fmt.Errorf("tensor %q: needs dtype, shape and two data_offsets", name)
		}
		begin, end := e.Offsets[0], e.Offsets[1]
		if begin < 0 || end < begin {
			return fmt.Errorf("tensor %q: data_offsets [%d,%d] are not a range", name, begin, end)
		}
		size := elementBytes(e.DType)
		if size == 0 {
			return fmt.Errorf("tensor %q: unknown dtype %q", name, e.DType)
		}
		shape, count, err := checkShape(e.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if int64(count) > math.MaxInt64/int64(size) || int64(count)*int64(size) != end-begin {
			return fmt.Errorf("tensor %q: %s %v does not take the %d bytes of data_offsets [%d,%d]",
				name, e.DType, e.Shape, end-begin, begin, end)
		}
		tensors = append(tensors, stored{name: name, dtype: e.DType, shape: shape, count: count, off: begin, bytes: end - begin})
		return nil
	})
	return tensors, metadata, err
}

// dims is a list of numbers in a header: a shape, or a range. It is measured before it is decoded, because a list
// of single digits takes several times its own length as integers.
type dims []int64

func (d *dims) UnmarshalJSON(text []byte) error {
	const most = 32 // numbers, of at most 20 characters with their comma
	if len(text) > most*20 {
		return fmt.Errorf("a list of numbers of %d characters", len(text))
	}
	return json.Unmarshal(text, (*[]int64)(d))
}

// checkShape converts a shape and returns the product of its dimensions, refusing negative ones and overflow.
func checkShape(dims []int64) (shape []int, count int, err error) {
	shape = make([]int, len(dims))
	product := int64(1)
	zero := false
	for i, d := range dims {
		if d < 0 || d > math.MaxInt {
			return nil, 0, fmt.Errorf("shape %v: dimension %d is out of range", dims, d)
		}
		shape[i] = int(d)
		if d == 0 {
			zero = true
			continue
		}
		if product > math.MaxInt/d {
			return nil, 0, fmt.Errorf("shape %v: the number of elements overflows", dims)
		}
		product *= d
	}
	if zero {
		product = 0
	}
	return shape, int(product), nil
}

// checkLayout sorts the tensors by offset and demands that they cover the size bytes of data exactly: no
// overlap, no hole, nothing beyond the end.
func checkLayout(tensors []stored, size int64) error {
	sort.SliceStable(tensors, func(i, j int) bool {
		if tensors[i].off != tensors[j].off {
			return tensors[i].off < tensors[j].off
		}
		return tensors[i].bytes < tensors[j].bytes
	})
	var at int64
	for i, t := range tensors {
		switch {
		case t.off+t.bytes > size || t.off+t.bytes < t.off:
			return fmt.Errorf("tensor %q ends at byte %d of the data, the file has %d: truncated", t.name, t.off+t.bytes, size)
		case t.off < at:
			return fmt.Errorf("tensor %q starts at byte %d of the data, inside tensor %q", t.name, t.off, tensors[i-1].name)
		case t.off > at:
			return fmt.Errorf("hole of %d bytes before tensor %q", t.off-at, t.name)
		}
		at += t.bytes
	}
	if at != size {
		return fmt.Errorf("%d bytes of data after the last tensor", size-at)
	}
	return nil
}

// eachMember calls f for each member of the JSON object in text, with the decoder standing before its value,
// which f must consume. A name that occurs twice and anything after the object are errors.
func eachMember(text []byte, f func(name string, d *json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	open, err := d.Token()
	if err != nil {
		return jsonError(err)
	}
	if open != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	seen := make(map[string]bool)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return jsonError(err)
		}
		name := key.(string) // the decoder hands out nothing else here
		if seen[name] {
			return fmt.Errorf("%q occurs twice", name)
		}
		seen[name] = true
		if err := f(name, d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return jsonError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON object")
	}
	return nil
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON text ends early")
	}
	return err
}

// names lists the names of tensors, sorted.
func names(tensors []stored) []string {
	out := make([]string, len(tensors))
	for i, t := range tensors {
		out[i] = t.name
	}
	slices.Sort(out)
	return out
}
