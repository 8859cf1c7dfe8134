package kernels

import "math"

// AdamW holds the numbers of one optimizer step (Loshchilov and Hutter 2019, algorithm 2, as torch.optim.AdamW
// writes it).
type AdamW struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int     // 1 for the first step
	GradScale                          float64 // multiplies the gradient first (clipping); 0 means 1
}

// AdamW updates parameters x and moments m, v [n] with gradients g:
//
//	g' = GradScale·g;  x = x·(1 − LR·WeightDecay);  m = m + (1−β₁)(g'−m);  v = β₂v + (1−β₂)g'²
//	x = x − LR/(1−β₁ᵗ) · m/(√v/√(1−β₂ᵗ) + Eps)
func (p *Pool) AdamW(x, g, m, v []float32, c AdamW) {
	if len(g) != len(x) || len(m) != len(x) || len(v) != len(x) {
		panic("kernels: AdamW: lengths differ")
	}
	k := c.consts()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs.adamw = adamwJob{x: x, g: g, m: m, v: v, k: k}
	p.meter.note(opKey{name: "adamw", bits: 32}, 1, 0, 0, 28*float64(len(x)))
	p.run((len(x)+flatChunk-1)/flatChunk, &p.jobs.adamw, len(x) <= 2*flatChunk)
	p.jobs.adamw = adamwJob{}
}

// adamwConsts are the step's scalars, rounded to float32 once.
type adamwConsts struct {
	gradScale, decay, omb1, beta2, omb2, step, rbc2, eps float32
}

// consts rounds the step's scalars.
func (c AdamW) consts() adamwConsts {
	if c.GradScale == 0 {
		c.GradScale = 1
	}
	return adamwConsts{
		gradScale: float32(c.GradScale),
		decay:     float32(1 - c.LR*c.WeightDecay),
		omb1:      float32(1 - c.Beta1),
		beta2:     float32(c.Beta2),
		omb2:      float32(1 - c.Beta2),
		step:      float32(c.LR / (1 - math.Pow(c.Beta1, float64(c.Step)))),
		rbc2:      float32(1 / math.Sqrt(1-math.Pow(c.Beta2, float64(c.Step)))),
		eps:       float32(c.Eps),
	}
}

type adamwJob struct {
	x, g, m, v []float32
	k          adamwConsts
}

func (j *adamwJob) item(_ *worker, i int) {
	lo, hi := i*flatChunk, min((i+1)*flatChunk, len(j.x))
	active.adamw(j.x[lo:hi], j.g[lo:hi], j.m[lo:hi], j.v[lo:hi], &j.k)
}

// SumSquares returns Σ x² in float64, blocks of 8192 with 16 lanes each, block sums added in order.
func (p *Pool) SumSquares(x []float32) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.jobs.sum
	blocks := (len(x) + flatChunk - 1) / flatChunk
	if cap(j.part) < blocks {
		j.part = make([]float64, blocks)
	}
	j.x, j.part = x, j.part[:blocks]
	p.meter.note(opKey{name: "sum of squares", bits: 32}, 1, 0, 0, 4*float64(len(x)))
	p.run(blocks, j, len(x) <= 4*flatChunk)
	s := 0.0
	for _, v := range j.part {
		s += v
	}
	j.x = nil
	return s
}

type sumJob struct {
	x    []float32
	part []float64
}

func (j *sumJob) item(_ *worker, i int) {
	j.part[i] = active.sumSquares(j.x[i*flatChunk : min((i+1)*flatChunk, len(j.x))])
}
