package model

import (
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// Decoder computes sequences piece by piece: the same kernels and the same bits as Hidden. It sees the adapter's values as
// they were when it was made.
type Decoder struct {
	m *Model
	a *peft.Adapter
}

// NewDecoder packs the adapter, which may be nil. Several decoders of one adapter share what is packed: make them anew after
// the values moved.
func (m *Model) NewDecoder(a *peft.Adapter) *Decoder {
	m.prepare(a)
	return &Decoder{m: m, a: a}
}

// Cache holds the keys and values of one sequence, for every block.
type Cache struct {
	k, v [][]float32 // by block, in tiles: see kernels.CacheFloats
	n    int
	kv   int // heads
	d    int // of a head
}

// NewCache returns an empty cache with room for that many tokens; it grows when there are more.
func (m *Model) NewCache(capacity int) *Cache {
	c := &Cache{k: make([][]float32, m.Layers), v: make([][]float32, m.Layers), kv: m.KVHeads, d: m.HeadDim}
	c.grow(capacity)
	return c
}

// Len is the number of tokens the cache holds.
func (c *Cache) Len() int { return c.n }

// Truncate forgets all but the first n tokens; what remains was computed from them alone.
func (c *Cache) Truncate(n int) {
	if n < 0 || n > c.n {
		panic("model: Cache: Truncate: out of range")
	}
	c.n = n
}

// CopyFrom makes c hold the first n tokens of src: a shared prompt is computed once and copied.
func (c *Cache) CopyFrom(src *Cache, n int) {
	if n < 0 || n > src.n || src.kv != c.kv || src.d != c.d || len(src.k) != len(c.k) {
		panic("model: Cache: CopyFrom: out of range or of another model")
	}
	c.n = 0
	c.grow(n)
	for l := range c.k {
		copy(c.k[l], src.k[l][:kernels.CacheFloats(n, c.kv, c.d)])
		copy(c.v[l], src.v[l][:kernels.CacheFloats(n, c.kv, c.d)])
	}
	c.n = n
}

// Bytes is the memory the cache takes.
func (c *Cache) Bytes() int { return 8 * len(c.k) * len(c.k[0]) }

// grow makes room for n tokens in all, in whole tiles.
func (c *Cache) grow(n int) {
	width := c.kv * c.d
	if n*width <= len(c.k[0]) {
		return
	}
	size := kernels.CacheFloats(max(n, 2*len(c.k[0])/width), c.kv, c.d)
	for l := range c.k {
		for _, kv := range []*[]float32{&c.k[l], &c.v[l]} {
			longer := make([]float32, size)
			copy(longer, *kv)
			*kv = longer
		}
	}
}

// Feed is the next tokens of the sequence in a cache: a prompt, or the one token just sampled.
type Feed struct {
	Cache *Cache
	IDs   []int32
}

// Step computes the hidden states, after the final norm, of the next tokens of several sequences, [Σ len(IDs), C] in the
// order of feeds, and adds them to the caches. A cache may occur once. t must be an inference tape; Logits, LogProbs and
// Scores take the result.
func (d *Decoder) Step(t *tensor.Tape, feeds []Feed) *tensor.Tensor {
	if t.Recording() {
		panic("model: Step: the tape records; use tensor.NewInferenceTape")
	}
	m := d.m
	p := m.newPass(t)
	p.a, p.feeds, p.ids = d.a, feeds, p.ids[:0]
	longest := 0
	for _, f := range feeds {
		if m.Check(f.IDs) != nil {
			panic("model: Step: token outside the vocabulary; see Check")
		}
		p.ids = append(p.ids, f.IDs...)
		for i := range f.IDs {
			p.pos = append(p.pos, int32(f.Cache.n+i))
		}
		f.Cache.grow(f.Cache.n + len(f.IDs))
		longest = max(longest, f.Cache.n+len(f.IDs))
	}
	p.rope = m.rotary.upTo(longest)
	x := m.embed(t, d.a, p.ids)
	for l := range m.Layers {
		p.blocks[l] = blockCall{p, l}
		x = t.Checkpoint(x, &p.blocks[l], m.Layers-l-1)
	}
	for _, f := range feeds {
		f.Cache.n += len(f.IDs)
	}
	return m.norm(t, d.a, x, m.normModule())
}

// cached adds block l's new keys and values to the caches and attends over them.
func (p *pass) cached(t *tensor.Tape, l int, q, k, v *tensor.Tensor) *tensor.Tensor {
	p.seqs = p.seqs[:0]
	row := 0
	for _, f := range p.feeds {
		c, n := f.Cache, len(f.IDs)
		from, to := row*c.kv*c.d, (row+n)*c.kv*c.d
		p.seqs = append(p.seqs, kernels.AttnSeq{QRow: row, QLen: n, K: c.k[l], V: c.v[l], Past: c.n, NewK: k.Data[from:to], NewV: v.Data[from:to]})
		row += n
	}
	return t.AttentionCached(q, p.seqs, p.m.shape())
}
