package model

import (
	"fmt"

	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// Batch is packed sequences: sequence s is IDs[Starts[s]:Starts[s+1]], its positions count from 0. len(Starts) is the number
// of sequences plus one. Nothing is padded. With Parents, a sequence may continue an earlier one, see tensor.Sequences; its
// positions count on from there. A tape keeps the slices until its Reset.
type Batch struct {
	IDs     []int32
	Starts  []int32
	Parents []int32 // nil, or for each sequence the number of the one it continues, -1 for none
}

// Pack lays sequences one after another.
func Pack(sequences ...[]int32) Batch {
	b := Batch{Starts: []int32{0}}
	for _, s := range sequences {
		b.IDs = append(b.IDs, s...)
		b.Starts = append(b.Starts, int32(len(b.IDs)))
	}
	return b
}

// Check says what is wrong with ids that come from outside.
func (m *Model) Check(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= m.Vocab {
			return fmt.Errorf("token %d is %d, not in 0..%d", i, id, m.Vocab-1)
		}
	}
	return nil
}

// Hidden computes the hidden states after the final norm, [len(b.IDs), C], row i that of token i. a may be nil. It packs
// the adapter's current values.
func (m *Model) Hidden(t *tensor.Tape, a *peft.Adapter, b Batch) *tensor.Tensor {
	return m.norm(t, a, m.trunk(t, a, b, m.Layers), m.normModule())
}

// Trunk computes the residual stream as it enters block number layer, [len(b.IDs), C]; layer 0 is the embedding. It packs
// the adapter's current values.
func (m *Model) Trunk(t *tensor.Tape, a *peft.Adapter, b Batch, layer int) *tensor.Tensor {
	if layer < 0 || layer > m.Layers {
		panic("model: Trunk: no such block")
	}
	return m.trunk(t, a, b, layer)
}

func (m *Model) trunk(t *tensor.Tape, a *peft.Adapter, b Batch, layer int) *tensor.Tensor {
	m.prepare(a)
	if m.Check(b.IDs) != nil {
		panic("model: Hidden: token outside the vocabulary; see Check")
	}
	return m.blocks(t, a, b, m.embed(t, a, b.IDs), 0, layer)
}

func (m *Model) embed(t *tensor.Tape, a *peft.Adapter, ids []int32) *tensor.Tensor {
	w, lora := m.matrix(a, embedModule)
	return t.Embed(w, ids, lora)
}

// HiddenFrom is Hidden from block number layer on, given x as Trunk returns it, or as it was kept (tape.Leaf): a critic or
// reward model that trains only its top layers starts here. It packs the adapter's current values.
func (m *Model) HiddenFrom(t *tensor.Tape, a *peft.Adapter, b Batch, layer int, x *tensor.Tensor) *tensor.Tensor {
	m.prepare(a)
	if layer < 0 || layer > m.Layers || x.Rows != len(b.IDs) || x.Cols != m.Config.Hidden {
		panic("model: HiddenFrom: no such block, or x does not fit the batch")
	}
	return m.norm(t, a, m.blocks(t, a, b, x, layer, m.Layers), m.normModule())
}

// prepare checks that the adapter is for this model and packs it.
func (m *Model) prepare(a *peft.Adapter) {
	if a == nil {
		return
	}
	if !a.Fits(m.modules) {
		panic("model: the adapter was made for another model")
	}
	a.Pack(m.pool)
}

// blocks runs blocks lo..hi-1.
func (m *Model) blocks(t *tensor.Tape, a *peft.Adapter, b Batch, x *tensor.Tensor, lo, hi int) *tensor.Tensor {
	p := m.pass(t, a, b)
	for l := lo; l < hi; l++ {
		p.blocks[l] = blockCall{p, l}
		x = t.Checkpoint(x, &p.blocks[l], hi-l-1)
	}
	return x
}

// pass is what the blocks of one forward pass share. Passes are kept on the tape and used again after its Reset.
type pass struct {
	m         *Model
	a         *peft.Adapter
	sequences tensor.Sequences
	pos       []int32 // position of each row
	ends      []int32 // position behind each sequence
	rope      kernels.RoPE
	blocks    []blockCall
	feeds     []Feed // when decoding
	parts     []part // the rows of several adapters, or nothing
	own       []tensor.Part
	ids       []int32
	seqs      []kernels.AttnSeq
}

type blockCall struct {
	p *pass
	l int
}

// passes is what the model keeps on a tape.
type passes struct {
	epoch, n int
	list     []*pass
}

