package checkpoint

import (
	"math"
	"testing"
)

// Pairs of float32 and float16 bits from numpy 2.4.6 astype(float16): ties, subnormals, overflow, infinities.
func TestToFloat16(t *testing.T) {
	for _, c := range []struct {
		f uint32
		h uint16
	}{
		{0x00000000, 0x0000},
		{0x80000000, 0x8000},
		{0x3f800000, 0x3c00},
		{0x477fe000, 0x7bff},
		{0x477fefff, 0x7bff},
		{0x477ff000, 0x7c00},
		{0x477fffff, 0x7c00},
		{0x47800000, 0x7c00},
		{0x7f800000, 0x7c00},
		{0xff800000, 0xfc00},
		{0x38800000, 0x0400},
		{0x387fffff, 0x0400},
		{0x387fe000, 0x0400},
		{0x33800000, 0x0001},
		{0x33000000, 0x0000},
		{0x33000001, 0x0001},
		{0x32ffffff, 0x0000},
		{0x3f801000, 0x3c00},
		{0x3f801001, 0x3c01},
		{0x3f803000, 0x3c02},
		{0x3f800fff, 0x3c00},
		{0x3f808000, 0x3c04},
		{0x3f808001, 0x3c04},
		{0x3f818000, 0x3c0c},
		{0x7f7fffff, 0x7c00},
		{0x00000001, 0x0000},
		{0x00008000, 0x0000},
		{0xb3c00000, 0x8002},
		{0x33c00000, 0x0002},
		{0x34400000, 0x0003},
		{0xc77fe001, 0xfbff},
	} {
		if got := ToFloat16(math.Float32frombits(c.f)); got != c.h {
			t.Errorf("ToFloat16(%08x) = %04x, want %04x", c.f, got, c.h)
		}
	}
}

// Every float16 comes back from float32 as itself, and lies where IEEE 754 says.
func TestFloat16RoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		f := Float16(uint16(h))
		exponent, fraction := h>>10&31, h&1023
		if exponent == 31 {
			if fraction == 0 != math.IsInf(float64(f), 0) || fraction != 0 != math.IsNaN(float64(f)) {
				t.Fatalf("Float16(%04x) = %v", h, f)
			}
		} else {
			want := math.Ldexp(float64(fraction), -24)
			if exponent > 0 {
				want = math.Ldexp(float64(1024+fraction), exponent-25)
			}
			if h>>15 == 1 {
				want = -want
			}
			if float64(f) != want || math.Signbit(float64(f)) != (h>>15 == 1) {
				t.Fatalf("Float16(%04x) = %v, want %v", h, f, want)
			}
		}
		if got := ToFloat16(f); got != uint16(h) && !(math.IsNaN(float64(f)) && got == uint16(h)|0x200) {
			t.Fatalf("ToFloat16(Float16(%04x)) = %04x", h, got)
		}
	}
}

// Pairs of float32 and bfloat16 bits from ml_dtypes 0.6.0, and NaNs, which must not turn into infinities.
func TestToBFloat16(t *testing.T) {
	for _, c := range []struct {
		f uint32
		h uint16
	}{
		{0x00000000, 0x0000},
		{0x80000000, 0x8000},
		{0x3f800000, 0x3f80},
		{0x3f807fff, 0x3f80},
		{0x3f808000, 0x3f80},
		{0x3f808001, 0x3f81},
		{0x3f818000, 0x3f82},
		{0x7f7f7fff, 0x7f7f},
		{0x7f7f8000, 0x7f80},
		{0x7f7fffff, 0x7f80},
		{0x7f800000, 0x7f80},
		{0xff800000, 0xff80},
		{0x00000001, 0x0000},
		{0x00008000, 0x0000},
		{0x00008001, 0x0001},
		{0x00018000, 0x0002},
		{0x80018000, 0x8002},
		{0xbf81ffff, 0xbf82},
	} {
		if got := ToBFloat16(math.Float32frombits(c.f)); got != c.h {
			t.Errorf("ToBFloat16(%08x) = %04x, want %04x", c.f, got, c.h)
		}
	}
	for _, f := range []uint32{0x7f800001, 0xffffffff, 0x7fc00000, 0x7f80ffff} {
		if got := BFloat16(ToBFloat16(math.Float32frombits(f))); !math.IsNaN(float64(got)) {
			t.Errorf("ToBFloat16(%08x) is %v, not NaN", f, got)
		}
	}
}
