package checkpoint

import "encoding/binary"

// The block-quantised types of GGUF. A block of the first kind holds 32 values, a scale d and, in the _1 types, a
// minimum m, both float16; a super-block of the K kind holds 256 values with quantised scales of its parts. Products
// are rounded to float32 before a sum (the conversions below forbid a fused multiply-add), as in the definition.
func quantised(d DType) (block, bool) {
	switch d {
	case "Q4_0":
		return runs(32, 18, decodeQ40), true
	case "Q4_1":
		return runs(32, 20, decodeQ41), true
	case "Q5_0":
		return runs(32, 22, decodeQ50), true
	case "Q5_1":
		return runs(32, 24, decodeQ51), true
	case "Q8_0":
		return runs(32, 34, decodeQ80), true
	case "Q4_K":
		return runs(256, 144, decodeQ4K), true
	case "Q5_K":
		return runs(256, 176, decodeQ5K), true
	case "Q6_K":
		return runs(256, 210, decodeQ6K), true
	}
	return block{}, false
}

// runs makes a block that decodes any whole number of blocks from the decoder of one.
func runs(values, bytes int, one func(v []float32, b []byte)) block {
	return block{values, bytes, func(v []float32, b []byte) {
		for ; len(v) > 0; v, b = v[values:], b[bytes:] {
			one(v[:values], b[:bytes])
		}
	}}
}

func half(b []byte) float32 { return Float16(binary.LittleEndian.Uint16(b)) }

// decodeQ40: d, 16 bytes; value j is the low half of byte j, value j+16 its high half. x = d (q - 8).
func decodeQ40(v []float32, b []byte) {
	d, q := half(b), b[2:18]
	for j, c := range q {
		v[j] = d * float32(int(c&15)-8)
		v[j+16] = d * float32(int(c>>4)-8)
	}
}

// decodeQ41: d, m, 16 bytes as in Q4_0. x = d q + m.
func decodeQ41(v []float32, b []byte) {
	d, m, q := half(b), half(b[2:]), b[4:20]
	for j, c := range q {
		v[j] = float32(d*float32(c&15)) + m
		v[j+16] = float32(d*float32(c>>4)) + m
	}
}

// decodeQ50: d, 32 fifth bits, 16 bytes as in Q4_0. x = d (q - 16).
func decodeQ50(v []float32, b []byte) {
	d, fifth, q := half(b), binary.LittleEndian.Uint32(b[2:]), b[6:22]
	for j, c := range q {
		v[j] = d * float32(int(uint32(c&15)|fifth>>j&1<<4)-16)
		v[j+16] = d * float32(int(uint32(c>>4)|fifth>>(j+16)&1<<4)-16)
	}
}

// decodeQ51: d, m, 32 fifth bits, 16 bytes as in Q4_0. x = d q + m.
func decodeQ51(v []float32, b []byte) {
	d, m, fifth, q := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:]), b[8:24]
	for j, c := range q {
		v[j] = float32(d*float32(uint32(c&15)|fifth>>j&1<<4)) + m
		v[j+16] = float32(d*float32(uint32(c>>4)|fifth>>(j+16)&1<<4)) + m
	}
}

// decodeQ80: d, 32 signed bytes. x = d q.
func decodeQ80(v []float32, b []byte) {
	d := half(b)
	for j, c := range b[2:34] {
		v[j] = d * float32(int8(c))
	}
}

// scaleMin returns the 6-bit scale and minimum of part j (0..7) of a Q4_K or Q5_K super-block. The 12 bytes s hold
// the low six bits of parts 0..3 (scales, then minima), and for parts 4..7 four bits each in the last four bytes and
// two bits each on top of the first eight.
func scaleMin(s []byte, j int) (scale, minimum float32) {
	if j < 4 {
		return float32(s[j] & 63), float32(s[j+4] & 63)
	}
	return float32(s[j+4]&15 | s[j-4]>>6<<4), float32(s[j+4]>>4 | s[j]>>6<<4)
}

// decodeQ4K: d, dmin, 12 bytes of scales, 128 bytes. Each run of 32 bytes holds part 2i in its low halves and part
// 2i+1 in its high ones. x = d scale q - dmin min.
func decodeQ4K(v []float32, b []byte) {
	d, dmin, s, q := half(b), half(b[2:]), b[4:16], b[16:144]
	for i := range 4 {
		scale, minimum := scaleMin(s, 2*i)
		d1, m1 := d*scale, dmin*minimum
		scale, minimum = scaleMin(s, 2*i+1)
		d2, m2 := d*scale, dmin*minimum
		for l, c := range q[32*i : 32*i+32] {
			v[64*i+l] = float32(d1*float32(c&15)) - float32(m1)
			v[64*i+32+l] = float32(d2*float32(c>>4)) - float32(m2)
		}
	}
}

// decodeQ5K: d, dmin, 12 bytes of scales, 32 bytes whose bit p is the fifth bit of part p, 128 bytes as in Q4_K.
func decodeQ5K(v []float32, b []byte) {
	d, dmin, s, fifth, q := half(b), half(b[2:]), b[4:16], b[16:48], b[48:176]
	for i := range 4 {
		scale, minimum := scaleMin(s, 2*i)
		d1, m1 := d*scale, dmin*minimum
		scale, minimum = scaleMin(s, 2*i+1)
		d2, m2 := d*scale, dmin*minimum
		for l, c := range q[32*i : 32*i+32] {
			v[64*i+l] = float32(d1*float32(c&15|fifth[l]>>(2*i)&1<<4)) - float32(m1)
			v[64*i+32+l] = float32(d2*float32(c>>4|fifth[l]>>(2*i+1)&1<<4)) - float32(m2)
		}
	}
}

// decodeQ6K: 128 bytes of low four bits, 64 bytes of high two bits, 16 signed scales (one for 16 values), d. Each
// half of 128 values takes 64 low bytes, 32 high bytes and 8 scales. x = d scale (q - 32).
func decodeQ6K(v []float32, b []byte) {
	low, high, s, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for n := range 2 {
		lo, hi, sc, out := low[64*n:64*n+64], high[32*n:32*n+32], s[8*n:8*n+8], v[128*n:128*n+128]
		for l := range 32 {
			h, k := hi[l], l/16
			out[l] = d * float32(int8(sc[k])) * float32(int(lo[l]&15|h&3<<4)-32)
			out[l+32] = d * float32(int8(sc[k+2])) * float32(int(lo[l+32]&15|h>>2&3<<4)-32)
			out[l+64] = d * float32(int8(sc[k+4])) * float32(int(lo[l]>>4|h>>4&3<<4)-32)
			out[l+96] = d * float32(int8(sc[k+6])) * float32(int(lo[l+32]>>4|h>>6&3<<4)-32)
		}
	}
}
