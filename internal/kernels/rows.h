// Operations on rows of n elements: normalisation, rotation, log-sum-exp. Reductions have 16 lanes, element i in lane
// i mod 16, the tail padded with zeros; v_sum adds the lanes. The formulas are in norm_generic.go, rope_generic.go and
// softmax_generic.go.

INLINE v16 NAME(dot_lanes)(const float *a, const float *b, long n) {
	v16 s = v_zero();
	EACH(n, { s = v_fma(LOAD(a), LOAD(b), s); });
	return s;
}

// rms_norm: rows x [m,n] -> y; rstd may be 0.
void NAME(rms_norm)(float *y, float *rstd, const float *x, const float *w, long m, long n, float eps) {
	for (long r = 0; r < m; r++, x += n, y += n) {
		float s = 1 / v_sqrt1(v_sum(NAME(dot_lanes)(x, x, n)) / (float)n + eps);
		v16 f = v_set1(s);
		EACH(n, { STORE(y, v_mul(v_mul(LOAD(x), f), LOAD(w))); });
		if (rstd) rstd[r] = s;
	}
}

void NAME(rms_norm_backward)(float *dx, const float *dy, const float *x, const float *w, const float *rstd, long m, long n, int acc) {
	for (long r = 0; r < m; r++, dx += n, dy += n, x += n) {
		v16 s = v_zero();
		EACH(n, { s = v_fma(v_mul(LOAD(dy), LOAD(w)), LOAD(x), s); });
		float r3 = (rstd[r] * rstd[r]) * rstd[r];
		v16 k = v_set1(v_sum(s) / (float)n * r3), f = v_set1(rstd[r]);
		EACH(n, {
			v16 g = v_fnma(k, LOAD(x), v_mul(v_mul(LOAD(dy), LOAD(w)), f));
			if (acc) g = v_add(g, LOAD(dx));
			STORE(dx, g);
		});
	}
}

// rms_norm_grad adds rows of dy·(x·rstd) to n of ld columns of dw.
void NAME(rms_norm_grad)(float *dw, const float *dy, const float *x, const float *rstd, long m, long ld, long n) {
	for (long r = 0; r < m; r++, dy += ld, x += ld) {
		v16 f = v_set1(rstd[r]);
		EACH(n, { STORE(dw, v_fma(LOAD(dy), v_mul(LOAD(x), f), LOAD(dw))); });
	}
}

// rope rotates m rows of heads vectors of d elements, pairs (i, i+half), by rows pos[r] of the tables [.,half].
void NAME(rope)(float *x, const int32_t *pos, const float *cosines, const float *sines, long m, long heads, long d, long half, int inverse) {
	for (long r = 0; r < m; r++) {
		const float *c = cosines + pos[r] * half, *s = sines + pos[r] * half;
		for (long h = 0; h < heads; h++, x += d) {
			float *y = x + half;
			EACH(half, {
				v16 a = LOAD(x);
				v16 b = LOAD(y);
				v16 co = LOAD(c);
				v16 si = LOAD(s);
				if (inverse) si = v_neg(si);
				STORE(x, v_fma(a, co, v_neg(v_mul(b, si))));
				STORE(y, v_fma(b, co, v_mul(a, si)));
			});
		}
	}
}

// lse_tile sets out to the maximum of the n scaled logits, Σ e^(z−max) and Σ e^(z−max)·(z−max), in blocks of 256.
void NAME(lse_tile)(double *out, const float *z, long n, float scale) {
	const v16 f = v_set1(scale), low = v_set1(-__builtin_inff());
	v16 t = low;
	EACH(n, { t = v_max(t, v_range(v_mul(LOAD(z), f), low, 0, left)); });
	const float top = v_top(t);
	out[0] = top;
	out[1] = out[2] = 0;
	if (top == -__builtin_inff()) return;
	const v16 max = v_set1(top);
	for (; n > 0; z += 256, n -= 256) {
		v16 sum = v_zero(), dot = v_zero();
		const long k = n < 256 ? n : 256;
		EACH(k, {
			v16 d = v_sub(v_mul(LOAD(z), f), max);
			v16 e = v_range(v_exp(d), v_zero(), 0, left);
			sum = v_add(sum, e);
			dot = v_fma(e, v_nonzero(e, d), dot);
		});
		out[1] += v_sum(sum);
		out[2] += v_sum(dot);
	}
}

// softmax_grad: rows z [m,n] -> dz = scale·p·(a + b·log p), log p = z·scale − lse; 0 where p is 0.
void NAME(softmax_grad)(float *dz, const float *z, const float *lse, const float *a, const float *b, long m, long n, float scale) {
	const v16 f = v_set1(scale);
	for (long r = 0; r < m; r++, dz += n, z += n) {
		const v16 l0 = v_set1(-lse[r]), va = v_set1(a[r]), vb = v_set1(b[r]);
		EACH(n, {
			v16 l = v_fma(LOAD(z), f, l0);
			v16 p = v_exp(l);
			STORE(dz, v_nonzero(p, v_mul(v_mul(p, f), v_fma(vb, l, va))));
		});
	}
}
