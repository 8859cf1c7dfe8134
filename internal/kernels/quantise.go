package kernels

import (
	"math"
	"slices"
)

// Quantised is a matrix in few bits, row by row, as bitsandbytes stores it (Dettmers et al. 2023, §3; Dettmers et al. 2022,
// §2): every Block values of the flattened matrix, across rows too, share a scale, the block's largest magnitude, and a
// value is
//
//	Table[code] · scale of its block                           rounded to float32 once
//	Table[code] · scale of its block + minimum of its block    rounded to float32 once, where blocks have minima (GGUF's _1 and K types)
//
// With double quantisation the scales are in 8 bits themselves, 256 to a block of their own:
//
//	scale b = NestedTable[ScaleCodes[b]] · Nested[b/256] + Offset        product and sum rounded to float32 each
type Quantised struct {
	Bits  int       // 4 or 8
	Block int       // values a scale, > 0
	Codes []byte    // 8 bits: one a value; 4 bits: value 2i in the high half of byte i, value 2i+1 in its low half
	Table []float32 // 16 or 256 values, what the codes stand for

	Scales []float32 // one a block; nil with double quantisation
	Mins   []float32 // one a block, or nil; only beside Scales and with Table[code] = code

	ScaleCodes  []byte    // one a block
	Nested      []float32 // one for 256 blocks
	NestedTable []float32 // 256 values
	Offset      float32
}

// NestedBlock is the number of scales that share a scale of their own in double quantisation.
const NestedBlock = 256

// NF4 returns the 16 values of 4-bit NormalFloat (Dettmers et al. 2023, appendix E), ascending.
func NF4() []float32 {
	return []float32{
		-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
		-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
		0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
	}
}

// DynamicMap returns the 256 values of the 8-bit dynamic map (Dettmers et al. 2022, §1.3), ascending: 0, 1 and, for each
// decade from 1e-6 to 1, twice as many evenly spaced values as for the one below; with signs, or twice as fine without.
// The steps are bitsandbytes', each in float32.
func DynamicMap(signed bool) []float32 {
	table := []float32{0, 1}
	for decade := range 7 {
		n := 1 << decade
		if !signed {
			n *= 2
		}
		step := float32(float32(1-float32(0.1)) / float32(n))
		bound := func(i int) float32 { // torch.linspace(0.1, 1, n+1)
			if i < (n+1)/2 {
				return fma32(step, float32(i), 0.1)
			}
			return fma32(-step, float32(n-i), 1)
		}
		power := float32(math.Pow10(decade - 6))
		for i := range n {
			v := float32(bound(i)+bound(i+1)) / 2 * power
			table = append(table, v)
			if signed {
				table = append(table, -v)
			}
		}
	}
	slices.Sort(table)
	return table
}

// midpoints returns the bounds between neighbours of an ascending table, in float32.
func midpoints(table []float32) []float32 {
	mid := make([]float32, len(table)-1)
	for i := range mid {
		mid[i] = float32(table[i]+table[i+1]) / 2
	}
	return mid
}

// nearest returns the number of midpoints below x: the entry of the table nearest to x, the lower one where x is midway.
func nearest(mid []float32, x float32) byte {
	lo, n := 0, len(mid)
	for n > 0 {
		half := n / 2
		if mid[lo+half] < x {
			lo, n = lo+half+1, n-half-1
		} else {
			n = half
		}
	}
	return byte(lo)
}

// largest returns max |x|.
func largest(x []float32) float32 {
	m := float32(0)
	for _, v := range x {
		m = max(m, float32(math.Abs(float64(v))))
	}
	return m
}

// quantiseBlock writes the codes of x / max |x| and returns max |x|. A block of zeros gets the code zero: any would do.
func quantiseBlock(codes []byte, x, mid []float32, zero byte) float32 {
	m := largest(x)
	for i, v := range x {
		codes[i] = zero
		if m > 0 {
			codes[i] = nearest(mid, v/m)
		}
	}
	return m
}

// quantiseChunk is how many blocks one item of a parallel quantisation takes.
const quantiseChunk = 256

