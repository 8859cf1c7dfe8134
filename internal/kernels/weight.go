package kernels

import "math"

// panelWidth is the number of outputs that one panel of a packed matrix holds.
const panelWidth = 16

// Weight is a matrix W [Out,In] of a linear layer y = x Wᵀ, packed for the kernels: panels of 16 outputs, inside a
// panel one row of 16 for each input, the last panel padded with zero outputs. Element (o,k) is at
// (o/16)·In·16 + k·16 + o mod 16. Storage is float32, bfloat16 or few bits (PackQuantised); arithmetic is float32 always.
//
// A Weight may be read by many goroutines; Repack needs it alone.
type Weight struct {
	Out, In int
	f32     []float32 // one of the three
	bf16    []uint16
	few     *fewBits
}

// NewWeight returns a zero float32 matrix, for Repack.
func NewWeight(out, in int) *Weight {
	checkDims(out, in)
	return &Weight{Out: out, In: in, f32: alignedFloats(panels(out) * panelWidth * in)}
}

// PackF32 packs w [out,in], row-major.
func PackF32(w []float32, out, in int) *Weight {
	p := NewWeight(out, in)
	p.Repack(w)
	return p
}

// PackBF16 packs the bfloat16 values w [out,in], row-major, and keeps them in 16 bits.
func PackBF16(w []uint16, out, in int) *Weight {
	checkDims(out, in)
	if len(w) < out*in {
		panic("kernels: PackBF16: too few values")
	}
	p := &Weight{Out: out, In: in, bf16: make([]uint16, panels(out)*panelWidth*in)}
	pack(p.bf16, w, out, in)
	return p
}

// Repack replaces the values of a float32 matrix by src [Out,In], row-major. It allocates nothing: trained matrices
// are packed anew after each step.
func (w *Weight) Repack(src []float32) {
	if w.f32 == nil || len(src) < w.Out*w.In {
		panic("kernels: Weight.Repack: want a float32 weight and Out*In values")
	}
	pack(w.f32, src, w.Out, w.In)
}

// pack lays src [out,in] out in panels. Padding is left as it is.
func pack[T float32 | uint16](dst, src []T, out, in int) {
	for o := 0; o < out; o += panelWidth {
		panel, n := dst[o*in:(o+panelWidth)*in], min(panelWidth, out-o)
		for k0 := 0; k0 < in; k0 += 64 { // 16 rows at a time stay in the cache, and so does what they become
			for l := range n {
				row := src[(o+l)*in+k0 : (o+l)*in+min(k0+64, in)]
				for k, v := range row {
					panel[(k0+k)*panelWidth+l] = v
				}
			}
		}
	}
}

// Unpack writes the matrix to dst [Out,In], row-major.
func (w *Weight) Unpack(dst []float32) {
	if len(dst) < w.Out*w.In {
		panic("kernels: Weight.Unpack: dst too short")
	}
	for o := range w.Out {
		w.Row(dst[o*w.In:], o)
	}
}

// Row writes row r, that is W[r,:], to dst[:In].
func (w *Weight) Row(dst []float32, r int) {
	if r < 0 || r >= w.Out || len(dst) < w.In {
		panic("kernels: Weight.Row: out of range")
	}
	base := (r/panelWidth)*w.In*panelWidth + r%panelWidth
	dst = dst[:w.In]
	if w.few != nil {
		for k := range dst {
			dst[k] = w.few.at(r, k, w.In)
		}
		return
	}
	if w.f32 != nil {
		for k := range dst {
			dst[k] = w.f32[base+k*panelWidth]
		}
		return
	}
	for k := range dst {
		dst[k] = fromBF16(w.bf16[base+k*panelWidth])
	}
}

// IsBF16 tells whether the matrix is stored in bfloat16.
func (w *Weight) IsBF16() bool { return w.bf16 != nil }

// FewBits returns 4 or 8 for a quantised matrix, else 0.
func (w *Weight) FewBits() int {
	if w.few == nil {
		return 0
	}
	return w.few.Bits
}

// Bytes returns the memory the packed matrix takes.
func (w *Weight) Bytes() int {
	if w.few != nil {
		return w.few.bytes()
	}
	return 4*len(w.f32) + 2*len(w.bf16)
}

// bits is the memory of an element, scales included, rounded.
func (w *Weight) bits() int {
	n := panels(w.Out) * panelWidth * w.In
	return (8*w.Bytes() + n/2) / n
}

func fromBF16(v uint16) float32 { return math.Float32frombits(uint32(v) << 16) }

func panels(out int) int { return (out + panelWidth - 1) / panelWidth }

func checkDims(out, in int) {
	if out <= 0 || in <= 0 {
		panic("kernels: Weight: dimensions must be positive")
	}
}
