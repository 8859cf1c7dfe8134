//go:build cgo && (amd64 || arm64)

package kernels

import "unsafe"

/*
// -std=c11 also makes GCC keep products and sums apart (-ffp-contract=off), on which the bit rule rests.
#cgo CFLAGS: -std=c11 -O3 -Wall -Wextra
#cgo noescape lse_tile
#cgo nocallback lse_tile
#include "kernels.h"
*/
import "C"

// native is an instruction set, as the C functions know it.
type native C.int

func nativeTable(name string, n native) *table {
	return &table{
		name: name, gemm: n.gemm, attention: n.attention, attentionBackward: n.attentionBackward,
		rmsNorm: n.rmsNorm, rmsNormBackward: n.rmsNormBackward, rmsNormGrad: n.rmsNormGrad,
		rope: n.rope, lseTile: n.lseTile, softmaxGrad: n.softmaxGrad,
		add: n.add, axpy: n.axpy, scale: n.scale, swiglu: n.swiglu, swigluBackward: n.swigluBackward,
		adamw: n.adamw, sumSquares: n.sumSquares,
	}
}

// ptr returns the address of a slice's first element, or nil if it is empty.
func ptr(x []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(x))) }

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func (n native) gemm(g *gemmArgs, w *worker, i0, i1, p0, p1 int) {
	kc, copied := kBlock(g, i1-i0), 4
	if decoded(g, i1-i0) {
		copied = 0
	}
	// The copy of A, of at most four panels of B, and one tile of C.
	scratch := w.floats((i1-i0)*kc + 16 + copied*panelWidth*kc + 14*panelWidth)
	C.gemm(C.int(n), ptr(g.c), C.long(g.ldc), ptr(g.a), C.long(g.rowStride), C.long(g.colStride),
		ptr(g.bf), (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(g.bh))), C.long(g.ldb), C.int(g.kind), C.long(g.n), C.long(g.k),
		cBool(g.acc), C.long(i0), C.long(i1), C.long(p0), C.long(p1), C.long(kc), ptr(scratch), few(g, i1-i0))
}

// few returns the operand in few bits, if there is one, of a product of so many rows.
func few(g *gemmArgs, rows int) (q C.quantised) {
	if b := g.bq; b != nil {
		q = C.quantised{
			mins: ptr(b.Mins), blocks: C.long(b.blocks), zero: C.float(b.zero), linear: cBool(b.linear),
			codes: (*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(b.codes))), table: ptr(b.Table), scales: ptr(b.Scales),
			scale_codes: (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b.ScaleCodes))), nested: ptr(b.Nested),
			nested_table: ptr(b.NestedTable), offset: C.float(b.Offset), bits: C.int(b.Bits), block: C.long(b.Block),
			in: C.long(g.in), row0: C.long(g.row0), decoded: cBool(decoded(g, rows)),
		}
	}
	return q
}

// kBlock returns the number of k that gemm takes at a time for a tile of so many rows, a multiple of 16: so many that a panel of B
// stays in the L1 cache, or most of the four that are copied from rows; for few rows, which use a panel but once and read it from end
// to end, all of a B that is not copied.
func kBlock(g *gemmArgs, rows int) int {
	most := 384
	switch {
	case g.kind == rowsB:
		most = 128
	case rows <= 16 && g.bq == nil, decoded(g, rows):
		most = g.k
	}
	n := (g.k + most - 1) / most
	return ((g.k+n-1)/n + 15) &^ 15
}

// decoded tells whether a B in few bits is decoded in registers: from five rows on, a panel decoded once into the cache costs less
// than its rows.
func decoded(g *gemmArgs, rows int) bool {
	return g.bq != nil && g.kind == packedB && rows <= 4 && g.in%g.bq.Block == 0 && g.bq.Block%8 == 0
}

func (n native) attention(j *attnJob, w *worker, i int) {
	b := j.blocks[i]
	s, dp, rows := &j.seqs[b.seq], panels(j.D)*panelWidth, (b.r1-b.r0)*j.H/j.KV
	scratch := w.floats(2*dp*KeyTile + 6*KeyTile + rows*(dp+2+j.D))
	at := s.QRow * j.H
	var lse []float32
	if j.lse != nil {
		lse = j.lse[at:]
	}
	C.attention(C.int(n), ptr(j.out[at*j.D:]), ptr(lse), ptr(j.q[at*j.D:]), ptr(s.K), ptr(s.V), C.long(j.H), C.long(j.KV), C.long(j.D),
		C.float(j.Scale), C.long(j.Window), C.long(s.Past), cache(j, w, i), C.long(b.kv), C.long(b.r0), C.long(b.r1), ptr(scratch))
}

