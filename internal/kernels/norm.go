package kernels

// RMSNorm computes y = x·r·w for each of m rows of size n (Zhang and Sennrich 2019, eq. 4), r = 1/√(mean(x²)+eps).
// rstd [m] receives r for the backward pass; nil if not wanted. y may be x.
func (p *Pool) RMSNorm(y, rstd, x, w []float32, m, n int, eps float32) {
	if len(y) < m*n || len(x) < m*n || len(w) < n || rstd != nil && len(rstd) < m {
		panic("kernels: RMSNorm: slice too short")
	}
	p.rows(m, n, rowJob{op: opRMSNorm, a: y, b: rstd, c: x, d: w, n: n, s: eps})
}

// RMSNormBackward sets dx (adds to it if acc) and adds to dw, which may be nil, the gradients of RMSNorm given dy:
//
//	dx_i = r·w_i·dy_i − x_i·r³/n·Σ_j dy_j w_j x_j;   dw_i += Σ_rows dy_i·(x_i·r), rows ascending
//
// dx may be dy if dw is nil.
func (p *Pool) RMSNormBackward(dx, dw, dy, x, w, rstd []float32, m, n int, acc bool) {
	if len(dx) < m*n || len(dy) < m*n || len(x) < m*n || len(w) < n || len(rstd) < m || dw != nil && len(dw) < n {
		panic("kernels: RMSNormBackward: slice too short")
	}
	if dw != nil {
		p.columns(m, n, rowJob{op: opRMSNormGrad, a: dw, b: dy, c: x, d: rstd, m: m, n: n})
	}
	p.rows(m, n, rowJob{op: opRMSNormBackward, a: dx, b: dy, c: x, d: w, e: rstd, n: n, acc: acc})
}

// AddBias adds b [n] to each of the m rows of y.
func (p *Pool) AddBias(y, b []float32, m, n int) {
	if len(y) < m*n || len(b) < n {
		panic("kernels: AddBias: slice too short")
	}
	p.rows(m, n, rowJob{op: opAddBias, a: y, b: b, n: n})
}

// ColumnSum adds the m rows of dy [m,n] to db [n], rows ascending: the gradient of a bias.
func (p *Pool) ColumnSum(db, dy []float32, m, n int) {
	if len(db) < n || len(dy) < m*n {
		panic("kernels: ColumnSum: slice too short")
	}
	p.columns(m, n, rowJob{op: opColumnSum, a: db, b: dy, m: m, n: n})
}

type rowOp int

const (
	opRMSNorm rowOp = iota
	opRMSNormBackward
	opRMSNormGrad
	opAddBias
	opColumnSum
	opRoPE
	opLogSumExp
	opSoftmaxGrad
	opGather
	opScatterAdd
)

// rowJob is an operation on rows, cut into blocks of rows or of columns.
type rowJob struct {
	op            rowOp
	a, b, c, d, e []float32
	ids           []int32
	w             *Weight
	lse           []LSE
	m, n, k       int
	s             float32
	acc           bool
	rope          RoPE
	total, block  int // what is cut and the size of a piece
}

// rows runs j on blocks of m rows of n elements.
func (p *Pool) rows(m, n int, j rowJob) {
	j.total, j.block = m, max(1, 8192/max(n, 1))
	p.cut(m, n, j)
}

// columns runs j on blocks of 64 of n columns, each over all m rows.
func (p *Pool) columns(m, n int, j rowJob) {
	j.total, j.block = n, 64
	p.cut(m, n, j)
}

func (p *Pool) cut(m, n int, j rowJob) {
	if j.total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs.rows = j
	p.meter.noteRows(j.op, m, n)
	p.run((j.total+j.block-1)/j.block, &p.jobs.rows, m*n <= 16384)
	p.jobs.rows = rowJob{}
}

func (j *rowJob) item(_ *worker, i int) {
	lo, hi := i*j.block, min((i+1)*j.block, j.total)
	switch j.op {
	case opRMSNorm:
		active.rmsNorm(j, lo, hi)
	case opRMSNormBackward:
		active.rmsNormBackward(j, lo, hi)
	case opRMSNormGrad:
		active.rmsNormGrad(j, lo, hi)
	case opAddBias:
		for r := lo; r < hi; r++ {
			active.add(j.a[r*j.n:(r+1)*j.n], j.a[r*j.n:(r+1)*j.n], j.b[:j.n])
		}
	case opColumnSum:
		for r := range j.m {
			active.add(j.a[lo:hi], j.a[lo:hi], j.b[r*j.n+lo:r*j.n+hi])
		}
	case opRoPE:
		active.rope(j, lo, hi)
	case opLogSumExp:
		for r := lo; r < hi; r++ {
			j.lse[r].merge(active.lseTile(j.a[r*j.n:(r+1)*j.n], j.s))
		}
	case opSoftmaxGrad:
		active.softmaxGrad(j, lo, hi)
	case opGather:
		j.gather(lo, hi)
	case opScatterAdd:
		j.scatterAdd(lo, hi)
	}
}
