package peft

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sync"

	"plumb/internal/kernels"
	"plumb/internal/optim"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// Param is one trained matrix or vector inside an Adapter's flat vectors.
type Param struct {
	// Name is the key under which the parameter is stored: PEFT's for LoRA and modules_to_save, the checkpoint's for full
	// fine-tuning.
	Name string
	// Off is where it starts; it has Rows·Cols elements, row by row.
	Off, Rows, Cols int
	// Layer is that of its module: -1 the embedding, the number of blocks for the final norm and the heads.
	Layer int
	// OneD marks gains and biases, which optimizers do not decay by custom.
	OneD bool
	// Trainable parameters have a gradient; the others act in the forward pass only and keep their value.
	Trainable bool

	site int // index of the module
	role role
}

// Len is the number of elements.
func (p Param) Len() int { return p.Rows * p.Cols }

type role int

const (
	loraA role = iota
	loraB
	whole // replaces the module's weight
)

// Adapter is everything that differs from a frozen model: LoRA pairs and replaced modules, in one flat vector. Several
// adapters may stand on one model. It is read by one goroutine at a time, unless frozen.
type Adapter struct {
	// Values are the parameters and Grads d loss / d Values, both float32. Grads is nil once frozen. Whoever computes
	// gradients adds to Grads; whoever moves Values clears it.
	Values, Grads []float32

	cfg     Config
	full    bool // every weight of the model
	modules []Module
	params  []Param
	sites   []Site
	score   *Site
	scaleOf []float32 // scale of the pair of each module

	frozen bool
	once   sync.Once
}

// Site is what an adapter does at one module. The zero Site does nothing.
type Site struct {
	// LoRA is the pair beside the module's weight, or nil.
	LoRA *tensor.LoRA
	// Matrix replaces the weight of a linear layer, embedding or head, or is nil.
	Matrix *tensor.Matrix
	// Vector replaces a gain or bias, or is nil.
	Vector *tensor.Vector
}

// New returns a fresh adapter: A from U(-1/sqrt(in), 1/sqrt(in)) (or N(0, 1/r)), B zero, so that it changes nothing yet; of
// an embedding A is zero and B from N(0,1), as in PEFT; modules_to_save are copies. Draws are keyed by the seed and the
// module's name. With task type SEQ_CLS, call AddScoreHead.
func New(cfg Config, modules []Module, seed uint64) (*Adapter, error) {
	a, err := build(cfg, modules)
	if err != nil {
		return nil, err
	}
	a.allocate()
	for _, p := range a.params {
		m, v := modules[p.site], a.Values[p.Off:p.Off+p.Len()]
		draw := rng.New(seed, nameKey(m.Name))
		switch {
		case p.role == whole:
			m.Base(v)
		case p.role == loraA && m.Kind == Embedding, p.role == loraB && m.Kind != Embedding:
		case p.role == loraB:
			for i := range v {
				v[i] = float32(draw.Norm())
			}
		case cfg.InitGaussian:
			for i := range v {
				v[i] = float32(draw.Norm() / float64(p.Rows))
			}
		default:
			bound := 1 / math.Sqrt(float64(p.Cols))
			for i := range v {
				v[i] = float32((2*draw.Float64() - 1) * bound)
			}
		}
	}
	return a, nil
}

// NewFull returns an adapter that replaces, and trains, every weight of the model, starting from copies.
func NewFull(modules []Module) *Adapter {
	a := &Adapter{full: true, modules: modules}
	for i, m := range modules {
		if !m.Tied {
			a.addWhole(i, m.param())
		}
	}
	a.allocate()
	for _, p := range a.params {
		modules[p.site].Base(a.Values[p.Off : p.Off+p.Len()])
	}
	return a
}

