// Matrices in few bits (weight_quantised.go): what their codes stand for, tile by tile. W[o,k] = table[code]·scale, one
// rounding; the scale is that of the block of value o·in + k of the flattened matrix.

// scales_at returns the scales of the 16 outputs of a panel (counted from q's first row) at input k.
INLINE v16 NAME(scales_at)(const quantised *q, long panel, long k) {
	float s[16], m[16];
	const long at = (q->row0 + panel * 16) * q->in + k;
	const long even = q->in % q->block == 0 ? q->in / q->block : 0; // blocks of a row, if rows are whole blocks
	long b = at / q->block;
	for (int l = 0; l < 16; l++) {
		if (!even) b = (at + l * q->in) / q->block;
		if (q->scale_codes) {
			s[l] = q->nested_table[q->scale_codes[b]];
			m[l] = q->nested[b / 256];
		} else {
			s[l] = q->scales[b];
		}
		b += even;
	}
	if (!q->scale_codes) return v_load(s);
	return v_add(v_mul(v_load(s), v_load(m)), v_set1(q->offset));
}

// whole tells whether the 8 inputs of a word share their scales in every row.
INLINE int NAME(whole)(const quantised *q) { return q->in % q->block == 0 && q->block % 8 == 0; }

// words_at returns the words of a panel from input k on, k a multiple of 8.
INLINE const uint32_t *NAME(words_at)(const quantised *q, long panel, long k) {
	const long per = 32 / q->bits, words = (q->in + per - 1) / per;
	return q->codes + ((q->row0 / 16 + panel) * words + k / per) * 16;
}

// look returns what the lowest codes of 16 words stand for, but for the scale.
INLINE v16 NAME(look)(const int bits, const quantised *q, v16 table, vwords w) {
	return bits == 4 ? v_lookup16(table, w) : v_lookup256(q->table, w);
}

// decode writes inputs [k0,k0+k) of a panel to dst [k][16], k0 a multiple of 16; it may write up to a multiple of 8 rows.
INLINE void NAME(decode_bits)(const int bits, float *dst, const quantised *q, long panel, long k0, long k) {
	const long per = 32 / bits;
	const uint32_t *c = NAME(words_at)(q, panel, k0);
	const v16 table = v_load(q->table);
	if (NAME(whole)(q)) {
		for (long l = 0; l < k;) {
			const long left = q->block - (k0 + l) % q->block, end = l + left < k ? l + left : k;
			const v16 s = NAME(scales_at)(q, panel, k0 + l);
			for (; l < end; l += per, c += 16) {
				vwords w = v_words(c);
#pragma GCC unroll 8
				for (long n = 0; n < per; n++) {
					v_store(dst + (l + n) * 16, v_mul(NAME(look)(bits, q, table, w), s));
					w = v_shift(w, bits);
				}
			}
			l = end;
		}
		return;
	}
	vwords w = v_words(c);
	for (long l = 0; l < k; l++) {
		if (l % per == 0) w = v_words(c + l / per * 16);
		v_store(dst + l * 16, v_mul(NAME(look)(bits, q, table, w), NAME(scales_at)(q, panel, k0 + l)));
		w = v_shift(w, bits);
	}
}
static void NAME(decode)(float *dst, const quantised *q, long panel, long k0, long k) {
	if (q->bits == 4)
		NAME(decode_bits)(4, dst, q, panel, k0, k);
	else
		NAME(decode_bits)(8, dst, q, panel, k0, k);
}

// micro_few is micro for packed rows of A and np panels of q from panel on, inputs k0..k0+k, decoded in registers: for
// so few rows that a copy of the decoded panel would not be used again. whole(q) must hold.
INLINE void NAME(micro_few)(const int mr, const int np, const int bits, float *c, long ldc, const float *a,
			    const quantised *q, long panel, long k0, long k, int load) {
	const long per = 32 / bits, ps = NAME(words_at)(q, 1, 0) - NAME(words_at)(q, 0, 0);
	const uint32_t *codes = NAME(words_at)(q, panel, k0);
	const v16 table = v_load(q->table);
	v16 acc[14][4];
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
		for (int p = 0; p < np; p++) acc[i][p] = load ? v_load(c + i * ldc + p * 16) : v_zero();
	for (long l = 0; l < k;) {
		const long left = q->block - (k0 + l) % q->block, end = l + left < k ? l + left : k;
		v16 s[4];
		vwords w[4];
#pragma GCC unroll 4
		for (int p = 0; p < np; p++) s[p] = NAME(scales_at)(q, panel + p, k0 + l);
		while (l < end) {
			long n = end - l < per ? end - l : per;
#pragma GCC unroll 4
			for (int p = 0; p < np; p++) w[p] = v_words(codes + p * ps);
			codes += 16;
			l += n;
			for (; n > 0; n--) {
				v16 b[4];
#pragma GCC unroll 4
				for (int p = 0; p < np; p++) {
					b[p] = v_mul(NAME(look)(bits, q, table, w[p]), s[p]);
					w[p] = v_shift(w[p], bits);
				}
#pragma GCC unroll 16
				for (int i = 0; i < mr; i++) {
					v16 x = v_set1(a[i]);
#pragma GCC unroll 4
					for (int p = 0; p < np; p++) acc[i][p] = v_fma(x, b[p], acc[i][p]);
				}
				a += mr;
			}
		}
	}
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
		for (int p = 0; p < np; p++) v_store(c + i * ldc + p * 16, acc[i][p]);
}

#define FEW(mr, np) \
	case mr: \
		if (q->bits == 4) \
			NAME(micro_few)(mr, np, 4, c, ldc, a, q, panel, k0, k, load); \
		else \
			NAME(micro_few)(mr, np, 8, c, ldc, a, q, panel, k0, k, load); \
		break;

// few_1, few_2 and few_4 run micro_few on mr packed rows of A and 1, 2 or 4 panels.
static void NAME(few_1)(int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	switch (mr) {
		FEW(1, 1) FEW(2, 1) FEW(3, 1) FEW(4, 1) FEW(5, 1) FEW(6, 1)
#if MAX_MR > 6
		FEW(7, 1) FEW(8, 1) FEW(9, 1) FEW(10, 1) FEW(11, 1) FEW(12, 1) FEW(13, 1) FEW(14, 1)
#endif
	}
}
static void NAME(few_2)(int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	switch (mr) {
		FEW(1, 2) FEW(2, 2) FEW(3, 2)
#if MAX_MR > 6
		FEW(4, 2) FEW(5, 2) FEW(6, 2) FEW(7, 2) FEW(8, 2) FEW(9, 2) FEW(10, 2) FEW(11, 2) FEW(12, 2) FEW(13, 2) FEW(14, 2)
#endif
	}
}
static void NAME(few_4)(int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	switch (mr) {
		FEW(1, 4)
#if MAX_MR > 6
		FEW(2, 4) FEW(3, 4) FEW(4, 4) FEW(5, 4) FEW(6, 4)
#endif
	}
}

INLINE void NAME(few)(int np, int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	if (np == 4)
		NAME(few_4)(mr, c, ldc, a, q, panel, k0, k, load);
	else if (np == 2)
		NAME(few_2)(mr, c, ldc, a, q, panel, k0, k, load);
	else
		NAME(few_1)(mr, c, ldc, a, q, panel, k0, k, load);
}
