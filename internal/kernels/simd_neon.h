// A vector of 16 floats as four NEON registers, for 64-bit ARM. See simd_avx2.h and simd_avx512.h for the same in two and in
// one; every function has the same bits in all.
#include <arm_neon.h>
#include <stdint.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define NAME(f) f##_neon
#define MAX_MR 6 // rows of the GEMM micro-kernel: 6×1 panels are 24 accumulators of 32 registers
#define MAX_NP 1

#define INLINE static inline __attribute__((always_inline, unused))

typedef struct {
	float32x4_t q[4];
} v16;

// EACH4 builds a v16 from an expression in i.
#define EACH4(expr)                                    \
	({                                             \
		v16 each;                              \
		for (int i = 0; i < 4; i++) each.q[i] = (expr); \
		each;                                  \
	})

INLINE v16 v_set1(float x) { return EACH4(vdupq_n_f32(x)); }
INLINE v16 v_zero(void) { return v_set1(0); }
INLINE v16 v_load(const float *p) { return EACH4(vld1q_f32(p + 4 * i)); }
INLINE void v_store(float *p, v16 x) {
	for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.q[i]);
}
// v_loadn reads n in [0,16] floats, the rest is zero; v_storen writes n.
INLINE v16 v_loadn(const float *p, long n) {
	float t[16] = {0};
	for (long i = 0; i < n; i++) t[i] = p[i];
	return v_load(t);
}
INLINE void v_storen(float *p, v16 x, long n) {
	float t[16];
	v_store(t, x);
	for (long i = 0; i < n; i++) p[i] = t[i];
}
// v_range keeps lanes [a,b) of x and puts y elsewhere.
INLINE v16 v_range(v16 x, v16 y, long a, long b) {
	static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	a = a < 0 ? 0 : a > 16 ? 16 : a;
	b = b < 0 ? 0 : b > 16 ? 16 : b;
	const int32x4_t from = vdupq_n_s32((int32_t)a), to = vdupq_n_s32((int32_t)b);
	return EACH4(vbslq_f32(vandq_u32(vcgeq_s32(vld1q_s32(lane + 4 * i), from), vcltq_s32(vld1q_s32(lane + 4 * i), to)), x.q[i], y.q[i]));
}
INLINE v16 v_load_bf16(const uint16_t *p) { return EACH4(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16))); }
INLINE v16 v_load_int8(const int8_t *p) {
	const int16x8_t h[2] = {vmovl_s8(vld1_s8(p)), vmovl_s8(vld1_s8(p + 8))};
	return EACH4(vcvtq_f32_s32(vmovl_s16(i % 2 ? vget_high_s16(h[i / 2]) : vget_low_s16(h[i / 2]))));
}
// vwords is 16 words of 32 bits; v_shift drops the lowest n bits of each. v_lookup16 returns table[word mod 16] for a table
// of 16 floats in registers, v_lookup256 table[word mod 256], v_code the lowest n bits as a float.
typedef struct {
	uint32x4_t q[4];
} vwords;
INLINE vwords v_words(const uint32_t *p) {
	vwords w;
	for (int i = 0; i < 4; i++) w.q[i] = vld1q_u32(p + 4 * i);
	return w;
}
INLINE vwords v_shift(vwords w, int n) {
	for (int i = 0; i < 4; i++) w.q[i] = vshlq_u32(w.q[i], vdupq_n_s32(-n));
	return w;
}
INLINE v16 v_lookup16(v16 table, vwords w) { // the table as 64 bytes: float c is bytes 4c to 4c+3
	const uint8x16x4_t t = {{vreinterpretq_u8_f32(table.q[0]), vreinterpretq_u8_f32(table.q[1]), vreinterpretq_u8_f32(table.q[2]),
				 vreinterpretq_u8_f32(table.q[3])}};
	return EACH4(vreinterpretq_f32_u8(vqtbl4q_u8(t, vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100u), vandq_u32(w.q[i], vdupq_n_u32(15)), 0x04040404u)))));
}
INLINE v16 v_lookup256(const float *table, vwords w) {
	uint32_t at[16];
	float t[16];
	for (int i = 0; i < 4; i++) vst1q_u32(at + 4 * i, w.q[i]);
	for (int i = 0; i < 16; i++) t[i] = table[at[i] & 255];
	return v_load(t);
}
INLINE v16 v_code(vwords w, int n) { return EACH4(vcvtq_f32_u32(vandq_u32(w.q[i], vdupq_n_u32((1u << n) - 1)))); }
INLINE v16 v_add(v16 a, v16 b) { return EACH4(vaddq_f32(a.q[i], b.q[i])); }
INLINE v16 v_sub(v16 a, v16 b) { return EACH4(vsubq_f32(a.q[i], b.q[i])); }
INLINE v16 v_mul(v16 a, v16 b) { return EACH4(vmulq_f32(a.q[i], b.q[i])); }
INLINE v16 v_div(v16 a, v16 b) { return EACH4(vdivq_f32(a.q[i], b.q[i])); }
INLINE v16 v_sqrt(v16 a) { return EACH4(vsqrtq_f32(a.q[i])); }
INLINE float v_sqrt1(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }
// v_min and v_max return b where either is NaN.
INLINE v16 v_min(v16 a, v16 b) { return EACH4(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i])); }
INLINE v16 v_max(v16 a, v16 b) { return EACH4(vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i])); }
INLINE v16 v_fma(v16 a, v16 b, v16 c) { return EACH4(vfmaq_f32(c.q[i], a.q[i], b.q[i])); }
INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return EACH4(vfmsq_f32(c.q[i], a.q[i], b.q[i])); }
INLINE v16 v_neg(v16 a) { return EACH4(vnegq_f32(a.q[i])); }
// v_round rounds to the nearest integer, ties to even.
INLINE v16 v_round(v16 a) { return EACH4(vrndnq_f32(a.q[i])); }
// v_nonzero returns y where x is not zero, else 0.
INLINE v16 v_nonzero(v16 x, v16 y) { return EACH4(vbslq_f32(vceqzq_f32(x.q[i]), vdupq_n_f32(0), y.q[i])); }
INLINE v16 v_scale2(v16 y, v16 n) { // y·2ⁿ in two factors
	for (int i = 0; i < 4; i++) {
		const int32x4_t e = vcvtnq_s32_f32(n.q[i]), a = vshrq_n_s32(e, 1), b = vsubq_s32(e, a), bias = vdupq_n_s32(127);
		y.q[i] = vmulq_f32(y.q[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(a, bias), 23)));
		y.q[i] = vmulq_f32(y.q[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(b, bias), 23)));
	}
	return y;
}

