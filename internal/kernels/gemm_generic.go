package kernels

// gemmGeneric computes rows [i0,i1) × panels [p0,p1) of g: for every element
//
//	acc = 0, or c(i,j) if g.acc;  for k = 0..K-1: acc = fma(A(i,k), B(k,j), acc);  c(i,j) = acc
//
// B is widened to float64 once for a panel; the rest is fma32 written out.
func gemmGeneric(g *gemmArgs, w *worker, i0, i1, p0, p1 int) {
	b := w.doubles(g.k * panelWidth)
	for pi := p0; pi < p1; pi++ {
		g.panel(b, pi)
		n := min(panelWidth, g.n-pi*panelWidth)
		for i := i0; i < i1; i++ {
			c := g.c[i*g.ldc+pi*panelWidth:][:n]
			var acc [panelWidth]float32
			if g.acc {
				copy(acc[:], c)
			}
			at := i * g.rowStride
			for k := range g.k {
				a, row := float64(g.a[at]), (*[panelWidth]float64)(b[k*panelWidth:])
				at += g.colStride
				for j, v := range row {
					s := a*v + float64(acc[j])
					if inexact(s) {
						acc[j] = fma32Exact(float32(a), float32(v), acc[j])
						continue
					}
					acc[j] = float32(s)
				}
			}
			copy(c, acc[:])
		}
	}
}

// panel copies columns 16·pi .. 16·pi+15 of B to b [K,16]; columns past n are zero.
func (g *gemmArgs) panel(b []float64, pi int) {
	at := func(i int) float32 {
		if g.bf != nil {
			return g.bf[i]
		}
		return fromBF16(g.bh[i])
	}
	for k := range g.k {
		for l := range panelWidth {
			j, v := pi*panelWidth+l, float32(0)
			switch {
			case j >= g.n:
			case g.kind == packedB:
				v = at((pi*g.k+k)*panelWidth + l)
			case g.kind == transposedB:
				v = at((k/panelWidth*g.ldb+j)*panelWidth + k%panelWidth)
			case g.kind == rowsB:
				v = at(k*g.ldb + j)
			default:
				v = at(j*g.ldb + k)
			}
			b[k*panelWidth+l] = float64(v)
		}
	}
}
