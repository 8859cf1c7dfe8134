package checkpoint

import (
	"bufio"
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
