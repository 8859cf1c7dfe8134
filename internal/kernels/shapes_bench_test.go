package kernels

import (
	"fmt"
	"testing"
	"time"
)

// modelShape is what a benchmark needs to know of a model.
type modelShape struct {
	name                                      string
	hidden, intermediate, heads, kv, d, vocab int
}

// modelShapes are SmolLM2-135M, Llama 3.2 1B and Llama 3.1 8B.
var modelShapes = []modelShape{
	{"135M", 576, 1536, 9, 3, 64, 49152},
	{"1B", 2048, 8192, 32, 8, 64, 128256},
	{"8B", 4096, 14336, 32, 8, 128, 128256},
}

// BenchmarkShapes is make bench: the products and the attention of three models, ns a call, GFLOP/s, GB/s and the share of the
// ceiling (Ceiling.Share) measured first, on all threads. Rows are those of decoding one and sixteen sequences and of training; a
// head is one tile of the vocabulary.
func BenchmarkShapes(b *testing.B) {
	p := NewPool(0)
	defer p.Close()
	c := p.MeasureCeiling(time.Second, 256)
	b.Logf("ceiling: %.1f GFLOP/s, %.1f GB/s reading, %.1f copying; %d threads, %s", c.GFLOPS, c.Read, c.Copy, c.Threads, Variant())
	for _, s := range modelShapes {
		for _, l := range []struct {
			name    string
			out, in int
		}{
			{"q", s.heads * s.d, s.hidden},
			{"kv", s.kv * s.d, s.hidden},
			{"up", s.intermediate, s.hidden},
			{"down", s.hidden, s.intermediate},
			{"head", VocabTile, s.hidden},
		} {
			for _, k := range packings(p, l.out, l.in) {
				for _, m := range []int{1, 16, 512} {
					x, y := randoms(1, m*l.in), randoms(2, m*l.out)
					share(b, p, c, fmt.Sprintf("%s/%s-%dx%d/%s/rows=%d/forward", s.name, l.name, l.out, l.in, k.name, m), func() { p.Linear(y, x, m, k.w, false) })
					if m == 512 {
						share(b, p, c, fmt.Sprintf("%s/%s-%dx%d/%s/rows=%d/back", s.name, l.name, l.out, l.in, k.name, m), func() { p.LinearBackInput(x, y, m, k.w, false) })
					}
				}
			}
		}
		benchAttention(b, p, c, s)
	}
}

// benchAttention is a sequence of 512, forward and backward, and sixteen queries that each see 512 keys.
func benchAttention(b *testing.B, p *Pool, c Ceiling, s modelShape) {
	const n = 512
	shape := AttnShape{H: s.heads, KV: s.kv, D: s.d, Scale: 0.125}
	wide, narrow := n*s.heads*s.d, n*s.kv*s.d
	q, o, do, dq := randoms(1, wide), make([]float32, wide), randoms(2, wide), make([]float32, wide)
	k, v, lse := randoms(3, narrow), randoms(4, narrow), make([]float32, n*s.heads)
	whole := []AttnSeq{{QLen: n, K: k, V: v, DK: make([]float32, narrow), DV: make([]float32, narrow)}}
	share(b, p, c, s.name+"/attention/512/forward", func() { p.Attention(o, lse, q, whole, shape) })
	share(b, p, c, s.name+"/attention/512/backward", func() { p.AttentionBackward(dq, do, q, o, lse, whole, shape) })
	var one []AttnSeq
	layout := KVLayout{Blocks: 1, KV: s.kv, D: s.d}
	for i := range 16 {
		own := AttnSeq{QRow: i, QLen: n, NewK: k, NewV: v}
		for range n / KeyTile {
			own.Pages = append(own.Pages, NewKVPage(layout))
		}
		for h := range s.kv {
			own.put(h, &shape)
		}
		own.QLen, own.Past, own.NewK, own.NewV = 1, n-1, k[narrow-s.kv*s.d:], v[narrow-s.kv*s.d:]
		one = append(one, own)
	}
	share(b, p, c, s.name+"/attention/16x1-of-512/forward", func() { p.Attention(o, nil, q, one, shape) })
}

type packing struct {
	name string
	w    *Weight
}

// packings are one matrix as a base is held.
func packings(p *Pool, out, in int) []packing {
	w := make([]float32, out*in)
	fillFinite(w)
	bf := make([]uint16, len(w))
	for i, v := range w {
		bf[i] = toBF16(v)
	}
	return []packing{{"bf16", PackBF16(bf, out, in)}, {"nf4", PackQuantised(p.QuantiseNF4(w), out, in)}}
}

