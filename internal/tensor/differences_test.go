package tensor

import (
	"fmt"
	"math"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/rng"
)

// operation is one operation to be checked: its float32 form on a tape, and its formula in float64.
type operation struct {
	name  string
	sizes []int // of the inputs, all of which are differentiated
	// run computes on the tape; grads[i] is where the gradient of a weight is added. Inputs that are tensors come from leaf.
	run func(t *Tape, leaf func(i, rows, cols int) *Tensor, in, grads [][]float32) []*Tensor
	// formula gives the outputs, one after another.
	formula func(in [][]float64) []float64
}

func pool(t testing.TB) *kernels.Pool {
	p := kernels.NewPool(2)
	t.Cleanup(p.Close)
	return p
}

func matrix(v, grad []float32, out, in int) *Matrix {
	return &Matrix{W: kernels.PackF32(v, out, in), Grad: grad}
}

// The sum of the outputs, weighted at random, differentiated by the tape and by central differences of the formula in
// float64 (step 1e-5: truncation about 1e-10, rounding 1e-11, both relative to values of order 1). The tape works in float32
// with sums of at most a few hundred terms of order 1: about 100 times 2^-24, say 2e-5 of the largest.
func TestBackwardAgainstDifferences(t *testing.T) {
	const tolerance, step = 2e-5, 1e-5
	for _, o := range operations() {
		t.Run(o.name, func(t *testing.T) {
			in, in64, grads := inputs(o)
			tape := NewTape(pool(t))
			leaves := map[int]*Tensor{}
			outs := o.run(tape, func(i, rows, cols int) *Tensor {
				leaves[i] = tape.Leaf(in[i], rows, cols, true)
				return leaves[i]
			}, in, grads)
			var got []float32
			for _, x := range outs {
				got = append(got, x.Data...)
			}
			want := o.formula(in64)
			c := weights(len(want))
			compare(t, "output", got, want, tolerance)
			at := 0
			for _, x := range outs {
				x.Seed(c[at : at+len(x.Data)])
				at += len(x.Data)
			}
			tape.Backward()
			for i := range in {
				if x, ok := leaves[i]; ok {
					grads[i] = x.Grad
				}
				got, want := differences(o.formula, in64, i, c, step, grads[i])
				compare(t, fmt.Sprint("gradient of input ", i), got, want, tolerance)
			}
		})
	}
}

func inputs(o operation) (in [][]float32, in64 [][]float64, grads [][]float32) {
	draw := rng.New(7, uint64(len(o.name)))
	for _, n := range o.sizes {
		a, b := make([]float32, n), make([]float64, n)
		for j := range a {
			a[j] = float32(draw.Norm())
			b[j] = float64(a[j])
		}
		in, in64, grads = append(in, a), append(in64, b), append(grads, make([]float32, n))
	}
	return in, in64, grads
}

func weights(n int) []float64 {
	draw, c := rng.New(8), make([]float64, n)
	for i := range c {
		c[i] = float64(float32(draw.Norm()))
	}
	return c
}

// differences returns central differences by input i, and the elements of grad to compare with them: all, or of a large input
// every 11th.
func differences(f func([][]float64) []float64, in [][]float64, i int, c []float64, step float64, grad []float32) (got []float32, want []float64) {
	sum := func() (s float64) {
		for j, v := range f(in) {
			s += c[j] * v
		}
		return s
	}
	stride := 1
	if len(in[i]) > 1000 {
		stride = 11
	}
	for j := 0; j < len(in[i]); j += stride {
		v := in[i][j]
		in[i][j] = v + step
		up := sum()
		in[i][j] = v - step
		got, want = append(got, grad[j]), append(want, (up-sum())/(2*step))
		in[i][j] = v
	}
	return got, want
}

func compare(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	scale := 0.0
	for _, v := range want {
		scale = max(scale, math.Abs(v))
	}
	if scale == 0 {
		t.Errorf("%s: all zero, nothing was checked", what)
	}
	for i := range got {
		if !(math.Abs(float64(got[i])-want[i]) <= tolerance*scale) {
			t.Errorf("%s: element %d is %v, want %v", what, i, got[i], want[i])
			return
		}
	}
}

