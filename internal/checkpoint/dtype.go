package checkpoint

import "math"

// DType names how the elements of a tensor are stored. Safetensors names are used where there is one, GGUF names
// (Q4_1, Q6_K, ...) for block-quantised data.
type DType string

// The element types whose values can be read as floats, or that are at least common in checkpoints.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U64  DType = "U64"
	U32  DType = "U32"
	U16  DType = "U16"
	U8   DType = "U8"
	Bool DType = "BOOL"
)

// elementBytes returns the size of one element of a plain (not block-quantised) type, or 0 for an unknown one.
func elementBytes(d DType) int {
	switch d {
	case F64, I64, U64, "C64":
		return 8
	case F32, I32, U32:
		return 4
	case F16, BF16, I16, U16:
		return 2
	case I8, U8, Bool, "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return 1
	}
	return 0
}

// Float16 returns the value of an IEEE 754 binary16 number.
func Float16(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exponent := uint32(h>>10) & 0x1f
	fraction := uint32(h) & 0x3ff
	switch exponent {
	case 0: // zero or subnormal: fraction * 2^-24, exact in float32
		v := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 0x1f: // infinity, or NaN with its payload kept
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// ToFloat16 rounds to the nearest binary16 number, ties to even. Values beyond 65504 (from 65520 on) become
// infinite; a NaN stays a NaN.
func ToFloat16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13)&0x3ff // quiet
	case b >= 0x47800000: // 2^16 and above, infinity
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: a multiple of 2^-24
		// Adding 2^-1 aligns the last bit of the sum's mantissa with 2^-24, so the addition itself rounds to even.
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-math.Float32bits(0.5))
	}
	b += 0xfff + b>>13&1 // round at bit 13; a carry runs into the exponent, up to infinity
	return sign | uint16((b-(127-15)<<23)>>13)
}

// BFloat16 returns the value of a bfloat16 number: the upper half of a float32.
func BFloat16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// ToBFloat16 rounds to the nearest bfloat16 number, ties to even. A NaN stays a NaN.
func ToBFloat16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40 // quiet: a payload in the lower half alone must not vanish into infinity
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
