//go:build cgo

package kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

/*
// -std=c11 also makes GCC keep products and sums apart (-ffp-contract=off), on which the bit rule rests.
#cgo CFLAGS: -std=c11 -O3 -Wall -Wextra
#include "kernels_amd64.h"
*/
import "C"

// nativeTables returns the C variants that this CPU can run, the best last.
func nativeTables() []*table {
	var t []*table
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		t = append(t, avx2Table())
	}
	if len(t) > 0 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
		t = append(t, avx512Table())
	}
	return t
}

// ptr returns the address of a slice's first element, or nil if it is empty.
func ptr(x []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(x))) }

// kBlock returns the number of k that gemm takes at a time for a tile of so many rows: all if every weight is used
// for few rows only, else at most 384, a multiple of 16, so that a panel of B stays in the L1 cache.
func kBlock(rows, k int) int {
	n := 1
	if rows > 14 {
		n = (k + 383) / 384
	}
	return ((k+n-1)/n + 15) &^ 15
}

// gemmScratch returns the floats of scratch that gemm needs: the copy of A, of at most four panels of B, one tile.
func gemmScratch(rows, kc int) int { return rows*kc + 16 + 4*16*kc + 14*16 }

func avx2Table() *table {
	t := genericTable()
	t.name = "avx2"
	t.gemm = func(g *gemmArgs, w *worker, i0, i1, p0, p1 int) {
		kc := kBlock(i1-i0, g.k)
		C.gemm_avx2(ptr(g.c), C.long(g.ldc), ptr(g.a), C.long(g.rowStride), C.long(g.colStride), ptr(g.bf), ptr16(g.bh),
			C.long(g.ldb), C.int(g.kind), C.long(g.n), C.long(g.k), cBool(g.acc),
			C.long(i0), C.long(i1), C.long(p0), C.long(p1), C.long(kc), ptr(w.floats(gemmScratch(i1-i0, kc))))
	}
	return t
}

func avx512Table() *table {
	t := genericTable()
	t.name = "avx512"
	t.gemm = func(g *gemmArgs, w *worker, i0, i1, p0, p1 int) {
		kc := kBlock(i1-i0, g.k)
		C.gemm_avx512(ptr(g.c), C.long(g.ldc), ptr(g.a), C.long(g.rowStride), C.long(g.colStride), ptr(g.bf), ptr16(g.bh),
			C.long(g.ldb), C.int(g.kind), C.long(g.n), C.long(g.k), cBool(g.acc),
			C.long(i0), C.long(i1), C.long(p0), C.long(p1), C.long(kc), ptr(w.floats(gemmScratch(i1-i0, kc))))
	}
	return t
}

func ptr16(x []uint16) *C.uint16_t { return (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(x))) }

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
