// v_exp and log32: see exp_generic.go for the method, the constants and the errors.

INLINE v16 v_exp(v16 x) {
	const v16 one = v_set1(1);
	x = v_min(v_set1(89.0f), v_max(v_set1(-104.0f), x)); // NaN passes
	v16 n = v_round(v_mul(x, v_set1(0x1.715476p+0f)));
	v16 r = v_fnma(n, v_set1(-0x1.05c61p-29f), v_fnma(n, v_set1(0x1.62e43p-1f), x));
	v16 y = v_set1(1.9875691500e-4f);
	y = v_fma(y, r, v_set1(1.3981999507e-3f));
	y = v_fma(y, r, v_set1(8.3334519073e-3f));
	y = v_fma(y, r, v_set1(4.1665795894e-2f));
	y = v_fma(y, r, v_set1(1.6666665459e-1f));
	y = v_fma(y, r, v_set1(5.0000001201e-1f));
	y = v_add(v_fma(y, v_mul(r, r), r), one);
	return v_scale2(y, n);
}

INLINE float NAME(log32)(float x) {
	union {
		float f;
		uint32_t u;
	} b = {x};
	if (b.u < 0x00800000u || b.u >= 0x7f800000u) return __builtin_nanf("");
	int e = (int)(b.u >> 23) - 126;
	b.u = (b.u & 0x007fffffu) | 0x3f000000u;
	float f = b.f;
	if (f < 0x1.6a09e6p-1f) {
		e--;
		f += f;
	}
	f -= 1;
	float z = f * f, n = (float)e, y = 7.0376836292e-2f;
	y = __builtin_fmaf(y, f, -1.1514610310e-1f);
	y = __builtin_fmaf(y, f, 1.1676998740e-1f);
	y = __builtin_fmaf(y, f, -1.2420140846e-1f);
	y = __builtin_fmaf(y, f, 1.4249322787e-1f);
	y = __builtin_fmaf(y, f, -1.6668057665e-1f);
	y = __builtin_fmaf(y, f, 2.0000714765e-1f);
	y = __builtin_fmaf(y, f, -2.4999993993e-1f);
	y = __builtin_fmaf(y, f, 3.3333331174e-1f);
	y = (y * f) * z;
	y = __builtin_fmaf(n, -0x1.05c61p-29f, y);
	y = __builtin_fmaf(-0.5f, z, y);
	return __builtin_fmaf(n, 0x1.62e43p-1f, f + y);
}
