package objective

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"plumb/internal/golden"
)

// Three losses that the product does not have, each written in a few lines, against reference values.

// raoKupper: P(first) = sigma(d-eta), P(tie) = (e^{2 eta}-1) sigma(d-eta) sigma(-d-eta).
func raoKupper(eta float64) *Loss {
	return New(func(v *Vars) Expr {
		d := Sub(v.Learned("chosen"), v.Learned("rejected"))
		first, second := Softplus(Shift(Neg(d), eta)), Softplus(Shift(d, eta))
		tie := Shift(Add(first, second), -math.Log(math.Expm1(2*eta)))
		return Add(Add(Mul(v.Given("isFirst"), first), Mul(v.Given("isSecond"), second)), Mul(v.Given("isTie"), tie))
	})
}

// davidson: odds e^{d/2} : e^{-d/2} : nu for first, second, tie.
func davidson(nu float64) *Loss {
	return New(func(v *Vars) Expr {
		half := Scale(0.5, Sub(v.Learned("chosen"), v.Learned("rejected")))
		total := Log(Shift(Add(Exp(half), Exp(Neg(half))), nu))
		taken := Add(Mul(Sub(v.Given("isFirst"), v.Given("isSecond")), half), Scale(math.Log(nu), v.Given("isTie")))
		return Sub(total, taken)
	})
}

// plackettLuce: one row per rank, holding the scores still to be placed (the others far below), and one-hot the one taken.
func plackettLuce(answers int) *Loss {
	return New(func(v *Vars) Expr {
		return Neg(RowSum(Mul(v.GivenRows("taken", answers), RowLogSoftmax(v.LearnedRows("scores", answers)))))
	})
}

func TestALossInTenLines(t *testing.T) {
	var file struct {
		TieModels []struct {
			Model            string
			Parameter        float64
			Chosen, Rejected []float64
			Outcome          []int `json:"outcome_0_first_1_second_2_tie"`
			Loss             float64
			PerPair          []float64 `json:"per_pair"`
			GradChosen       []float64 `json:"grad_chosen"`
			GradRejected     []float64 `json:"grad_rejected"`
		} `json:"tie_models"`
		Rankings []struct {
			Ranks  [][]int `json:"ranks_0_is_best"`
			Scores [][]float64
			PL     *struct {
				PerPrompt []float64   `json:"per_prompt"`
				Grad      [][]float64 `json:"grad_scores"`
			} `json:"plackett_luce"`
		}
	}
	golden.JSON(t, golden.Dir(t, "objective/reward_model.json"), &file)
	for _, c := range file.TieModels {
		loss := davidson(c.Parameter)
		if c.Model == "rao_kupper" {
			loss = raoKupper(c.Parameter)
		}
		is := [3][]float64{}
		for k := range is {
			is[k] = make([]float64, len(c.Outcome))
			for i, o := range c.Outcome {
				if o == k {
					is[k][i] = 1
				}
			}
		}
		w := Normalise([]float64{1, 1, 1, 1, 1, 1, 1, 1, 1})
		r := loss.Eval(w, map[string][]float64{"chosen": c.Chosen, "rejected": c.Rejected, "isFirst": is[0], "isSecond": is[1], "isTie": is[2]})
		near(t, c.Model, r.Loss, c.Loss, tolerance)
		nearAll(t, c.Model+" per pair", r.Each, c.PerPair, tolerance)
		nearAll(t, c.Model+" d chosen", r.Grad["chosen"], c.GradChosen, tolerance)
		nearAll(t, c.Model+" d rejected", r.Grad["rejected"], c.GradRejected, tolerance)
	}
	for _, c := range file.Rankings {
		for p := range c.Scores {
			if c.PL == nil {
				continue
			}
			scores, ranks := c.Scores[p], c.Ranks[p]
			n := len(scores)
			rows, taken, w := make([]float64, n*n), make([]float64, n*n), make([]float64, n)
			for k := range n {
				w[k] = 1
				for j, s := range scores {
					rows[k*n+j] = s
					if ranks[j] < k {
						rows[k*n+j] = -1e9 // e^-1e9 is exactly 0
					}
					if ranks[j] == k {
						taken[k*n+j] = 1
					}
				}
			}
			r := plackettLuce(n).Eval(w, map[string][]float64{"scores": rows, "taken": taken})
			near(t, "plackett-luce", r.Loss, c.PL.PerPrompt[p], tolerance)
			grad := make([]float64, n)
			for i, g := range r.Grad["scores"] {
				grad[i%n] += g / float64(len(c.Scores))
			}
			nearAll(t, "plackett-luce gradient", grad, c.PL.Grad[p], tolerance)
		}
	}
}

// The weighted token mean over a step: two micro-batches, one of them with a message that weighs 3.
func TestNLLIsTheWeightedMeanOfTheStep(t *testing.T) {
	w := Normalise([]float64{1, 1, 3, 0})
	whole := NLL().Eval(w, map[string][]float64{"logp": {-1, -2, -4, -100}})
	near(t, "loss", whole.Loss, (1+2+12)/5.0, 1e-15)
	nearAll(t, "gradient", whole.Grad["logp"], []float64{-0.2, -0.2, -0.6, 0}, 1e-15)
	a := NLL().Eval(w[:1], map[string][]float64{"logp": {-1}})
	b := NLL().Eval(w[1:], map[string][]float64{"logp": {-2, -4, -100}})
	near(t, "sum of the parts", a.Loss+b.Loss, whole.Loss, 1e-15)
}

