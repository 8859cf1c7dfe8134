package kernels

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// BLAS returns gonum's BLAS with its Sgemm on p, for blas32.Use. Like the rest of the package it multiplies with fma,
// so its last bits differ from gonum's own.
func BLAS(p *Pool) blas.Float32 { return blas32{p: p} }

type blas32 struct {
	gonum.Implementation
	p *Pool
}

// Sgemm computes c = alpha·op(a)·op(b) + beta·c. Where alpha is neither 1 nor beta 0, and for operands that gonum would
// refuse, gonum computes it.
func (b blas32) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, bb []float32, ldb int, beta float32, c []float32, ldc int) {
	rowsA, colsA, rowsOfB, colsOfB := m, k, k, n
	if tA != blas.NoTrans {
		rowsA, colsA = k, m
	}
	if tB != blas.NoTrans {
		rowsOfB, colsOfB = n, k
	}
	fits := m > 0 && n > 0 && k > 0 && lda >= colsA && ldb >= colsOfB && ldc >= n &&
		len(a) >= (rowsA-1)*lda+colsA && len(bb) >= (rowsOfB-1)*ldb+colsOfB && len(c) >= (m-1)*ldc+n
	if !fits || alpha != 1 && beta != 0 {
		b.Implementation.Sgemm(tA, tB, m, n, k, alpha, a, lda, bb, ldb, beta, c, ldc)
		return
	}
	g := gemmArgs{c: c, ldc: ldc, a: a, rowStride: lda, colStride: 1, n: n, k: k, acc: beta != 0, kind: rowsB, bf: bb, ldb: ldb}
	if tA != blas.NoTrans {
		g.rowStride, g.colStride = 1, lda
	}
	if tB != blas.NoTrans {
		g.kind = columnsB
	}
	if beta != 0 && beta != 1 {
		for i := range m {
			b.p.Scale(c[i*ldc:i*ldc+n], beta, c[i*ldc:i*ldc+n])
		}
	}
	b.p.gemm(m, g)
	if alpha != 1 {
		for i := range m {
			b.p.Scale(c[i*ldc:i*ldc+n], alpha, c[i*ldc:i*ldc+n])
		}
	}
}
