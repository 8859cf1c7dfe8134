package kernels

// Add sets dst = a + b, elementwise. dst may be a or b.
func (p *Pool) Add(dst, a, b []float32) {
	checkSame(len(dst), len(a), len(b))
	p.flat(len(dst), flatJob{op: opAdd, a: dst, b: a, c: b})
}

// Axpy adds s·x to y: y_i = fma(s, x_i, y_i).
func (p *Pool) Axpy(y []float32, s float32, x []float32) {
	checkSame(len(y), len(x), len(x))
	p.flat(len(y), flatJob{op: opAxpy, a: y, b: x, s: s})
}

// Scale sets dst = s·x. dst may be x.
func (p *Pool) Scale(dst []float32, s float32, x []float32) {
	checkSame(len(dst), len(x), len(x))
	p.flat(len(dst), flatJob{op: opScale, a: dst, b: x, s: s})
}

// SwiGLU sets h = silu(g)·u (Shazeer 2020, "GLU variants", eq. 6 without the linear maps), silu(g) = g/(1+e^(−g)).
// h may be g or u.
func (p *Pool) SwiGLU(h, g, u []float32) {
	checkSame(len(h), len(g), len(u))
	p.flat(len(h), flatJob{op: opSwiGLU, a: h, b: g, c: u})
}

// SwiGLUBackward sets dg and du to the gradients of SwiGLU's inputs given dh: with σ = 1/(1+e^(−g)),
// du = dh·g·σ and dg = dh·u·(σ + g·σ·(1−σ)). dg may be g or dh, du may be u; not both dh.
func (p *Pool) SwiGLUBackward(dg, du, dh, g, u []float32) {
	checkSame(len(dg), len(du), len(dh))
	checkSame(len(dg), len(g), len(u))
	p.flat(len(dg), flatJob{op: opSwiGLUBackward, a: dg, b: du, c: dh, d: g, e: u})
}

type flatOp int

const (
	opAdd flatOp = iota
	opAxpy
	opScale
	opSwiGLU
	opSwiGLUBackward
)

// flatJob is an operation on n independent elements, cut into chunks.
type flatJob struct {
	op            flatOp
	a, b, c, d, e []float32
	s             float32
}

// flatChunk is the number of elements in one item: a multiple of every vector width.
const flatChunk = 8192

func (p *Pool) flat(n int, j flatJob) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs.flat = j
	p.meter.noteFlat(j.op, n)
	p.run((n+flatChunk-1)/flatChunk, &p.jobs.flat, n <= 2*flatChunk)
	p.jobs.flat = flatJob{}
}

func (j *flatJob) item(_ *worker, i int) {
	lo, hi := i*flatChunk, min((i+1)*flatChunk, len(j.a))
	switch j.op {
	case opAdd:
		active.add(j.a[lo:hi], j.b[lo:hi], j.c[lo:hi])
	case opAxpy:
		active.axpy(j.a[lo:hi], j.b[lo:hi], j.s)
	case opScale:
		active.scale(j.a[lo:hi], j.b[lo:hi], j.s)
	case opSwiGLU:
		active.swiglu(j.a[lo:hi], j.b[lo:hi], j.c[lo:hi])
	case opSwiGLUBackward:
		active.swigluBackward(j.a[lo:hi], j.b[lo:hi], j.c[lo:hi], j.d[lo:hi], j.e[lo:hi])
	}
}

func checkSame(a, b, c int) {
	if a != b || a != c {
		panic("kernels: lengths differ")
	}
}