func TestSoftplusIsExactEverywhere(t *testing.T) {
	loss := New(func(v *Vars) Expr { return Softplus(v.Learned("x")) })
	// log(1+e^x) and its slope 1/(1+e^-x), by hand: at 30 the correction is e^-30, at -40 the value is e^-40 itself.
	x := []float64{0, 800, -800, 30, -40}
	want := []float64{math.Ln2, 800, 0, 30 + 9.357622968840175e-14, 4.248354255291589e-18}
	slope := []float64{0.5, 1, 0, 0.9999999999999064, 4.248354255291589e-18}
	r := loss.Eval([]float64{1, 1, 1, 1, 1}, map[string][]float64{"x": x})
	for i := range x {
		if math.Abs(r.Each[i]-want[i]) > 1e-15*math.Abs(want[i]) || math.Abs(r.Grad["x"][i]-slope[i]) > 1e-15*slope[i] {
			t.Errorf("softplus(%v) = %v, slope %v; want %v, %v", x[i], r.Each[i], r.Grad["x"][i], want[i], slope[i])
		}
	}
}

// What a graph's spare room holds must not be seen, whatever sizes were evaluated before.
func TestSizeOfTheGraphIsNotSeen(t *testing.T) {
	loss := Policy(Clipping{Low: 0.2, High: 0.2}, 0.01)
	rnd := rand.New(rand.NewPCG(1, 2))
	in := randomPolicy(rnd, 300)
	part := func(l *Loss, a, b int) Result {
		sub := map[string][]float64{}
		for k, v := range in {
			sub[k] = v[a:b]
		}
		w := make([]float64, b-a)
		for i := range w {
			w[i] = 0.25
		}
		r := l.Eval(w, sub)
		kept := Result{Loss: r.Loss, Each: slices.Clone(r.Each), Grad: map[string][]float64{}} // the next evaluation takes r back
		for name, g := range r.Grad {
			kept.Grad[name] = slices.Clone(g)
		}
		return kept
	}
	part(loss, 0, 300)
	for _, n := range []int{0, 1, 2, 15, 16, 17, 31, 100, 255, 256, 257} {
		got, fresh := part(loss, 0, n), 0.0
		if len(got.Each) != n || len(got.Grad["policyLogp"]) != n {
			t.Fatalf("N=%d: lengths %d, %d", n, len(got.Each), len(got.Grad["policyLogp"]))
		}
		for i := range n { // one element at a time, in graphs of the smallest size
			one := part(loss, i, i+1)
			fresh += one.Loss
			if one.Each[0] != got.Each[i] || one.Grad["policyLogp"][0] != got.Grad["policyLogp"][i] || one.Grad["entropy"][0] != got.Grad["entropy"][i] {
				t.Fatalf("N=%d element %d differs from itself alone", n, i)
			}
		}
		near(t, "loss", got.Loss, fresh, 1e-12)
	}
}

func randomPolicy(rnd *rand.Rand, n int) map[string][]float64 {
	in := map[string][]float64{}
	for _, name := range []string{"policyLogp", "oldLogp", "advantages", "entropy"} {
		in[name] = make([]float64, n)
		for i := range n {
			in[name][i] = rnd.NormFloat64() / 4
		}
	}
	return in
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A thousand evaluations of ever new sizes keep a bounded heap: one graph per power of two.
func TestGraphsDoNotPileUp(t *testing.T) {
	loss := Policy(Clipping{Low: 0.2, High: 0.2}, 0.01)
	rnd := rand.New(rand.NewPCG(3, 4))
	in := randomPolicy(rnd, 2048)
	run := func(count int) {
		for range count {
			n := 1 + rnd.IntN(2048)
			sub := map[string][]float64{}
			for k, v := range in {
				sub[k] = v[:n]
			}
			loss.Eval(make([]float64, n), sub)
		}
	}
	run(300)
	before := heap()
	run(700)
	if after := heap(); after > before+1<<20 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
}

// A loss that is no longer used gives its graphs back: each of these holds half a megabyte.
func TestDroppedLossesAreCollected(t *testing.T) {
	x := make([]float64, 4096)
	use := func(count int) {
		for range count {
			KL(K3).Eval(x, map[string][]float64{"policyLogp": x, "refLogp": x})
		}
	}
	use(5)
	before := heap()
	use(40)
	if after := heap(); after > before+2<<20 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
}

func TestMistakesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"missing vector": func() { NLL().Eval([]float64{1}, nil) },
		"other name":     func() { NLL().Eval([]float64{1}, map[string][]float64{"logits": {1}}) },
		"length":         func() { NLL().Eval([]float64{1}, map[string][]float64{"logp": {1, 2}}) },
		"nothing learned": func() {
			New(func(v *Vars) Expr { return v.Given("x") }).Eval([]float64{1}, map[string][]float64{"x": {1}})
		},
		"not per element": func() {
			New(func(v *Vars) Expr { return RowLogSoftmax(v.LearnedRows("x", 2)) }).Eval([]float64{1}, map[string][]float64{"x": {1, 2}})
		},
		"estimator": func() { KL("full").Eval([]float64{1}, map[string][]float64{"policyLogp": {1}, "refLogp": {1}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func BenchmarkPolicy8192(b *testing.B) {
	loss := Policy(Clipping{Low: 0.2, High: 0.2}, 0.01)
	in := randomPolicy(rand.New(rand.NewPCG(1, 2)), 8192)
	w := TokenMean.Weights([]int{8192}, 0)
	loss.Eval(w, in)
	b.ReportAllocs()
	for b.Loop() {
		loss.Eval(w, in)
	}
}
