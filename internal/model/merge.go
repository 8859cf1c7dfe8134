package model

import (
	"fmt"

	"plumb/internal/kernels"
	"plumb/internal/peft"
)

// Merged is a model with an adapter folded into its weights: W + Scale·B A, or the replaced weight. It is computed tensor
// by tensor when asked for, in float32, and satisfies Weights.
type Merged struct {
	// Config is the model's; Tied is false where the adapter told embedding and head apart.
	Config  Config
	m       *Model
	a       *peft.Adapter
	entries map[string]int // name -> module
	names   []string
	score   *kernels.Weight
}

// Merge folds a into the weights; a may be nil.
func (m *Model) Merge(a *peft.Adapter) *Merged {
	m.prepare(a)
	g := &Merged{Config: m.Config, m: m, a: a, entries: map[string]int{}}
	embed, head := a.At(embedModule), a.At(m.headModule())
	if m.Tied && !a.Full() && (embed != peft.Site{} || head != peft.Site{}) {
		g.Config.Tied = false
	}
	for i, mod := range m.modules {
		if mod.Kind == peft.Head && (g.Config.Tied || !m.HasHead()) {
			continue
		}
		name := mod.Name + ".weight"
		if mod.Kind == peft.Bias {
			name = mod.Name + ".bias"
		}
		g.entries[name] = i
		g.names = append(g.names, name)
	}
	switch {
	case a.Score() != nil:
		g.score = a.Score().W
	case m.score != nil:
		g.score = m.score.W
	}
	if g.score != nil {
		g.names = append(g.names, scoreName)
		g.Config.SequenceClassification = true
	}
	return g
}

const scoreName = "score.weight"

// Names lists the tensors in the model's order.
func (g *Merged) Names() []string { return g.names }

// Info returns the base's dtype, BF16 or F32, and the shape.
func (g *Merged) Info(name string) (dtype string, shape []int, ok bool) {
	if name == scoreName && g.score != nil {
		return "F32", []int{1, g.Config.Hidden}, true
	}
	i, ok := g.entries[name]
	if !ok {
		return "", nil, false
	}
	mod := g.m.modules[i]
	if mod.Kind == peft.Norm || mod.Kind == peft.Bias {
		return g.dtype(embedModule), []int{mod.Out}, true
	}
	return g.dtype(i), []int{mod.Out, mod.In}, true
}

func (g *Merged) dtype(i int) string {
	if g.m.mats[i].W.IsBF16() {
		return "BF16"
	}
	return "F32"
}

// Float32 returns the merged values, row by row, rounded once.
func (g *Merged) Float32(name string) ([]float32, error) {
	if name == scoreName && g.score != nil {
		w := make([]float32, g.Config.Hidden)
		g.score.Unpack(w)
		return w, nil
	}
	i, ok := g.entries[name]
	if !ok {
		return nil, fmt.Errorf("merged model: no tensor %s", name)
	}
	mod, s := g.m.modules[i], g.a.At(i)
	if mod.Kind == peft.Norm || mod.Kind == peft.Bias {
		if s.Vector != nil {
			return append([]float32(nil), s.Vector.Data...), nil
		}
		return append([]float32(nil), g.m.vecs[i].Data...), nil
	}
	w := make([]float32, mod.Out*mod.In)
	if s.Matrix != nil {
		s.Matrix.W.Unpack(w)
		return w, nil
	}
	g.m.mats[i].W.Unpack(w)
	if l := s.LoRA; l != nil {
		r := l.B.W.In
		a, b := l.Columns, make([]float32, l.B.W.Out*r)
		l.B.W.Unpack(b)
		if a == nil {
			a = make([]float32, r*mod.In)
			l.A.W.Unpack(a)
			addProduct(w, b, a, float64(l.Scale), mod.Out, mod.In, r, mod.In)
		} else {
			addTransposed(w, b, a, float64(l.Scale), mod.Out, mod.In, r)
		}
	}
	return w, nil
}

// addProduct is w[out,in] += scale · b[out,r] a[r,in], in float64, rounded once.
func addProduct(w, b, a []float32, scale float64, out, in, r, lda int) {
	row := make([]float64, in)
	for o := range out {
		clear(row)
		for k := range r {
			f := float64(b[o*r+k])
			for j, v := range a[k*lda : k*lda+in] {
				row[j] += f * float64(v)
			}
		}
		for j, v := range row {
			w[o*in+j] = float32(float64(w[o*in+j]) + scale*v)
		}
	}
}

// addTransposed is w[id,c] += scale · Σ_k a[k,id] b[c,k]: the update of an embedding [vocabulary,C].
func addTransposed(w, b, a []float32, scale float64, vocabulary, c, r int) {
	for id := range vocabulary {
		for j := range c {
			sum := 0.0
			for k := range r {
				sum += float64(a[k*vocabulary+id]) * float64(b[j*r+k])
			}
			w[id*c+j] = float32(float64(w[id*c+j]) + scale*sum)
		}
	}
}

// BF16 returns the merged values rounded to the nearest bfloat16, ties to even.
func (g *Merged) BF16(name string) ([]uint16, error) {
	v, err := g.Float32(name)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, len(v))
	for i, x := range v {
		out[i] = kernels.RoundBF16(x)
	}
	return out, nil
}
