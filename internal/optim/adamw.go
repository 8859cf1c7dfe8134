// Package optim trains flat parameter vectors: AdamW (Loshchilov and Hutter 2019), learning-rate schedules and clipping by
// global norm. What flows in: a vector of parameters and the vector of its gradients; what flows out: the parameters, moved.
// The state is plain slices, to be stored and restored bit for bit. Everything is computed in one fixed order.
package optim

import (
	"fmt"
	"math"

	"plumb/internal/kernels"
)

// Config are AdamW's constants.
type Config struct {
	Beta1, Beta2 float64 // decay of the moments, [0,1)
	Eps          float64 // > 0
	WeightDecay  float64 // decoupled, per unit of learning rate, >= 0
	// TFEpsilon adds Eps to sqrt(v) before bias correction, as TensorFlow 1 does: Eps then counts as Eps/sqrt(1-Beta2^t) in
	// torch's form. With Eps = 1e-5 it makes the first PPO updates six times smaller (Huang et al. 2023, details of RLHF).
	TFEpsilon bool
	// Bits of a stored moment, 32 or 8; 0 means 32. With 8, moments are kept by the dynamic maps in blocks of 256, those of groups
	// of fewer than 4096 parameters in 32 bits (bitsandbytes' AdamW8bit).
	Bits int
}

// small is the length of a group below which its moments stay in 32 bits.
const small = 4096

// Defaults are torch's constants without weight decay.
func Defaults() Config { return Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8} }

// Validate names the first constant out of range.
func (c Config) Validate() error {
	switch {
	case !(c.Beta1 >= 0 && c.Beta1 < 1):
		return fmt.Errorf("beta1 %v: want 0 <= beta1 < 1", c.Beta1)
	case !(c.Beta2 >= 0 && c.Beta2 < 1):
		return fmt.Errorf("beta2 %v: want 0 <= beta2 < 1", c.Beta2)
	case !(c.Eps > 0) || math.IsInf(c.Eps, 0):
		return fmt.Errorf("eps %v: want a number above 0", c.Eps)
	case !(c.WeightDecay >= 0) || math.IsInf(c.WeightDecay, 0):
		return fmt.Errorf("weight decay %v: want a number of at least 0", c.WeightDecay)
	case c.Bits != 0 && c.Bits != 8 && c.Bits != 32:
		return fmt.Errorf("bits %d: want 8 or 32", c.Bits)
	}
	return nil
}

// Group is a range of the vector that is trained, [Off, Off+Len). What lies in no group is never touched.
type Group struct {
	Off, Len int
	LRScale  float64 // multiplies the learning rate
	Decay    float64 // multiplies Config.WeightDecay: 0 for norms and biases, else 1
}

// AdamW is the optimizer of one flat vector. Per element, with t counting from 1 and m, v starting at 0:
//
//	m  = b1*m + (1-b1)*g            v = b2*v + (1-b2)*g^2
//	p -= lr*decay*p
//	p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps)         or, with TFEpsilon,
//	p -= lr*sqrt(1-b2^t)/(1-b1^t) * m / (sqrt(v) + eps)
//
// Moments and parameters are float32, the step's scalars float64 rounded once; kernels.AdamW is the arithmetic.
//
// With Config.Bits 8 the moments are rounded to 8 bits after each step; the step itself takes the unrounded ones.
type AdamW struct {
	pool   *kernels.Pool
	config Config
	groups []Group
	steps  int
	m, v   []float32 // [n] first and second moments; with 8 bits those of small groups, one group after another

	// With 8 bits, of all other groups, one after another; each starts a block of its own.
	m8, v8         []byte
	mScale, vScale []float32
	maps           *kernels.Maps8

	release func() error // of paged state, or nil
}

// NewAdamW prepares n parameters. Without groups all are trained at scale 1 and decayed. Groups that leave the vector or
// overlap are a programmer's mistake.
func NewAdamW(pool *kernels.Pool, n int, c Config, groups ...Group) *AdamW {
	if len(groups) == 0 {
		groups = []Group{{Len: n, LRScale: 1, Decay: 1}}
	}
	end := 0
	for _, g := range groups {
		if g.Off < end || g.Len < 0 || g.Off+g.Len > n {
			panic("optim: NewAdamW: groups must be in order, apart and inside the vector")
		}
		end = g.Off + g.Len
	}
	o := &AdamW{pool: pool, config: c, groups: groups}
	if c.Bits != 8 {
		o.m, o.v = make([]float32, n), make([]float32, n)
		return o
	}
	whole, codes, blocks := 0, 0, 0
	for _, g := range groups {
		if g.Len < small {
			whole += g.Len
			continue
		}
		codes += g.Len
		blocks += (g.Len + kernels.MomentBlock - 1) / kernels.MomentBlock
	}
	o.maps = kernels.NewMaps8()
	o.m, o.v, o.mScale, o.vScale = make([]float32, whole), make([]float32, whole), make([]float32, blocks), make([]float32, blocks)
	o.m8, o.v8 = make([]byte, codes), make([]byte, codes)
	return o
}

