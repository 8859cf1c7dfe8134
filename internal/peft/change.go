package peft

import (
	"fmt"
	"slices"

	"plumb/internal/rng"
)

// Clone copies the adapter: values, zero gradients, what is trainable. A clone of a frozen adapter can be trained again.
func (a *Adapter) Clone() *Adapter {
	c := &Adapter{
		cfg: a.cfg, full: a.full, modules: a.modules, params: slices.Clone(a.params), scaleOf: a.scaleOf,
		Values: slices.Clone(a.Values), Grads: make([]float32, len(a.Values)),
	}
	c.place()
	return c
}

// Freeze gives up the gradients for good: the values must not change any more. A frozen adapter is packed once and may be
// read by many goroutines.
func (a *Adapter) Freeze() *Adapter {
	a.frozen, a.Grads = true, nil
	a.place()
	return a
}

// Frozen says whether Freeze was called.
func (a *Adapter) Frozen() bool { return a.frozen }

// FreezeBelow makes the parameters of blocks below layer, and of the embedding, act without being trained: the backward
// pass stops above them. layer 0 frees the blocks and holds only the embedding; -1 trains everything; the number of blocks
// leaves the final norm and the heads.
func (a *Adapter) FreezeBelow(layer int) {
	for i := range a.params {
		a.params[i].Trainable = a.params[i].Layer >= layer
	}
	a.place()
}

// Trainable is the number of trained parameters.
func (a *Adapter) Trainable() int {
	n := 0
	for _, p := range a.params {
		if p.Trainable {
			n += p.Len()
		}
	}
	return n
}

// ZeroGrads clears the gradients.
func (a *Adapter) ZeroGrads() { clear(a.Grads) }

// AddScoreHead adds a scalar head "score" [1,c] without bias, drawn from N(0, std²), or replaces the one there is; the task
// becomes SEQ_CLS. transformers draws with std 0.02; summarize-from-feedback with 1/sqrt(c+1).
func (a *Adapter) AddScoreHead(c int, seed uint64, std float64) {
	if c <= 0 {
		panic("peft: AddScoreHead: hidden size must be positive")
	}
	p := a.addScore(c)
	draw := rng.New(seed, nameKey("score"))
	for i := range c {
		a.Values[p.Off+i] = float32(std * draw.Norm())
	}
}

// addScore makes room for the head at the end of the vectors; the values of the rest stay.
func (a *Adapter) addScore(c int) Param {
	n := len(a.modules)
	if i := slices.IndexFunc(a.params, func(p Param) bool { return p.site == n }); i >= 0 {
		if a.params[i].Cols != c {
			panic("peft: AddScoreHead: the head there is has another size")
		}
		return a.params[i]
	}
	layer := 0
	for _, m := range a.modules {
		layer = max(layer, m.Layer)
	}
	name := prefix + "score.weight"
	if a.full {
		name = "score.weight"
	}
	a.add(Param{Name: name, Rows: 1, Cols: c, Layer: layer, site: n, role: whole})
	values := a.Values
	a.allocate()
	copy(a.Values, values)
	a.cfg.TaskType = "SEQ_CLS"
	if !slices.Contains(a.cfg.ModulesToSave, "score") {
		a.cfg.ModulesToSave = append(slices.Clone(a.cfg.ModulesToSave), "classifier", "score")
	}
	return a.params[len(a.params)-1]
}

// SetBase records base_model_name_or_path.
func (a *Adapter) SetBase(base string) { a.cfg.Base = base }

// lastNames lists the distinct last words of the modules' names.
func lastNames(modules []Module) string {
	var out []string
	for _, m := range modules {
		if m.Kind == Norm || m.Kind == Bias {
			continue
		}
		n := m.Name
		for i := len(n) - 1; i >= 0; i-- {
			if n[i] == '.' {
				n = n[i+1:]
				break
			}
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return fmt.Sprintf("%q", out)
}
