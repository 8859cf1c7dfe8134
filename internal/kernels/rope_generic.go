package kernels

// ropeGeneric rotates rows [lo,hi): a = x, ids = positions, k = heads, acc = inverse.
func ropeGeneric(j *rowJob, lo, hi int) {
	half := j.rope.Rot / 2
	for r := lo; r < hi; r++ {
		cos, sin := j.rope.Cos[int(j.ids[r])*half:][:half], j.rope.Sin[int(j.ids[r])*half:][:half]
		for h := range j.k {
			x := j.a[r*j.n+h*j.rope.D:][:j.rope.D]
			for i := range half {
				i1, i2 := i, i+half
				if j.rope.Interleaved {
					i1, i2 = 2*i, 2*i+1
				}
				s := sin[i]
				if j.acc {
					s = -s
				}
				x1, x2 := x[i1], x[i2]
				x[i1] = fma32(x1, cos[i], -float32(x2*s))
				x[i2] = fma32(x2, cos[i], float32(x1*s))
			}
		}
	}
}
