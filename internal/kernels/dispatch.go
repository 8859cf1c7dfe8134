package kernels

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// table is one variant's functions. Each computes a piece of an operation; the definitions are the *Generic functions.
type table struct {
	name              string
	gemm              func(g *gemmArgs, w *worker, i0, i1, p0, p1 int)
	attention         func(j *attnJob, w *worker, i int)
	attentionBackward func(j *attnJob, w *worker, b attnBlock)
	rmsNorm           func(j *rowJob, lo, hi int)
	rmsNormBackward   func(j *rowJob, lo, hi int)
	rmsNormGrad       func(j *rowJob, lo, hi int)
	rope              func(j *rowJob, lo, hi int)
	lseTile           func(z []float32, scale float32) LSE
	softmaxGrad       func(j *rowJob, lo, hi int)
	add               func(dst, a, b []float32)
	axpy              func(y, x []float32, s float32)
	scale             func(dst, x []float32, s float32)
	swiglu            func(h, g, u []float32)
	swigluBackward    func(dg, du, dh, g, u []float32)
	adamw             func(x, g, m, v []float32, k *adamwConsts)
	sumSquares        func(x []float32) float64
}

func genericTable() *table {
	return &table{
		name: "generic", gemm: gemmGeneric, attention: attentionGeneric, attentionBackward: attentionBackwardGeneric,
		rmsNorm: rmsNormGeneric, rmsNormBackward: rmsNormBackwardGeneric, rmsNormGrad: rmsNormGradGeneric,
		rope: ropeGeneric, lseTile: lseTileGeneric, softmaxGrad: softmaxGradGeneric,
		add: addGeneric, axpy: axpyGeneric, scale: scaleGeneric,
		swiglu: swigluGeneric, swigluBackward: swigluBackwardGeneric,
		adamw: adamwGeneric, sumSquares: sumSquaresGeneric,
	}
}

// tables lists what this CPU and build can run, the best last. active is the choice; both are set once at start.
var (
	tables        = append([]*table{genericTable()}, nativeTables()...)
	active, unmet = choose(os.Getenv("PLUMB_KERNELS"))
)

// choose returns the table named want, or the best one and, if want is not empty, an error.
func choose(want string) (*table, error) {
	for _, t := range tables {
		if t.name == want {
			return t, nil
		}
	}
	best := tables[len(tables)-1]
	if want != "" {
		return best, fmt.Errorf("PLUMB_KERNELS=%s: not available here, there are %s", want, strings.Join(Available(), ", "))
	}
	return best, nil
}

// Variant returns the name of the kernels in use.
func Variant() string { return active.name }

// Available returns the names of the variants this CPU and build can run, the best last.
func Available() []string {
	var names []string
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

// Err returns what was wrong with PLUMB_KERNELS, if anything: programs report it at start.
func Err() error { return unmet }

// Use switches to a variant for the duration of a test and returns a function that switches back; ok is false if it is
// not available. No operation may be running.
func Use(variant string) (restore func(), ok bool) {
	i := slices.IndexFunc(tables, func(t *table) bool { return t.name == variant })
	if i < 0 {
		return func() {}, false
	}
	old := active
	active = tables[i]
	return func() { active = old }, true
}
