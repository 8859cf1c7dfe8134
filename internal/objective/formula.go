package objective

import (
	"slices"
	"strconv"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Expr is a node of a Gorgonia graph, so any Gorgonia operation can join those below. Every Expr here is a vector [N] in
// float64, or a matrix [N,C] where its source was declared with rows.
type Expr = *G.Node

// Formula writes a loss per element, [N], over the vectors it asks v for.
type Formula func(v *Vars) Expr

// Vars hands a [Formula] its vectors by name. The same name always gives the same vector.
type Vars struct {
	graph   *G.ExprGraph
	size    int // N of this graph
	inputs  map[string]input
	order   []string // names in the order first asked for
	outputs map[string]Expr
}

type input struct {
	node    Expr
	cols    int // 0 for a vector
	learned bool
	data    []float64 // what node reads; filled before every run
}

// Learned is a vector [N] the model produced: the result carries the loss's gradient with respect to it.
func (v *Vars) Learned(name string) Expr { return v.input(name, 0, true) }

// Given is a vector [N] that is constant: no gradient flows into it.
func (v *Vars) Given(name string) Expr { return v.input(name, 0, false) }

// LearnedRows is a matrix [N,cols] the model produced, row-major.
func (v *Vars) LearnedRows(name string, cols int) Expr { return v.input(name, cols, true) }

// GivenRows is a constant matrix [N,cols], row-major.
func (v *Vars) GivenRows(name string, cols int) Expr { return v.input(name, cols, false) }

func (v *Vars) input(name string, cols int, learned bool) Expr {
	if in, ok := v.inputs[name]; ok {
		if in.cols != cols || in.learned != learned {
			panic("objective: formula: the same name is asked for in two ways")
		}
		return in.node
	}
	shape := tensor.Shape{v.size}
	if cols > 0 {
		shape = tensor.Shape{v.size, cols}
	}
	in := input{cols: cols, learned: learned, data: make([]float64, shape.TotalSize())}
	in.node = G.NewTensor(v.graph, tensor.Float64, len(shape), G.WithShape(shape...), G.WithName(name),
		G.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(in.data))))
	v.inputs[name], v.order = in, append(v.order, name)
	return in.node
}

// Const is the vector [N] whose every element is c.
func (v *Vars) Const(c float64) Expr {
	data := slices.Repeat([]float64{c}, v.size)
	return G.NewConstant(tensor.New(tensor.WithShape(v.size), tensor.WithBacking(data)),
		G.WithName("const "+strconv.FormatFloat(c, 'g', -1, 64)))
}

// Show makes the element-wise values of e appear in the result under a name, and returns e.
func (v *Vars) Show(name string, e Expr) Expr {
	v.outputs[name] = e
	return e
}

// must turns the error of a Gorgonia operation into a panic: it means the formula itself is wrong (shapes, types).
func must(e Expr, err error) Expr {
	if err != nil {
		panic("objective: formula: " + err.Error())
	}
	return e
}

// Add is a + b.
func Add(a, b Expr) Expr { return must(G.Add(a, b)) }

// Sub is a - b.
func Sub(a, b Expr) Expr { return must(G.Sub(a, b)) }

// Mul is a * b, element by element.
func Mul(a, b Expr) Expr { return must(G.HadamardProd(a, b)) }

// Div is a / b, element by element.
func Div(a, b Expr) Expr { return must(G.HadamardDiv(a, b)) }

// Neg is -a.
func Neg(a Expr) Expr { return must(G.Neg(a)) }

// Exp is e^a.
func Exp(a Expr) Expr { return must(G.Exp(a)) }

// Log is the natural logarithm of a.
func Log(a Expr) Expr { return must(G.Log(a)) }

// Square is a^2.
func Square(a Expr) Expr { return must(G.Square(a)) }

// Abs is |a|; its slope at 0 is taken as 0.
func Abs(a Expr) Expr { return must(G.Abs(a)) }

// Scale is c*a for a number c.
func Scale(c float64, a Expr) Expr { return must(G.HadamardProd(a, G.NewConstant(c))) }

// Shift is a + c for a number c.
func Shift(a Expr, c float64) Expr { return must(G.Add(a, G.NewConstant(c))) }

// Max is the larger of a and b; where they are equal the slope is a's.
func Max(a, b Expr) Expr { return must(G.MaxBetween(a, b)) }

// Min is the smaller of a and b; where they are equal the slope is a's.
func Min(a, b Expr) Expr { return must(G.MinBetween(a, b)) }

// Clip is a limited to [lo,hi]; inside and on the limits the slope is a's, outside 0.
func Clip(a, lo, hi Expr) Expr { return Min(Max(a, lo), hi) }

// Softplus is log(1+e^a) = max(0,a) + log(1+e^-|a|): no exponential can overflow, and the derivative is the logistic function
// to full relative precision for every a. -|a| is written min(a,-a), so that the slopes at 0 add up to 1/2. (Gorgonia's own
// Softplus cuts off at 16, an error of 1e-7.)
func Softplus(a Expr) Expr {
	zero := G.NewConstant(tensor.New(tensor.WithShape(a.Shape().Clone()...), tensor.Of(tensor.Float64)))
	return Add(Max(zero, a), must(G.Log1p(Exp(Min(a, Neg(a))))))
}

// RowLogSoftmax is log softmax of every row of a matrix [N,C].
func RowLogSoftmax(a Expr) Expr { return must(G.LogSoftMax(a, 1)) }

// RowSum is the vector [N] of the sums of a matrix's rows.
func RowSum(a Expr) Expr { return must(G.Sum(a, 1)) }
