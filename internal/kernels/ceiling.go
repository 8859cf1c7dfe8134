package kernels

import (
	"runtime"
	"time"
)

// Ceiling is what a machine gives our own kernels at their best, with some number of threads: what rates are shares of.
type Ceiling struct {
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`        // of a large product of float32
	Read    float64 `json:"read_gb_per_s"` // reading memory, or 0 where it was not measured
	Copy    float64 `json:"copy_gb_per_s"` // reading and writing it, both counted, or 0
}

// Share is what a piece of work at its best would take of the time it took: the larger of arithmetic and memory traffic at the
// ceiling, over the seconds. Operands that lie in a cache are read faster than memory, so small ones may exceed 1.
func (c Ceiling) Share(flops, bytes, seconds float64) float64 {
	best := 0.0
	if c.GFLOPS > 0 {
		best = flops / (c.GFLOPS * 1e9)
	}
	if c.Read > 0 {
		best = max(best, bytes/(max(c.Read, c.Copy)*1e9))
	}
	if seconds <= 0 {
		return 0
	}
	return best / seconds
}

// The shape of the product that MeasureGemm times: 512 tokens through a 576 -> 1536 layer and 1024³, the fastest of both.
var ceilingShapes = [...][3]int{{512, 1536, 576}, {1024, 1024, 1024}}

// MeasureGemm returns the GFLOP/s of a large product on p, the best of those that fit in about the given time, at least two. It
// is the fastest and not the mean, since what other programs take away is no property of the machine.
func (p *Pool) MeasureGemm(d time.Duration) float64 {
	best := 0.0
	for _, s := range ceilingShapes {
		m, out, in := s[0], s[1], s[2]
		w := NewWeight(out, in)
		fillFinite(w.f32)
		x, y := make([]float32, m*in), make([]float32, m*out)
		fillFinite(x)
		end := time.Now().Add(d / time.Duration(len(ceilingShapes)))
		for n := 0; n < 3 || time.Now().Before(end); n++ {
			began := time.Now()
			p.Linear(y, x, m, w, false)
			if n > 0 { // the first touches the memory
				best = max(best, 2*float64(m)*float64(out)*float64(in)/time.Since(began).Seconds()/1e9)
			}
		}
	}
	return best
}

// MeasureCeiling measures products and memory for about the given time. Memory is read and copied in megabytes MiB, which should
// be several times the largest cache.
func (p *Pool) MeasureCeiling(d time.Duration, megabytes int) Ceiling {
	c := Ceiling{Threads: p.Threads(), GFLOPS: p.MeasureGemm(d / 2)}
	n := max(megabytes, 1) << 18
	x, y := make([]float32, n), make([]float32, n)
	fillFinite(x)
	rate := func(arrays int, f func()) float64 {
		best := 0.0
		end := time.Now().Add(d / 4)
		for i := 0; i < 3 || time.Now().Before(end); i++ {
			began := time.Now()
			f()
			if i > 0 {
				best = max(best, 4*float64(arrays)*float64(n)/time.Since(began).Seconds()/1e9)
			}
		}
		return best
	}
	c.Read = rate(1, func() { p.SumSquares(x) })
	c.Copy = rate(2, func() { p.Scale(y, 1, x) })
	runtime.KeepAlive(y)
	return c
}

// fillFinite writes small numbers that are neither zero nor denormal, which some processors treat apart.
func fillFinite(x []float32) {
	for i := range x {
		x[i] = 0.25 + float32(i%16)/64
	}
}
