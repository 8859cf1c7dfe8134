// Operations on n independent elements; tails by masked loads and stores, no alignment assumed. An output may be the
// same slice as an input of the same element. The formulas are in elementwise_generic.go and adamw_generic.go.

// EACH runs body for whole vectors, LOAD and STORE being plain, and once more for the tail with masked ones.
#define EACH(n, body)                                              \
	do {                                                           \
		long i = 0;                                                \
		for (; i + 16 <= (n); i += 16) {                           \
			const int whole = 1;                                   \
			const long left = 16;                                  \
			body                                                   \
		}                                                          \
		if (i < (n)) {                                             \
			const int whole = 0;                                   \
			const long left = (n)-i;                               \
			body                                                   \
		}                                                          \
	} while (0)
#define LOAD(p) ((void)left, whole ? v_load((p) + i) : v_loadn((p) + i, left))
#define STORE(p, x)                             \
	do {                                        \
		if (whole)                              \
			v_store((p) + i, x);                \
		else                                    \
			v_storen((p) + i, x, left);         \
	} while (0)

void NAME(add)(float *dst, const float *a, const float *b, long n) {
	EACH(n, { STORE(dst, v_add(LOAD(a), LOAD(b))); });
}

void NAME(axpy)(float *y, const float *x, float s, long n) {
	const v16 f = v_set1(s);
	EACH(n, { STORE(y, v_fma(f, LOAD(x), LOAD(y))); });
}

void NAME(scale)(float *dst, const float *x, float s, long n) {
	const v16 f = v_set1(s);
	EACH(n, { STORE(dst, v_mul(f, LOAD(x))); });
}

INLINE v16 NAME(sigmoid)(v16 x) { return v_div(v_set1(1), v_add(v_set1(1), v_exp(v_neg(x)))); }

void NAME(swiglu)(float *h, const float *g, const float *u, long n) {
	EACH(n, {
		v16 x = LOAD(g);
		STORE(h, v_mul(v_mul(x, NAME(sigmoid)(x)), LOAD(u)));
	});
}

void NAME(swiglu_backward)(float *dg, float *du, const float *dh, const float *g, const float *u, long n) {
	EACH(n, {
		v16 x = LOAD(g);
		v16 d = LOAD(dh);
		v16 a = v_mul(d, LOAD(u));
		v16 sig = NAME(sigmoid)(x);
		v16 s = v_mul(x, sig);
		STORE(du, v_mul(d, s));
		STORE(dg, v_mul(a, v_fma(s, v_sub(v_set1(1), sig), sig)));
	});
}

// adamw: k holds gradScale, decay, 1-beta1, beta2, 1-beta2, step, 1/sqrt(bias correction 2), eps.
void NAME(adamw)(float *x, const float *g, float *m, float *v, const float *k, long n) {
	const v16 scale = v_set1(k[0]), decay = v_set1(k[1]), omb1 = v_set1(k[2]), beta2 = v_set1(k[3]), omb2 = v_set1(k[4]);
	const v16 step = v_set1(k[5]), rbc2 = v_set1(k[6]), eps = v_set1(k[7]);
	EACH(n, {
		v16 d = v_mul(scale, LOAD(g));
		v16 mi = LOAD(m);
		mi = v_fma(omb1, v_sub(d, mi), mi);
		v16 vi = v_fma(v_mul(omb2, d), d, v_mul(beta2, LOAD(v)));
		STORE(m, mi);
		STORE(v, vi);
		v16 den = v_fma(v_sqrt(vi), rbc2, eps);
		STORE(x, v_fnma(step, v_div(mi, den), v_mul(LOAD(x), decay)));
	});
}

double NAME(sum_squares)(const float *x, long n) { return v_sum_squares(x, n); }