func operations() []operation {
	ids := []int32{3, 0, 3, 19, 7}
	starts := []int32{0, 4, 5, 71}
	tree := Sequences{Starts: []int32{0, 30, 37, 50, 62, 71}, Parents: []int32{-1, 0, 0, 2, -1}}
	table := kernels.NewRoPE(4, 8, []float64{1, 0.3}, 1)
	pos := []int32{0, 1, 5, 2, 7}
	shape := kernels.AttnShape{H: 4, KV: 2, D: 4, Scale: 0.5}
	return []operation{
		{
			name: "linear", sizes: []int{5 * 7, 18 * 7, 18, 3 * 7, 18 * 3},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, in, g [][]float32) []*Tensor {
				l := &LoRA{A: *matrix(in[3], g[3], 3, 7), B: *matrix(in[4], g[4], 18, 3), Scale: 1.5}
				return []*Tensor{t.Linear(leaf(0, 5, 7), matrix(in[1], g[1], 18, 7), &Vector{in[2], g[2]}, l)}
			},
			formula: func(in [][]float64) []float64 {
				y := add(matmulT(in[0], in[1], 5, 18, 7), scaled(1.5, matmulT(matmulT(in[0], in[3], 5, 3, 7), in[4], 5, 18, 3)))
				for i := range y {
					y[i] += in[2][i%18]
				}
				return y
			},
		},
		{
			name: "embed", sizes: []int{20 * 6, 3 * 20, 6 * 3},
			run: func(t *Tape, _ func(i, r, c int) *Tensor, in, g [][]float32) []*Tensor {
				l := &LoRA{A: Matrix{Grad: g[1]}, Columns: in[1], B: *matrix(in[2], g[2], 6, 3), Scale: 0.5}
				return []*Tensor{t.Embed(matrix(in[0], g[0], 20, 6), ids, l)}
			},
			formula: func(in [][]float64) (y []float64) {
				for _, id := range ids {
					for c := range 6 {
						v := in[0][int(id)*6+c]
						for k := range 3 {
							v += 0.5 * in[1][k*20+int(id)] * in[2][c*3+k]
						}
						y = append(y, v)
					}
				}
				return y
			},
		},
		{
			name: "rmsnorm", sizes: []int{4 * 21, 21},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, in, g [][]float32) []*Tensor {
				return []*Tensor{t.RMSNorm(leaf(0, 4, 21), &Vector{in[1], g[1]}, 1e-3)}
			},
			formula: func(in [][]float64) (y []float64) {
				for i := range 4 {
					x, s := in[0][i*21:(i+1)*21], 0.0
					for _, v := range x {
						s += v * v
					}
					for j, v := range x {
						y = append(y, v/math.Sqrt(s/21+1e-3)*in[1][j])
					}
				}
				return y
			},
		},
		{
			name: "rope", sizes: []int{5 * 3, 8 * 3},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, in, g [][]float32) []*Tensor {
				y := t.Linear(leaf(0, 5, 3), matrix(in[1], g[1], 8, 3), nil, nil)
				t.RoPE(y, pos, 2, table)
				return []*Tensor{y}
			},
			formula: func(in [][]float64) []float64 {
				y := matmulT(in[0], in[1], 5, 8, 3)
				for i, p := range pos {
					for h := range 2 {
						for j, f := range []float64{1, 0.3} {
							s, c := math.Sincos(float64(p) * f)
							a, b := i*8+h*4+j, i*8+h*4+j+2
							y[a], y[b] = y[a]*c-y[b]*s, y[b]*c+y[a]*s
						}
					}
				}
				return y
			},
		},
		{
			name: "swiglu", sizes: []int{3 * 17, 3 * 17},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, _, _ [][]float32) []*Tensor {
				return []*Tensor{t.SwiGLU(leaf(0, 3, 17), leaf(1, 3, 17))}
			},
			formula: func(in [][]float64) (y []float64) {
				for i, g := range in[0] {
					y = append(y, g/(1+math.Exp(-g))*in[1][i])
				}
				return y
			},
		},
		{
			name: "attention", sizes: []int{71 * 16, 71 * 8, 71 * 8},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, _, _ [][]float32) []*Tensor {
				return []*Tensor{t.Attention(leaf(0, 71, 16), leaf(1, 71, 8), leaf(2, 71, 8), Sequences{Starts: starts}, shape)}
			},
			formula: func(in [][]float64) []float64 { return attention(in[0], in[1], in[2], starts, shape) },
		},
		{
			// A beginning of 30, two that continue it, one that continues the second of those, and one by itself.
			name: "attention with shared beginnings", sizes: []int{71 * 16, 71 * 8, 71 * 8},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, _, _ [][]float32) []*Tensor {
				return []*Tensor{t.Attention(leaf(0, 71, 16), leaf(1, 71, 8), leaf(2, 71, 8), tree, shape)}
			},
			formula: func(in [][]float64) (y []float64) {
				for _, chain := range [][]int32{{0, 30}, {0, 30, 30, 37}, {0, 30, 37, 50}, {0, 30, 37, 50, 50, 62}, {62, 71}} {
					var x [3][]float64
					for i := 0; i < len(chain); i += 2 {
						for k, c := range [3]int32{16, 8, 8} {
							x[k] = append(x[k], in[k][chain[i]*c:chain[i+1]*c]...)
						}
					}
					out := attention(x[0], x[1], x[2], []int32{0, int32(len(x[0]) / 16)}, shape)
					y = append(y, out[len(out)-int(chain[len(chain)-1]-chain[len(chain)-2])*16:]...)
				}
				return y
			},
		},
		{
			// x + f(x) + ..., so that gradients are shared and added to.
			name: "residual", sizes: []int{4 * 5, 5 * 5, 5 * 5},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, in, g [][]float32) []*Tensor {
				x := leaf(0, 4, 5)
				y := t.Residual(x, t.Linear(x, matrix(in[1], g[1], 5, 5), nil, nil))
				return []*Tensor{t.Residual(y, t.Linear(y, matrix(in[2], g[2], 5, 5), nil, nil))}
			},
			formula: func(in [][]float64) []float64 {
				y := add(in[0], matmulT(in[0], in[1], 4, 5, 5))
				return add(y, matmulT(y, in[2], 4, 5, 5))
			},
		},
		{
			name: "gather", sizes: []int{20 * 3},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, _, _ [][]float32) []*Tensor {
				return []*Tensor{t.Gather(leaf(0, 20, 3), ids)}
			},
			formula: func(in [][]float64) (y []float64) {
				for _, r := range ids {
					y = append(y, in[0][int(r)*3:int(r)*3+3]...)
				}
				return y
			},
		},
		{
			// Two tiles of the vocabulary, the second one short.
			name: "logprobs", sizes: []int{5 * 4, 1030 * 4, 2 * 4, 1030 * 2},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, in, g [][]float32) []*Tensor {
				l := &LoRA{A: *matrix(in[2], g[2], 2, 4), B: *matrix(in[3], g[3], 1030, 2), Scale: 0.7}
				logp, entropy := t.LogProbs(leaf(0, 5, 4), matrix(in[1], g[1], 1030, 4), l, []int32{0, 1029, 1024, 3, 7}, 0.8)
				return []*Tensor{logp, entropy}
			},
			formula: func(in [][]float64) []float64 {
				z := add(matmulT(in[0], in[1], 5, 1030, 4), scaled(0.7, matmulT(matmulT(in[0], in[2], 5, 2, 4), in[3], 5, 1030, 2)))
				return logProbs(scaled(0.8, z), []int{0, 1029, 1024, 3, 7})
			},
		},
		{
			// Only the hidden states are trained: no tile is computed again.
			name: "logprobs frozen", sizes: []int{5 * 4},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, _, _ [][]float32) []*Tensor {
				logp, _ := t.LogProbs(leaf(0, 5, 4), matrix(frozenHead(), nil, 1030, 4), nil, []int32{0, 1029, 1024, 3, 7}, 0.8)
				return []*Tensor{logp}
			},
			formula: func(in [][]float64) []float64 {
				return logProbs(scaled(0.8, matmulT(in[0], widen(frozenHead()), 5, 1030, 4)), []int{0, 1029, 1024, 3, 7})[:5]
			},
		},
		{
			// The same rows at two temperatures, once with the entropy: gradients meet.
			name: "logprobs twice", sizes: []int{5 * 4},
			run: func(t *Tape, leaf func(i, r, c int) *Tensor, _, _ [][]float32) []*Tensor {
				x, w := leaf(0, 5, 4), matrix(frozenHead(), nil, 1030, 4)
				mild, _ := t.LogProbs(x, w, nil, []int32{0, 1029, 1024, 3, 7}, 0.3)
				cold, entropy := t.LogProbs(x, w, nil, []int32{0, 1029, 1024, 3, 7}, 0.2)
				warm, _ := t.LogProbs(x, w, nil, []int32{0, 1029, 1024, 3, 7}, 0.1)
				return []*Tensor{cold, entropy, warm, mild}
			},
			formula: func(in [][]float64) []float64 {
				z, targets := matmulT(in[0], widen(frozenHead()), 5, 1030, 4), []int{0, 1029, 1024, 3, 7}
				out := append(logProbs(scaled(0.2, z), targets), logProbs(scaled(0.1, z), targets)[:5]...)
				return append(out, logProbs(scaled(0.3, z), targets)[:5]...)
			},
		},
	}
}

