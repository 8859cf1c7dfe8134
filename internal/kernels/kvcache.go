package kernels

import (
	"fmt"
	"math"
	"unsafe"
)

// KVType is the form in which pages hold keys and values.
type KVType int

// The forms, and what is lost: nothing in KVFloat32; in KVBF16 all but the 8 highest bits of the significand, to nearest, ties to
// even; in KVInt8 each key and each value of a head is code·scale, scale the largest magnitude in it over 127, code an integer to
// nearest, ties to even.
const (
	KVFloat32 KVType = iota
	KVBF16
	KVInt8
)

var kvNames = [...]string{"fp32", "bf16", "int8"}

// String is the name that ParseKVType knows.
func (t KVType) String() string { return kvNames[t] }

// ParseKVType finds a form by its name; no name is fp32.
func ParseKVType(name string) (KVType, error) {
	if name == "" {
		return KVFloat32, nil
	}
	for i, n := range kvNames {
		if n == name {
			return KVType(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no form of keys and values: fp32, bf16 or int8", name)
}

// number is the size of a number in bytes.
func (t KVType) number() int { return [...]int{4, 2, 1}[t] }

// KVLayout is what the pages of a model have in common.
type KVLayout struct {
	Type          KVType
	Blocks, KV, D int // of the model; key/value heads; head size
}

// headBytes is what one head of one block takes of a page: keys [D, KeyTile], values [KeyTile, D], and in KVInt8 the scales of the
// keys and of the values, KeyTile float32 each. Keys lie turned round since one query meets them all at once.
func (l KVLayout) headBytes() int {
	n := 2 * KeyTile * l.D * l.Type.number()
	if l.Type == KVInt8 {
		n += 2 * KeyTile * 4
	}
	return n
}

// PageBytes is the memory of a page.
func (l KVLayout) PageBytes() int { return l.Blocks * l.KV * l.headBytes() }

// KVPage holds the keys and values of KeyTile positions of a sequence, of every block and head.
type KVPage struct {
	KVLayout
	mem []float32
}

// NewKVPage makes an empty page. One vector behind it is readable, for kernels that load whole vectors of a row.
func NewKVPage(l KVLayout) *KVPage {
	return &KVPage{KVLayout: l, mem: alignedFloats(l.PageBytes()/4 + panelWidth)}
}

// CopyFrom makes p what src is.
func (p *KVPage) CopyFrom(src *KVPage) {
	if p.KVLayout != src.KVLayout {
		panic("kernels: KVPage: CopyFrom: another layout")
	}
	copy(p.mem, src.mem)
}

// at is the place of a head, in bytes from the beginning of a page.
func (l KVLayout) at(block, kv int) int { return (block*l.KV + kv) * l.headBytes() }

// head returns the numbers of a head's keys and values, and the scales of both, which only KVInt8 has.
func head[T float32 | uint16 | int8](p *KVPage, block, kv int) (k, v []T, ks, vs []float32) {
	n := KeyTile * p.D
	base := unsafe.Add(unsafe.Pointer(unsafe.SliceData(p.mem)), p.at(block, kv))
	both := unsafe.Slice((*T)(base), 2*n)
	if p.Type == KVInt8 {
		scales := unsafe.Slice((*float32)(unsafe.Add(base, 2*n)), 2*KeyTile)
		ks, vs = scales[:KeyTile], scales[KeyTile:]
	}
	return both[:n], both[n:], ks, vs
}

// put writes n keys and values of a head, rows of newK and newV that lie width apart, to positions from on.
func (p *KVPage) put(block, kv, from, n int, newK, newV []float32, width int) {
	for r := range n {
		j, x, y := from+r, newK[r*width:][:p.D], newV[r*width:][:p.D]
		switch p.Type {
		case KVFloat32:
			k, v, _, _ := head[float32](p, block, kv)
			for d := range x {
				k[d*KeyTile+j] = x[d]
			}
			copy(v[j*p.D:], y)
		case KVBF16:
			k, v, _, _ := head[uint16](p, block, kv)
			for d := range x {
				k[d*KeyTile+j], v[j*p.D+d] = RoundBF16(x[d]), RoundBF16(y[d])
			}
		case KVInt8:
			k, v, ks, vs := head[int8](p, block, kv)
			ks[j], vs[j] = roundInt8(k[j:], KeyTile, x), roundInt8(v[j*p.D:], 1, y)
		}
	}
}

// key returns a key as attention sees it; dst has room for it.
func (p *KVPage) key(dst []float32, block, kv, j int) []float32 {
	dst = dst[:p.D]
	switch p.Type {
	case KVFloat32:
		k, _, _, _ := head[float32](p, block, kv)
		for d := range dst {
			dst[d] = k[d*KeyTile+j]
		}
	case KVBF16:
		k, _, _, _ := head[uint16](p, block, kv)
		for d := range dst {
			dst[d] = math.Float32frombits(uint32(k[d*KeyTile+j]) << 16)
		}
	case KVInt8:
		k, _, ks, _ := head[int8](p, block, kv)
		for d := range dst {
			dst[d] = float32(k[d*KeyTile+j]) * ks[j]
		}
	}
	return dst
}

// value returns a value as attention sees it; dst has room for it.
func (p *KVPage) value(dst []float32, block, kv, j int) []float32 {
	dst = dst[:p.D]
	switch p.Type {
	case KVFloat32:
		_, v, _, _ := head[float32](p, block, kv)
		copy(dst, v[j*p.D:])
	case KVBF16:
		_, v, _, _ := head[uint16](p, block, kv)
		for d := range dst {
			dst[d] = math.Float32frombits(uint32(v[j*p.D+d]) << 16)
		}
	case KVInt8:
		_, v, _, vs := head[int8](p, block, kv)
		for d := range dst {
			dst[d] = float32(v[j*p.D+d]) * vs[j]
		}
	}
	return dst
}

// RoundBF16 rounds to the nearest bfloat16, ties to even; a NaN stays one.
func RoundBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// roundInt8 writes the codes of x to dst, stride apart, and returns their scale. What is not finite leaves the scale not finite, so
// that it is seen.
func roundInt8(dst []int8, stride int, x []float32) float32 {
	top, nan := float32(0), false
	for _, v := range x {
		if a := float32(math.Abs(float64(v))); a > top {
			top = a
		}
		nan = nan || v != v
	}
	inv := float32(0)
	if top > 0 {
		inv = 127 / top
	}
	for i, v := range x {
		c := v * inv
		switch {
		case !(c > -127):
			c = -127
		case c > 127:
			c = 127
		}
		dst[i*stride] = int8(math.RoundToEven(float64(c)))
	}
	if nan {
		return float32(math.NaN())
	}
	return top / 127
}
