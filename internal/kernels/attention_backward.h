// Gradients of flash attention for one key head of one sequence: see attentionBackwardGeneric. Chains: dq over keys
// ascending; dk and dv over query heads, inside a head over query positions ascending. Scores are recomputed from lse.
// Query r of n has position past + r; dk and dv have past + n rows.
//
// wantQ, wantKV: which gradients. With both, all rows and keys, and r1 is past + n. With one, rows [r0,r1) or keys [r0,r1)
// only, and r0 is a multiple of 64.

// probabilities turns scores s and dP d of m rows × 64 keys into P and dS; keys a row does not see become zero.
static void NAME(probabilities)(float *s, float *d, const float *lse, long ldl, const float *delta, const NAME(attn) *sh, long r, long t0, long m) {
	const v16 f = v_set1(sh->scale);
	for (long i = 0; i < m; i++) {
		long lo, hi;
		NAME(key_range)(sh, r + i, &lo, &hi);
		const v16 l = v_set1(-lse[i * ldl]), del = v_set1(delta[i]);
		for (int p = 0; p < KT; p += 16) {
			const long at = i * KT + p;
			if (p + t0 >= hi || p + 16 + t0 <= lo) { // no key of these is seen
				v_store(s + at, v_zero());
				v_store(d + at, v_zero());
				continue;
			}
			v16 x = v_range(v_exp(v_fma(v_load(s + at), f, l)), v_zero(), lo - t0 - p, hi - t0 - p);
			v16 y = v_mul(v_mul(x, v_sub(v_load(d + at), del)), f);
			v_store(s + at, x);
			v_store(d + at, v_range(y, v_zero(), lo - t0 - p, hi - t0 - p));
		}
	}
}

void NAME(attention_backward)(float *dq, float *dk, float *dv, const float *dOut, const float *q, const float *out, const float *lse,
			      const float *K, const float *V, long H, long KV, long D, float scale, long window, long past, long n, long kv,
			      long r0, long r1, int wantQ, int wantKV, float *scratch) {
	const NAME(attn) s = {D, (D + 15) / 16 * 16, H / KV, H * D, KV * D, window, past, scale};
	const long T = past + n, DP = s.DP, np = DP / 16, ldb = D == DP ? s.ldq : DP;
	float *kt = scratch, *vt = kt + DP * KT, *kp = vt + DP * KT, *P = kp + KT * DP, *dS = P + KT * KT;
	float *gk = dS + KT * KT, *gv = gk + KT * DP, *qp = gv + KT * DP, *dp = qp + KT * DP, *gq = dp + KT * DP, *delta = gq + KT * DP;
	// Keys whose tiles are visited, and query rows.
	const long first = wantKV ? 0 : r0, last = wantQ && !wantKV ? r1 : n;
	long k0 = wantKV ? r0 : 0, k1 = wantKV ? r1 : past + r1, hi;
	if (!wantKV) NAME(key_range)(&s, past + r0, &k0, &hi);
	q += kv * s.group * D, out += kv * s.group * D, dOut += kv * s.group * D, dq += kv * s.group * D, lse += kv * s.group;
	K += kv * D, V += kv * D, dk += kv * D, dv += kv * D;
	for (long g = 0; g < s.group; g++)
		for (long r = first; r < last; r++) {
			delta[g * n + r] = v_sum(NAME(dot_lanes)(dOut + r * s.ldq + g * D, out + r * s.ldq + g * D, D));
			if (wantQ)
				for (long d = 0; d < D; d++) dq[r * s.ldq + g * D + d] = 0;
		}
	for (long t0 = k0 / KT * KT; t0 < k1; t0 += KT) {
		const long keys = T - t0 < KT ? T - t0 : KT;
		NAME(transpose_tile)(kt, K + t0 * s.ldk, s.ldk, keys, D);
		NAME(transpose_tile)(vt, V + t0 * s.ldk, s.ldk, keys, D);
		const float *kb = K + t0 * s.ldk;
		long ldkb = s.ldk;
		if (D != DP) {
			NAME(pad_tile)(kp, kb, s.ldk, keys, D, DP);
			kb = kp, ldkb = DP;
		}
		for (long i = 0; i < 2 * KT * DP; i += 16) v_store(gk + i, v_zero());
		// Rows that see a key of the tile: from the tile's first key on, with a window up to its last key's last reader.
		long ra = t0 - past > first ? t0 - past : first, rb = last;
		if (window > 0 && t0 + KT - 1 + window - past < rb) rb = t0 + KT - 1 + window - past;
		for (long g = 0; g < s.group; g++)
			for (long r = ra; r < rb; r += KT) {
				const long m = rb - r < KT ? rb - r : KT, at = r * s.ldq + g * D;
				const float *qb = q + at, *db = dOut + at;
				if (D != DP) {
					NAME(pad_tile)(qp, qb, s.ldq, m, D, DP);
					NAME(pad_tile)(dp, db, s.ldq, m, D, DP);
					qb = qp, db = dp;
				}
				NAME(mm)(P, KT, q + at, s.ldq, 1, kt, KT, m, 4, D, 0);
				NAME(mm)(dS, KT, dOut + at, s.ldq, 1, vt, KT, m, 4, D, 0);
				NAME(probabilities)(P, dS, lse + r * H + g, H, delta + g * n + r, &s, past + r, t0, m);
				if (wantQ && D == DP) {
					NAME(mm)(dq + at, s.ldq, dS, KT, 1, kb, ldkb, m, np, keys, 1);
				} else if (wantQ) {
					NAME(pad_tile)(gq, dq + at, s.ldq, m, D, DP);
					NAME(mm)(gq, DP, dS, KT, 1, kb, ldkb, m, np, keys, 1);
					for (long i = 0; i < m; i++)
						for (long d = 0; d < D; d++) dq[at + i * s.ldq + d] = gq[i * DP + d];
				}
				if (wantKV) {
					NAME(mm)(gk, DP, dS, 1, KT, qb, ldb, keys, np, m, 1);
					NAME(mm)(gv, DP, P, 1, KT, db, ldb, keys, np, m, 1);
				}
			}
		if (wantKV)
			for (long j = 0; j < keys; j++)
				for (long d = 0; d < D; d++) {
					dk[(t0 + j) * s.ldk + d] = gk[j * DP + d];
					dv[(t0 + j) * s.ldk + d] = gv[j * DP + d];
				}
	}
}
