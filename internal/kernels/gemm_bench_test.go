package kernels

import (
	"fmt"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// Shapes are those of SmolLM2-135M: hidden 576, MLP 1536, key/value 192, vocabulary tile 1024.
func BenchmarkLinear(b *testing.B) {
	for _, s := range [][3]int{{1536, 1536, 576}, {512, 576, 576}, {512, 192, 576}, {512, 576, 1536}, {512, 1024, 576}, {512, 16, 576}, {512, 576, 16}, {1024, 1024, 1024}} {
		m, out, in := s[0], s[1], s[2]
		x, y := randoms(1, m*in), make([]float32, m*out)
		wf := PackF32(randoms(2, out*in), out, in)
		wh := PackBF16(randomBF16(3, out*in), out, in)
		for _, v := range Available()[1:] {
			for _, threads := range []int{1, 2} {
				for _, w := range []*Weight{wf, wh} {
					b.Run(fmt.Sprintf("%dx%dx%d/%s/threads=%d/bf16=%v", m, out, in, v, threads, w.IsBF16()), func(b *testing.B) {
						restore, _ := Use(v)
						defer restore()
						p := NewPool(threads)
						defer p.Close()
						for b.Loop() {
							p.Linear(y, x, m, w, false)
						}
						gflops(b, 2*float64(m)*float64(out)*float64(in))
					})
				}
			}
		}
	}
}

func gflops(b *testing.B, flops float64) {
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkBackward(b *testing.B) {
	m, out, in := 1024, 1536, 576
	x, y := randoms(1, m*in), randoms(4, m*out)
	wf := PackF32(randoms(2, out*in), out, in)
	wh := PackBF16(randomBF16(3, out*in), out, in)
	dw := make([]float32, out*in)
	for _, v := range Available()[1:] {
		for _, threads := range []int{1, 2} {
			p := NewPool(threads)
			defer p.Close()
			run := func(name string, f func()) {
				b.Run(fmt.Sprintf("%s/%s/threads=%d", name, v, threads), func(b *testing.B) {
					restore, _ := Use(v)
					defer restore()
					for b.Loop() {
						f()
					}
					gflops(b, 2*float64(m)*float64(out)*float64(in))
				})
			}
			run("input", func() { p.LinearBackInput(x, y, m, wf, false) })
			run("input-bf16", func() { p.LinearBackInput(x, y, m, wh, false) })
			run("grad", func() { p.AccumGrad(dw, y, x, m, out, in) })
		}
	}
}

// BenchmarkSkinny streams a matrix larger than the caches once for 1..16 rows: bound by memory.
func BenchmarkSkinny(b *testing.B) {
	out, in := 49152, 576
	wf := PackF32(make([]float32, out*in), out, in)
	wh := PackBF16(make([]uint16, out*in), out, in)
	for _, v := range Available()[1:] {
		for _, m := range []int{1, 2, 4, 8, 16, 32} {
			for _, w := range []*Weight{wf, wh} {
				b.Run(fmt.Sprintf("m=%d/%s/bf16=%v", m, v, w.IsBF16()), func(b *testing.B) {
					restore, _ := Use(v)
					defer restore()
					p := NewPool(2)
					defer p.Close()
					x, y := randoms(1, m*in), make([]float32, m*out)
					for b.Loop() {
						p.Linear(y, x, m, w, false)
					}
					b.ReportMetric(float64(w.Bytes())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
					gflops(b, 2*float64(m)*float64(out)*float64(in))
				})
			}
		}
	}
}

func BenchmarkGonum(b *testing.B) {
	m, out, in := 1024, 1024, 1024
	x, w, y := randoms(1, m*in), randoms(2, out*in), make([]float32, m*out)
	for b.Loop() {
		gonum.Implementation{}.Sgemm(blas.NoTrans, blas.Trans, m, out, in, 1, x, in, w, in, 0, y, out)
	}
	gflops(b, 2*float64(m)*float64(out)*float64(in))
}

func randomBF16(seed uint64, n int) []uint16 {
	x := make([]uint16, n)
	for i, v := range randoms(seed, n) {
		x[i] = toBF16(v)
	}
	return x
}
