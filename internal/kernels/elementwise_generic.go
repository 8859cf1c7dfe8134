package kernels

func addGeneric(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func axpyGeneric(y, x []float32, s float32) {
	for i := range y {
		y[i] = fma32(s, x[i], y[i])
	}
}

func scaleGeneric(dst, x []float32, s float32) {
	for i := range dst {
		dst[i] = s * x[i]
	}
}

func swigluGeneric(h, g, u []float32) {
	for i := range h {
		sig := 1 / (1 + exp32(-g[i]))
		h[i] = float32(g[i]*sig) * u[i]
	}
}

func swigluBackwardGeneric(dg, du, dh, g, u []float32) {
	for i := range dg {
		sig := 1 / (1 + exp32(-g[i]))
		s := g[i] * sig
		d := dh[i]
		a := d * u[i]
		du[i] = d * s
		dg[i] = a * fma32(s, 1-sig, sig)
	}
}