func nameKey(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// prefix stands before the model's own names in PEFT's files.
const prefix = "base_model.model."

// build lays out the parameters, module by module in the model's order.
func build(cfg Config, modules []Module) (*Adapter, error) {
	r, err := compile(cfg)
	if err != nil {
		return nil, fmt.Errorf("LoRA: %w", err)
	}
	a := &Adapter{cfg: cfg, modules: modules, scaleOf: make([]float32, len(modules))}
	var hit []string
	for i, m := range modules {
		if r.saved(m) {
			a.addWhole(i, prefix+m.param())
			continue
		}
		if !r.targets(m) {
			continue
		}
		hit = append(hit, m.Name)
		rank := r.rankOf(m.Name)
		a.scaleOf[i] = float32(r.scaleOf(m.Name))
		suffixA, suffixB, in, out := ".lora_A.weight", ".lora_B.weight", m.In, m.Out
		if m.Kind == Embedding {
			suffixA, suffixB, in, out = ".lora_embedding_A", ".lora_embedding_B", m.Out, m.In
		}
		a.add(Param{Name: prefix + m.Name + suffixA, Rows: rank, Cols: in, Layer: m.Layer, site: i, role: loraA})
		a.add(Param{Name: prefix + m.Name + suffixB, Rows: out, Cols: rank, Layer: m.Layer, site: i, role: loraB})
	}
	if len(hit) == 0 && !cfg.Targets.Empty() {
		return nil, fmt.Errorf("LoRA: target_modules name none of the model's modules; it has %s", lastNames(modules))
	}
	if err := unmatched(cfg, modules); err != nil {
		return nil, err
	}
	if cfg.Targets.AllLinear {
		a.cfg.Targets = Names(hit...)
	}
	return a, nil
}

// unmatched finds a listed name that no module has, which would otherwise be ignored in silence. classifier and score are
// what PEFT adds for SEQ_CLS.
func unmatched(cfg Config, modules []Module) error {
	for _, n := range cfg.Targets.Names {
		if !slices.ContainsFunc(modules, func(m Module) bool { return named(nil, []string{n}, m.Name) }) {
			return fmt.Errorf("LoRA: target_modules: %q is none of the model's modules; it has %s", n, lastNames(modules))
		}
	}
	r := rule{Config: cfg}
	for _, n := range cfg.ModulesToSave {
		r.ModulesToSave = []string{n}
		if n != "score" && n != "classifier" && !slices.ContainsFunc(modules, r.saved) {
			return fmt.Errorf("LoRA: modules_to_save: %q is none of the model's modules; it has %s", n, lastNames(modules))
		}
	}
	return nil
}

func (a *Adapter) addWhole(i int, name string) {
	m := a.modules[i]
	p := Param{Name: name, Rows: m.Out, Cols: m.In, Layer: m.Layer, site: i, role: whole}
	if m.Kind == Norm || m.Kind == Bias {
		p.Rows, p.Cols, p.OneD = 1, m.Out, true
	}
	a.add(p)
}

// align is the granularity of offsets: 16 floats, a cache line.
const align = 16

func (a *Adapter) add(p Param) {
	if n := len(a.params); n > 0 {
		last := a.params[n-1]
		p.Off = (last.Off + last.Len() + align - 1) &^ (align - 1)
	}
	p.Trainable = true
	a.params = append(a.params, p)
}

// allocate makes the vectors and the sites that refer to them.
func (a *Adapter) allocate() {
	n := 0
	if len(a.params) > 0 {
		last := a.params[len(a.params)-1]
		n = last.Off + last.Len()
	}
	a.Values, a.Grads = make([]float32, n), make([]float32, n)
	a.place()
}

// place builds the sites over Values and Grads.
func (a *Adapter) place() {
	a.sites, a.score = make([]Site, len(a.modules)), nil
	for _, p := range a.params {
		v, g := a.Values[p.Off:p.Off+p.Len()], a.grad(p)
		if p.site == len(a.modules) {
			a.score = &Site{Matrix: &tensor.Matrix{W: kernels.NewWeight(p.Rows, p.Cols), Grad: g}}
			continue
		}
		s, m := &a.sites[p.site], a.modules[p.site]
		switch {
		case p.role == whole && p.OneD:
			s.Vector = &tensor.Vector{Data: v, Grad: g}
		case p.role == whole:
			s.Matrix = &tensor.Matrix{W: kernels.NewWeight(p.Rows, p.Cols), Grad: g}
		case p.role == loraA:
			s.LoRA = &tensor.LoRA{
				Scale: a.scaleOf[p.site], A: tensor.Matrix{Grad: g}, Dropout: float32(a.cfg.Dropout), Key: nameKey(m.Name),
			}
			if m.Kind == Embedding {
				s.LoRA.Columns = v
			} else {
				s.LoRA.A.W = kernels.NewWeight(p.Rows, p.Cols)
			}
		default:
			s.LoRA.B = tensor.Matrix{W: kernels.NewWeight(p.Rows, p.Cols), Grad: g}
		}
	}
}

func (a *Adapter) grad(p Param) []float32 {
	if a.Grads == nil || !p.Trainable {
		return nil
	}
	return a.Grads[p.Off : p.Off+p.Len()]
}

// weight is the packed matrix of a parameter, nil where it is read as it lies.
func (a *Adapter) weight(p Param) *kernels.Weight {
	switch {
	case p.site == len(a.modules):
		return a.score.Matrix.W
	case p.OneD:
		return nil
	case p.role == whole:
		return a.sites[p.site].Matrix.W
	case p.role == loraA:
		return a.sites[p.site].LoRA.A.W
	}
	return a.sites[p.site].LoRA.B.W
}

// Pack brings the packed matrices up to date with Values. The model calls it once for each forward pass or cache; on a
// frozen adapter only the first call does anything.
func (a *Adapter) Pack(pool *kernels.Pool) {
	pack := func() {
		pool.Do(len(a.params), func(i int) {
			p := a.params[i]
			if w := a.weight(p); w != nil {
				w.Repack(a.Values[p.Off : p.Off+p.Len()])
			}
		})
	}
	if a.frozen {
		a.once.Do(pack)
		return
	}
	pack()
}

// At is what the adapter does at module number i of the modules it was built for. A nil adapter does nothing.
func (a *Adapter) At(i int) Site {
	if a == nil {
		return Site{}
	}
	return a.sites[i]
}

// Score is the scalar head, or nil.
func (a *Adapter) Score() *tensor.Matrix {
	if a == nil || a.score == nil {
		return nil
	}
	return a.score.Matrix
}

// Fits says whether the adapter was built for these modules.
func (a *Adapter) Fits(modules []Module) bool {
	return slices.EqualFunc(a.modules, modules, func(x, y Module) bool {
		return x.Name == y.Name && x.Kind == y.Kind && x.Out == y.Out && x.In == y.In && x.Tied == y.Tied
	})
}

// Full says whether the adapter replaces every weight of the model.
func (a *Adapter) Full() bool { return a != nil && a.full }

// Config is the LoRA configuration, with "all-linear" spelled out; zero for a full adapter.
func (a *Adapter) Config() Config { return a.cfg }

// Params lists the parameters in the order of their offsets, which are multiples of 16; what lies between two of them is
// zero in Values and Grads and stays so.
func (a *Adapter) Params() []Param { return a.params }

// Groups are the trained parameters as an optimizer takes them; gains and biases are not decayed.
func (a *Adapter) Groups() []optim.Group {
	var out []optim.Group
	for _, p := range a.params {
		if !p.Trainable {
			continue
		}
		g := optim.Group{Off: p.Off, Len: p.Len(), LRScale: 1, Decay: 1}
		if p.OneD {
			g.Decay = 0
		}
		out = append(out, g)
	}
	return out
}
