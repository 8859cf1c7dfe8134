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
	if g.bq != nil {
		g.quantisedPanel(b, pi)
		return
	}
	if g.kind == packedB { // padded already
		at := pi * g.k * panelWidth
		for i := range b {
			b[i] = g.at(at + i)
		}
		return
	}
	clear(b)
	for l := range min(panelWidth, g.n-pi*panelWidth) {
		j := pi*panelWidth + l
		for k := range g.k {
			at := j*g.ldb + k
			switch g.kind {
			case transposedB:
				at = (k/panelWidth*g.ldb+j)*panelWidth + k%panelWidth
			case rowsB:
				at = k*g.ldb + j
			}
			b[k*panelWidth+l] = g.at(at)
		}
	}
}

// quantisedPanel is panel for a matrix in few bits, as W or as its transpose.
func (g *gemmArgs) quantisedPanel(b []float64, pi int) {
	clear(b)
	for l := range min(panelWidth, g.n-pi*panelWidth) {
		j := pi*panelWidth + l
		for k := range g.k {
			o, i := g.row0+j, k
			if g.kind == transposedB {
				o, i = g.row0+k, j
			}
			b[k*panelWidth+l] = float64(g.bq.at(o, i, g.in))
		}
	}
}

func (g *gemmArgs) at(i int) float64 {
	if g.bf != nil {
		return float64(g.bf[i])
	}
	return float64(fromBF16(g.bh[i]))
}
