package model

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// Weights is a checkpoint: names are those of Hugging Face folders.
type Weights interface {
	Names() []string
	// Info returns the stored dtype (F32, F16, BF16) and shape of a tensor.
	Info(name string) (dtype string, shape []int, ok bool)
	// Float32 returns the values, row by row, whatever the stored dtype.
	Float32(name string) ([]float32, error)
	// BF16 returns the values of a BF16 tensor as they are.
	BF16(name string) ([]uint16, error)
}

// FewBitsWeights is a checkpoint that holds matrices in few bits.
type FewBitsWeights interface {
	Weights
	// FewBits returns a matrix as it is to be kept, or nil where it is not quantised. layer is true for a linear layer of a
	// block, false for an embedding or a head: those are in few bits only where they are stored so.
	FewBits(name string, layer bool) (*kernels.Quantised, error)
}

// Model is a frozen decoder. It never changes and may be used by many goroutines, each with its own tape.
type Model struct {
	Config
	pool    *kernels.Pool
	modules []peft.Module
	mats    []tensor.Matrix // by module: linear layers, embedding, head
	vecs    []tensor.Vector // by module: gains and biases
	score   *tensor.Matrix  // scalar head of a sequence classification checkpoint, or nil
	rotary  *rotary
}

// place numbers the modules of one block, from its first on. A bias is number +biasOf of its linear layer, if there is one.
type place struct{ norm1, q, k, v, o, norm2, gate, up, down int }

// embedModule is the number of the embedding.
const embedModule = 0

func (m *Model) perBlock() int {
	n := 9
	if m.AttentionBias {
		n += 4
	}
	if m.MLPBias {
		n += 3
	}
	return n
}

// block is the numbers of block l's modules. Biases come after the nine weights, in the weights' order.
func (m *Model) block(l int) place {
	b := 1 + l*m.perBlock()
	return place{b, b + 1, b + 2, b + 3, b + 4, b + 5, b + 6, b + 7, b + 8}
}

func (m *Model) normModule() int { return 1 + m.Layers*m.perBlock() }
func (m *Model) headModule() int { return m.normModule() + 1 }

// biasModule is the number of the bias of linear layer number i of block l, or -1.
func (m *Model) biasModule(l, i int) int {
	b := m.block(l)
	switch at := i - b.norm1; {
	case at >= 1 && at <= 4 && m.AttentionBias:
		return b.norm1 + 9 + at - 1
	case at >= 6 && m.MLPBias && m.AttentionBias:
		return b.norm1 + 13 + at - 6
	case at >= 6 && m.MLPBias:
		return b.norm1 + 9 + at - 6
	}
	return -1
}

// Modules lists everything that can be adapted or replaced, from the embedding to the head.
func (m *Model) Modules() []peft.Module { return m.modules }

// Pool is the pool the model computes on.
func (m *Model) Pool() *kernels.Pool { return m.pool }

// HasHead says whether the model has a language-model head; a sequence classification checkpoint may not.
func (m *Model) HasHead() bool { return m.mats[m.headModule()].W != nil }

// describe lists the modules without their weights.
func describe(c Config) []peft.Module {
	qo, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	out := []peft.Module{{Name: "model.embed_tokens", Kind: peft.Embedding, Out: c.Vocab, In: c.Hidden, Layer: -1}}
	for l := range c.Layers {
		add := func(name string, kind peft.Kind, o, i int) {
			out = append(out, peft.Module{Name: fmt.Sprintf("model.layers.%d.%s", l, name), Kind: kind, Out: o, In: i, Layer: l})
		}
		add("input_layernorm", peft.Norm, c.Hidden, 1)
		add("self_attn.q_proj", peft.Linear, qo, c.Hidden)
		add("self_attn.k_proj", peft.Linear, kv, c.Hidden)
		add("self_attn.v_proj", peft.Linear, kv, c.Hidden)
		add("self_attn.o_proj", peft.Linear, c.Hidden, qo)
		add("post_attention_layernorm", peft.Norm, c.Hidden, 1)
		add("mlp.gate_proj", peft.Linear, c.Intermediate, c.Hidden)
		add("mlp.up_proj", peft.Linear, c.Intermediate, c.Hidden)
		add("mlp.down_proj", peft.Linear, c.Hidden, c.Intermediate)
		if c.AttentionBias {
			add("self_attn.q_proj", peft.Bias, qo, 1)
			add("self_attn.k_proj", peft.Bias, kv, 1)
			add("self_attn.v_proj", peft.Bias, kv, 1)
			add("self_attn.o_proj", peft.Bias, c.Hidden, 1)
		}
		if c.MLPBias {
			add("mlp.gate_proj", peft.Bias, c.Intermediate, 1)
			add("mlp.up_proj", peft.Bias, c.Intermediate, 1)
			add("mlp.down_proj", peft.Bias, c.Hidden, 1)
		}
	}
	return append(out,
		peft.Module{Name: "model.norm", Kind: peft.Norm, Out: c.Hidden, In: 1, Layer: c.Layers},
		peft.Module{Name: "lm_head", Kind: peft.Head, Out: c.Vocab, In: c.Hidden, Layer: c.Layers, Tied: c.Tied})
}

