package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestBlockBits: matrices of every block-quantised type, with and without heads whose rows are in rotary-pair order, are read in
// their bits with the values of Float32, whose decoders are compared with llama.cpp's (TestDequantise).
func TestBlockBits(t *testing.T) {
	const rows, cols = 16, 512
	for _, c := range []struct {
		dtype        DType
		size, values int
		halves       []int // where a block has its float16s
		bits         int
	}{
		{"Q4_0", 18, 32, []int{0}, 4},
		{"Q4_1", 20, 32, []int{0, 2}, 4},
		{"Q5_0", 22, 32, []int{0}, 8},
		{"Q5_1", 24, 32, []int{0, 2}, 8},
		{"Q8_0", 34, 32, []int{0}, 8},
		{"Q4_K", 144, 256, []int{0, 2}, 4},
		{"Q5_K", 176, 256, []int{0, 2}, 8},
		{"Q6_K", 210, 256, []int{208}, 8},
	} {
		raw := make([]byte, rows*cols/c.values*c.size)
		for i := range raw {
			raw[i] = byte(i*i*7 + i>>3*31 + i*5)
		}
		for b := 0; b < len(raw); b += c.size { // near 0.06 and, every third, -0.06: another in each block
			for _, h := range c.halves {
				raw[b+h], raw[b+h+1] = byte(b/c.size*7+h), 0x2c|byte(b/c.size%3/2*0x80)
			}
		}
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, heads := range []int{0, 1, 4} {
			x := &stored{name: "w", dtype: c.dtype, shape: []int{rows, cols}, count: rows * cols, file: f, bytes: int64(len(raw)), heads: heads}
			got, err := x.blockBits()
			if err != nil {
				t.Fatal(err)
			}
			if got.Bits != c.bits {
				t.Errorf("%s: %d bits, want %d", c.dtype, got.Bits, c.bits)
			}
			want, err := x.float32s()
			if err != nil {
				t.Fatal(err)
			}
			v := make([]float32, rows*cols)
			got.float32s(v)
			for i := range want {
				if math.Float32bits(v[i]) != math.Float32bits(want[i]) && (v[i] != 0 || want[i] != 0) {
					t.Fatalf("%s, %d heads: value %d is %v, want %v", c.dtype, heads, i, v[i], want[i])
				}
			}
		}
	}
}
