// A vector of 16 floats as two AVX2 registers. See simd_avx512.h for the same in one, simd_neon.h in four;
// every function has the same bits in all.
#include <immintrin.h>
#include <stdint.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define NAME(f) f##_avx2
#define MAX_MR 6 // rows of the GEMM micro-kernel: 6×1 panels are 12 accumulators of 16 registers
#define MAX_NP 1

#define INLINE static inline __attribute__((always_inline, unused))

typedef struct {
	__m256 lo, hi;
} v16;

static const int32_t NAME(mask_table)[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

INLINE __m256i NAME(mask_lo)(long n) { return _mm256_loadu_si256((const __m256i *)(NAME(mask_table) + 16 - n)); }
INLINE __m256i NAME(mask_hi)(long n) { return _mm256_loadu_si256((const __m256i *)(NAME(mask_table) + 24 - n)); }

INLINE v16 v_set1(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE v16 v_zero(void) { return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE v16 v_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void v_store(float *p, v16 x) {
	_mm256_storeu_ps(p, x.lo);
	_mm256_storeu_ps(p + 8, x.hi);
}
// v_loadn reads n in [0,16] floats, the rest is zero; v_storen writes n.
INLINE v16 v_loadn(const float *p, long n) {
	return (v16){_mm256_maskload_ps(p, NAME(mask_lo)(n)), _mm256_maskload_ps(p + 8, NAME(mask_hi)(n))};
}
INLINE void v_storen(float *p, v16 x, long n) {
	_mm256_maskstore_ps(p, NAME(mask_lo)(n), x.lo);
	_mm256_maskstore_ps(p + 8, NAME(mask_hi)(n), x.hi);
}
// v_range keeps lanes [a,b) of x and puts y elsewhere.
INLINE v16 v_range(v16 x, v16 y, long a, long b) {
	a = a < 0 ? 0 : a > 16 ? 16 : a;
	b = b < 0 ? 0 : b > 16 ? 16 : b;
	__m256i lo = _mm256_andnot_si256(NAME(mask_lo)(a), NAME(mask_lo)(b));
	__m256i hi = _mm256_andnot_si256(NAME(mask_hi)(a), NAME(mask_hi)(b));
	return (v16){_mm256_blendv_ps(y.lo, x.lo, _mm256_castsi256_ps(lo)), _mm256_blendv_ps(y.hi, x.hi, _mm256_castsi256_ps(hi))};
}
INLINE __m256 NAME(widen8)(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
INLINE v16 v_load_bf16(const uint16_t *p) {
	return (v16){NAME(widen8)(_mm_loadu_si128((const __m128i *)p)), NAME(widen8)(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
INLINE __m256 NAME(widen8_int8)(const int8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p))); }
INLINE v16 v_load_int8(const int8_t *p) { return (v16){NAME(widen8_int8)(p), NAME(widen8_int8)(p + 8)}; }
// vwords is 16 words of 32 bits; v_shift drops the lowest n bits of each. v_lookup16 returns table[word mod 16] for a table
// of 16 floats in registers, v_lookup256 table[word mod 256], v_code the lowest n bits as a float.
typedef struct {
	__m256i lo, hi;
} vwords;
INLINE vwords v_words(const uint32_t *p) {
	return (vwords){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))};
}
INLINE vwords v_shift(vwords w, int n) {
	return (vwords){_mm256_srli_epi32(w.lo, n), _mm256_srli_epi32(w.hi, n)};
}
INLINE __m256 NAME(lookup8)(v16 table, __m256i w) { // bit 3 chooses between the halves of the table
	__m256 lo = _mm256_permutevar8x32_ps(table.lo, w), hi = _mm256_permutevar8x32_ps(table.hi, w);
	return _mm256_blendv_ps(lo, hi, _mm256_castsi256_ps(_mm256_slli_epi32(w, 28)));
}
INLINE v16 v_lookup16(v16 table, vwords w) { return (v16){NAME(lookup8)(table, w.lo), NAME(lookup8)(table, w.hi)}; }
INLINE v16 v_lookup256(const float *table, vwords w) {
	__m256i byte = _mm256_set1_epi32(255);
	return (v16){_mm256_i32gather_ps(table, _mm256_and_si256(w.lo, byte), 4),
		     _mm256_i32gather_ps(table, _mm256_and_si256(w.hi, byte), 4)};
}
INLINE v16 v_code(vwords w, int n) {
	__m256i mask = _mm256_set1_epi32((1 << n) - 1);
	return (v16){_mm256_cvtepi32_ps(_mm256_and_si256(w.lo, mask)), _mm256_cvtepi32_ps(_mm256_and_si256(w.hi, mask))};
}
INLINE v16 v_add(v16 a, v16 b) { return (v16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
INLINE v16 v_sub(v16 a, v16 b) { return (v16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
INLINE v16 v_mul(v16 a, v16 b) { return (v16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
INLINE v16 v_div(v16 a, v16 b) { return (v16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
INLINE v16 v_sqrt(v16 a) { return (v16){_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
INLINE float v_sqrt1(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }
// v_min and v_max return b where either is NaN.
INLINE v16 v_min(v16 a, v16 b) { return (v16){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
INLINE v16 v_max(v16 a, v16 b) { return (v16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return (v16){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)}; }
INLINE v16 v_neg(v16 a) { return (v16){_mm256_xor_ps(a.lo, _mm256_set1_ps(-0.0f)), _mm256_xor_ps(a.hi, _mm256_set1_ps(-0.0f))}; }
// v_round rounds to the nearest integer, ties to even.
INLINE v16 v_round(v16 a) { return (v16){_mm256_round_ps(a.lo, 8), _mm256_round_ps(a.hi, 8)}; }
// v_nonzero returns y where x is not zero, else 0.
INLINE v16 v_nonzero(v16 x, v16 y) {
	return (v16){_mm256_and_ps(_mm256_cmp_ps(x.lo, _mm256_setzero_ps(), _CMP_NEQ_UQ), y.lo),
		     _mm256_and_ps(_mm256_cmp_ps(x.hi, _mm256_setzero_ps(), _CMP_NEQ_UQ), y.hi)};
}
INLINE __m256 NAME(scale8)(__m256 y, __m256 n) { // y·2ⁿ in two factors
	__m256i i = _mm256_cvtps_epi32(n), a = _mm256_srai_epi32(i, 1), b = _mm256_sub_epi32(i, a), bias = _mm256_set1_epi32(127);
	y = _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(a, bias), 23)));
	return _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(b, bias), 23)));
}
INLINE v16 v_scale2(v16 y, v16 n) { return (v16){NAME(scale8)(y.lo, n.lo), NAME(scale8)(y.hi, n.hi)}; }

// v_sum adds lanes l and l+8, l+4, l+2, l+1; v_top is the maximum of the lanes.
INLINE float v_sum(v16 x) {
	__m256 a = _mm256_add_ps(x.lo, x.hi);
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}
INLINE float v_top(v16 x) {
	__m256 a = _mm256_max_ps(x.lo, x.hi);
	__m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_max_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

// v_sum_squares returns Σ x² of n floats in 16 double lanes.
INLINE double v_sum_squares(const float *x, long n) {
	__m256d s[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
	for (long i = 0; i < n; i += 16) {
		v16 v = n - i < 16 ? v_loadn(x + i, n - i) : v_load(x + i);
		__m256d d[4] = {_mm256_cvtps_pd(_mm256_castps256_ps128(v.lo)), _mm256_cvtps_pd(_mm256_extractf128_ps(v.lo, 1)),
				_mm256_cvtps_pd(_mm256_castps256_ps128(v.hi)), _mm256_cvtps_pd(_mm256_extractf128_ps(v.hi, 1))};
		for (int l = 0; l < 4; l++) s[l] = _mm256_fmadd_pd(d[l], d[l], s[l]);
	}
	__m256d a = _mm256_add_pd(_mm256_add_pd(s[0], s[2]), _mm256_add_pd(s[1], s[3]));
	__m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
	return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

INLINE void NAME(transpose8)(float *dst, long ldd, __m256 r[8]) {
	__m256 t[8], s[8];
	for (int i = 0; i < 4; i++) {
		t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
		t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
	}
	for (int i = 0; i < 2; i++)
		for (int h = 0; h < 2; h++) {
			s[4 * i + 2 * h] = _mm256_shuffle_ps(t[4 * i + h], t[4 * i + 2 + h], 0x44);
			s[4 * i + 2 * h + 1] = _mm256_shuffle_ps(t[4 * i + h], t[4 * i + 2 + h], 0xee);
		}
	for (int c = 0; c < 4; c++) {
		_mm256_storeu_ps(dst + c * ldd, _mm256_permute2f128_ps(s[c], s[4 + c], 0x20));
		_mm256_storeu_ps(dst + (c + 4) * ldd, _mm256_permute2f128_ps(s[c], s[4 + c], 0x31));
	}
}

// transpose16 writes dst[c·ldd + r] = src[r·lds + c] for r, c < 16; rows >= rows and columns >= cols count as zero.
// It writes all of the 16×16.
INLINE void transpose16(float *dst, long ldd, const float *src, long lds, long rows, long cols) {
	for (int bc = 0; bc < 16; bc += 8) {
		__m256i m = NAME(mask_lo)(cols < bc ? 0 : cols - bc > 8 ? 8 : cols - bc);
		for (int br = 0; br < 16; br += 8) {
			__m256 r[8];
			for (int i = 0; i < 8; i++)
				r[i] = br + i < rows ? _mm256_maskload_ps(src + (br + i) * lds + bc, m) : _mm256_setzero_ps();
			NAME(transpose8)(dst + bc * ldd + br, ldd, r);
		}
	}
}

// transpose16_bf16 is transpose16 with lds = 16 and cols = 16 for bfloat16.
INLINE void transpose16_bf16(float *dst, long ldd, const uint16_t *src, long rows) {
	for (int bc = 0; bc < 16; bc += 8)
		for (int br = 0; br < 16; br += 8) {
			__m256 r[8];
			for (int i = 0; i < 8; i++)
				r[i] = br + i < rows ? NAME(widen8)(_mm_loadu_si128((const __m128i *)(src + (br + i) * 16 + bc))) : _mm256_setzero_ps();
			NAME(transpose8)(dst + bc * ldd + br, ldd, r);
		}
}
