package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestBlockBits: Q4_0 and Q8_0 matrices, with and without heads whose rows are in rotary-pair order, are read in their bits with
// the values of Float32, whose decoders are compared with llama.cpp's (TestDequantise).
func TestBlockBits(t *testing.T) {
	const rows, cols = 16, 64
	for d, size := range map[DType]int{"Q4_0": 18, "Q8_0": 34, "Q4_1": 20} {
		raw := make([]byte, rows*cols/32*size)
		for b := 0; b < len(raw); b += size {
			raw[b], raw[b+1] = byte(b), 0x2c // a scale near 0.06, another in each block
			for i := 2; i < size; i++ {
				raw[b+i] = byte(b*31 + i*i*7)
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
			x := &stored{name: "w", dtype: d, shape: []int{rows, cols}, count: rows * cols, file: f, bytes: int64(len(raw)), heads: heads}
			got, err := x.blockBits()
			if err != nil {
				t.Fatal(err)
			}
			if d == "Q4_1" {
				if got != nil {
					t.Error("Q4_1 has minima, which FewBits has no place for")
				}
				continue
			}
			want, err := x.float32s()
			if err != nil {
				t.Fatal(err)
			}
			v := make([]float32, rows*cols)
			got.float32s(v)
			for i := range want {
				if math.Float32bits(v[i]) != math.Float32bits(want[i]) && (v[i] != 0 || want[i] != 0) {
					t.Fatalf("%s, %d heads: value %d is %v, want %v", d, heads, i, v[i], want[i])
				}
			}
		}
	}
}
