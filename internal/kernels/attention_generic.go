package kernels

import "math"

// keyRange returns the keys [lo,hi) that the query at position t sees.
func (s *AttnShape) keyRange(t int) (lo, hi int) {
	if s.Window > 0 {
		lo = max(0, t+1-s.Window)
	}
	return lo, t + 1
}

// attentionGeneric computes the outputs of one block. Per query row, over tiles of 64 keys, starting with max m = -∞,
// sum l = 0, o = 0:
//
//	s_j = Scale · Σ_d fma(q_d, k_jd)        m' = max(m, max_j s_j)      c = exp(m − m')
//	p_j = exp(s_j − m')                     l = fma(l, c, Σ_j p_j)      o_d = fma chain over j of p_j v_jd from c·o_d
//
// where keys that the query does not see take no part; Σ_j p_j has 16 lanes. At the end out = o · (1/l) and
// lse = m + log l.
func attentionGeneric(j *attnJob, w *worker, i int) {
	b := j.blocks[i]
	seq, D := &j.seqs[b.seq], j.D
	if seq.putsItself() {
		seq.put(b.kv, &j.AttnShape)
	}
	buf := w.floats(D) // a key or value out of a page
	group, ldq := j.H/j.KV, j.H*j.D
	for r := b.r0; r < b.r1; r++ {
		lo, hi := j.keyRange(seq.Past + r)
		for h := b.kv * group; h < (b.kv+1)*group; h++ {
			at := (seq.QRow+r)*ldq + h*D
			q, o := j.q[at:][:D], j.out[at:][:D]
			clear(o)
			m, l := float32(math.Inf(-1)), float32(0)
			var p [KeyTile]float32
			for t0 := lo / KeyTile * KeyTile; t0 < hi; t0 += KeyTile {
				j0, j1 := max(lo, t0), min(hi, t0+KeyTile)
				top := m
				for k := j0; k < j1; k++ {
					p[k-t0] = dotChain(q, seq.key(buf, k, b.kv, &j.AttnShape)) * j.Scale
					top = max(top, p[k-t0])
				}
				c := exp32(m - top)
				var sum lanes
				for k := t0; k < t0+KeyTile; k++ {
					if k < j0 || k >= j1 {
						continue
					}
					p[k-t0] = exp32(p[k-t0] - top)
					sum[(k-t0)%16] += p[k-t0]
				}
				l = fma32(l, c, sum.sum())
				for d := range o {
					o[d] *= c
				}
				for k := j0; k < j1; k++ {
					v := seq.value(buf, k, b.kv, &j.AttnShape)
					for d := range o {
						o[d] = fma32(p[k-t0], v[d], o[d])
					}
				}
				m = top
			}
			inv := 1 / l
			for d := range o {
				o[d] *= inv
			}
			if j.lse != nil {
				j.lse[(seq.QRow+r)*j.H+h] = m + log32(l)
			}
		}
	}
}

// key returns key k of head kv, [D]; buf has room for it.
func (s *AttnSeq) key(buf []float32, k, kv int, shape *AttnShape) []float32 {
	if s.cached() {
		return s.Pages[k/KeyTile].key(buf, s.Block, kv, k%KeyTile)
	}
	return s.K[(k*shape.KV+kv)*shape.D:][:shape.D]
}

// value returns value k of head kv, [D].
func (s *AttnSeq) value(buf []float32, k, kv int, shape *AttnShape) []float32 {
	if s.cached() {
		return s.Pages[k/KeyTile].value(buf, s.Block, kv, k%KeyTile)
	}
	return s.V[(k*shape.KV+kv)*shape.D:][:shape.D]
}

// dotChain returns Σ_d a_d b_d as one fma chain.
func dotChain(a, b []float32) float32 {
	acc := float32(0)
	for d, v := range a {
		acc = fma32(v, b[d], acc)
	}
	return acc
}

// attentionBackwardGeneric computes the gradients of one block. Chains: dq over keys ascending; dk and dv over query
// heads, inside a head over query positions ascending.
func attentionBackwardGeneric(j *attnJob, w *worker, b attnBlock) {
	seq, D := &j.seqs[b.seq], j.D
	group, ldq, ldk := j.H/j.KV, j.H*j.D, j.KV*j.D
	wantQ, wantKV := j.phase != attnBackKV, j.phase != attnBackQ
	if wantKV {
		for k := b.r0; k < b.r1; k++ {
			at := k*ldk + b.kv*D
			clear(seq.DK[at:][:D])
			clear(seq.DV[at:][:D])
		}
	}
	for h := b.kv * group; h < (b.kv+1)*group; h++ {
		for r := range seq.QLen {
			lo, hi := j.keyRange(seq.Past + r)
			if wantQ && !wantKV && (r < b.r0 || r >= b.r1) {
				continue
			}
			if !wantQ {
				lo, hi = max(lo, b.r0), min(hi, b.r1)
			}
			at := (seq.QRow+r)*ldq + h*D
			q, out, dOut, dq := j.q[at:][:D], j.out[at:][:D], j.dOut[at:][:D], j.dq[at:][:D]
			delta, lse := dotLanes(dOut, out), j.lse[(seq.QRow+r)*j.H+h]
			if wantQ {
				clear(dq)
			}
			for k := lo; k < hi; k++ {
				key, val := seq.K[k*ldk+b.kv*D:][:D], seq.V[k*ldk+b.kv*D:][:D]
				p := exp32(fma32(dotChain(q, key), j.Scale, -lse))
				ds := p * (dotChain(dOut, val) - delta) * j.Scale
				if wantKV {
					g := k*ldk + b.kv*D
					dk, dv := seq.DK[g:][:D], seq.DV[g:][:D]
					for d := range dk {
						dk[d] = fma32(ds, q[d], dk[d])
						dv[d] = fma32(p, dOut[d], dv[d])
					}
				}
				if wantQ {
					for d := range dq {
						dq[d] = fma32(ds, key[d], dq[d])
					}
				}
			}
		}
	}
}

// dotLanes returns Σ a_i b_i with 16 lanes.
func dotLanes(a, b []float32) float32 {
	var s lanes
	for i, v := range a {
		s[i%16] = fma32(v, b[i], s[i%16])
	}
	return s.sum()
}
