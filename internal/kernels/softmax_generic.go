package kernels

import "math"

// lseBlock is the number of logits summed in float32 (16 per lane) before the sum continues in float64.
const lseBlock = 256

// lseTileGeneric is the state of one tile of logits z, each multiplied by scale.
func lseTileGeneric(z []float32, scale float32) LSE {
	t := NewLSE()
	for _, v := range z {
		t.Max = max(t.Max, v*scale)
	}
	if math.IsInf(float64(t.Max), -1) {
		return t
	}
	for len(z) > 0 {
		var sum, dot lanes
		n := min(lseBlock, len(z))
		for i, v := range z[:n] {
			d := float32(v*scale) - t.Max
			e := exp32(d)
			sum[i%16] += e
			if e != 0 { // else d may be −∞
				dot[i%16] = fma32(e, d, dot[i%16])
			}
		}
		t.Sum += float64(sum.sum())
		t.Dot += float64(dot.sum())
		z = z[n:]
	}
	return t
}

// softmaxGradGeneric computes rows [lo,hi): a = dz, b = z, c = lse, d = a, e = b.
func softmaxGradGeneric(j *rowJob, lo, hi int) {
	for r := lo; r < hi; r++ {
		for i := r * j.n; i < (r+1)*j.n; i++ {
			l := fma32(j.b[i], j.s, -j.c[r])
			p := exp32(l)
			if p == 0 { // l may be −∞
				j.a[i] = 0
				continue
			}
			j.a[i] = float32(p*j.s) * fma32(j.e[r], l, j.d[r])
		}
	}
}
