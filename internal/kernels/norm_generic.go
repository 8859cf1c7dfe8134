package kernels

import "math"

// rmsNormGeneric normalises rows [lo,hi): a = y, b = rstd or nil, c = x, d = w. Σx² has 16 lanes of fma chains.
func rmsNormGeneric(j *rowJob, lo, hi int) {
	for r := lo; r < hi; r++ {
		x, y := j.c[r*j.n:(r+1)*j.n], j.a[r*j.n:(r+1)*j.n]
		rstd := 1 / sqrt32(dotLanes(x, x)/float32(j.n)+j.s)
		for i, v := range x {
			y[i] = float32(v*rstd) * j.d[i]
		}
		if j.b != nil {
			j.b[r] = rstd
		}
	}
}

// rmsNormBackwardGeneric computes rows [lo,hi) of dx: a = dx, b = dy, c = x, d = w, e = rstd.
func rmsNormBackwardGeneric(j *rowJob, lo, hi int) {
	for r := lo; r < hi; r++ {
		dx, dy, x := j.a[r*j.n:(r+1)*j.n], j.b[r*j.n:(r+1)*j.n], j.c[r*j.n:(r+1)*j.n]
		rstd := j.e[r]
		var s lanes
		for i, v := range x {
			t := dy[i] * j.d[i]
			s[i%16] = fma32(t, v, s[i%16])
		}
		r3 := float32(rstd*rstd) * rstd
		k := s.sum() / float32(j.n) * r3
		for i, v := range x {
			t := float32(dy[i] * j.d[i])
			g := fma32(-k, v, float32(t*rstd))
			if j.acc {
				g += dx[i]
			}
			dx[i] = g
		}
	}
}

// rmsNormGradGeneric adds to columns [lo,hi) of dw: a = dw, b = dy, c = x, d = rstd.
func rmsNormGradGeneric(j *rowJob, lo, hi int) {
	for r := range j.m {
		for i := lo; i < hi; i++ {
			j.a[i] = fma32(j.b[r*j.n+i], float32(j.c[r*j.n+i]*j.d[r]), j.a[i])
		}
	}
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
