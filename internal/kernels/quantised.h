// Matrices in few bits (weight_quantised.go): what their codes stand for, tile by tile. W[o,k] = table[code]·scale, or
// code·scale + min, one rounding; the scale and minimum are those of the block of value o·in + k of the flattened matrix.

// of_panel returns what a block has one of (x, the scales or minima) for the 16 outputs of a panel (counted from q's first row) at
// input k.
INLINE v16 NAME(of_panel)(const float *x, const quantised *q, long panel, long k) {
	if (q->blocks) return v_load(x + ((q->row0 / 16 + panel) * q->blocks + k / q->block) * 16);
	float t[16];
	const long at = (q->row0 + panel * 16) * q->in + k;
	for (int l = 0; l < 16; l++) t[l] = x[(at + l * q->in) / q->block];
	return v_load(t);
}

// scales_at returns the scales of those outputs there.
INLINE v16 NAME(scales_at)(const quantised *q, long panel, long k) {
	if (!q->scale_codes) return NAME(of_panel)(q->scales, q, panel, k);
	float s[16], m[16];
	const long at = (q->row0 + panel * 16) * q->in + k;
	const long even = q->in % q->block == 0 ? q->in / q->block : 0; // blocks of a row, if rows are whole blocks
	long b = at / q->block;
	for (int l = 0; l < 16; l++) {
		if (!even) b = (at + l * q->in) / q->block;
		s[l] = q->nested_table[q->scale_codes[b]];
		m[l] = q->nested[b / 256];
		b += even;
	}
	return v_add(v_mul(v_load(s), v_load(m)), v_set1(q->offset));
}

// whole tells whether the 8 inputs of a word share their scales in every row.
INLINE int NAME(whole)(const quantised *q) { return q->in % q->block == 0 && q->block % 8 == 0; }

// words_at returns the words of a panel from input k on, k a multiple of 8.
INLINE const uint32_t *NAME(words_at)(const quantised *q, long panel, long k) {
	const long per = 32 / q->bits, words = (q->in + per - 1) / per;
	return q->codes + ((q->row0 / 16 + panel) * words + k / per) * 16;
}

// How codes become values, and their bits: a form is a constant wherever it is used, so that no choice is left in a loop.
enum { TABLE = 0, LINEAR = 16, MINS = 32, FORM_BITS = 15 };

INLINE int NAME(form)(const quantised *q) { return q->bits + (q->mins ? MINS : q->linear ? LINEAR : TABLE); }

// value returns what the lowest codes of 16 words stand for: code·s + m with minima, else (code − zero)·s or table[code]·s.
INLINE v16 NAME(value)(const int form, const quantised *q, v16 table, vwords w, v16 s, v16 m) {
	const int bits = form & FORM_BITS;
	if (form & MINS) return v_fma(v_code(w, bits), s, m);
	if (form & LINEAR) return v_mul(v_sub(v_code(w, bits), v_set1(q->zero)), s);
	return v_mul(bits == 4 ? v_lookup16(table, w) : v_lookup256(q->table, w), s);
}

// scales_ahead asks for the scales and minima that lie so many floats behind those of a panel at input k.
INLINE void NAME(scales_ahead)(const int form, const quantised *q, long panel, long k, long floats) {
	const long at = ((q->row0 / 16 + panel) * q->blocks + k / q->block) * 16 + floats;
	if (!q->blocks) return;
	if (q->scales) __builtin_prefetch(q->scales + at);
	if (form & MINS) __builtin_prefetch(q->mins + at);
}