// frozenHead is a head [1030,4] whose second tile has far larger logits than the first.
func frozenHead() []float32 {
	draw, w := rng.New(6), make([]float32, 1030*4)
	for i := range w {
		w[i] = float32(draw.Norm())
		if i >= 1024*4 {
			w[i] *= 12
		}
	}
	return w
}

// logProbs gives log softmax at the targets, then the entropies.
func logProbs(z []float64, targets []int) []float64 {
	out, v := make([]float64, 2*len(targets)), len(z)/len(targets)
	for i, target := range targets {
		row, sum := z[i*v:(i+1)*v], 0.0
		for _, x := range row {
			sum += math.Exp(x)
		}
		lse := math.Log(sum)
		out[i] = row[target] - lse
		for _, x := range row {
			out[len(targets)+i] -= math.Exp(x-lse) * (x - lse)
		}
	}
	return out
}

func attention(q, k, v []float64, starts []int32, s kernels.AttnShape) []float64 {
	out := make([]float64, len(q))
	for n := range len(starts) - 1 {
		for i := int(starts[n]); i < int(starts[n+1]); i++ {
			for h := range s.H {
				kv := h / (s.H / s.KV)
				var p []float64
				sum := 0.0
				for j := int(starts[n]); j <= i; j++ {
					z := 0.0
					for d := range s.D {
						z += q[(i*s.H+h)*s.D+d] * k[(j*s.KV+kv)*s.D+d]
					}
					p = append(p, math.Exp(z*float64(s.Scale)))
					sum += p[len(p)-1]
				}
				for d := range s.D {
					for j := range p {
						out[(i*s.H+h)*s.D+d] += p[j] / sum * v[((j+int(starts[n]))*s.KV+kv)*s.D+d]
					}
				}
			}
		}
	}
	return out
}

// matmulT is a[m,k] b[n,k]ᵀ.
func matmulT(a, b []float64, m, n, k int) []float64 {
	out := make([]float64, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				out[i*n+j] += a[i*k+l] * b[j*k+l]
			}
		}
	}
	return out
}

func add(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

func scaled(s float64, a []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = s * a[i]
	}
	return out
}