// empty is a model without weights.
func empty(c Config, pool *kernels.Pool) *Model {
	m := &Model{Config: c, pool: pool, modules: describe(c), rotary: &rotary{freq: c.frequencies()}}
	m.mats, m.vecs = make([]tensor.Matrix, len(m.modules)), make([]tensor.Vector, len(m.modules))
	for i := range m.modules {
		m.modules[i].Base = func(dst []float32) { m.base(i, dst) }
	}
	return m
}

// base writes the frozen weight of module i.
func (m *Model) base(i int, dst []float32) {
	if w := m.mats[i].W; w != nil {
		w.Unpack(dst)
		return
	}
	copy(dst, m.vecs[i].Data)
}

// New builds a model from a checkpoint. Matrices are packed once and stay in the checkpoint's bfloat16 or float32 (float16
// becomes float32), in few bits where w is FewBitsWeights and has them so. A tensor that is missing, left over or of another shape is an error that names it.
func New(c Config, w Weights, pool *kernels.Pool) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	m := empty(c, pool)
	l := loader{w: w, used: map[string]bool{}}
	for i, mod := range m.modules {
		var err error
		switch {
		case mod.Kind == peft.Norm:
			m.vecs[i].Data, err = l.vector(mod.Name+".weight", mod.Out)
		case mod.Kind == peft.Bias:
			m.vecs[i].Data, err = l.vector(mod.Name+".bias", mod.Out)
		case mod.Kind == peft.Embedding && c.Tied && !l.has(mod.Name+".weight"):
			m.mats[i].W, err = l.kept("lm_head.weight", mod.Out, mod.In, false)
		case mod.Kind == peft.Head && c.Tied:
			m.mats[i].W = m.mats[embedModule].W
			err = l.same("lm_head.weight", m.mats[i].W)
		case mod.Kind == peft.Head && c.SequenceClassification && !l.has("lm_head.weight"):
		case mod.Kind == peft.Linear:
			m.mats[i].W, err = l.kept(mod.Name+".weight", mod.Out, mod.In, true)
		default:
			m.mats[i].W, err = l.kept(mod.Name+".weight", mod.Out, mod.In, false)
		}
		if err != nil {
			return nil, err
		}
	}
	if l.has("score.weight") {
		s, err := l.matrix("score.weight", 1, c.Hidden)
		if err != nil {
			return nil, err
		}
		m.score = &tensor.Matrix{W: s}
	}
	return m, l.leftover()
}

type loader struct {
	w    Weights
	used map[string]bool
}

// find returns the stored name: with or without the leading "model.".
func (l *loader) find(name string) (string, bool) {
	for _, n := range []string{name, strings.TrimPrefix(name, "model.")} {
		if _, _, ok := l.w.Info(n); ok {
			return n, true
		}
	}
	return name, false
}

func (l *loader) has(name string) bool { _, ok := l.find(name); return ok }

func (l *loader) expect(name string, shape ...int) (stored, dtype string, err error) {
	stored, ok := l.find(name)
	if !ok {
		return "", "", fmt.Errorf("checkpoint: %s is missing", name)
	}
	dtype, got, _ := l.w.Info(stored)
	if !slices.Equal(got, shape) {
		return "", "", fmt.Errorf("checkpoint: %s has shape %v, config.json wants %v", stored, got, shape)
	}
	l.used[stored] = true
	return stored, dtype, nil
}

func (l *loader) vector(name string, n int) ([]float32, error) {
	stored, _, err := l.expect(name, n)
	if err != nil {
		return nil, err
	}
	return l.w.Float32(stored)
}

// kept is matrix for one that may be in few bits.
func (l *loader) kept(name string, out, in int, layer bool) (*kernels.Weight, error) {
	f, ok := l.w.(FewBitsWeights)
	if !ok {
		return l.matrix(name, out, in)
	}
	stored, _, err := l.expect(name, out, in)
	if err != nil {
		return nil, err
	}
	q, err := f.FewBits(stored, layer)
	if err != nil {
		return nil, err
	}
	if q == nil {
		return l.matrix(name, out, in)
	}
	return kernels.PackQuantised(q, out, in), nil
}

