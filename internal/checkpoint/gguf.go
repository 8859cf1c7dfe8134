package checkpoint

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// GGUF is the header of a GGUF file.
type GGUF struct {
	Version int
	// Metadata holds every key. Values are uint8 ... float64, bool, string, or a slice of one of these ([]string,
	// []float32, []int32, ...); an array of arrays is []any.
	Metadata map[string]any

	tensors []stored // with the names of the file
	file    *file
}

// Close closes the file; the metadata stay.
func (g *GGUF) Close() error { return g.file.Close() }

// OpenGGUF reads the header of a GGUF file, version 2 or 3, whatever model it holds. Open is what turns one into a
// model; this serves those who want the metadata alone.
func OpenGGUF(path string) (*GGUF, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	g, err := readGGUF(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return g, nil
}

// The element types of GGUF metadata.
const (
	ggufUint8 = iota
	ggufInt8
	ggufUint16
	ggufInt16
	ggufUint32
	ggufInt32
	ggufFloat32
	ggufBool
	ggufString
	ggufArray
	ggufUint64
	ggufInt64
	ggufFloat64
)

// ggufType describes a GGML tensor type: values elements are stored in bytes bytes.
type ggufType struct {
	name          DType
	values, bytes int64
}

// tensorType returns the layout of GGML's tensor type id. Types whose values Plumb does not read are listed too, so
// that they can be inspected and refused by name.
func tensorType(id uint32) (ggufType, bool) {
	t, ok := map[uint32]ggufType{
		0: {F32, 1, 4}, 1: {F16, 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
		8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
		13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
		18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82},
		23: {"IQ4_XS", 256, 136}, 24: {I8, 1, 1}, 25: {I16, 1, 2}, 26: {I32, 1, 4}, 27: {I64, 1, 8}, 28: {F64, 1, 8},
		29: {"IQ1_M", 256, 56}, 30: {BF16, 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
	}[id]
	return t, ok
}

// ggufReader reads the header front to back and knows how much of the file is left, so that no count in it can
// claim more than the file could hold.
type ggufReader struct {
	r    *bufio.Reader
	left int64
}

// need refuses n items of at least size bytes each when the rest of the file cannot hold them.
func (g *ggufReader) need(n uint64, size int64, what string) error {
	if n > uint64(g.left/size) {
		return fmt.Errorf("%d %s claimed where %d bytes are left: truncated or damaged", n, what, g.left)
	}
	return nil
}

func (g *ggufReader) read(b []byte) error {
	if err := g.need(uint64(len(b)), 1, "bytes"); err != nil {
		return err
	}
	g.left -= int64(len(b))
	if _, err := io.ReadFull(g.r, b); err != nil {
		return fmt.Errorf("header: %w", cause(err))
	}
	return nil
}

func (g *ggufReader) u32() (uint32, error) {
	var b [4]byte
	err := g.read(b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (g *ggufReader) u64() (uint64, error) {
	var b [8]byte
	err := g.read(b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

func (g *ggufReader) text() (string, error) {
	n, err := g.u64()
	if err != nil {
		return "", err
	}
	if err := g.need(n, 1, "bytes of text"); err != nil {
		return "", err
	}
	b := make([]byte, n)
	if err := g.read(b); err != nil {
		return "", err
	}
	return string(b), nil
}

// number reads a fixed-size metadata value.
func number[T any](g *ggufReader) (T, error) {
	var v T
	b := make([]byte, binary.Size(v))
	if err := g.read(b); err != nil {
		return v, err
	}
	_, err := binary.Decode(b, binary.LittleEndian, &v)
	return v, err
}

// list reads n fixed-size metadata values.
func list[T any](g *ggufReader, n uint64) ([]T, error) {
	var one T
	if err := g.need(n, int64(binary.Size(one)), "array elements"); err != nil {
		return nil, err
	}
	v := make([]T, n)
	b := make([]byte, int(n)*binary.Size(one))
	if err := g.read(b); err != nil {
		return nil, err
	}
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return v, err
}

// value reads a metadata value of the given type.
func (g *ggufReader) value(kind uint32, depth int) (any, error) {
	switch kind {
	case ggufUint8:
		return number[uint8](g)
	case ggufInt8:
		return number[int8](g)
	case ggufUint16:
		return number[uint16](g)
	case ggufInt16:
		return number[int16](g)
	case ggufUint32:
		return number[uint32](g)
	case ggufInt32:
		return number[int32](g)
	case ggufFloat32:
		return number[float32](g)
	case ggufBool:
		v, err := number[uint8](g)
		return v != 0, err
	case ggufString:
		return g.text()
	case ggufArray:
		return g.array(depth)
	case ggufUint64:
		return number[uint64](g)
	case ggufInt64:
		return number[int64](g)
	case ggufFloat64:
		return number[float64](g)
	}
	return nil, fmt.Errorf("unknown metadata type %d", kind)
}

// array reads a metadata array.
func (g *ggufReader) array(depth int) (any, error) {
	const deepest = 4
	if depth >= deepest {
		return nil, fmt.Errorf("arrays nested more than %d deep", deepest)
	}
	kind, err := g.u32()
	if err != nil {
		return nil, err
	}
	n, err := g.u64()
	if err != nil {
		return nil, err
	}
	switch kind {
	case ggufUint8:
		return list[uint8](g, n)
	case ggufInt8:
		return list[int8](g, n)
	case ggufUint16:
		return list[uint16](g, n)
	case ggufInt16:
		return list[int16](g, n)
	case ggufUint32:
		return list[uint32](g, n)
	case ggufInt32:
		return list[int32](g, n)
	case ggufFloat32:
		return list[float32](g, n)
	case ggufUint64:
		return list[uint64](g, n)
	case ggufInt64:
		return list[int64](g, n)
	case ggufFloat64:
		return list[float64](g, n)
	case ggufBool:
		raw, err := list[uint8](g, n)
		v := make([]bool, len(raw))
		for i, b := range raw {
			v[i] = b != 0
		}
		return v, err
	case ggufString:
		if err := g.need(n, 8, "strings"); err != nil {
			return nil, err
		}
		v := make([]string, n)
		for i := range v {
			if v[i], err = g.text(); err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
		}
		return v, nil
	case ggufArray:
		if err := g.need(n, 12, "arrays"); err != nil {
			return nil, err
		}
		v := make([]any, n)
		for i := range v {
			if v[i], err = g.array(depth + 1); err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
		}
		return v, nil
	}
	return nil, fmt.Errorf("unknown array type %d", kind)
}

// readGGUF reads the whole header and checks that every tensor lies inside the file.
func readGGUF(f *file) (*GGUF, error) {
	r := &ggufReader{r: bufio.NewReaderSize(io.NewSectionReader(f.r, 0, f.size), 1<<16), left: f.size}
	magic, err := r.u32()
	if err != nil || magic != 0x46554747 { // "GGUF"
		return nil, errors.New("not a GGUF file")
	}
	version, err := r.u32()
	if err != nil {
		return nil, err
	}
	switch {
	case version == 2 || version == 3:
	case version&0xffff == 0:
		return nil, errors.New("a big-endian GGUF file, which is not read")
	default:
		return nil, fmt.Errorf("GGUF version %d, this reads 2 and 3", version)
	}
	nTensors, err := r.u64()
	if err != nil {
		return nil, err
	}
	nKeys, err := r.u64()
	if err != nil {
		return nil, err
	}
	g := &GGUF{Version: int(version), Metadata: make(map[string]any), file: f}
	if err := r.need(nKeys, 8+4+1, "metadata keys"); err != nil {
		return nil, err
	}
	for i := range nKeys {
		if err := g.readKey(r); err != nil {
			return nil, fmt.Errorf("metadata key %d: %w", i, err)
		}
	}
	if err := r.need(nTensors, 8+4+4+8, "tensors"); err != nil {
		return nil, err
	}
	for i := range nTensors {
		if err := g.readTensor(r); err != nil {
			return nil, fmt.Errorf("tensor %d: %w", i, err)
		}
	}
	return g, g.place(f.size - r.left)
}

func (g *GGUF) readKey(r *ggufReader) error {
	key, err := r.text()
	if err != nil {
		return err
	}
	kind, err := r.u32()
	if err != nil {
		return err
	}
	if _, dup := g.Metadata[key]; dup {
		return fmt.Errorf("%q occurs twice", key)
	}
	if g.Metadata[key], err = r.value(kind, 0); err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	return nil
}

func (g *GGUF) readTensor(r *ggufReader) error {
	name, err := r.text()
	if err != nil {
		return err
	}
	rank, err := r.u32()
	if err != nil {
		return err
	}
	if rank > 8 {
		return fmt.Errorf("%q: %d dimensions", name, rank)
	}
	dims := make([]int64, rank) // outermost first; the file has them the other way round
	for i := range dims {
		d, err := r.u64()
		if err != nil {
			return err
		}
		if d > math.MaxInt64 {
			return fmt.Errorf("%q: dimension of %d", name, d)
		}
		dims[len(dims)-1-i] = int64(d)
	}
	id, err := r.u32()
	if err != nil {
		return err
	}
	off, err := r.u64()
	if err != nil {
		return err
	}
	kind, ok := tensorType(id)
	if !ok {
		return fmt.Errorf("%q: unknown type %d", name, id)
	}
	shape, count, err := checkShape(dims)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if rank > 0 && dims[rank-1]%kind.values != 0 {
		return fmt.Errorf("%q: rows of %d elements in blocks of %d (%s)", name, dims[rank-1], kind.values, kind.name)
	}
	blocks := int64(count) / kind.values
	if blocks > math.MaxInt64/kind.bytes || off > math.MaxInt64 {
		return fmt.Errorf("%q: shape %v or offset %d is out of range", name, shape, off)
	}
	g.tensors = append(g.tensors, stored{
		name: name, dtype: kind.name, shape: shape, count: count, file: g.file, off: int64(off), bytes: blocks * kind.bytes,
	})
	return nil
}

// place turns the offsets of the tensors, relative to the aligned end of the header, into offsets in the file, and
// checks them: inside the file, aligned, no two overlapping, no name twice.
func (g *GGUF) place(end int64) error {
	align := int64(32)
	if v, ok := g.Metadata["general.alignment"]; ok {
		a, ok := v.(uint32)
		if !ok || a == 0 || a%8 != 0 || a > 1<<20 {
			return fmt.Errorf("general.alignment is %v", v)
		}
		align = int64(a)
	}
	start := (end + align - 1) / align * align
	seen := make(map[string]bool, len(g.tensors))
	for i := range g.tensors {
		t := &g.tensors[i]
		if seen[t.name] {
			return fmt.Errorf("tensor %q occurs twice", t.name)
		}
		seen[t.name] = true
		if t.off%align != 0 {
			return fmt.Errorf("tensor %q: offset %d is not a multiple of %d", t.name, t.off, align)
		}
		if size := g.file.size - start; t.off > size || t.bytes > size-t.off {
			return fmt.Errorf("tensor %q: %d bytes from %d are beyond the %d bytes of data: truncated", t.name, t.bytes, t.off, max(size, 0))
		}
		t.off += start
	}
	return g.disjoint()
}
