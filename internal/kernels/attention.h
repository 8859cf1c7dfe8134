// Flash attention of one block: the query heads of one key head, some rows of one sequence. The formulas, chains and
// orders are in attention_generic.go; D is padded to DP, a multiple of 16, inside scratch.
//
// Per tile of 64 keys: K as [D][64], transposed here or, in a page, when it was put there, and V [64][DP] lie in L1; rows go by
// sixes through scores (6 × 64), softmax, and the product with V. Keys that a row does not see are left out of its chains, not
// multiplied by zero: so what lies in a cache beyond a row cannot reach it.

enum { KT = 64, MM_ROWS = 6 };

typedef struct {
	long D, DP, group;       // head size, padded; query heads per key head
	long ldq, ldk;           // row strides of q-like and k-like tensors: H·D, KV·D
	long window, past;       // window 0: none
	float scale;
} NAME(attn);

#define MM(mr, np) \
	for (; p + np <= n; p += np) NAME(micro)(mr, np, 0, y + p * 16, ldy, a, rs, cs, b + p * 16, 0, ldb, 16, (const char *)b, 0, k, load);
#if MAX_MR > 6
#define MM_CASE(mr, wide) \
	case mr: \
		MM(mr, 4) MM(mr, 2) MM(mr, 1) break;
#else
#define MM_CASE(mr, wide) \
	case mr: \
		MM(mr, wide) MM(mr, 1) break;
#endif

// mm computes y [m, 16·n] (+)= A [m, k] B [k, 16·n], A(i,l) = a[i·rs + l·cs].
static void NAME(mm)(float *y, long ldy, const float *a, long rs, long cs, const float *b, long ldb, long m, long n, long k, int load) {
	if (k <= 0 && load) return;
	for (; m > 0; m -= MM_ROWS, y += MM_ROWS * ldy, a += MM_ROWS * rs) {
		long p = 0;
		switch (m) {
			MM_CASE(1, 4) MM_CASE(2, 2) MM_CASE(3, 2) MM_CASE(4, 1) MM_CASE(5, 1)
		default:
			MM_CASE(6, 1)
		}
	}
}

// transpose_tile writes n rows of d elements as dst [d][64], missing rows as zeros. It writes up to 16·⌈d/16⌉ rows of dst.
static void NAME(transpose_tile)(float *dst, const float *src, long ld, long n, long d) {
	for (long c = 0; c < d; c += 16)
		for (long r = 0; r < KT; r += 16)
			transpose16(dst + c * KT + r, KT, src + r * ld + c, ld, n - r < 0 ? 0 : n - r, d - c);
}

// pad_tile writes n rows of d elements as dst [n][dp].
static void NAME(pad_tile)(float *dst, const float *src, long ld, long n, long d, long dp) {
	for (long r = 0; r < n; r++)
		for (long c = 0; c < dp; c += 16) v_store(dst + r * dp + c, v_loadn(src + r * ld + c, d - c < 16 ? d - c : 16));
}

// key_range: the keys [*lo,*hi) of the query at position t.
INLINE void NAME(key_range)(const NAME(attn) *s, long t, long *lo, long *hi) {
	*lo = s->window > 0 && t + 1 > s->window ? t + 1 - s->window : 0;
	*hi = t + 1;
}

// softmax_row turns the scores of one row, np panels of 16, into probabilities relative to the new maximum, zero outside
// [j0,j1), and updates the running maximum and sum. It returns the factor for what was summed before.
INLINE float NAME(softmax_row)(float *s, long np, long j0, long j1, float scale, float *max, float *sum) {
	const v16 low = v_set1(-__builtin_inff()), f = v_set1(scale);
	v16 x[4], t = v_set1(*max);
	for (int p = 0; p < np; p++) {
		x[p] = v_range(v_mul(v_load(s + 16 * p), f), low, j0 - 16 * p, j1 - 16 * p);
		t = v_max(t, x[p]);
	}
	const float top = v_top(t);
	t = v_set1(top);
	v16 total = v_zero();
	for (int p = 0; p < np; p++) {
		x[p] = v_range(v_exp(v_sub(x[p], t)), v_zero(), j0 - 16 * p, j1 - 16 * p);
		v_store(s + 16 * p, x[p]);
		total = v_add(total, x[p]);
	}
	float c[16] = {1}; // e⁰, where the maximum stays
	if (*max - top != 0) v_store(c, v_exp(v_set1(*max - top)));
	*max = top;
	*sum = __builtin_fmaf(*sum, c[0], v_sum(total));
	return c[0];
}

// A head's part of a page: keys [D][64], values [64][D], and where a number has one byte the scales of both, [64] each.
typedef struct {
	char *k, *v;
	float *ks, *vs;
} NAME(head_page);

INLINE NAME(head_page) NAME(head_at)(uintptr_t p, int bytes, long D) {
	char *k = (char *)p, *v = k + D * KT * bytes;
	float *ks = (float *)(v + D * KT * bytes);
	return (NAME(head_page)){k, v, ks, ks + KT};
}

