package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// decodeChunk is how many bytes are read at a time where a conversion follows; it stays in the second-level cache.
const decodeChunk = 1 << 18

// float32s reads the tensor's values in row-major order.
func (t *stored) float32s() ([]float32, error) {
	if t.few != nil {
		f, err := t.few.read()
		if err != nil {
			return nil, t.naming(err)
		}
		v := make([]float32, t.count)
		f.float32s(v)
		return v, nil
	}
	if err := t.readable(); err != nil {
		return nil, err
	}
	v := make([]float32, t.count)
	if t.dtype == F32 {
		if err := t.file.readAt(bytesOf(v), t.off); err != nil {
			return nil, t.naming(err)
		}
		swapFloats(v)
	} else if err := t.decode(v); err != nil {
		return nil, err
	}
	return unpair(v, t), nil
}

// bf16s reads the tensor's values in row-major order, rounded to bfloat16 unless they are stored so.
func (t *stored) bf16s() ([]uint16, error) {
	if t.dtype != BF16 {
		f, err := t.float32s()
		if err != nil {
			return nil, err
		}
		v := make([]uint16, len(f))
		for i, x := range f {
			v[i] = ToBFloat16(x)
			if v[i]&0x7fff == 0x7f80 && !math.IsInf(float64(x), 0) {
				return nil, t.naming(fmt.Errorf("element %d, %g, is beyond the range of bfloat16", i, x))
			}
		}
		return v, nil
	}
	v := make([]uint16, t.count)
	if err := t.file.readAt(bytesOf(v), t.off); err != nil {
		return nil, t.naming(err)
	}
	if !littleEndian() {
		for i, x := range v {
			v[i] = bits.ReverseBytes16(x)
		}
	}
	return unpair(v, t), nil
}

func (t *stored) naming(err error) error { return fmt.Errorf("tensor %q: %w", t.name, err) }

// readable tells whether values of the tensor's type can be turned into floats here.
func (t *stored) readable() error {
	if _, ok := decoders(t.dtype); ok || t.dtype == F32 {
		return nil
	}
	return fmt.Errorf("%s: tensor %q is stored as %s, which is not read", t.file.name, t.name, t.dtype)
}

// decode fills v chunk by chunk.
func (t *stored) decode(v []float32) error {
	q, _ := decoders(t.dtype)
	chunk := make([]byte, min(int64(decodeChunk/q.bytes*q.bytes), t.bytes))
	off := t.off
	for len(v) > 0 {
		n := min(len(chunk)/q.bytes, len(v)/q.values)
		b := chunk[:n*q.bytes]
		if err := t.file.readAt(b, off); err != nil {
			return t.naming(err)
		}
		q.decode(v[:n*q.values], b)
		off += int64(len(b))
		v = v[n*q.values:]
	}
	return nil
}

// A block is the unit of a storage type: values elements in bytes bytes.
type block struct {
	values, bytes int
	decode        func(v []float32, b []byte) // any whole number of blocks
}

// plain makes the block of a type of single elements from the conversion of one.
func plain(size int, element func(b []byte) float32) block {
	return block{1, size, func(v []float32, b []byte) {
		for i := range v {
			v[i] = element(b[i*size : (i+1)*size])
		}
	}}
}

// decoders returns how one block of a type becomes floats.
func decoders(d DType) (block, bool) {
	le := binary.LittleEndian
	switch d {
	case F16:
		return plain(2, func(b []byte) float32 { return Float16(le.Uint16(b)) }), true
	case BF16:
		return block{1, 2, func(v []float32, b []byte) {
			for i := range v {
				v[i] = BFloat16(le.Uint16(b[2*i:]))
			}
		}}, true
	case F64:
		return plain(8, func(b []byte) float32 { return float32(math.Float64frombits(le.Uint64(b))) }), true
	case I64:
		return plain(8, func(b []byte) float32 { return float32(int64(le.Uint64(b))) }), true
	case I32:
		return plain(4, func(b []byte) float32 { return float32(int32(le.Uint32(b))) }), true
	case I16:
		return plain(2, func(b []byte) float32 { return float32(int16(le.Uint16(b))) }), true
	case I8:
		return plain(1, func(b []byte) float32 { return float32(int8(b[0])) }), true
	case U8, Bool:
		return plain(1, func(b []byte) float32 { return float32(b[0]) }), true
	}
	return quantised(d)
}

// swapFloats turns little-endian floats into the machine's order.
func swapFloats(v []float32) {
	if littleEndian() {
		return
	}
	for i, x := range v {
		v[i] = math.Float32frombits(bits.ReverseBytes32(math.Float32bits(x)))
	}
}

// unpair puts the rows of a GGUF llama query or key projection back into Hugging Face's order. Within a head of D rows
// GGUF stores the rotary pairs side by side (row 2i+j), Hugging Face the two halves one after the other (row j*D/2+i).
// The row may be a single number (a bias). Tensors of other files come back as they are.
func unpair[T float32 | uint16](v []T, t *stored) []T {
	if t.heads == 0 {
		return v
	}
	rows := t.shape[0]
	width := len(v) / rows
	d := rows / t.heads
	out := make([]T, len(v))
	for h := range t.heads {
		for i := range d / 2 {
			for j := range 2 {
				from, to := h*d+2*i+j, h*d+j*(d/2)+i
				copy(out[to*width:(to+1)*width], v[from*width:(from+1)*width])
			}
		}
	}
	return out
}

// CheckFinite returns an error that names the first NaN or infinite value of a tensor.
func CheckFinite(name string, v []float32) error {
	for i, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return notFinite(name, i, float64(x))
		}
	}
	return nil
}

// CheckFiniteBF16 is CheckFinite for bfloat16 values.
func CheckFiniteBF16(name string, v []uint16) error {
	for i, x := range v {
		if x&0x7f80 == 0x7f80 {
			return notFinite(name, i, float64(BFloat16(x)))
		}
	}
	return nil
}

func notFinite(name string, i int, x float64) error {
	return fmt.Errorf("tensor %q: element %d is %v: the weights are damaged", name, i, x)
}