// share reports one operation, counted by the meter and timed by the benchmark.
func share(b *testing.B, p *Pool, c Ceiling, name string, f func()) {
	b.Run(name, func(b *testing.B) {
		p.Profile()
		f()
		op := p.Operations()[0]
		p.meter.profile = nil
		for b.Loop() {
			f()
		}
		seconds := b.Elapsed().Seconds() / float64(b.N)
		b.ReportMetric(op.Flops/seconds/1e9, "GFLOP/s")
		b.ReportMetric(op.Bytes/seconds/1e9, "GB/s")
		b.ReportMetric(100*c.Share(op.Flops, op.Bytes, seconds), "%ceiling")
	})
}

// BenchmarkPeerShapes are the products that ../shared/peers/ceilings.py times in torch, rows x in x out in float32: what make
// bench-peers compares.
func BenchmarkPeerShapes(b *testing.B) {
	p := NewPool(0)
	defer p.Close()
	for _, s := range [][3]int{{512, 576, 1536}, {512, 1536, 576}, {512, 576, 576}, {2048, 576, 1536}, {16, 576, 1536}, {16, 576, 49152}} {
		m, in, out := s[0], s[1], s[2]
		w, x, y := NewWeight(out, in), make([]float32, m*in), make([]float32, m*out)
		fillFinite(w.f32)
		fillFinite(x)
		b.Run(fmt.Sprintf("%dx%dx%d", m, in, out), func(b *testing.B) {
			for b.Loop() {
				p.Linear(y, x, m, w, false)
			}
			gflops(b, 2*float64(m)*float64(out)*float64(in))
		})
	}
}

// BenchmarkAttentionDecode is the attention of one new token of 64 sequences with 65 keys, block after block: the caches of one
// block stay in the processor, those of six nearly, those of forty come from memory.
func BenchmarkAttentionDecode(b *testing.B) {
	const sequences, keys = 64, 65
	s := AttnShape{H: 4, KV: 2, D: 32, Scale: 0.2}
	wide, narrow := s.H*s.D, s.KV*s.D
	for _, blocks := range []int{1, 6, 40} {
		for _, typ := range kvTypes {
			b.Run(fmt.Sprintf("blocks=%d/%v", blocks, typ), func(b *testing.B) {
				p := NewPool(0)
				defer p.Close()
				q, out := randoms(1, sequences*wide), make([]float32, sequences*wide)
				k, v := randoms(2, sequences*narrow), randoms(3, sequences*narrow)
				var seqs []AttnSeq
				for i := range sequences {
					x := AttnSeq{QRow: i, QLen: 1, Past: keys - 1, NewK: k[i*narrow:][:narrow], NewV: v[i*narrow:][:narrow]}
					for range 2 {
						x.Pages = append(x.Pages, NewKVPage(KVLayout{Type: typ, Blocks: blocks, KV: s.KV, D: s.D}))
					}
					seqs = append(seqs, x)
				}
				for l := 0; b.Loop(); l = (l + 1) % blocks {
					for i := range seqs {
						seqs[i].Block = l
					}
					p.Attention(out, nil, q, seqs, s)
				}
				gflops(b, 4*sequences*keys*float64(wide))
			})
		}
	}
}

// BenchmarkOneRow is decoding alone: one row by the matrices of SmolLM2-135M, one after the other, more of them than the caches hold, in
// the bits of Q4_1 and Q8_0.
func BenchmarkOneRow(b *testing.B) {
	for _, threads := range []int{1, 2} {
		p := NewPool(threads)
		defer p.Close()
		for _, s := range [][2]int{{192, 576}, {576, 576}, {1536, 576}, {576, 1536}} {
			for _, bits := range []int{4, 8} {
				out, in := s[0], s[1]
				q := Quantised{Bits: bits, Block: 32, Codes: make([]byte, out*in*bits/8), Scales: make([]float32, out*in/32)}
				for c := range 1 << bits {
					q.Table = append(q.Table, float32(c-[]int{4: 0, 8: 128}[bits]))
				}
				for i := range q.Codes {
					q.Codes[i] = byte(i * 7)
				}
				for i := range q.Scales {
					q.Scales[i] = 0.01
				}
				if bits == 4 {
					q.Mins = make([]float32, len(q.Scales))
				}
				var ws []*Weight
				bytes := 0.0
				for bytes < 96<<20 {
					w := PackQuantised(&q, out, in)
					ws, bytes = append(ws, w), bytes+float64(w.Bytes())
				}
				x, y := randoms(1, in), make([]float32, out)
				b.Run(fmt.Sprintf("threads=%d/%dx%d/%d bit", threads, out, in, bits), func(b *testing.B) {
					for i := 0; b.Loop(); i++ {
						p.Linear(y, x, 1, ws[i%len(ws)], false)
					}
					b.ReportMetric(bytes/float64(len(ws))*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
				})
			}
		}
	}
}
