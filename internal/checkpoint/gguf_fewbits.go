package checkpoint

// blockBits reads a Q4_0 or Q8_0 tensor of GGUF as it is: 32 values a scale, x = d·(q − 8) or d·q, the products and so the bits of
// Float32's. Rows of query and key projections are put back into Hugging Face's order (unpair). It returns nil for every other type:
// those with a minimum (Q4_1, Q4_K) or other widths have no form in FewBits.
func (t *stored) blockBits() (*FewBits, error) {
	f := &FewBits{Block: 32}
	size := 0
	switch t.dtype {
	case "Q4_0":
		f.Bits, size = 4, 18
	case "Q8_0":
		f.Bits, size = 8, 34
	default:
		return nil, nil
	}
	if len(t.shape) != 2 || t.shape[1]%f.Block != 0 {
		return nil, nil
	}
	for c := range 1 << f.Bits {
		f.Table = append(f.Table, float32(c-1<<(f.Bits-1)))
	}
	raw := make([]byte, t.bytes)
	if err := t.file.readAt(raw, t.off); err != nil {
		return nil, t.naming(err)
	}
	f.Codes, f.Scales = make([]byte, t.count*f.Bits/8), make([]float32, t.count/f.Block)
	rowBlocks := t.shape[1] / f.Block
	for b := range f.Scales {
		from := raw[b*size : (b+1)*size]
		to := t.row(b/rowBlocks)*rowBlocks + b%rowBlocks
		f.Scales[to] = half(from)
		codes := f.Codes[to*f.Block*f.Bits/8:][:f.Block*f.Bits/8]
		for i := range codes {
			if f.Bits == 8 {
				codes[i] = from[2+i] + 128
				continue
			}
			codes[i] = nibble(from[2:], 2*i)<<4 | nibble(from[2:], 2*i+1)
		}
	}
	return f, CheckFinite(t.name, f.Scales)
}

// nibble is value i of a Q4_0 block: the low half of byte i, from 16 on the high half of byte i−16.
func nibble(q []byte, i int) byte {
	if i < 16 {
		return q[i] & 15
	}
	return q[i-16] >> 4
}

// row is where row r of the file stands in Hugging Face's order: see unpair.
func (t *stored) row(r int) int {
	if t.heads == 0 {
		return r
	}
	d := t.shape[0] / t.heads
	h, in := r/d, r%d
	return h*d + in%2*(d/2) + in/2
}
