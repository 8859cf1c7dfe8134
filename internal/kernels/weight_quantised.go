package kernels

import "encoding/binary"

// fewBits is the storage of a quantised Weight. Codes lie in panels of 16 outputs; a 32-bit word holds the codes of one
// output for 8 inputs in a row (4 bits) or 4 (8 bits), the first in the lowest bits. The word of output o and inputs
// k..k+per-1 is at ((o/16)·(words of a row) + k/per)·16 + o mod 16. Scales and
// minima lie in panels too where rows are whole blocks: those of block b of a row at ((o/16)·(blocks of a row) + b)·16 + o mod 16.
// Otherwise, and with double quantisation, they keep the order of the flattened matrix, and reach as far as the padding of the last
// panel, so that a tile may read them there.
type fewBits struct {
	Quantised          // without Codes
	codes     []uint32 // [panels, words of a row, 16]
	blocks    int      // of a row, where Scales and Mins lie in panels, else 0
	linear    bool     // Table[code] = code − zero: no table has to be looked into
	zero      float32
}

// per returns the number of codes in a word.
func (q *fewBits) per() int { return 32 / q.Bits }

// PackQuantised packs a quantised matrix [out,in] and keeps it in its bits: products have the bits of those over the
// dequantised float32 matrix. q's tables are shared, its codes copied, its
// scales shared where they keep their order.
func PackQuantised(q *Quantised, out, in int) *Weight {
	checkDims(out, in)
	if !q.fits(out * in) {
		panic("kernels: PackQuantised: parts missing or too short")
	}
	f := &fewBits{Quantised: *q}
	f.Codes = nil
	f.zero, f.linear = q.zero()
	per := f.per()
	words := (in + per - 1) / per
	f.codes = make([]uint32, panels(out)*panelWidth*words)
	for o := range out {
		panel := f.codes[(o/panelWidth)*words*panelWidth+o%panelWidth:]
		if in%per == 0 {
			f.packRow(panel, q.Codes[o*in*q.Bits/8:][:in*q.Bits/8])
			continue
		}
		for k := range in {
			panel[k/per*panelWidth] |= uint32(q.code(o*in+k)) << (k % per * q.Bits)
		}
	}
	blocks := (panels(out)*panelWidth*in + q.Block - 1) / q.Block
	if q.ScaleCodes == nil {
		if in%q.Block == 0 {
			f.blocks = in / q.Block
		}
		f.Scales = f.inPanels(q.Scales, out, blocks)
		if q.Mins != nil {
			f.Mins = f.inPanels(q.Mins, out, blocks)
		}
	} else {
		f.ScaleCodes = extended(q.ScaleCodes, blocks)
		f.Nested = extended(q.Nested, (blocks+NestedBlock-1)/NestedBlock)
	}
	return &Weight{Out: out, In: in, few: f}
}

// packRow writes the codes of a row that is whole words, 16 words apart. Of two codes in a byte the first is in the high half.
func (q *fewBits) packRow(panel []uint32, codes []byte) {
	for i := 0; i < len(codes); i += 4 {
		w := binary.LittleEndian.Uint32(codes[i:])
		if q.Bits == 4 {
			w = w>>4&0x0f0f0f0f | w&0x0f0f0f0f<<4
		}
		panel[i/4*panelWidth] = w
	}
}

// inPanels returns the scales or minima x of out rows as they are kept.
func (q *fewBits) inPanels(x []float32, out, n int) []float32 {
	if q.blocks == 0 {
		return extended(x, n)
	}
	y := make([]float32, n)
	for o := range out {
		for b := range q.blocks {
			y[q.place(o, b)] = x[o*q.blocks+b]
		}
	}
	return y
}

// inRows is the reverse.
func (q *fewBits) inRows(x []float32, out, n int) []float32 {
	if q.blocks == 0 {
		return x[:n]
	}
	y := make([]float32, n)
	for o := range out {
		for b := range q.blocks {
			y[o*q.blocks+b] = x[q.place(o, b)]
		}
	}
	return y
}

// place is where block b of row o has its scale in panels.
func (q *fewBits) place(o, b int) int {
	return (o/panelWidth*q.blocks+b)*panelWidth + o%panelWidth
}

// extended returns x with zeros after it up to n elements; x itself if it has that many.
func extended[T any](x []T, n int) []T {
	if len(x) >= n {
		return x[:n]
	}
	return append(make([]T, 0, n), x...)[:n]
}

// at returns W[o,k] of a matrix with so many inputs.
func (q *fewBits) at(o, k, in int) float32 {
	per := q.per()
	words := (in + per - 1) / per
	b := (o*in + k) / q.Block
	if q.blocks > 0 {
		b = q.place(o, k/q.Block)
	}
	word := q.codes[((o/panelWidth)*words+k/per)*panelWidth+o%panelWidth]
	return q.value(byte(word>>(k%per*q.Bits)&(1<<q.Bits-1)), b)
}

// Scales returns all of a quantised matrix but its codes; nil if it is not quantised.
func (w *Weight) Scales() *Quantised {
	if w.few == nil {
		return nil
	}
	q := w.few.Quantised
	blocks := (w.Out*w.In + q.Block - 1) / q.Block
	if q.ScaleCodes == nil {
		q.Scales = w.few.inRows(q.Scales, w.Out, blocks)
		if q.Mins != nil {
			q.Mins = w.few.inRows(q.Mins, w.Out, blocks)
		}
	} else {
		q.ScaleCodes, q.Nested = q.ScaleCodes[:blocks], q.Nested[:(blocks+NestedBlock-1)/NestedBlock]
	}
	return &q
}

// Quantised returns the matrix in the order of the flattened matrix, codes copied; nil if it is not quantised.
func (w *Weight) Quantised() *Quantised {
	q := w.Scales()
	if q == nil {
		return nil
	}
	n := w.Out * w.In
	q.Codes = make([]byte, (n*q.Bits+7)/8)
	per := w.few.per()
	words := (w.In + per - 1) / per
	for o := range w.Out {
		panel := w.few.codes[(o/panelWidth)*words*panelWidth+o%panelWidth:]
		for k := range w.In {
			c, i := byte(panel[k/per*panelWidth]>>(k%per*q.Bits)), o*w.In+k
			if q.Bits == 8 {
				q.Codes[i] = c
			} else {
				q.Codes[i/2] |= c & 15 << (4 * (1 - i%2))
			}
		}
	}
	return q
}

func (q *fewBits) bytes() int {
	return 4*len(q.codes) + 4*len(q.Scales) + 4*len(q.Mins) + len(q.ScaleCodes) + 4*len(q.Nested)
}