func (l *loader) matrix(name string, out, in int) (*kernels.Weight, error) {
	stored, dtype, err := l.expect(name, out, in)
	if err != nil {
		return nil, err
	}
	if dtype == "BF16" {
		v, err := l.w.BF16(stored)
		if err != nil {
			return nil, err
		}
		return kernels.PackBF16(v, out, in), nil
	}
	v, err := l.w.Float32(stored)
	if err != nil {
		return nil, err
	}
	return kernels.PackF32(v, out, in), nil
}

// same checks a second copy of a tied matrix, if there is one.
func (l *loader) same(name string, w *kernels.Weight) error {
	stored, ok := l.find(name)
	if !ok || l.used[stored] {
		return nil
	}
	if _, _, err := l.expect(name, w.Out, w.In); err != nil {
		return err
	}
	v, err := l.w.Float32(stored)
	if err != nil {
		return err
	}
	row := make([]float32, w.In)
	for r := range w.Out {
		w.Row(row, r)
		if !slices.Equal(row, v[r*w.In:(r+1)*w.In]) {
			return fmt.Errorf("checkpoint: tie_word_embeddings is true but %s differs from the embedding in row %d; set it to false to use both", stored, r)
		}
	}
	return nil
}

// leftover refuses tensors that the configuration has no place for; tables that old versions stored are skipped.
func (l *loader) leftover() error {
	var names []string
	for _, n := range l.w.Names() {
		if !l.used[n] && !strings.HasSuffix(n, "rotary_emb.inv_freq") {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("checkpoint: config.json has no place for %d of its tensors, such as %s", len(names), names[0])
}

// NewRandom builds a model with weights from N(0, InitStd²), gains 1 and biases 0, each keyed by the seed and its number, as
// a start for pretraining.
func NewRandom(c Config, seed uint64, pool *kernels.Pool) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	m := empty(c, pool)
	for i, mod := range m.modules {
		switch {
		case mod.Kind == peft.Norm || mod.Kind == peft.Bias:
			m.vecs[i].Data = make([]float32, mod.Out)
			for j := range m.vecs[i].Data {
				m.vecs[i].Data[j] = 1
			}
			if mod.Kind == peft.Bias {
				clear(m.vecs[i].Data)
			}
		case mod.Kind == peft.Head && c.Tied:
			m.mats[i].W = m.mats[embedModule].W
		default:
			v, draw := make([]float32, mod.Out*mod.In), rng.New(seed, uint64(i))
			for j := range v {
				v[j] = float32(c.InitStd * draw.Norm())
			}
			m.mats[i].W = kernels.PackF32(v, mod.Out, mod.In)
		}
	}
	return m, nil
}

// EachFewBits calls f for every linear layer that is held in few bits, with the name of its tensor.
func (m *Model) EachFewBits(f func(name string, w *kernels.Weight) error) error {
	for i, mod := range m.modules {
		if w := m.mats[i].W; w != nil && w.FewBits() > 0 && mod.Kind == peft.Linear {
			if err := f(mod.Name+".weight", w); err != nil {
				return err
			}
		}
	}
	return nil
}

// FewBits tells whether matrices are held in few bits.
func (m *Model) FewBits() bool {
	return slices.ContainsFunc(m.mats, func(x tensor.Matrix) bool { return x.W != nil && x.W.FewBits() > 0 })
}

// Bytes is the memory of the weights.
func (m *Model) Bytes() int {
	n := 0
	for i := range m.modules {
		if w := m.mats[i].W; w != nil && !(m.Tied && i == m.headModule()) {
			n += w.Bytes()
		}
		n += 4 * len(m.vecs[i].Data)
	}
	return n
}

// Parameters is the number of weights.
func (m *Model) Parameters() int {
	n := 0
	for i, mod := range m.modules {
		if w := m.mats[i].W; w != nil && !mod.Tied {
			n += w.Out * w.In
		}
		n += len(m.vecs[i].Data)
	}
	return n
}

// shape is that of attention; scores are divided by sqrt(D).
func (m *Model) shape() kernels.AttnShape {
	return kernels.AttnShape{H: m.Heads, KV: m.KVHeads, D: m.HeadDim, Scale: float32(1 / math.Sqrt(float64(m.HeadDim)))}
}
