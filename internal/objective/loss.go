package objective

import (
	"math/bits"
	"runtime"

	G "gorgonia.org/gorgonia"
)

// Loss is a differentiated [Formula]. It keeps one compiled graph per power of two, whatever sizes it is asked for, so its
// memory is bounded by twice that of the largest. Not for concurrent use.
type Loss struct {
	formula Formula
	graphs  map[int]*graph
}

// Result is what one evaluation gives. Its maps and slices are the loss's, and the caller's until the next Eval: a training step
// leaves no copies of them behind.
type Result struct {
	Loss float64              // sum over i of weight[i] * element[i]
	Each []float64            // [N] the elements, before weighting
	Grad map[string][]float64 // d Loss / d vector, by the name of each learned vector; [N] or [N,C]
	Show map[string][]float64 // [N] what the formula showed
}

// New differentiates nothing yet: a graph is built when a size is first seen. It panics then if the formula is malformed.
func New(f Formula) *Loss { return &Loss{formula: f, graphs: map[int]*graph{}} }

type graph struct {
	vars    *Vars
	machine G.VM
	weight  input
	loss    G.Value
	each    G.Value
	grads   map[string]*G.Value
	shown   map[string]*G.Value
	out     Result // its maps are filled anew by every run
}

// smallest is the size of the smallest graph; below it building more graphs would cost more than it saves.
const smallest = 16

// Eval computes loss, elements and gradients for N = len(weight) elements, in must hold exactly the vectors the formula
// asks for, each of length N (N*C for rows). A wrong name or length is a programmer's mistake and panics. Inputs that are not
// finite make results that are not finite; nothing is clamped.
func (l *Loss) Eval(weight []float64, in map[string][]float64) Result {
	n := len(weight)
	size := smallest
	if n > size {
		size = 1 << bits.Len(uint(n-1))
	}
	g := l.graphs[size]
	if g == nil {
		g = build(l.formula, size)
		l.graphs[size] = g
	}
	g.fill(weight, in)
	if n == 0 {
		return g.result(0)
	}
	if err := g.machine.RunAll(); err != nil {
		panic("objective: run: " + err.Error())
	}
	g.machine.Reset()
	return g.result(n)
}

func build(f Formula, size int) *graph {
	v := &Vars{graph: G.NewGraph(), size: size, inputs: map[string]input{}, outputs: map[string]Expr{}}
	g := &graph{vars: v, grads: map[string]*G.Value{}, shown: map[string]*G.Value{}}
	g.out = Result{Grad: map[string][]float64{}, Show: map[string][]float64{}}
	each := f(v)
	if !each.Shape().Eq([]int{size}) {
		panic("objective: formula: the loss is not a vector of one element per weight")
	}
	w := v.Given("weight")
	g.weight = v.inputs["weight"]
	loss := must(G.Sum(Mul(each, w)))

	var learned G.Nodes
	var names []string
	for _, name := range v.order {
		if in := v.inputs[name]; in.learned {
			learned, names = append(learned, in.node), append(names, name)
		}
	}
	if len(learned) == 0 {
		panic("objective: formula: nothing is learned")
	}
	grads, err := G.Grad(loss, learned...)
	if err != nil {
		panic("objective: formula: " + err.Error())
	}
	read := func(e Expr) *G.Value {
		out := new(G.Value)
		G.Read(e, out)
		return out
	}
	G.Read(loss, &g.loss)
	G.Read(each, &g.each)
	for i, name := range names {
		g.grads[name] = read(grads[i])
	}
	for name, e := range v.outputs {
		g.shown[name] = read(e)
	}
	g.machine = G.NewTapeMachine(v.graph)
	// Gorgonia's finalizer frees memory of a GPU, and would keep a machine that nobody uses any more alive for ever, because the
	// machine is part of a cycle.
	runtime.SetFinalizer(g.machine, nil)
	return g
}

// fill copies the inputs into the graph. The rest of a graph larger than N repeats the last element at weight 0: it is as
// finite as the data are, so it adds exact zeros.
func (g *graph) fill(weight []float64, in map[string][]float64) {
	n := len(weight)
	if len(in) != len(g.vars.order)-1 {
		panic("objective: Eval: the formula asks for other vectors than given")
	}
	clear(g.weight.data)
	copy(g.weight.data, weight)
	for name, x := range in {
		to, ok := g.vars.inputs[name]
		if !ok || name == "weight" {
			panic("objective: Eval: the formula asks for other vectors than given")
		}
		width := max(to.cols, 1)
		if len(x) != n*width {
			panic("objective: Eval: length mismatch")
		}
		copy(to.data, x)
		if n == 0 {
			continue
		}
		last := x[(n-1)*width:]
		for i := n * width; i < len(to.data); i += width {
			copy(to.data[i:], last)
		}
	}
}

func (g *graph) result(n int) Result {
	head := func(v G.Value, n int) []float64 {
		if n == 0 {
			return []float64{}
		}
		return v.Data().([]float64)[:n:n]
	}
	g.out.Loss = 0
	if n > 0 {
		g.out.Loss = g.loss.Data().(float64)
	}
	g.out.Each = head(g.each, n)
	for name, v := range g.grads {
		g.out.Grad[name] = head(*v, n*max(g.vars.inputs[name].cols, 1))
	}
	for name, v := range g.shown {
		g.out.Show[name] = head(*v, n)
	}
	return g.out
}