func (m *Model) newPass(t *tensor.Tape) *pass {
	s, _ := t.Attached.(*passes)
	if s == nil {
		s = &passes{}
		t.Attached = s
	}
	if s.epoch != t.Epoch() {
		s.epoch, s.n = t.Epoch(), 0
	}
	if s.n == len(s.list) {
		s.list = append(s.list, &pass{})
	}
	p := s.list[s.n]
	s.n++
	if len(p.blocks) < m.Layers {
		p.blocks = make([]blockCall, m.Layers)
	}
	p.m, p.pos, p.ends, p.feeds, p.parts = m, p.pos[:0], p.ends[:0], nil, p.parts[:0]
	return p
}

func (m *Model) pass(t *tensor.Tape, a *peft.Adapter, b Batch) *pass {
	if n := len(b.Starts); n == 0 || b.Starts[0] != 0 || int(b.Starts[n-1]) != len(b.IDs) {
		panic("model: Batch: Starts must begin with 0 and end with len(IDs)")
	}
	p := m.newPass(t)
	if b.Parents != nil && len(b.Parents) != len(b.Starts)-1 {
		panic("model: Batch: Parents must have an entry for each sequence")
	}
	p.a, p.sequences = a, tensor.Sequences{Starts: b.Starts, Parents: b.Parents}
	longest := int32(0)
	for s := range p.sequences.N() {
		n, past := b.Starts[s+1]-b.Starts[s], int32(0)
		if n < 0 {
			panic("model: Batch: Starts must not decrease")
		}
		if q := p.sequences.Parent(s); q >= s {
			panic("model: Batch: a sequence comes before its parent")
		} else if q >= 0 {
			past = p.ends[q]
		}
		for i := range n {
			p.pos = append(p.pos, past+i)
		}
		p.ends = append(p.ends, past+n)
		longest = max(longest, past+n)
	}
	p.rope = m.rotary.upTo(int(longest))
	return p
}

// Forward is one block: x + attention(norm(x)), then + mlp(norm(·)).
func (c *blockCall) Forward(t *tensor.Tape, x *tensor.Tensor) *tensor.Tensor {
	p, m, l := c.p, c.p.m, c.l
	b := m.block(l)
	n := p.norm(t, x, b.norm1)
	q, k, v := p.linear(t, n, l, b.q), p.linear(t, n, l, b.k), p.linear(t, n, l, b.v)
	t.RoPE(q, p.pos, m.Heads, p.rope)
	t.RoPE(k, p.pos, m.KVHeads, p.rope)
	var att *tensor.Tensor
	if p.feeds != nil {
		att = p.cached(t, l, q, k, v)
	} else {
		att = t.Attention(q, k, v, p.sequences, m.shape())
	}
	x = t.Residual(x, p.linear(t, att, l, b.o))
	n = p.norm(t, x, b.norm2)
	act := t.SwiGLU(p.linear(t, n, l, b.gate), p.linear(t, n, l, b.up))
	return t.Residual(x, p.linear(t, act, l, b.down))
}

func (m *Model) norm(t *tensor.Tape, a *peft.Adapter, x *tensor.Tensor, i int) *tensor.Tensor {
	return t.RMSNorm(x, m.vector(a, i), float32(m.Eps))
}

// norm is module i, a gain.
func (p *pass) norm(t *tensor.Tape, x *tensor.Tensor, i int) *tensor.Tensor {
	if len(p.parts) == 0 {
		return p.m.norm(t, p.a, x, i)
	}
	return t.RMSNormParts(x, p.partsOf(func(a *peft.Adapter, own *tensor.Part) { own.Bias = p.m.vector(a, i) }), float32(p.m.Eps))
}

// linear applies linear layer number i of block l.
func (p *pass) linear(t *tensor.Tape, x *tensor.Tensor, l, i int) *tensor.Tensor {
	m := p.m
	if len(p.parts) == 0 {
		w, lora := m.matrix(p.a, i)
		return t.Linear(x, w, m.bias(p.a, l, i), lora)
	}
	return t.LinearParts(x, p.partsOf(func(a *peft.Adapter, own *tensor.Part) {
		own.W, own.LoRA = m.matrix(a, i)
		own.Bias = m.bias(a, l, i)
	}))
}

// matrix is module i under an adapter: the model's own matrix or the adapter's, and the pair beside it.
func (m *Model) matrix(a *peft.Adapter, i int) (*tensor.Matrix, *tensor.LoRA) {
	s := a.At(i)
	if s.Matrix != nil {
		return s.Matrix, s.LoRA
	}
	return &m.mats[i], s.LoRA
}

// vector is module i under an adapter, a gain or bias.
func (m *Model) vector(a *peft.Adapter, i int) *tensor.Vector {
	if v := a.At(i).Vector; v != nil {
		return v
	}
	return &m.vecs[i]
}

// bias is that of linear layer i of block l, nil where it has none.
func (m *Model) bias(a *peft.Adapter, l, i int) *tensor.Vector {
	if j := m.biasModule(l, i); j >= 0 {
		return m.vector(a, j)
	}
	return nil
}