// decode writes inputs [k0,k0+k) of a panel to dst [k][16], k0 a multiple of 16; it may write up to a multiple of 8 rows. It asks for
// the scales of the next panel.
INLINE void NAME(decode_form)(const int form, float *dst, const quantised *q, long panel, long k0, long k) {
	const int bits = form & FORM_BITS;
	const long per = 32 / bits;
	const uint32_t *c = NAME(words_at)(q, panel, k0);
	const v16 table = v_load(q->table), none = v_zero();
	if (NAME(whole)(q)) {
		for (long l = 0; l < k;) {
			const long left = q->block - (k0 + l) % q->block, end = l + left < k ? l + left : k;
			const v16 s = NAME(scales_at)(q, panel, k0 + l), m = form & MINS ? NAME(of_panel)(q->mins, q, panel, k0 + l) : none;
			NAME(scales_ahead)(form, q, panel, k0 + l, q->blocks * 16);
			for (; l < end; l += per, c += 16) {
				vwords w = v_words(c);
#pragma GCC unroll 8
				for (long n = 0; n < per; n++) {
					v_store(dst + (l + n) * 16, NAME(value)(form, q, table, w, s, m));
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
		const v16 m = form & MINS ? NAME(of_panel)(q->mins, q, panel, k0 + l) : none;
		v_store(dst + l * 16, NAME(value)(form, q, table, w, NAME(scales_at)(q, panel, k0 + l), m));
		w = v_shift(w, bits);
	}
}

// FORMS writes a switch over q's form.
#define FORMS(f, ...)                                          \
	switch (NAME(form)(q)) {                               \
	case TABLE + 4: f(TABLE + 4, __VA_ARGS__); break;      \
	case TABLE + 8: f(TABLE + 8, __VA_ARGS__); break;      \
	case LINEAR + 4: f(LINEAR + 4, __VA_ARGS__); break;    \
	case LINEAR + 8: f(LINEAR + 8, __VA_ARGS__); break;    \
	case MINS + 4: f(MINS + 4, __VA_ARGS__); break;        \
	case MINS + 8: f(MINS + 8, __VA_ARGS__); break;        \
	}

static void NAME(decode)(float *dst, const quantised *q, long panel, long k0, long k) {
	FORMS(NAME(decode_form), dst, q, panel, k0, k)
}

// How far ahead micro_few asks for codes, in bytes, and for scales, in floats: what memory is to deliver meanwhile. The panels are np
// streams; what lies behind the end of one is the beginning of the next, which is read by now, so there the place moves on to the
// panels that come next.
enum { CODES_AHEAD = 1024, SCALES_AHEAD = 4 * 16 };

// micro_few is micro for packed rows of A and np panels of q from panel on, inputs k0..k0+k, decoded in registers: for
// so few rows that a copy of the decoded panel would not be used again. whole(q) must hold.
INLINE void NAME(micro_few)(const int form, const int mr, const int np, float *c, long ldc, const float *a,
			    const quantised *q, long panel, long k0, long k, int load) {
	const int bits = form & FORM_BITS;
	const long per = 32 / bits, ps = NAME(words_at)(q, 1, 0) - NAME(words_at)(q, 0, 0);
	const uint32_t *codes = NAME(words_at)(q, panel, k0), *stop = NAME(words_at)(q, panel + 1, 0);
	const v16 table = v_load(q->table);
	v16 acc[14][4];
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
		for (int p = 0; p < np; p++) acc[i][p] = load ? v_load(c + i * ldc + p * 16) : v_zero();
	for (long l = 0; l < k;) {
		const long left = q->block - (k0 + l) % q->block, end = l + left < k ? l + left : k;
		v16 s[4], m[4];
		vwords w[4];
#pragma GCC unroll 4
		for (int p = 0; p < np; p++) {
			s[p] = NAME(scales_at)(q, panel + p, k0 + l);
			m[p] = form & MINS ? NAME(of_panel)(q->mins, q, panel + p, k0 + l) : v_zero();
			NAME(scales_ahead)(form, q, panel + p, k0 + l, SCALES_AHEAD);
		}
		for (; l < end; l += per, codes += 16, a += per * mr) {
			const uint32_t *ahead = codes + CODES_AHEAD / 4;
			if (ahead >= stop) ahead += (np - 1) * ps;
#pragma GCC unroll 4
			for (int p = 0; p < np; p++) {
				w[p] = v_words(codes + p * ps);
				__builtin_prefetch(ahead + p * ps);
			}
			for (long n = 0; n < per; n++) {
				v16 b[4];
#pragma GCC unroll 4
				for (int p = 0; p < np; p++) {
					b[p] = NAME(value)(form, q, table, w[p], s[p], m[p]);
					w[p] = v_shift(w[p], bits);
				}
#pragma GCC unroll 16
				for (int i = 0; i < mr; i++) {
					v16 x = v_set1(a[n * mr + i]);
#pragma GCC unroll 4
					for (int p = 0; p < np; p++) acc[i][p] = v_fma(x, b[p], acc[i][p]);
				}
			}
		}
	}
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
		for (int p = 0; p < np; p++) v_store(c + i * ldc + p * 16, acc[i][p]);
}

#define FEW(mr, np) case mr: FORMS(NAME(micro_few), mr, np, c, ldc, a, q, panel, k0, k, load) break;

// few_1, few_2 and few_4 run micro_few on mr packed rows of A and 1, 2 or 4 panels.
static void NAME(few_1)(int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	switch (mr) {
		FEW(1, 1) FEW(2, 1) FEW(3, 1) FEW(4, 1)
	}
}
static void NAME(few_2)(int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	switch (mr) {
		FEW(1, 2) FEW(2, 2)
#if MAX_MR > 6
		FEW(3, 2) FEW(4, 2)
#endif
	}
}
#if MAX_MR > 6
static void NAME(few_4)(int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
	switch (mr) {
		FEW(1, 4) FEW(2, 4) FEW(3, 4) FEW(4, 4)
	}
}
#endif

INLINE void NAME(few)(int np, int mr, float *c, long ldc, const float *a, const quantised *q, long panel, long k0, long k, int load) {
#if MAX_MR > 6
	if (np == 4) {
		NAME(few_4)(mr, c, ldc, a, q, panel, k0, k, load);
		return;
	}
#endif
	if (np == 2)
		NAME(few_2)(mr, c, ldc, a, q, panel, k0, k, load);
	else
		NAME(few_1)(mr, c, ldc, a, q, panel, k0, k, load);
}