INLINE uint16_t NAME(round_bf16)(float x) {
	uint32_t b;
	__builtin_memcpy(&b, &x, 4);
	if (x != x) return b >> 16 | 0x40;
	return (b + 0x7fff + (b >> 16 & 1)) >> 16;
}

// round_int8 writes the codes of x to dst, stride apart, and returns their scale: see roundInt8.
static float NAME(round_int8)(int8_t *dst, long stride, const float *x, long n) {
	float top = 0, inv = 0;
	int nan = 0;
	for (long i = 0; i < n; i++) {
		const float a = __builtin_fabsf(x[i]);
		if (a > top) top = a;
		nan |= x[i] != x[i];
	}
	if (top > 0) inv = 127 / top;
	for (long i = 0; i < n; i++) {
		float c = x[i] * inv;
		if (!(c > -127)) c = -127;
		if (c > 127) c = 127;
		dst[i * stride] = (int8_t)__builtin_rintf(c);
	}
	return nan ? __builtin_nanf("") : top / 127;
}

// put writes new keys and values [from,to), counted in the whole sequence, into their page.
static void NAME(put)(NAME(head_page) p, int bytes, const float *newK, const float *newV, long ld, long past, long from, long to, long D) {
	for (long t = from; t < to; t++) {
		const float *x = newK + (t - past) * ld, *y = newV + (t - past) * ld;
		const long j = t % KT;
		if (bytes == 4) {
			for (long d = 0; d < D; d++) ((float *)p.k)[d * KT + j] = x[d];
			for (long d = 0; d < D; d++) ((float *)p.v)[j * D + d] = y[d];
		} else if (bytes == 2) {
			for (long d = 0; d < D; d++) ((uint16_t *)p.k)[d * KT + j] = NAME(round_bf16)(x[d]);
			for (long d = 0; d < D; d++) ((uint16_t *)p.v)[j * D + d] = NAME(round_bf16)(y[d]);
		} else {
			p.ks[j] = NAME(round_int8)((int8_t *)p.k + j, KT, x, D);
			p.vs[j] = NAME(round_int8)((int8_t *)p.v + j * D, 1, y, D);
		}
	}
}

// widen writes so many keys and values of a page whose numbers have two bytes or one to kt [D][64] and vt [64][DP].
static void NAME(widen)(float *kt, float *vt, NAME(head_page) p, int bytes, long keys, long D, long DP) {
	const uint16_t *kh = (const uint16_t *)p.k, *vh = (const uint16_t *)p.v;
	const int8_t *kb = (const int8_t *)p.k, *vb = (const int8_t *)p.v;
	for (long d = 0; d < D; d++)
		for (long j = 0; j < keys; j += 16) {
			const long i = d * KT + j;
			v_store(kt + i, bytes == 2 ? v_load_bf16(kh + i) : v_mul(v_load_int8(kb + i), v_load(p.ks + j)));
		}
	for (long j = 0; j < keys; j++)
		for (long d = 0; d < DP; d += 16) {
			const long i = j * D + d;
			const v16 x = bytes == 2 ? v_load_bf16(vh + i) : v_mul(v_load_int8(vb + i), v_set1(p.vs[j]));
			v_store(vt + j * DP + d, v_range(x, v_zero(), 0, D - d));
		}
}

// fetch_keys and fetch_values ask memory for a head's part of a page, of which so many keys are there.
static void NAME(fetch_keys)(uintptr_t p, int bytes, long keys, long D) {
	for (long d = 0; d < D; d++)
		for (long j = 0; j < keys * bytes; j += 64) __builtin_prefetch((const char *)p + d * KT * bytes + j, 0, 2);
}

static void NAME(fetch_values)(uintptr_t p, int bytes, long keys, long D) {
	const char *v = (const char *)p + D * KT * bytes;
	for (long i = 0; i < keys * D * bytes; i += 64) __builtin_prefetch(v + i, 0, 2);
	for (long i = 0; i < 2 * KT * 4 && bytes == 1; i += 64) __builtin_prefetch(v + D * KT + i, 0, 2);
}

