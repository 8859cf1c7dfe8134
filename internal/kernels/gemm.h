// gemm computes rows [i0,i1) × panels [p0,p1) (16 columns each) of c[m,n] (+)= A[m,k] B[k,n]:
//
//   for every element: acc = 0, or c(i,j) if acc;  for k ascending: acc = fma(A(i,k), B(k,j), acc);  c(i,j) = acc
//
// A(i,k) = a[i·rs + k·cs], one of rs, cs is 1. B lies as kind says (see bKind in gemm.go), in bf, as bfloat16 in bh,
// or in few bits in q.
// No alignment is assumed; c overlaps nothing. scratch holds what native.go says.
//
// For blocks of KC inputs: the rows of A are used where they lie or copied to blocks of MR rows [k][MR]; each group of NP panels
// of B is used where it lies or copied to [k][16] in L1, from rows four panels at a time; then the micro-kernel runs down the row blocks, continuing c through
// memory.

#include "quantised.h"

// micro computes mr rows × np panels: c(i,p) (+)= Σ_k a[i·rs + k·cs] · B(k,p), B(k,p) the 16 values at b[p·ps + k·ks]
// (bfloat16 ones at h if bf16). mr, np, bf16 and, where it matters, the strides are constants: everything unrolls. Each k asks
// the cache for the line at ahead and moves that on by step bytes.
INLINE void NAME(micro)(const int mr, const int np, const int bf16, float *c, long ldc, const float *a, long rs, long cs,
			const float *b, const uint16_t *h, long ks, long ps, const char *ahead, long step, long k, int load) {
	v16 acc[14][8];
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
		for (int p = 0; p < np; p++) acc[i][p] = load ? v_load(c + i * ldc + p * 16) : v_zero();
	for (long l = 0; l < k; l++) {
		v16 w[8];
		__builtin_prefetch(ahead);
		ahead += step;
#pragma GCC unroll 8
		for (int p = 0; p < np; p++) w[p] = bf16 ? v_load_bf16(h + p * ps) : v_load(b + p * ps);
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			v16 x = v_set1(a[i * rs]);
#pragma GCC unroll 8
			for (int p = 0; p < np; p++) acc[i][p] = v_fma(x, w[p], acc[i][p]);
		}
		a += cs;
		b += bf16 ? 0 : ks;
		h += bf16 ? ks : 0;
	}
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
		for (int p = 0; p < np; p++) v_store(c + i * ldc + p * 16, acc[i][p]);
}

// B operand of a group of panels, as micro wants it.
typedef struct {
	const float *f;
	const uint16_t *h; // used instead of f if not 0
	long ks, ps;
	const char *ahead; // what comes next, and how far a product of one row block moves on in it for each k
	long step;
} NAME(operand);

// A lies in rows (rs, 1) or in columns (1, cs), as what is copied does. Wide kernels take rows with one panel of float32 only.
#if MAX_MR > 6
#define MICRO_ROWS(mr, np) if (np == 1) NAME(micro)(mr, 1, 0, c, ldc, a, rs, 1, b->f, 0, 16, 0, b->ahead, b->step, k, load);
#else
#define MICRO_ROWS(mr, np) \
	if (b->h) \
		NAME(micro)(mr, np, 1, c, ldc, a, rs, 1, 0, b->h, 16, b->ps, b->ahead, b->step, k, load); \
	else \
		NAME(micro)(mr, np, 0, c, ldc, a, rs, 1, b->f, 0, 16, b->ps, b->ahead, b->step, k, load);
#endif
#define MICRO(mr, np) \
	case mr: \
		if (rs != 1) { \
			MICRO_ROWS(mr, np) \
		} else if (b->h) { \
			NAME(micro)(mr, np, 1, c, ldc, a, 1, cs, 0, b->h, 16, b->ps, b->ahead, b->step, k, load); \
		} else { \
			NAME(micro)(mr, np, 0, c, ldc, a, 1, cs, b->f, 0, 16, b->ps, b->ahead, b->step, k, load); \
		} \
		break;

// tile_1, tile_2 and tile_4 run the micro-kernel on mr rows of A and so many panels.
static void NAME(tile_1)(int mr, float *c, long ldc, const float *a, long rs, long cs, const NAME(operand) *b, long k, int load) {
	switch (mr) {
		MICRO(1, 1) MICRO(2, 1) MICRO(3, 1) MICRO(4, 1) MICRO(5, 1) MICRO(6, 1)
#if MAX_MR > 6
		MICRO(7, 1) MICRO(8, 1) MICRO(9, 1) MICRO(10, 1) MICRO(11, 1) MICRO(12, 1) MICRO(13, 1) MICRO(14, 1)
#endif
	}
}
static void NAME(tile_2)(int mr, float *c, long ldc, const float *a, long rs, long cs, const NAME(operand) *b, long k, int load) {
	switch (mr) {
		MICRO(1, 2) MICRO(2, 2) MICRO(3, 2)
#if MAX_MR > 6
		MICRO(4, 2) MICRO(5, 2) MICRO(6, 2) MICRO(7, 2) MICRO(8, 2) MICRO(9, 2) MICRO(10, 2) MICRO(11, 2)
		MICRO(12, 2) MICRO(13, 2) MICRO(14, 2)
#endif
	}
}
static void NAME(tile_4)(int mr, float *c, long ldc, const float *a, long rs, long cs, const NAME(operand) *b, long k, int load) {
	switch (mr) {
		MICRO(1, 4)
#if MAX_MR > 6
		MICRO(2, 4) MICRO(3, 4) MICRO(4, 4) MICRO(5, 4) MICRO(6, 4)
#endif
	}
}

