package kernels

// Linear computes y[m,Out] = x[m,In] Wᵀ, or adds to y if acc.
func (p *Pool) Linear(y, x []float32, m int, w *Weight, acc bool) {
	p.LinearRange(y, x, m, w, 0, w.Out, acc)
}

// LinearRange computes y[m,o1-o0] = x[m,In] W[o0:o1,:]ᵀ, or adds to y if acc: a tile of a language-model head.
// o0 must be a multiple of 16.
func (p *Pool) LinearRange(y, x []float32, m int, w *Weight, o0, o1 int, acc bool) {
	checkRange(w, o0, o1)
	n := o1 - o0
	if len(y) < m*n || len(x) < m*w.In {
		panic("kernels: Linear: y or x too short")
	}
	g := gemmArgs{c: y, ldc: n, a: x, rowStride: w.In, colStride: 1, n: n, k: w.In, acc: acc}
	g.setB(packedB, w, o0)
	p.gemm(m, g)
}

// LinearPair computes y[m,Out] = x[m,In] Wᵀ + u[m,r] Bᵀ, B [Out,r], with the bits of Linear into y and then to it. Each tile of y
// stays in the cache between the two.
func (p *Pool) LinearPair(y, x, u []float32, m int, w, b *Weight) {
	if w.Out != b.Out || len(y) < m*w.Out || len(x) < m*w.In || len(u) < m*b.In {
		panic("kernels: LinearPair: shapes differ, or y, x or u too short")
	}
	g := gemmArgs{c: y, ldc: w.Out, a: x, rowStride: w.In, colStride: 1, n: w.Out, k: w.In}
	g.setB(packedB, w, 0)
	h := gemmArgs{c: y, ldc: w.Out, a: u, rowStride: b.In, colStride: 1, n: w.Out, k: b.In, acc: true}
	h.setB(packedB, b, 0)
	p.gemmPair(m, g, h)
}

// LinearBackInputPair computes dx[m,In] = dy[m,Out] W + du[m,r] A, A [r,In], or adds to dx if acc, with the bits of two calls of
// LinearBackInput.
func (p *Pool) LinearBackInputPair(dx, dy, du []float32, m int, w, a *Weight, acc bool) {
	if w.In != a.In || len(dx) < m*w.In || len(dy) < m*w.Out || len(du) < m*a.Out {
		panic("kernels: LinearBackInputPair: shapes differ, or dx, dy or du too short")
	}
	g := gemmArgs{c: dx, ldc: w.In, a: dy, rowStride: w.Out, colStride: 1, n: w.In, k: w.Out, acc: acc, ldb: w.In}
	g.setB(transposedB, w, 0)
	h := gemmArgs{c: dx, ldc: w.In, a: du, rowStride: a.Out, colStride: 1, n: w.In, k: a.Out, acc: true, ldb: w.In}
	h.setB(transposedB, a, 0)
	p.gemmPair(m, g, h)
}

// LinearBackInput computes dx[m,In] = dy[m,Out] W, or adds to dx if acc.
func (p *Pool) LinearBackInput(dx, dy []float32, m int, w *Weight, acc bool) {
	p.LinearBackInputRange(dx, dy, m, w, 0, w.Out, acc)
}

// LinearBackInputRange computes dx[m,In] = dy[m,o1-o0] W[o0:o1,:], or adds to dx if acc. o0 must be a multiple of 16.
// Ascending ranges with acc give the bits of one call over their union.
func (p *Pool) LinearBackInputRange(dx, dy []float32, m int, w *Weight, o0, o1 int, acc bool) {
	checkRange(w, o0, o1)
	k := o1 - o0
	if len(dx) < m*w.In || len(dy) < m*k {
		panic("kernels: LinearBackInput: dx or dy too short")
	}
	g := gemmArgs{c: dx, ldc: w.In, a: dy, rowStride: k, colStride: 1, n: w.In, k: k, acc: acc, ldb: w.In}
	g.setB(transposedB, w, o0)
	p.gemm(m, g)
}

// AccumGrad adds dyᵀ x to dw: dw[out,in] += Σ_i dy[i,out] x[i,in] over m rows. The chain of an element starts at its
// old value, so micro-batches of consecutive rows give the bits of one call over all of them.
func (p *Pool) AccumGrad(dw, dy, x []float32, m, out, in int) {
	if len(dw) < out*in || len(dy) < m*out || len(x) < m*in {
		panic("kernels: AccumGrad: slice too short")
	}
	p.gemm(out, gemmArgs{
		c: dw, ldc: in, a: dy, rowStride: 1, colStride: out, n: in, k: m, acc: true,
		kind: rowsB, bf: x, ldb: in,
	})
}

// MatMul computes c[m,n] = a[m,k] b[k,n], or adds to c if acc; all row-major and unpacked, for small products.
func (p *Pool) MatMul(c, a, b []float32, m, n, k int, acc bool) {
	if len(c) < m*n || len(a) < m*k || len(b) < k*n {
		panic("kernels: MatMul: slice too short")
	}
	p.gemm(m, gemmArgs{
		c: c, ldc: n, a: a, rowStride: k, colStride: 1, n: n, k: k, acc: acc,
		kind: rowsB, bf: b, ldb: n,
	})
}

func checkRange(w *Weight, o0, o1 int) {
	if o0 < 0 || o0 > o1 || o1 > w.Out || o0%panelWidth != 0 {
		panic("kernels: Weight: row range out of bounds or not starting at a multiple of 16")
	}
}

