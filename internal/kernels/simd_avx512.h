// A vector of 16 floats as one AVX-512 register. See simd_avx2.h for the same in two, simd_neon.h in four;
// every function has the same bits in all.
#include <immintrin.h>
#include <stdint.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#define NAME(f) f##_avx512
#define MAX_MR 14 // rows of the GEMM micro-kernel: 14×2 panels are 28 accumulators of 32 registers
#define MAX_NP 2

#define INLINE static inline __attribute__((always_inline, unused))

typedef __m512 v16;

INLINE v16 v_set1(float x) { return _mm512_set1_ps(x); }
INLINE v16 v_zero(void) { return _mm512_setzero_ps(); }
INLINE v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
INLINE __mmask16 NAME(first)(long n) { return (__mmask16)((1u << n) - 1); }
// v_loadn reads n in [0,16] floats, the rest is zero; v_storen writes n.
INLINE v16 v_loadn(const float *p, long n) { return _mm512_maskz_loadu_ps(NAME(first)(n), p); }
INLINE void v_storen(float *p, v16 x, long n) { _mm512_mask_storeu_ps(p, NAME(first)(n), x); }
// v_range keeps lanes [a,b) of x and puts y elsewhere.
INLINE v16 v_range(v16 x, v16 y, long a, long b) {
	a = a < 0 ? 0 : a > 16 ? 16 : a;
	b = b < 0 ? 0 : b > 16 ? 16 : b;
	return _mm512_mask_blend_ps((__mmask16)(NAME(first)(b) & ~NAME(first)(a)), y, x);
}
INLINE v16 v_load_bf16(const uint16_t *p) {
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
INLINE v16 v_load_int8(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p))); }
// vwords is 16 words of 32 bits; v_shift drops the lowest n bits of each. v_lookup16 returns table[word mod 16] for a table
// of 16 floats in a register, v_lookup256 table[word mod 256], v_code the lowest n bits as a float.
typedef __m512i vwords;
INLINE vwords v_words(const uint32_t *p) { return _mm512_loadu_si512(p); }
INLINE vwords v_shift(vwords w, int n) { return _mm512_srli_epi32(w, (unsigned)n); }
INLINE v16 v_lookup16(v16 table, vwords w) { return _mm512_permutexvar_ps(w, table); }
INLINE v16 v_lookup256(const float *table, vwords w) {
	return _mm512_i32gather_ps(_mm512_and_si512(w, _mm512_set1_epi32(255)), table, 4);
}
INLINE v16 v_code(vwords w, int n) { return _mm512_cvtepi32_ps(_mm512_and_si512(w, _mm512_set1_epi32((1 << n) - 1))); }
INLINE v16 v_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
INLINE v16 v_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
INLINE v16 v_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
INLINE v16 v_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
INLINE v16 v_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
INLINE float v_sqrt1(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }
// v_min and v_max return b where either is NaN.
INLINE v16 v_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
INLINE v16 v_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE v16 v_neg(v16 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
// v_round rounds to the nearest integer, ties to even.
INLINE v16 v_round(v16 a) { return _mm512_roundscale_ps(a, 8); }
// v_nonzero returns y where x is not zero, else 0.
INLINE v16 v_nonzero(v16 x, v16 y) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ), y); }
INLINE v16 v_scale2(v16 y, v16 n) { // y·2ⁿ in two factors
	__m512i i = _mm512_cvtps_epi32(n), a = _mm512_srai_epi32(i, 1), b = _mm512_sub_epi32(i, a), bias = _mm512_set1_epi32(127);
	y = _mm512_mul_ps(y, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(a, bias), 23)));
	return _mm512_mul_ps(y, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(b, bias), 23)));
}

// v_sum adds lanes l and l+8, l+4, l+2, l+1; v_top is the maximum of the lanes.
INLINE float v_sum(v16 x) {
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}
INLINE float v_top(v16 x) {
	__m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
	__m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_max_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

// v_sum_squares returns Σ x² of n floats in 16 double lanes.
INLINE double v_sum_squares(const float *x, long n) {
	__m512d s0 = _mm512_setzero_pd(), s1 = _mm512_setzero_pd();
	for (long i = 0; i < n; i += 16) {
		v16 v = n - i < 16 ? v_loadn(x + i, n - i) : v_load(x + i);
		__m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
		s0 = _mm512_fmadd_pd(lo, lo, s0);
		s1 = _mm512_fmadd_pd(hi, hi, s1);
	}
	s0 = _mm512_add_pd(s0, s1);
	__m256d a = _mm256_add_pd(_mm512_castpd512_pd256(s0), _mm512_extractf64x4_pd(s0, 1));
	__m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
	return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

INLINE void NAME(transpose_rows)(float *dst, long ldd, v16 r[16]) {
	v16 t[16];
	for (int i = 0; i < 8; i++) {
		t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
		t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
	}
	for (int i = 0; i < 4; i++)
		for (int h = 0; h < 2; h++) {
			r[4 * i + 2 * h] = _mm512_shuffle_ps(t[4 * i + h], t[4 * i + 2 + h], 0x44);
			r[4 * i + 2 * h + 1] = _mm512_shuffle_ps(t[4 * i + h], t[4 * i + 2 + h], 0xee);
		}
	for (int c = 0; c < 4; c++) { // 128-bit lane L of r[4i+c] is column 4L+c of rows 4i..4i+3
		v16 a = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88), b = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
		v_store(dst + c * ldd, _mm512_shuffle_f32x4(a, b, 0x88));
		v_store(dst + (8 + c) * ldd, _mm512_shuffle_f32x4(a, b, 0xdd));
		a = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd), b = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
		v_store(dst + (4 + c) * ldd, _mm512_shuffle_f32x4(a, b, 0x88));
		v_store(dst + (12 + c) * ldd, _mm512_shuffle_f32x4(a, b, 0xdd));
	}
}

// transpose16 writes dst[c·ldd + r] = src[r·lds + c] for r, c < 16; rows >= rows and columns >= cols count as zero.
// It writes all of the 16×16.
INLINE void transpose16(float *dst, long ldd, const float *src, long lds, long rows, long cols) {
	v16 r[16];
	__mmask16 m = NAME(first)(cols > 16 ? 16 : cols);
	for (int i = 0; i < 16; i++) r[i] = i < rows ? _mm512_maskz_loadu_ps(m, src + i * lds) : v_zero();
	NAME(transpose_rows)(dst, ldd, r);
}

// transpose16_bf16 is transpose16 with lds = 16 and cols = 16 for bfloat16.
INLINE void transpose16_bf16(float *dst, long ldd, const uint16_t *src, long rows) {
	v16 r[16];
	for (int i = 0; i < 16; i++) r[i] = i < rows ? v_load_bf16(src + i * 16) : v_zero();
	NAME(transpose_rows)(dst, ldd, r);
}
