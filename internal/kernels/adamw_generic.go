package kernels

func adamwGeneric(x, g, m, v []float32, k *adamwConsts) {
	for i := range x {
		d := k.gradScale * g[i]
		mi := fma32(k.omb1, float32(d-m[i]), m[i])
		vi := fma32(float32(k.omb2*d), d, float32(k.beta2*v[i]))
		m[i], v[i] = mi, vi
		den := fma32(sqrt32(vi), k.rbc2, k.eps)
		x[i] = fma32(-k.step, mi/den, float32(x[i]*k.decay))
	}
}

// sumSquaresGeneric has 16 float64 lanes; a square of a float32 is exact there.
func sumSquaresGeneric(x []float32) float64 {
	var s [16]float64
	for i, v := range x {
		s[i%16] += float64(v) * float64(v)
	}
	for w := 8; w > 0; w /= 2 {
		for l := range w {
			s[l] += s[l+w]
		}
	}
	return s[0]
}