// group returns how many panels micro takes together for mr rows: enough independent chains to hide the latency of
// fma, and few enough accumulators for the registers.
INLINE int NAME(group)(int mr) {
	if (MAX_MR == 6) return mr == 1 ? 4 : mr <= 3 ? 2 : 1;
	return mr <= 6 ? 4 : 2;
}

// group_few is group for micro_few, whose codes, scales and table take registers as well.
INLINE int NAME(group_few)(int mr) {
	if (MAX_MR == 6) return mr <= 2 ? 2 : 1;
	return 4;
}

INLINE void NAME(tile)(int np, int mr, float *c, long ldc, const float *a, long rs, long cs, const NAME(operand) *b, long k, int load) {
	if (np == 4)
		NAME(tile_4)(mr, c, ldc, a, rs, cs, b, k, load);
	else if (np == 2)
		NAME(tile_2)(mr, c, ldc, a, rs, cs, b, k, load);
	else
		NAME(tile_1)(mr, c, ldc, a, rs, cs, b, k, load);
}

// pack_a copies A(i0..i0+rows, k0..k0+k) to dst in blocks of mr rows (the last one shorter), each [k][rows of block].
// It may write 15 floats beyond.
static void NAME(pack_a)(float *dst, const float *a, long rs, long cs, long i0, long rows, long k0, long k, int mr) {
	for (long i = 0; i < rows; i += mr) {
		long n = rows - i < mr ? rows - i : mr;
		float *d = dst + i * k;
		if (rs == 1) {
			const float *s = a + i0 + i + k0 * cs;
			for (long l = 0; l < k; l++) v_store(d + l * n, v_loadn(s + l * cs, n));
			continue;
		}
		const float *s = a + (i0 + i) * rs + k0;
		for (long l = 0; l < k; l += 16) {
			float t[256];
			long nk = k - l < 16 ? k - l : 16;
			transpose16(t, 16, s + l, rs, n, nk);
			for (long q = 0; q < nk; q++) v_store(d + (l + q) * n, v_load(t + q * 16));
		}
	}
}

// fill copies panel p of B, rows k0..k0+k, to dst [k][16]; it may write up to a multiple of 16 rows.
static void NAME(fill)(float *dst, const float *bf, const uint16_t *bh, const quantised *q, long ldb, int kind, long n, long kAll, long p, long k0, long k) {
	long cols = n - p * 16 < 16 ? n - p * 16 : 16;
	if (q->codes && kind == 0) {
		NAME(decode)(dst, q, p, k0, k);
	} else if (q->codes) {
		float t[256];
		for (long l = 0; l < k; l += 16) {
			NAME(decode)(t, q, (k0 + l) / 16, p * 16, cols);
			transpose16(dst + l * 16, 16, t, 16, cols, 16);
		}
	} else if (kind == 0) { // packed bfloat16
		const uint16_t *h = bh + (p * kAll + k0) * 16;
		for (long l = 0; l < k; l++) v_store(dst + l * 16, v_load_bf16(h + l * 16));
	} else if (kind == 1) {
		for (long l = 0; l < k; l += 16) {
			long at = ((k0 + l) / 16 * ldb + p * 16) * 16;
			if (bh)
				transpose16_bf16(dst + l * 16, 16, bh + at, cols);
			else
				transpose16(dst + l * 16, 16, bf + at, 16, cols, 16);
		}
	} else if (kind == 3) {
		for (long l = 0; l < k; l += 16) transpose16(dst + l * 16, 16, bf + p * 16 * ldb + k0 + l, ldb, cols, k - l);
	}
}

// fill_rows copies np panels of B, rows k0..k0+k, from rows (kind 2) to np times [k][16], step floats apart: a row is read from end
// to end, and asked for before it is needed, for it comes from far.
static void NAME(fill_rows)(float *dst, long step, const float *bf, long ldb, long n, long p, long np, long k0, long k) {
	const float *s = bf + k0 * ldb + p * 16;
	for (long l = 0; l < k; l++, s += ldb, dst += 16)
		for (long j = 0; j < np; j++) {
			const long cols = n - (p + j) * 16;
			__builtin_prefetch(s + 8 * ldb + j * 16);
			v_store(dst + j * step, cols < 16 ? v_loadn(s + j * 16, cols) : v_load(s + j * 16));
		}
}