// Up to MM_ROWS rows read a cache but once, so the next tile is asked for while one is at work, and behind the last what this
// thread is likely to read next.
void NAME(attention)(float *out, float *lse, const float *q, const float *K, const float *V, long H, long KV, long D, float scale,
		     long window, long past, kv_cache cache, long kv, long r0, long r1, float *scratch) {
	const NAME(attn) s = {D, (D + 15) / 16 * 16, H / KV, H * D, KV * D, window, past, scale};
	const long n = (r1 - r0) * s.group, np = s.DP / 16; // rows: row i is position r0 + i/group, head kv·group + i%group
	float *kt = scratch, *vt = kt + s.DP * KT, *p = vt + KT * s.DP, *o = p + MM_ROWS * KT, *max = o + n * s.DP, *sum = max + n;
	float *rows = sum + n; // q [n,D]
	long first, hi;
	NAME(key_range)(&s, past + r0, &first, &hi);
	hi = past + r1;
	for (long i = 0; i < n * s.DP; i += 16) v_store(o + i, v_zero());
	for (long i = 0; i < n; i++) max[i] = -__builtin_inff(), sum[i] = 0;
	q += kv * s.group * D, out += kv * s.group * D, K += kv * D, V += kv * D;
	const int bytes = cache.bytes;
	for (long r = r0; r < r1; r++)
		for (long d = 0; d < s.group * D; d++) rows[(r - r0) * s.group * D + d] = q[r * s.ldq + d];
	for (long t0 = first / KT * KT; t0 < hi; t0 += KT) {
		const long keys = hi - t0 < KT ? hi - t0 : KT;
		const uintptr_t *page = cache.pages ? cache.pages + t0 / KT - cache.first : 0;
		const float *k = kt, *v = vt;
		long ldv = s.DP;
		if (!page) {
			NAME(transpose_tile)(kt, K + t0 * s.ldk, s.ldk, keys, D);
			v = V + t0 * s.ldk, ldv = s.ldk;
		} else {
			const NAME(head_page) p = NAME(head_at)(*page + cache.at, bytes, D);
			if (cache.newK)
				NAME(put)(p, bytes, cache.newK + kv * D, cache.newV + kv * D, s.ldk, past, t0 > past ? t0 : past, t0 + keys, D);
			if (bytes == 4)
				k = (const float *)p.k, v = (const float *)p.v, ldv = D;
			else
				NAME(widen)(kt, vt, p, bytes, keys, D, s.DP);
		}
		if (D != s.DP && v != vt) {
			NAME(pad_tile)(vt, v, ldv, keys, D, s.DP);
			v = vt, ldv = s.DP;
		}
		const uintptr_t soon = hi - t0 > KT && page ? page[1] + cache.at : cache.next;
		const long soon_keys = hi - t0 <= KT ? cache.next_keys : hi - t0 - KT < KT ? hi - t0 - KT : KT;
		const int once = soon && n <= MM_ROWS;
		if (once) NAME(fetch_keys)(soon, bytes, soon_keys, D);
		for (long i = 0, m; i < n; i += m) {
			m = n - i < MM_ROWS ? n - i : MM_ROWS;
			long a[MM_ROWS], b[MM_ROWS], common0 = 0, common1 = KT, any = 0; // row e sees keys [a[e],b[e]) of the tile
			for (long e = 0; e < m; e++) {
				long lo, hi;
				NAME(key_range)(&s, past + r0 + (i + e) / s.group, &lo, &hi);
				a[e] = lo - t0 < 0 ? 0 : lo - t0, b[e] = hi - t0 > KT ? KT : hi - t0;
				if (a[e] >= b[e]) a[e] = b[e] = 0;
				if (b[e] > any) any = b[e];
				if (a[e] > common0) common0 = a[e];
				if (b[e] < common1) common1 = b[e];
			}
			if (any == 0) continue;
			NAME(mm)(p, KT, rows + i * D, D, 1, k, KT, m, (any + 15) / 16, D, 0);
			for (long e = 0; e < m; e++) {
				if (a[e] == b[e]) continue;
				const float f = NAME(softmax_row)(p + e * KT, (any + 15) / 16, a[e], b[e], scale, &max[i + e], &sum[i + e]);
				const v16 c = v_set1(f);
				for (long d = 0; d < s.DP && f != 1; d += 16) v_store(o + (i + e) * s.DP + d, v_mul(v_load(o + (i + e) * s.DP + d), c));
			}
			if (once) NAME(fetch_values)(soon, bytes, soon_keys, D);
			// Keys that all rows see go together; what only some see comes before and after, in each row's own order.
			float *oi = o + i * s.DP;
			if (common0 < common1) {
				for (long e = 0; e < m; e++)
					NAME(mm)(oi + e * s.DP, s.DP, p + e * KT + a[e], KT, 1, v + a[e] * ldv, ldv, 1, np, common0 - a[e], 1);
				NAME(mm)(oi, s.DP, p + common0, KT, 1, v + common0 * ldv, ldv, m, np, common1 - common0, 1);
				for (long e = 0; e < m; e++)
					NAME(mm)(oi + e * s.DP, s.DP, p + e * KT + common1, KT, 1, v + common1 * ldv, ldv, 1, np, b[e] - common1, 1);
			} else {
				for (long e = 0; e < m; e++)
					NAME(mm)(oi + e * s.DP, s.DP, p + e * KT + a[e], KT, 1, v + a[e] * ldv, ldv, 1, np, b[e] - a[e], 1);
			}
		}
	}
	for (long i = 0; i < n; i++) {
		const long r = r0 + i / s.group, g = i % s.group;
		const v16 inv = v_set1(1 / sum[i]);
		for (long d = 0; d < D; d += 16)
			v_storen(out + r * s.ldq + g * D + d, v_mul(v_load(o + i * s.DP + d), inv), D - d < 16 ? D - d : 16);
		if (lse) lse[r * H + kv * s.group + g] = max[i] + NAME(log32)(sum[i]);
	}
}