// Page moves the state of an optimizer that has not stepped into a file in dir, so that it may be larger than memory: see
// kernels.Paged. Nothing else changes. Close gives it back.
func (o *AdamW) Page(dir string) error {
	floats := []*[]float32{&o.m, &o.v, &o.mScale, &o.vScale}
	bytes := []*[]byte{&o.m8, &o.v8}
	size := 0
	for _, x := range floats {
		size += 4 * len(*x)
	}
	for _, x := range bytes {
		size += len(*x)
	}
	all, release, err := kernels.Paged(dir, size)
	if err != nil {
		return fmt.Errorf("optimizer.paged: %w", err)
	}
	take := func(n int) []byte {
		b := all[:n:n]
		all = all[n:]
		return b
	}
	for _, x := range floats {
		*x = kernels.FloatsOf(take(4 * len(*x)))
	}
	for _, x := range bytes {
		*x = take(len(*x))
	}
	o.release = release
	return nil
}

// Close gives paged state back; the optimizer must not be used afterwards.
func (o *AdamW) Close() error {
	if o.release == nil {
		return nil
	}
	release := o.release
	o.release, o.m, o.v, o.m8, o.v8, o.mScale, o.vScale = nil, nil, nil, nil, nil, nil, nil
	return release()
}

// Step moves params, [n], against grads, [n], at learning rate lr. It reads grads and keeps neither.
func (o *AdamW) Step(params, grads []float32, lr float64) {
	if len(params) != len(grads) || o.config.Bits != 8 && len(params) != len(o.m) {
		panic("optim: Step: length mismatch")
	}
	o.steps++
	c := o.config
	k := kernels.AdamW{Beta1: c.Beta1, Beta2: c.Beta2, Eps: c.Eps, Step: o.steps}
	if c.TFEpsilon {
		k.Eps = c.Eps / math.Sqrt(1-math.Pow(c.Beta2, float64(o.steps)))
	}
	whole, code, block := 0, 0, 0
	for _, g := range o.groups {
		a, b := g.Off, g.Off+g.Len
		k.LR, k.WeightDecay = lr*g.LRScale, c.WeightDecay*g.Decay
		switch {
		case c.Bits != 8:
			o.pool.AdamW(params[a:b], grads[a:b], o.m[a:b], o.v[a:b], k)
		case g.Len < small:
			o.pool.AdamW(params[a:b], grads[a:b], o.m[whole:whole+g.Len], o.v[whole:whole+g.Len], k)
			whole += g.Len
		default:
			blocks := (g.Len + kernels.MomentBlock - 1) / kernels.MomentBlock
			o.pool.AdamW8(params[a:b], grads[a:b], kernels.Moments8{
				M: o.m8[code : code+g.Len], V: o.v8[code : code+g.Len],
				MScale: o.mScale[block : block+blocks], VScale: o.vScale[block : block+blocks],
			}, o.maps, k)
			code, block = code+g.Len, block+blocks
		}
	}
}

// StateBytes is about what the state of n parameters in large groups takes: 8 bytes a parameter, or 2 and the scales.
func StateBytes(bits, n int) int {
	if bits == 8 {
		return 2*n + 8*n/kernels.MomentBlock
	}
	return 8 * n
}

// TrainingBytes is about what training n parameters takes besides their values and activations: gradients, packed copies, and moments,
// unless those are paged.
func TrainingBytes(n, bits int, paged bool) int {
	if paged {
		return 8 * n
	}
	return 8*n + StateBytes(bits, n)
}

// Bytes is what the state takes.
func (o *AdamW) Bytes() int {
	return 4*(len(o.m)+len(o.v)+len(o.mScale)+len(o.vScale)) + len(o.m8) + len(o.v8)
}

// State is everything an AdamW remembers.
type State struct {
	Steps int
	M, V  []float32 // [n]
}

// State returns the live state of an optimizer with 32 bits: M and V are the optimizer's own slices, to be stored before the next Step.
func (o *AdamW) State() State { return State{Steps: o.steps, M: o.m, V: o.v} }

// Restore continues from a stored state, which it copies.
func (o *AdamW) Restore(s State) error {
	if len(s.M) != len(o.m) || len(s.V) != len(o.v) {
		return fmt.Errorf("optimizer state holds %d and %d moments, the model trains %d parameters", len(s.M), len(s.V), len(o.m))
	}
	if s.Steps < 0 {
		return fmt.Errorf("optimizer state counts %d steps", s.Steps)
	}
	o.steps = s.Steps
	copy(o.m, s.M)
	copy(o.v, s.V)
	return nil
}