// v_sum adds lanes l and l+8, l+4, l+2, l+1; v_top is the maximum of the lanes.
INLINE float v_sum(v16 x) {
	const float32x4_t a = vaddq_f32(vaddq_f32(x.q[0], x.q[2]), vaddq_f32(x.q[1], x.q[3]));
	const float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
	return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}
INLINE float v_top(v16 x) {
	float t[16];
	v_store(t, x);
	for (int half = 8; half > 0; half /= 2)
		for (int i = 0; i < half; i++) t[i] = t[i] > t[i + half] ? t[i] : t[i + half];
	return t[0];
}

// v_sum_squares returns Σ x² of n floats in 16 double lanes.
INLINE double v_sum_squares(const float *x, long n) {
	float64x2_t s[8];
	for (int l = 0; l < 8; l++) s[l] = vdupq_n_f64(0);
	for (long j = 0; j < n; j += 16) {
		const v16 v = n - j < 16 ? v_loadn(x + j, n - j) : v_load(x + j);
		for (int l = 0; l < 8; l++) {
			const float64x2_t d = vcvt_f64_f32(l % 2 ? vget_high_f32(v.q[l / 2]) : vget_low_f32(v.q[l / 2]));
			s[l] = vfmaq_f64(s[l], d, d);
		}
	}
	for (int half = 4; half > 0; half /= 2)
		for (int l = 0; l < half; l++) s[l] = vaddq_f64(s[l], s[l + half]);
	return vgetq_lane_f64(s[0], 0) + vgetq_lane_f64(s[0], 1);
}

INLINE void NAME(transpose4)(float *dst, long ldd, const float32x4_t r[4]) {
	const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])), b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
	const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])), d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
	vst1q_f32(dst, vreinterpretq_f32_f64(vtrn1q_f64(a, c)));
	vst1q_f32(dst + ldd, vreinterpretq_f32_f64(vtrn1q_f64(b, d)));
	vst1q_f32(dst + 2 * ldd, vreinterpretq_f32_f64(vtrn2q_f64(a, c)));
	vst1q_f32(dst + 3 * ldd, vreinterpretq_f32_f64(vtrn2q_f64(b, d)));
}

INLINE void NAME(transpose_rows)(float *dst, long ldd, const v16 r[16]) {
	for (int br = 0; br < 4; br++)
		for (int bc = 0; bc < 4; bc++) {
			const float32x4_t t[4] = {r[4 * br].q[bc], r[4 * br + 1].q[bc], r[4 * br + 2].q[bc], r[4 * br + 3].q[bc]};
			NAME(transpose4)(dst + 4 * bc * ldd + 4 * br, ldd, t);
		}
}

// transpose16 writes dst[c·ldd + r] = src[r·lds + c] for r, c < 16; rows >= rows and columns >= cols count as zero.
// It writes all of the 16×16.
INLINE void transpose16(float *dst, long ldd, const float *src, long lds, long rows, long cols) {
	v16 r[16];
	for (int i = 0; i < 16; i++) r[i] = i >= rows ? v_zero() : cols >= 16 ? v_load(src + i * lds) : v_loadn(src + i * lds, cols);
	NAME(transpose_rows)(dst, ldd, r);
}

// transpose16_bf16 is transpose16 with lds = 16 and cols = 16 for bfloat16.
INLINE void transpose16_bf16(float *dst, long ldd, const uint16_t *src, long rows) {
	v16 r[16];
	for (int i = 0; i < 16; i++) r[i] = i < rows ? v_load_bf16(src + i * 16) : v_zero();
	NAME(transpose_rows)(dst, ldd, r);
}