// cache describes the pages of an item's sequence, if it has any, and the one that this thread is likely to read behind them. Their
// addresses are numbers to Go; the job keeps the pages.
func cache(j *attnJob, w *worker, i int) (c C.kv_cache) {
	b := j.blocks[i]
	s := &j.seqs[b.seq]
	if !s.cached() {
		return c
	}
	pages, first := j.pages(b)
	w.pages = w.pages[:0]
	for _, p := range pages {
		w.pages = append(w.pages, p.address())
	}
	l := pages[0].KVLayout
	c = C.kv_cache{
		pages: (*C.uintptr_t)(unsafe.Pointer(unsafe.SliceData(w.pages))), first: C.long(first), at: C.long(l.at(s.Block, b.kv)),
		bytes: C.int(l.Type.number()),
	}
	if s.putsItself() {
		c.newK, c.newV = ptr(s.NewK), ptr(s.NewV)
	}
	if next := i + j.threads; next < len(j.blocks) && j.seqs[j.blocks[next].seq].cached() {
		b := j.blocks[next]
		s := &j.seqs[b.seq]
		pages, first := j.pages(b)
		c.next = C.uintptr_t(pages[0].address() + uintptr(pages[0].at(s.Block, b.kv)))
		c.next_keys = C.long(min(s.Past+b.r1-first*KeyTile, KeyTile))
	}
	return c
}

func (p *KVPage) address() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p.mem))) }

func (n native) attentionBackward(j *attnJob, w *worker, b attnBlock) {
	s, dp := &j.seqs[b.seq], panels(j.D)*panelWidth
	scratch := w.floats(8*dp*KeyTile + 2*KeyTile*KeyTile + j.H/j.KV*s.QLen)
	wide := s.QRow * j.H * j.D
	C.attention_backward(C.int(n), ptr(j.dq[wide:]), ptr(s.DK), ptr(s.DV), ptr(j.dOut[wide:]), ptr(j.q[wide:]),
		ptr(j.out[wide:]), ptr(j.lse[s.QRow*j.H:]), ptr(s.K), ptr(s.V), C.long(j.H), C.long(j.KV), C.long(j.D), C.float(j.Scale),
		C.long(j.Window), C.long(s.Past), C.long(s.QLen), C.long(b.kv), C.long(b.r0), C.long(b.r1),
		cBool(j.phase != attnBackKV), cBool(j.phase != attnBackQ), ptr(scratch))
}

func (n native) add(dst, a, b []float32) { C.add(C.int(n), ptr(dst), ptr(a), ptr(b), C.long(len(dst))) }

func (n native) axpy(y, x []float32, s float32) {
	C.axpy(C.int(n), ptr(y), ptr(x), C.float(s), C.long(len(y)))
}

func (n native) scale(dst, x []float32, s float32) {
	C.scale(C.int(n), ptr(dst), ptr(x), C.float(s), C.long(len(dst)))
}

func (n native) swiglu(h, g, u []float32) {
	C.swiglu(C.int(n), ptr(h), ptr(g), ptr(u), C.long(len(h)))
}

func (n native) swigluBackward(dg, du, dh, g, u []float32) {
	C.swiglu_backward(C.int(n), ptr(dg), ptr(du), ptr(dh), ptr(g), ptr(u), C.long(len(dg)))
}

func (n native) adamw(x, g, m, v []float32, k *adamwConsts) {
	C.adamw(C.int(n), ptr(x), ptr(g), ptr(m), ptr(v), (*C.float)(unsafe.Pointer(k)), C.long(len(x)))
}

func (n native) sumSquares(x []float32) float64 {
	return float64(C.sum_squares(C.int(n), ptr(x), C.long(len(x))))
}

func (n native) rmsNorm(j *rowJob, lo, hi int) {
	var rstd []float32
	if j.b != nil {
		rstd = j.b[lo:]
	}
	C.rms_norm(C.int(n), ptr(j.a[lo*j.n:]), ptr(rstd), ptr(j.c[lo*j.n:]), ptr(j.d), C.long(hi-lo), C.long(j.n), C.float(j.s))
}

func (n native) rmsNormBackward(j *rowJob, lo, hi int) {
	C.rms_norm_backward(C.int(n), ptr(j.a[lo*j.n:]), ptr(j.b[lo*j.n:]), ptr(j.c[lo*j.n:]), ptr(j.d), ptr(j.e[lo:]),
		C.long(hi-lo), C.long(j.n), cBool(j.acc))
}

func (n native) rmsNormGrad(j *rowJob, lo, hi int) {
	C.rms_norm_grad(C.int(n), ptr(j.a[lo:]), ptr(j.b[lo:]), ptr(j.c[lo:]), ptr(j.d), C.long(j.m), C.long(j.n), C.long(hi-lo))
}

func (n native) rope(j *rowJob, lo, hi int) {
	if j.rope.Interleaved {
		ropeGeneric(j, lo, hi)
		return
	}
	C.rope(C.int(n), ptr(j.a[lo*j.n:]), (*C.int32_t)(unsafe.Pointer(&j.ids[lo])), ptr(j.rope.Cos), ptr(j.rope.Sin),
		C.long(hi-lo), C.long(j.k), C.long(j.rope.D), C.long(j.rope.Rot/2), cBool(j.acc))
}

func (n native) lseTile(z []float32, scale float32) LSE {
	var t [3]C.double
	C.lse_tile(C.int(n), &t[0], ptr(z), C.long(len(z)), C.float(scale))
	return LSE{Max: float32(t[0]), Sum: float64(t[1]), Dot: float64(t[2])}
}

func (n native) softmaxGrad(j *rowJob, lo, hi int) {
	C.softmax_grad(C.int(n), ptr(j.a[lo*j.n:]), ptr(j.b[lo*j.n:]), ptr(j.c[lo:]), ptr(j.d[lo:]), ptr(j.e[lo:]),
		C.long(hi-lo), C.long(j.n), C.float(j.s))
}
