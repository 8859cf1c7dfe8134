// Entry points of the kernels, once for each instruction set, and a function that picks one by isa (2 or 512; ARM has one).
// The contracts are in the headers that define them.
#ifndef KERNELS_H
#define KERNELS_H
#include <stdint.h>

// quantised is a matrix in few bits from row row0 on (weight_quantised.go); codes is 0 where there is none.
typedef struct {
	const uint32_t *codes;
	const float *table;         // [16] or [256]
	const float *scales;        // one a block, or 0 and then
	const uint8_t *scale_codes; // one a block: nested_table[scale_codes[b]]·nested[b/256] + offset
	const float *nested, *nested_table;
	const float *mins;          // one a block, or 0
	float offset, zero;
	int bits, linear;           // linear: table[code] = code - zero
	long block, in, row0;
	long blocks;                // of a row, where scales and mins lie in panels, else 0
	int decoded;                // the product has so few rows that codes are decoded in registers: at most 4, of whole blocks
} quantised;

// kv_cache is the pages in which a sequence's keys and values lie (kvcache.go); pages is 0 where they lie packed.
typedef struct {
	const uintptr_t *pages;   // pages[i - first] holds the keys from 64·i on
	long first, at;           // at: the head's place in a page, in bytes
	int bytes;                // of a number: 4, 2 for bfloat16, 1 for codes with scales
	const float *newK, *newV; // of the rows, to be put into the pages, or 0
	uintptr_t next;           // the head in a page that is likely to be read next, or 0, and how many keys of it
	long next_keys;
} kv_cache;

#if defined(__aarch64__)
#define KERNEL(type, name, args, ...)              \
	type name##_neon(__VA_ARGS__);                 \
	static inline type name(int isa, __VA_ARGS__) { return (void)isa, name##_neon args; }
#else
#define KERNEL(type, name, args, ...)              \
	type name##_avx2(__VA_ARGS__);                 \
	type name##_avx512(__VA_ARGS__);               \
	static inline type name(int isa, __VA_ARGS__) { return isa == 512 ? name##_avx512 args : name##_avx2 args; }
#endif

KERNEL(void, gemm, (c, ldc, a, rs, cs, bf, bh, ldb, kind, n, k, acc, i0, i1, p0, p1, kc, scratch, q),
       float *c, long ldc, const float *a, long rs, long cs, const float *bf, const uint16_t *bh, long ldb, int kind, long n,
       long k, int acc, long i0, long i1, long p0, long p1, long kc, float *scratch, quantised q)

KERNEL(void, attention, (out, lse, q, K, V, H, KV, D, scale, window, past, cache, kv, r0, r1, scratch),
       float *out, float *lse, const float *q, const float *K, const float *V, long H, long KV, long D, float scale, long window,
       long past, kv_cache cache, long kv, long r0, long r1, float *scratch)

KERNEL(void, attention_backward,
       (dq, dk, dv, dOut, q, out, lse, K, V, H, KV, D, scale, window, past, n, kv, r0, r1, wantQ, wantKV, scratch),
       float *dq, float *dk, float *dv, const float *dOut, const float *q, const float *out, const float *lse, const float *K,
       const float *V, long H, long KV, long D, float scale, long window, long past, long n, long kv, long r0, long r1,
       int wantQ, int wantKV, float *scratch)

KERNEL(void, add, (dst, a, b, n), float *dst, const float *a, const float *b, long n)
KERNEL(void, axpy, (y, x, s, n), float *y, const float *x, float s, long n)
KERNEL(void, scale, (dst, x, s, n), float *dst, const float *x, float s, long n)
KERNEL(void, swiglu, (h, g, u, n), float *h, const float *g, const float *u, long n)
KERNEL(void, swiglu_backward, (dg, du, dh, g, u, n), float *dg, float *du, const float *dh, const float *g, const float *u, long n)
KERNEL(void, adamw, (x, g, m, v, k, n), float *x, const float *g, float *m, float *v, const float *k, long n)
KERNEL(double, sum_squares, (x, n), const float *x, long n)

KERNEL(void, rms_norm, (y, rstd, x, w, m, n, eps), float *y, float *rstd, const float *x, const float *w, long m, long n, float eps)
KERNEL(void, rms_norm_backward, (dx, dy, x, w, rstd, m, n, acc),
       float *dx, const float *dy, const float *x, const float *w, const float *rstd, long m, long n, int acc)
KERNEL(void, rms_norm_grad, (dw, dy, x, rstd, m, ld, n),
       float *dw, const float *dy, const float *x, const float *rstd, long m, long ld, long n)
KERNEL(void, rope, (x, pos, cosines, sines, m, heads, d, half, inverse),
       float *x, const int32_t *pos, const float *cosines, const float *sines, long m, long heads, long d, long half, int inverse)
KERNEL(void, lse_tile, (out, z, n, scale), double *out, const float *z, long n, float scale)
KERNEL(void, softmax_grad, (dz, z, lse, a, b, m, n, scale),
       float *dz, const float *z, const float *lse, const float *a, const float *b, long m, long n, float scale)
#endif
