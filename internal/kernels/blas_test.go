package kernels

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// TestBLAS: Sgemm agrees with gonum's in every transposition, within the rounding of two chains of k products.
func TestBLAS(t *testing.T) {
	m, n, k := 29, 37, 65
	lda, ldb, ldc := 70, 71, 40
	a, b, old := randoms(1, 70*lda), randoms(2, 70*ldb), randoms(3, m*ldc)
	largest := 0.0 // Σ|ab| is at most |a||b|
	for r := range 70 {
		sumA, sumB := 0.0, 0.0
		for i := range k {
			sumA += math.Pow(float64(a[r*lda+i]), 2) + math.Pow(float64(a[i*lda+r%lda]), 2)
			sumB += math.Pow(float64(b[r*ldb+i]), 2) + math.Pow(float64(b[i*ldb+r%ldb]), 2)
		}
		largest = max(largest, sumA, sumB)
	}
	eachVariant(t, func(t *testing.T) {
		p := NewPool(2)
		defer p.Close()
		for _, tA := range []blas.Transpose{blas.NoTrans, blas.Trans} {
			for _, tB := range []blas.Transpose{blas.NoTrans, blas.Trans} {
				for _, f := range [][2]float32{{1, 0}, {1, 1}, {1, 0.5}, {-2, 0}, {3, 2}} {
					got, want := append([]float32(nil), old...), append([]float32(nil), old...)
					BLAS(p).Sgemm(tA, tB, m, n, k, f[0], a, lda, b, ldb, f[1], got, ldc)
					gonum.Implementation{}.Sgemm(tA, tB, m, n, k, f[0], a, lda, b, ldb, f[1], want, ldc)
					for i := range got {
						// Each is within k·u·Σ|ab| of the exact sum; the largest such sum stands for all. Columns past n stay.
						bound := 2 * float64(k+3) * u * (math.Abs(float64(f[0]))*largest + 10)
						if d := math.Abs(float64(got[i] - want[i])); d > bound || i%ldc >= n && d != 0 {
							t.Fatalf("%c%c alpha=%v beta=%v: c[%d] = %v, gonum %v", tA, tB, f[0], f[1], i, got[i], want[i])
						}
					}
				}
			}
		}
		c := make([]float32, 4)
		defer func() {
			if recover() == nil {
				t.Error("a short operand was accepted")
			}
		}()
		BLAS(p).Sgemm(blas.NoTrans, blas.NoTrans, 2, 2, 2, 1, c[:3], 2, c, 2, 0, c, 2)
	})
}