// bKind says how the right-hand operand B [k,n] of a product lies in memory.
type bKind int

const (
	packedB     bKind = iota // B(k,j) = W[j,k], panels over j: B(k,j) at (j/16)·K·16 + k·16 + j%16
	transposedB              // B(k,j) = W[k,j], panels over k: B(k,j) at (k/16)·ldb·16 + j·16 + k%16
	rowsB                    // B(k,j) at k·ldb + j
	columnsB                 // B(k,j) at j·ldb + k
)

// gemmArgs is one product c[m,n] (+)= A[m,k] B[k,n], A(i,k) = a[i·rowStride + k·colStride], c row-major with stride
// ldc. Of bf, bh and bq the one that is not nil holds B; of bq, B is the rows from row0 on, each of in values.
type gemmArgs struct {
	c                    []float32
	ldc                  int
	a                    []float32
	rowStride, colStride int
	n, k                 int
	acc                  bool
	kind                 bKind
	bf                   []float32
	bh                   []uint16
	bq                   *fewBits
	row0, in             int
	ldb                  int
	bits                 int // of an element of B in memory; 0 means 32
}

// setB makes W from row o0 on the right-hand operand.
func (g *gemmArgs) setB(kind bKind, w *Weight, o0 int) {
	g.kind, g.bits = kind, w.bits()
	switch {
	case w.few != nil:
		g.bq, g.row0, g.in = w.few, o0, w.In
	case w.f32 != nil:
		g.bf = w.f32[o0*w.In:]
	default:
		g.bh = w.bf16[o0*w.In:]
	}
}

// gemmJob cuts a product into tiles of rowTile rows × panelTile panels of 16 columns. then, if it has a c, is a product that is
// added to the same results.
type gemmJob struct {
	gemmArgs
	then                         gemmArgs
	m                            int
	rowTile, panelTile, colTiles int
}

func (p *Pool) gemm(m int, g gemmArgs) {
	if m <= 0 || g.n <= 0 {
		return
	}
	if g.k <= 0 {
		if !g.acc {
			for i := range m {
				clear(g.c[i*g.ldc : i*g.ldc+g.n])
			}
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.noteGemm(m, &g)
	p.tiles(gemmJob{gemmArgs: g, m: m}, m*g.n*g.k)
}

// gemmPair is gemm of g, then of h, whose c is the same.
func (p *Pool) gemmPair(m int, g, h gemmArgs) {
	if m <= 0 || g.n <= 0 || g.k <= 0 || h.k <= 0 {
		p.gemm(m, g)
		p.gemm(m, h)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.noteGemm(m, &g)
	p.meter.noteAdded(m, &h)
	p.tiles(gemmJob{gemmArgs: g, then: h, m: m}, m*g.n*(g.k+h.k))
}

// tiles runs a job of so many multiplications. The caller holds p.mu.
func (p *Pool) tiles(job gemmJob, work int) {
	j := &p.jobs.gemm
	*j = job
	np := panels(j.n)
	j.rowTile, j.panelTile = gemmTiles(j.m, np, j.kind, len(p.workers))
	j.colTiles = (np + j.panelTile - 1) / j.panelTile
	rows := (j.m + j.rowTile - 1) / j.rowTile
	serial := work < 200_000
	if j.m <= streamedRows {
		serial = work < 64_000*j.m // what takes the time is reading B
	}
	p.run(rows*j.colTiles, j, serial)
	*j = gemmJob{}
}

// streamedRows is how many rows a product has whose time is that of reading B.
const streamedRows = 4

// gemmTiles chooses a tile size: any choice gives the same bits. Tiles are of about equal size, in height and in width, at least four
// a thread, and where there are few as many for each: two threads that share nine tiles wait a tenth of the time. For the fewest rows
// they are as wide as can be, since a thread reads a stretch of memory from end to end faster than pieces of it.
func gemmTiles(m, np int, kind bKind, threads int) (rows, cols int) {
	if m <= streamedRows && kind == packedB {
		tiles := threads * max(1, np/(32*threads))
		return m, ((np+tiles-1)/tiles + 1) &^ 1
	}
	tallest, widest := 168, 32
	if kind == transposedB {
		tallest = 336 // what is transposed on the fly is used for twice as many rows
	}
	if m <= 16 {
		widest = 16
	}
	rowTiles := (m + tallest - 1) / tallest
	if np <= 4 && rowTiles < threads && m >= 24*threads { // narrow: rather copy a panel of B for each thread than let them wait
		rowTiles = threads
	}
	for n := (np + widest - 1) / widest; ; n++ {
		cols = ((np+n-1)/n + 3) &^ 3
		tiles := rowTiles * ((np + cols - 1) / cols)
		if cols <= 4 || tiles >= 4*threads && (tiles%threads == 0 || tiles >= 16*threads) {
			return (m + rowTiles - 1) / rowTiles, cols
		}
	}
}

func (j *gemmJob) item(w *worker, i int) {
	r, c := i/j.colTiles, i%j.colTiles
	i0, p0 := r*j.rowTile, c*j.panelTile
	i1, p1 := min(i0+j.rowTile, j.m), min(p0+j.panelTile, panels(j.n))
	active.gemm(&j.gemmArgs, w, i0, i1, p0, p1)
	if j.then.c != nil {
		active.gemm(&j.then, w, i0, i1, p0, p1)
	}
}
