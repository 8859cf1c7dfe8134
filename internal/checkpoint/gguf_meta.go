package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

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
