package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// TestAttentionTokenByToken: a sequence decoded from a cache, alone, in steps of any size, has the bits it has packed with
// others; what lies in the cache beyond the present is never read, though it be NaN. Where pages hold less than float32, those are
// the bits of keys and values rounded so.
func TestAttentionTokenByToken(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		p := NewPool(2)
		defer p.Close()
		for i, c := range attnCases {
			for _, typ := range kvTypes {
				rounded := c.rounded(typ)
				out, lse := rounded.forward(p)
				for _, step := range []int{1, 7, 64, 100} {
					c.decode(t, p, fmt.Sprintf("case %d, %v, %d new: ", i, typ, step), step, out, lse, func(n int) ([]float32, []float32, []*KVPage) {
						return nil, nil, pages(t, c.AttnShape, typ, n)
					})
				}
				if typ != KVFloat32 {
					continue
				}
				for _, step := range []int{1, 7, 64} {
					c.decode(t, p, fmt.Sprintf("case %d, packed, %d new: ", i, step), step, out, lse, func(n int) ([]float32, []float32, []*KVPage) {
						k, _ := guarded(t, n*c.KV*c.D, 3)
						v, _ := guarded(t, n*c.KV*c.D, 5)
						return k, v, nil
					})
				}
			}
		}
	})
}

// decode computes every sequence alone, step new queries at a time, with the keys and values where room puts them, and compares.
func (c *attnCase) decode(t *testing.T, p *Pool, what string, step int, out, lse []float32, room func(n int) (k, v []float32, pages []*KVPage)) {
	t.Helper()
	wide, narrow, row := c.H*c.D, c.KV*c.D, 0
	for _, n := range c.lens {
		seq := AttnSeq{Block: 1}
		seq.K, seq.V, seq.Pages = room(n)
		for past := 0; past < n; past += step {
			m := min(step, n-past)
			seq.Past, seq.QLen = past, m
			if from, to := (row+past)*narrow, (row+past+m)*narrow; seq.Pages != nil {
				seq.NewK, seq.NewV = c.k[from:to], c.v[from:to]
			} else {
				copy(seq.K[past*narrow:], c.k[from:to])
				copy(seq.V[past*narrow:], c.v[from:to])
			}
			o, check := guarded(t, m*wide, 1)
			l, checkL := guarded(t, m*c.H, 2)
			p.Attention(o, l, c.q[(row+past)*wide:], []AttnSeq{seq}, c.AttnShape)
			check("out")
			checkL("lse")
			sameBits(t, what+"out", o, out[(row+past)*wide:(row+past+m)*wide])
			sameBits(t, what+"lse", l, lse[(row+past)*c.H:(row+past+m)*c.H])
		}
		row += n
	}
}

var kvTypes = []KVType{KVFloat32, KVBF16, KVInt8}

// pages makes pages for n positions of a model of three blocks; every number in them is NaN, or -1 of a scale that is.
func pages(t *testing.T, s AttnShape, typ KVType, n int) []*KVPage {
	var out []*KVPage
	for range (n + KeyTile - 1) / KeyTile {
		p := NewKVPage(KVLayout{Type: typ, Blocks: 3, KV: s.KV, D: s.D})
		p.mem, _ = guarded(t, len(p.mem), 0)
		for i := range p.mem {
			p.mem[i] = math.Float32frombits(0xffffffff)
		}
		out = append(out, p)
	}
	return out
}

// rounded is the case with keys and values as pages of that type give them back, worked out in float64.
func (c *attnCase) rounded(typ KVType) *attnCase {
	r := *c
	r.k, r.v = slices.Clone(c.k), slices.Clone(c.v)
	for _, x := range [][]float32{r.k, r.v} {
		for at := 0; at < len(x); at += c.D {
			row := x[at:][:c.D]
			switch typ {
			case KVBF16:
				for i, v := range row { // 8 significant bits, the nearest, of two equally near the even one
					f, e := math.Frexp(float64(v))
					row[i] = float32(math.Ldexp(math.RoundToEven(f*256), e-8))
				}
			case KVInt8:
				top := 0.0
				for _, v := range row {
					top = max(top, math.Abs(float64(v)))
				}
				inv, scale := float32(127/top), float32(top/127)
				for i, v := range row {
					row[i] = float32(math.RoundToEven(float64(v*inv)) * float64(scale))
				}
			}
		}
	}
	return &r
}

// TestRoundInt8 by hand: halves go to the even code, and what is not finite stays so.
func TestRoundInt8(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		x     []float32
		codes []int8
		scale float32
	}{
		{[]float32{0, 0}, []int8{0, 0}, 0},
		{[]float32{254, 1, 3, -1, -3, -254}, []int8{127, 0, 2, 0, -2, -127}, 2},
		{[]float32{-508, 8, 13}, []int8{-127, 2, 3}, 4},
		{[]float32{1, nan}, nil, nan},
		{[]float32{1, -inf}, nil, inf},
	} {
		codes := make([]int8, len(c.x))
		if scale := roundInt8(codes, 1, c.x); scale != c.scale && (scale == scale || c.scale == c.scale) {
			t.Errorf("%v: scale %v, want %v", c.x, scale, c.scale)
		}
		if c.codes != nil && !slices.Equal(codes, c.codes) {
			t.Errorf("%v: codes %v, want %v", c.x, codes, c.codes)
		}
	}
}

// TestKVInt8KeepsWhatIsNotFinite: a key that is not a number is seen by every later query, in every kernel.
func TestKVInt8KeepsWhatIsNotFinite(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		p := NewPool(1)
		defer p.Close()
		for _, typ := range kvTypes {
			c := newAttnCase(1, AttnShape{H: 2, KV: 1, D: 20}, 3)
			c.k = slices.Clone(c.k)
			c.k[c.D+4] = float32(math.NaN())
			out := make([]float32, len(c.q))
			p.Attention(out, nil, c.q, []AttnSeq{{QLen: 3, Pages: pages(t, c.AttnShape, typ, 3), NewK: c.k, NewV: c.v}}, c.AttnShape)
			for i, v := range out {
				if seen := i >= c.H*c.D; seen == (v == v) {
					t.Fatalf("%v: output %d is %v", typ, i, v)
				}
			}
		}
	})
}

// TestAttentionOfManyCaches: sequences side by side, each in its cache, have the bits they have alone, whatever each is asked for.
func TestAttentionOfManyCaches(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for i, c := range attnCases {
			for _, typ := range kvTypes {
				wide, narrow := c.H*c.D, c.KV*c.D
				for _, threads := range []int{1, 3} {
					p := NewPool(threads)
					defer p.Close()
					want, _ := c.rounded(typ).forward(p)
					var seqs, last []AttnSeq
					row := 0
					for _, n := range c.lens {
						from := row * narrow
						x := AttnSeq{QRow: row, QLen: n - 1, NewK: c.k[from:], NewV: c.v[from:], Pages: pages(t, c.AttnShape, typ, n), Block: 2}
						seqs = append(seqs, x)
						at := from + (n-1)*narrow
						last = append(last, AttnSeq{QRow: row + n - 1, QLen: 1, Past: n - 1, Pages: x.Pages, Block: 2, NewK: c.k[at:], NewV: c.v[at:]})
						row += n
					}
					out := make([]float32, row*wide)
					p.Attention(out, nil, c.q, seqs, c.AttnShape)
					p.Attention(out, nil, c.q, last, c.AttnShape)
					sameBits(t, fmt.Sprintf("case %d, %v, %d threads", i, typ, threads), out, want)
				}
			}
		}
	})
}
