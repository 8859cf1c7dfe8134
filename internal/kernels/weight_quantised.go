package kernels

// fewBits is the storage of a quantised Weight. Codes lie in panels of 16 outputs; a 32-bit word holds the codes of one
// output for 8 inputs in a row (4 bits) or 4 (8 bits), the first in the lowest bits. The word of output o and inputs
// k..k+per-1 is at ((o/16)·(words of a row) + k/per)·16 + o mod 16. Scales keep the order of the flattened matrix, and reach as
// far as the padding of the last panel, so that a tile may read them there.
type fewBits struct {
	Quantised          // without Codes
	codes     []uint32 // [panels, words of a row, 16]
}

// per returns the number of codes in a word.
func (q *fewBits) per() int { return 32 / q.Bits }

// PackQuantised packs a quantised matrix [out,in] and keeps it in its bits: products have the bits of those over the
// dequantised float32 matrix. q's tables and scales are shared, its codes are copied.
func PackQuantised(q *Quantised, out, in int) *Weight {
	checkDims(out, in)
	if !q.fits(out * in) {
		panic("kernels: PackQuantised: parts missing or too short")
	}
	f := &fewBits{Quantised: *q}
	f.Codes = nil
	per := f.per()
	words := (in + per - 1) / per
	f.codes = make([]uint32, panels(out)*panelWidth*words)
	for o := range out {
		panel := f.codes[(o/panelWidth)*words*panelWidth+o%panelWidth:]
		for k := range in {
			panel[k/per*panelWidth] |= uint32(q.code(o*in+k)) << (k % per * q.Bits)
		}
	}
	blocks := (panels(out)*panelWidth*in + q.Block - 1) / q.Block
	if q.ScaleCodes == nil {
		f.Scales = extended(q.Scales, blocks)
	} else {
		f.ScaleCodes = extended(q.ScaleCodes, blocks)
		f.Nested = extended(q.Nested, (blocks+NestedBlock-1)/NestedBlock)
	}
	return &Weight{Out: out, In: in, few: f}
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
	word := q.codes[((o/panelWidth)*words+k/per)*panelWidth+o%panelWidth]
	return q.Table[word>>(k%per*q.Bits)&(1<<q.Bits-1)] * q.Scale((o*in+k)/q.Block)
}

// Scales returns all of a quantised matrix but its codes; nil if it is not quantised.
func (w *Weight) Scales() *Quantised {
	if w.few == nil {
		return nil
	}
	q := w.few.Quantised
	blocks := (w.Out*w.In + q.Block - 1) / q.Block
	if q.ScaleCodes == nil {
		q.Scales = q.Scales[:blocks]
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
	return 4*len(q.codes) + 4*len(q.Scales) + len(q.ScaleCodes) + 4*len(q.Nested)
}