void NAME(gemm)(float *c, long ldc, const float *a, long rs, long cs, const float *bf, const uint16_t *bh, long ldb,
		int kind, long n, long kAll, int acc, long i0, long i1, long p0, long p1, long kc, float *scratch, quantised q) {
	const long rows = i1 - i0;
	const long blocks = (rows + MAX_MR - 1) / MAX_MR;
	const int mr0 = (int)((rows + blocks - 1) / blocks); // blocks of equal height: 8+8 rather than 14+2
	const int few = blocks <= 3;                         // then bfloat16 is widened in registers, not copied
	const int decoded = q.decoded; // and codes are
	// With registers for six rows A is read where it lies: copying cost a third of a narrow product and won nothing. Rows that
	// are a multiple of 4 KiB apart would share a few sets of the cache; those are copied.
	const int apart = rs % 1024 != 0 && (rs != 1 || cs % 1024 != 0);
	const int lies = decoded && rows == 1 && cs == 1; // one row is what a copy of it would be
	const int loose = !decoded && (MAX_MR == 6 ? rows == 1 || apart : rs != 1 && p1 - p0 <= 2 && !(bh && few));
	const int group0 = decoded ? NAME(group_few)(mr0) : MAX_MR > 6 && loose ? 1 : NAME(group)(mr0);
	float *pa = scratch, *pb = pa + (loose || lies ? 0 : rows * kc + 16), *tile = pb + (decoded ? 0 : kind == 2 ? 4 : group0) * kc * 16;
	for (long k0 = 0; k0 < kAll; k0 += kc) {
		const long k = kAll - k0 < kc ? kAll - k0 : kc;
		const int load = acc || k0 > 0;
		if (!loose && !lies) NAME(pack_a)(pa, a, rs, cs, i0, rows, k0, k, mr0);
		for (long p = p0; p < p1;) {
			int np = group0;
			while (p + np > p1 || (np > 1 && (p + np) * 16 > n)) np /= 2; // the last, partial panel goes alone
			NAME(operand) b = {bf ? bf + (p * kAll + k0) * 16 : 0, 0, 16, kAll * 16, 0, 0};
			if (kind == 2) { // four panels at a time
				const long at = (p - p0) % 4;
				if (at == 0) NAME(fill_rows)(pb, kc * 16, bf, ldb, n, p, p1 - p < 4 ? p1 - p : 4, k0, k);
				b.f = pb + at * kc * 16;
				b.ps = kc * 16;
			} else if (kind == 0 && bh && few) {
				b.h = bh + (p * kAll + k0) * 16;
			} else if (!decoded && (kind != 0 || bh || q.codes)) {
				for (int j = 0; j < np; j++) NAME(fill)(pb + j * kc * 16, bf, bh, &q, ldb, kind, n, kAll, p + j, k0, k);
				b.f = pb;
				b.ps = kc * 16;
			}
			// The row blocks ask for the next panels between them, a share each, so that memory works while they compute;
			// not for more than stays in the second-level cache.
			const char *next = 0;
			if (kind == 0 && bh)
				next = (const char *)(bh + ((p + np) * kAll + k0) * 16);
			else if (kind == 0 && q.codes)
				next = (const char *)NAME(words_at)(&q, p + np, k0);
			else if (kind == 0)
				next = (const char *)(bf + ((p + np) * kAll + k0) * 16);
			const long ahead = np * k * 2 * (bh ? 16 : q.codes ? q.bits : 32);
			if (ahead > 1 << 17) next = 0;
			const long share = next ? ahead / blocks : 0;
			b.step = (share + k - 1) / k;
			const long part = n - p * 16 < 16 ? n - p * 16 : 0;
			for (long i = 0; i < rows; i += mr0) {
				int mr = rows - i < mr0 ? (int)(rows - i) : mr0;
				b.ahead = next ? next + i / mr0 * share : (const char *)c;
				float *ci = c + (i0 + i) * ldc + p * 16, *to = ci;
				long ldt = ldc;
				if (part) {
					to = tile;
					ldt = 16;
					if (load)
						for (int r = 0; r < mr; r++) v_store(tile + r * 16, v_loadn(ci + r * ldc, part));
				}
				if (decoded)
					NAME(few)(np, mr, to, ldt, lies ? a + i0 * rs + k0 : pa + i * k, &q, p, k0, k, load);
				else if (loose)
					NAME(tile)(np, mr, to, ldt, a + (i0 + i) * rs + k0 * cs, rs, cs, &b, k, load);
				else
					NAME(tile)(np, mr, to, ldt, pa + i * k, 1, mr, &b, k, load);
				if (part)
					for (int r = 0; r < mr; r++) v_storen(ci + r * ldc, v_load(tile + r * 16), part);
			}
			p += np;
		}
	}
}
