package checkpoint

import "encoding/binary"

// blockBits reads a block-quantised tensor of GGUF as it is, in 4 or 8 bits: x = scale·(q − zero), or scale·q + minimum, whose
// bits are those of Float32's. There the product is exact before the minimum is added (a scale has at most 19 significant bits, a
// code of those types at most 5), so that one rounding is one rounding in both. Codes of 5 and 6 bits take 8. Rows of query and key
// projections are put back into Hugging Face's order (unpair). It returns nil for every other type.
func (t *stored) blockBits() (*FewBits, error) {
	k, ok := blockKinds(t.dtype)
	if !ok || len(t.shape) != 2 || t.shape[1]%k.values != 0 {
		return nil, nil
	}
	f := &FewBits{Bits: k.bits, Block: k.block}
	for c := range 1 << k.bits {
		f.Table = append(f.Table, float32(c-k.zero))
	}
	raw := make([]byte, t.bytes)
	if err := t.file.readAt(raw, t.off); err != nil {
		return nil, t.naming(err)
	}
	f.Codes, f.Scales = make([]byte, t.count*f.Bits/8), make([]float32, t.count/f.Block)
	if k.minima {
		f.Mins = make([]float32, t.count/f.Block)
	}
	codes, parts, row := make([]byte, k.values), k.values/k.block, t.shape[1]/k.values
	for i := range t.count / k.values {
		to := t.row(i/row)*row + i%row
		var mins []float32
		if k.minima {
			mins = f.Mins[to*parts:][:parts]
		}
		k.read(codes, f.Scales[to*parts:][:parts], mins, raw[i*k.bytes:][:k.bytes])
		if k.bits == 8 {
			copy(f.Codes[to*k.values:], codes)
			continue
		}
		for j := range k.values / 2 {
			f.Codes[to*k.values/2+j] = codes[2*j]<<4 | codes[2*j+1]
		}
	}
	if err := CheckFinite(t.name, f.Scales); err != nil {
		return nil, err
	}
	return f, CheckFinite(t.name, f.Mins)
}

// blockKind says how a type's blocks of bytes bytes become codes of values values, a scale and perhaps a minimum for every block.
type blockKind struct {
	values, bytes, bits, block, zero int
	minima                           bool
	read                             func(codes []byte, scales, mins []float32, b []byte)
}

// blockKinds are the types of quantised, whose comments say how a block lies.
func blockKinds(d DType) (blockKind, bool) {
	switch d {
	case "Q4_0":
		return blockKind{32, 18, 4, 32, 8, false, func(codes []byte, scales, _ []float32, b []byte) {
			scales[0] = half(b)
			nibbles(codes, b[2:18], 0)
		}}, true
	case "Q4_1":
		return blockKind{32, 20, 4, 32, 0, true, func(codes []byte, scales, mins []float32, b []byte) {
			scales[0], mins[0] = half(b), half(b[2:])
			nibbles(codes, b[4:20], 0)
		}}, true
	case "Q5_0":
		return blockKind{32, 22, 8, 32, 16, false, func(codes []byte, scales, _ []float32, b []byte) {
			scales[0] = half(b)
			nibbles(codes, b[6:22], binary.LittleEndian.Uint32(b[2:]))
		}}, true
	case "Q5_1":
		return blockKind{32, 24, 8, 32, 0, true, func(codes []byte, scales, mins []float32, b []byte) {
			scales[0], mins[0] = half(b), half(b[2:])
			nibbles(codes, b[8:24], binary.LittleEndian.Uint32(b[4:]))
		}}, true
	case "Q8_0":
		return blockKind{32, 34, 8, 32, 128, false, func(codes []byte, scales, _ []float32, b []byte) {
			scales[0] = half(b)
			for i, c := range b[2:34] {
				codes[i] = c + 128
			}
		}}, true
	case "Q4_K":
		return blockKind{256, 144, 4, 32, 0, true, func(codes []byte, scales, mins []float32, b []byte) {
			superBlock(scales, mins, b)
			for i, c := range b[16:144] {
				at := i/32*64 + i%32
				codes[at], codes[at+32] = c&15, c>>4
			}
		}}, true
	case "Q5_K":
		return blockKind{256, 176, 8, 32, 0, true, func(codes []byte, scales, mins []float32, b []byte) {
			superBlock(scales, mins, b)
			for i, c := range b[48:176] {
				at, fifth := i/32*64+i%32, b[16+i%32]>>(i/32*2)
				codes[at], codes[at+32] = c&15|fifth&1<<4, c>>4|fifth>>1&1<<4
			}
		}}, true
	case "Q6_K":
		return blockKind{256, 210, 8, 16, 32, false, func(codes []byte, scales, _ []float32, b []byte) {
			for i, s := range b[192:208] {
				scales[i] = half(b[208:]) * float32(int8(s))
			}
			for i := range 64 { // values i%32 + 128 for each half, and those 32, 64 and 96 after it
				n, l := i/32, i%32
				lo, hi, to := b[64*n+l:], b[128+32*n+l], codes[128*n+l:]
				to[0], to[32] = lo[0]&15|hi&3<<4, lo[32]&15|hi>>2&3<<4
				to[64], to[96] = lo[0]>>4|hi>>4&3<<4, lo[32]>>4|hi>>6&3<<4
			}
		}}, true
	}
	return blockKind{}, false
}

// nibbles writes the 32 codes of a block of q: value i is the low half of byte i, from 16 on the high half of byte i−16; bit i of
// fifth is its fifth bit.
func nibbles(codes, q []byte, fifth uint32) {
	for i, c := range q {
		codes[i] = c&15 | byte(fifth>>i&1)<<4
		codes[i+16] = c>>4 | byte(fifth>>(i+16)&1)<<4
	}
}

// superBlock writes the scales and minima of the 8 parts of a Q4_K or Q5_K block.
func superBlock(scales, mins []float32, b []byte) {
	d, dmin := half(b), half(b[2:])
	for i := range scales {
		scale, minimum := scaleMin(b[4:16], i)
		scales[i], mins[i] = d*scale, -(dmin * minimum)
	}
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