// QuantiseNF4 returns w in NF4, with double quantisation of the scales: the codes, scales and values of bitsandbytes'
// quantize_4bit(quant_type="nf4", blocksize=64, compress_statistics=True). w must be finite.
func (p *Pool) QuantiseNF4(w []float32) *Quantised {
	const block = 64
	blocks := (len(w) + block - 1) / block
	q := &Quantised{Bits: 4, Block: block, Codes: make([]byte, (len(w)+1)/2), Table: NF4()}
	scales, mid := make([]float32, blocks), midpoints(q.Table)
	p.Do((blocks+quantiseChunk-1)/quantiseChunk, func(i int) {
		var codes [block]byte
		for b := i * quantiseChunk; b < min((i+1)*quantiseChunk, blocks); b++ {
			x := w[b*block : min((b+1)*block, len(w))]
			scales[b] = quantiseBlock(codes[:], x, mid, 7)
			for k := 0; k < len(x); k += 2 {
				low := byte(0)
				if k+1 < len(x) {
					low = codes[k+1]
				}
				q.Codes[(b*block+k)/2] = codes[k]<<4 | low
			}
		}
	})
	q.double(scales)
	return q
}

// double quantises the scales: their mean becomes Offset, the rest goes to 8 bits.
func (q *Quantised) double(scales []float32) {
	q.Offset = torchMean(scales)
	q.NestedTable = DynamicMap(true)
	q.ScaleCodes, q.Nested = make([]byte, len(scales)), make([]float32, (len(scales)+NestedBlock-1)/NestedBlock)
	mid, rest := midpoints(q.NestedTable), make([]float32, NestedBlock)
	for i := range q.Nested {
		a, b := i*NestedBlock, min((i+1)*NestedBlock, len(scales))
		for k, s := range scales[a:b] {
			rest[k] = s - q.Offset
		}
		q.Nested[i] = quantiseBlock(q.ScaleCodes[a:b], rest[:b-a], mid, 0)
	}
}

// QuantiseInt8 returns w in 8 bits by the dynamic map, a float32 scale for each block of 64: bitsandbytes'
// quantize_blockwise(blocksize=64). w must be finite.
func (p *Pool) QuantiseInt8(w []float32) *Quantised {
	const block = 64
	blocks := (len(w) + block - 1) / block
	q := &Quantised{Bits: 8, Block: block, Codes: make([]byte, len(w)), Table: DynamicMap(true), Scales: make([]float32, blocks)}
	mid := midpoints(q.Table)
	p.Do((blocks+quantiseChunk-1)/quantiseChunk, func(i int) {
		for b := i * quantiseChunk; b < min((i+1)*quantiseChunk, blocks); b++ {
			a, e := b*block, min((b+1)*block, len(w))
			q.Scales[b] = quantiseBlock(q.Codes[a:e], w[a:e], mid, 0)
		}
	})
	return q
}

// Scale returns the scale of block b.
func (q *Quantised) Scale(b int) float32 {
	if q.ScaleCodes == nil {
		return q.Scales[b]
	}
	return float32(q.NestedTable[q.ScaleCodes[b]]*q.Nested[b/NestedBlock]) + q.Offset
}

// code returns the code of value i.
func (q *Quantised) code(i int) byte {
	if q.Bits == 8 {
		return q.Codes[i]
	}
	return q.Codes[i/2] >> (4 * (1 - i%2)) & 15
}

// Dequantise writes the first len(dst) values of the flattened matrix.
func (q *Quantised) Dequantise(dst []float32) {
	for i := range dst {
		dst[i] = q.value(q.code(i), i/q.Block)
	}
}

// value returns what a code stands for in block b.
func (q *Quantised) value(code byte, b int) float32 {
	if q.Mins != nil {
		return fma32(q.Table[code], q.Scales[b], q.Mins[b])
	}
	return q.Table[code] * q.Scale(b)
}

// zero returns the code z of a table of whole numbers, Table[code] = code − z; ok is false for any other table.
func (q *Quantised) zero() (z float32, ok bool) {
	z = -q.Table[0]
	for c, v := range q.Table {
		if v != float32(c)-z {
			return 0, false
		}
	}
	return z, true
}

// fits tells whether the parts are there for n values.
func (q *Quantised) fits(n int) bool {
	if q.Block <= 0 || q.Bits != 4 && q.Bits != 8 || len(q.Table) != 1<<q.Bits || len(q.Codes) < (n*q.Bits+7)/8 {
		return false
	}
	blocks := (n + q.Block - 1) / q.Block
	if q.Mins != nil {
		if z, whole := q.zero(); !whole || z != 0 || q.ScaleCodes != nil || len(q.Mins) < blocks {
			return false
		}
	}
	if q.ScaleCodes == nil {
		return len(q.Scales) >= blocks
	}
	return len(q.ScaleCodes) >= blocks && len(q.Nested) >= (blocks+NestedBlock-1)/NestedBlock && len(q.NestedTable) == 256
}
