package model

import (
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// Decoder computes sequences piece by piece: the same kernels and the same bits as Hidden. It sees the adapters' values as
// they were when it was made.
type Decoder struct {
	m        *Model
	adapters []*peft.Adapter
	rows     []int32
	parts    []part
	own      []tensor.Part
}

// NewDecoder packs adapters, any of which may be nil, the bare model; none is one that is nil. Several decoders of one adapter share
// what is packed: make them anew after the values moved.
func (m *Model) NewDecoder(adapters ...*peft.Adapter) *Decoder {
	for _, a := range adapters {
		m.prepare(a)
	}
	if len(adapters) == 0 {
		adapters = []*peft.Adapter{nil}
	}
	return &Decoder{m: m, adapters: adapters}
}

// Feed is the next tokens of the sequence in a cache: a prompt, or the one token just sampled. Adapter is the number of the
// decoder's adapter that acts on it, always the same for a cache.
type Feed struct {
	Cache   *Cache
	IDs     []int32
	Adapter int
}

// part is the rows [from,to) of a step on which an adapter acts.
type part struct {
	a        *peft.Adapter
	from, to int
}

// partsFor lists whose the rows are, where a feed has so many; feeds of one adapter that lie side by side are one part.
func (d *Decoder) partsFor(parts []part, feeds []Feed, rows func(f *Feed) int) []part {
	parts = parts[:0]
	at := 0
	for i := range feeds {
		a, n := d.adapters[feeds[i].Adapter], rows(&feeds[i])
		if k := len(parts) - 1; k >= 0 && parts[k].a == a {
			parts[k].to += n
		} else {
			parts = append(parts, part{a, at, at + n})
		}
		at += n
	}
	return parts
}

// Step computes the hidden states, after the final norm, of the next tokens of several sequences, [Σ len(IDs), C] in the
// order of feeds, and adds them to the caches. A cache may occur once. The weights are read once for all adapters; feeds of one
// adapter should lie side by side. t must be an inference tape.
func (d *Decoder) Step(t *tensor.Tape, feeds []Feed) *tensor.Tensor {
	if t.Recording() {
		panic("model: Step: the tape records; use tensor.NewInferenceTape")
	}
	m := d.m
	p := m.newPass(t)
	p.feeds, p.ids = feeds, p.ids[:0]
	longest := 0
	for _, f := range feeds {
		if len(f.IDs) == 0 || m.Check(f.IDs) != nil {
			panic("model: Step: no token, or one outside the vocabulary; see Check")
		}
		p.ids = append(p.ids, f.IDs...)
		for i := range f.IDs {
			p.pos = append(p.pos, int32(f.Cache.n+i))
		}
		f.Cache.extend(f.Cache.n + len(f.IDs))
		longest = max(longest, f.Cache.n+len(f.IDs))
	}
	p.under(d.partsFor(p.parts, feeds, func(f *Feed) int { return len(f.IDs) }))
	p.rope = m.rotary.upTo(longest)
	x := p.embed(t)
	for l := range m.Layers {
		p.blocks[l] = blockCall{p, l}
		x = t.Checkpoint(x, &p.blocks[l], m.Layers-l-1)
	}
	for _, f := range feeds {
		f.Cache.n += len(f.IDs)
	}
	return p.norm(t, x, m.normModule())
}

// under makes a pass that of its parts' adapters.
func (p *pass) under(parts []part) {
	p.a = nil
	if len(parts) == 1 {
		p.a = parts[0].a
	}
	if p.parts = parts; len(parts) < 2 {
		p.parts = parts[:0]
	}
}

// partsOf describes the rows of the adapters to an operation.
func (p *pass) partsOf(fill func(a *peft.Adapter, own *tensor.Part)) []tensor.Part {
	p.own = filled(p.own, p.parts, fill)
	return p.own
}

// filled puts parts into own, each as fill completes it.
func filled(own []tensor.Part, parts []part, fill func(a *peft.Adapter, own *tensor.Part)) []tensor.Part {
	own = own[:0]
	for _, r := range parts {
		own = append(own, tensor.Part{From: r.from, To: r.to})
		fill(r.a, &own[len(own)-1])
	}
	return own
}

func (p *pass) embed(t *tensor.Tape) *tensor.Tensor {
	if len(p.parts) == 0 {
		return p.m.embed(t, p.a, p.ids)
	}
	return t.EmbedParts(p.ids, p.partsOf(func(a *peft.Adapter, own *tensor.Part) { own.W, own.LoRA = p.m.matrix(a, embedModule) }))
}

// Logits computes the logits after the last token of each feed, [len(feeds),V], given what Step returned for them.
func (d *Decoder) Logits(t *tensor.Tape, hidden *tensor.Tensor, feeds []Feed) *tensor.Tensor {
	d.rows = d.rows[:0]
	at := int32(0)
	for i := range feeds {
		at += int32(len(feeds[i].IDs))
		d.rows = append(d.rows, at-1)
	}
	d.parts = d.partsFor(d.parts, feeds, func(*Feed) int { return 1 })
	if len(d.parts) == 1 {
		return d.m.Logits(t, d.parts[0].a, hidden, d.rows)
	}
	d.own = filled(d.own, d.parts, func(a *peft.Adapter, own *tensor.Part) { own.W, own.LoRA = d.m.head(a) })
	return t.LinearParts(t.Gather(hidden, d.rows), d.own)
}

// cached adds block l's new keys and values to the caches and attends over them.
func (p *pass) cached(t *tensor.Tape, l int, q, k, v *tensor.Tensor) *tensor.Tensor {
	p.seqs = p.seqs[:0]
	row := 0
	for _, f := range p.feeds {
		c, n := f.Cache, len(f.IDs)
		from, to := row*k.Cols, (row+n)*k.Cols
		p.seqs = append(p.seqs, kernels.AttnSeq{QRow: row, QLen: n, Past: c.n, Pages: c.seen, Block: l, NewK: k.Data[from:to], NewV: v.Data[from:to]})
		row += n
	}
	return t.AttentionCached(q, p.seqs, p.m.shape())
}
