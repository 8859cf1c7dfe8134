package kernels

import (
	"fmt"
	"testing"
)

// storages returns one matrix in each form.
func storages(p *Pool, out, in int) map[string]*Weight {
	w := randoms(2, out*in)
	q80, q41 := p.QuantiseInt8(w), p.QuantiseNF4(w)
	q80.Block, q80.Table, q80.Scales = 32, whole(256, 128), randoms(4, len(w)/32)
	*q41 = Quantised{Bits: 4, Block: 32, Codes: q41.Codes, Table: whole(16, 0), Scales: randoms(5, len(w)/32), Mins: randoms(6, len(w)/32)}
	return map[string]*Weight{
		"f32": PackF32(w, out, in), "bf16": PackBF16(randomBF16(3, out*in), out, in),
		"int8": PackQuantised(p.QuantiseInt8(w), out, in), "nf4": PackQuantised(p.QuantiseNF4(w), out, in),
		"q8_0": PackQuantised(q80, out, in), "q4_1": PackQuantised(q41, out, in),
	}
}

// BenchmarkQuantisedSkinny streams a matrix larger than the caches once for 1..16 rows, in each form. The GB/s are of the
// form's own bytes.
func BenchmarkQuantisedSkinny(b *testing.B) {
	out, in := 16384, 2048
	p := NewPool(2)
	defer p.Close()
	forms := storages(p, out, in)
	for _, v := range Available()[1:] {
		for _, m := range []int{1, 2, 4, 8, 16} {
			for _, form := range []string{"f32", "bf16", "int8", "nf4", "q8_0", "q4_1"} {
				w := forms[form]
				b.Run(fmt.Sprintf("m=%d/%s/%s", m, v, form), func(b *testing.B) {
					restore, _ := Use(v)
					defer restore()
					x, y := randoms(1, m*in), make([]float32, m*out)
					for b.Loop() {
						p.Linear(y, x, m, w, false)
					}
					b.ReportMetric(float64(w.Bytes())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
					b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms")
					gflops(b, 2*float64(m)*float64(out)*float64(in))
				})
			}
		}
	}
}

// BenchmarkQuantisedTraining is a linear layer of a 1.1 billion parameter model at 512 positions, forward and back.
func BenchmarkQuantisedTraining(b *testing.B) {
	m, out, in := 512, 5632, 2048
	p := NewPool(2)
	defer p.Close()
	forms := storages(p, out, in)
	x, y := randoms(1, m*in), make([]float32, m*out)
	for _, v := range Available()[1:] {
		for _, form := range []string{"f32", "bf16", "int8", "nf4", "q8_0", "q4_1"} {
			w := forms[form]
			run := func(name string, f func()) {
				b.Run(fmt.Sprintf("%s/%s/%s", name, v, form), func(b *testing.B) {
					restore, _ := Use(v)
					defer restore()
					for b.Loop() {
						f()
					}
					gflops(b, 2*float64(m)*float64(out)*float64(in))
				})
			}
			run("forward", func() { p.Linear(y, x, m, w, false) })
			run("back", func() { p.LinearBackInput(x, y, m, w, false) })
		}
	}
}
