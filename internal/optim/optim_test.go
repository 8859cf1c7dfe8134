package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/kernels"
)

func TestAdamWAgainstReference(t *testing.T) {
	pool := kernels.NewPool(0)
	var file struct {
		Optimizers map[string]struct {
			Class string
			LR    float64
			Decay float64 `json:"weight_decay"`
			Betas []float64
			Eps   float64
		}
	}
	golden.JSON(t, golden.Dir(t, "optim/golden.json"), &file)
	tensors := golden.Tensors(t, golden.Dir(t, "optim/golden.safetensors"))
	after := []int{1, 2, 3, 5, 10, 11, 12, 20, 30, 50}
	ran := 0
	for name, o := range file.Optimizers {
		if !strings.HasPrefix(name, "adam") || name == "adam-l2" { // L2 in the gradient is another optimizer
			continue
		}
		ran++
		w, b := tensors["start.w"].F, tensors["start.b"].F
		params := slices.Concat(w, b)
		opt := NewAdamW(pool, len(params), Config{Beta1: o.Betas[0], Beta2: o.Betas[1], Eps: o.Eps, WeightDecay: o.Decay, TFEpsilon: o.Class == "TFAdam"})
		next := 0
		for step := range 50 {
			grads := slices.Concat(tensors["gradients.w"].F[step*len(w):(step+1)*len(w)], tensors["gradients.b"].F[step*len(b):(step+1)*len(b)])
			opt.Step(params, grads, o.LR)
			if after[next] != step+1 {
				continue
			}
			want := slices.Concat(tensors[name+".w"].F[next*len(w):(next+1)*len(w)], tensors[name+".b"].F[next*len(b):(next+1)*len(b)])
			for i := range want {
				// The file's tolerance: rounding of 50 float32 steps, measured there at 2.7e-6 at most.
				if d := math.Abs(float64(params[i] - want[i])); !(d <= 1e-5) {
					t.Fatalf("%s step %d element %d: %v, want %v", name, step+1, i, params[i], want[i])
				}
			}
			next++
		}
	}
	if ran != 8 {
		t.Errorf("%d optimizers compared, want 8", ran)
	}
}

func TestSchedulesAgainstReference(t *testing.T) {
	var file struct {
		Schedules []struct {
			Name   string
			Warmup int      `json:"num_warmup_steps"`
			Total  int      `json:"num_training_steps"`
			Rate   float64  `json:"min_lr_rate"`
			MinLR  float64  `json:"min_lr"`
			Cycles *float64 `json:"num_cycles"`
			LR     []float64
		}
	}
	golden.JSON(t, golden.Dir(t, "optim/schedules.json"), &file)
	kinds := map[string]string{"constant": "constant", "constant_with_warmup": "constant", "linear": "linear", "cosine": "cosine", "cosine_with_min_lr": "cosine"}
	ran := 0
	for _, c := range file.Schedules {
		kind, ok := kinds[c.Name]
		if !ok {
			continue
		}
		ran++
		s := Schedule{Kind: kind, Peak: 1e-3, Warmup: c.Warmup, Total: c.Total, Floor: max(c.Rate, c.MinLR/1e-3)}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		for k, want := range c.LR {
			if kind == "cosine" && k > c.Total {
				want = 1e-3 * s.Floor
			}
			// 1e-3*1e-16 absolute: at the end of a cosine the rate is a difference of near equals.
			if got := s.LR(k); math.Abs(got-want) > 1e-9*want+1e-19 {
				t.Fatalf("%s (warm-up %d, total %d) step %d: %v, want %v", c.Name, c.Warmup, c.Total, k, got, want)
			}
		}
	}
	if ran != 8 {
		t.Errorf("%d schedules compared, want 8", ran)
	}
}

func TestClipAgainstReference(t *testing.T) {
	pool := kernels.NewPool(0)
	var file struct {
		Clipping []struct {
			Max  float64 `json:"max_norm"`
			Type string  `json:"norm_type"`
			Norm float64 `json:"norm_before"`
		}
	}
	golden.JSON(t, golden.Dir(t, "optim/golden.json"), &file)
	tensors := golden.Tensors(t, golden.Dir(t, "optim/golden.safetensors"))
	for k, c := range file.Clipping {
		if c.Type != "2.0" {
			continue
		}
		var grads, want []float32
		for p := 0; ; p++ {
			before, ok := tensors[fmt.Sprintf("clip.%d.before.%d", k, p)]
			if !ok {
				break
			}
			grads = append(grads, before.F...)
			want = append(want, tensors[fmt.Sprintf("clip.%d.after.%d", k, p)].F...)
		}
		if norm := Clip(pool, grads, c.Max); math.Abs(norm-c.Norm) > 1e-6*c.Norm {
			t.Errorf("case %d: norm %v, want %v", k, norm, c.Norm)
		}
		for i := range want {
			if math.Abs(float64(grads[i]-want[i])) > 1e-6*math.Abs(float64(want[i])) {
				t.Fatalf("case %d element %d: %v, want %v", k, i, grads[i], want[i])
			}
		}
	}
}

func TestClipLeavesNonFiniteAlone(t *testing.T) {
	pool := kernels.NewPool(0)
	g := []float32{1, float32(math.NaN()), 3}
	if n := Clip(pool, g, 0.1); !math.IsNaN(n) || g[0] != 1 || g[2] != 3 {
		t.Errorf("norm %v, gradients %v", n, g)
	}
	if n := Clip(pool, []float32{3, 4}, 0); n != 5 {
		t.Errorf("no limit: norm %v", n)
	}
}

// Two groups: a frozen element, one at a tenth of the rate without decay. One step from zero moments moves a parameter by
// lr*g/(|g|+eps), whatever g (by hand from the formula).
func TestGroups(t *testing.T) {
	pool := kernels.NewPool(0)
	o := NewAdamW(pool, 4, Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.5}, Group{Off: 0, Len: 2, LRScale: 1, Decay: 1}, Group{Off: 3, Len: 1, LRScale: 0.1})
	p := []float32{1, 2, 3, 4}
	o.Step(p, []float32{0.3, -7, 9, 2}, 0.01)
	want := []float64{1 - 0.005 - 0.01, 2 - 0.01 + 0.01, 3, 4 - 0.001}
	for i := range p {
		if math.Abs(float64(p[i])-want[i]) > 1e-6 {
			t.Errorf("element %d: %v, want %v", i, p[i], want[i])
		}
	}
	if p[2] != 3 {
		t.Errorf("a parameter outside every group moved to %v", p[2])
	}
}

func TestStateResumesToTheBit(t *testing.T) {
	pool := kernels.NewPool(0)
	start := []float32{0.5, -0.25, 3}
	grads := func(k int) []float32 { return []float32{float32(k) - 2, 0.1 * float32(k), -1} }
	whole := slices.Clone(start)
	o := NewAdamW(pool, 3, Defaults())
	var saved State
	var at []float32
	for k := range 10 {
		if k == 4 {
			s := o.State()
			saved = State{Steps: s.Steps, M: slices.Clone(s.M), V: slices.Clone(s.V)}
			at = slices.Clone(whole)
		}
		o.Step(whole, grads(k), 0.01)
	}
	again := NewAdamW(pool, 3, Defaults())
	if err := again.Restore(saved); err != nil {
		t.Fatal(err)
	}
	for k := 4; k < 10; k++ {
		again.Step(at, grads(k), 0.01)
	}
	if !slices.Equal(at, whole) {
		t.Errorf("resumed %v, uninterrupted %v", at, whole)
	}
	if err := again.Restore(State{M: make([]float32, 2), V: make([]float32, 3)}); err == nil {
		t.Error("a state of another size was accepted")
	}
}

func TestValidateNamesTheMistake(t *testing.T) {
	nan := math.NaN()
	for _, c := range []Config{{Beta1: 1, Eps: 1}, {Beta1: nan, Eps: 1}, {Beta2: -1, Eps: 1}, {}, {Eps: nan}, {Eps: 1, WeightDecay: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	for _, s := range []Schedule{{Kind: "step"}, {Kind: "linear", Peak: nan}, {Kind: "linear", Warmup: 2, Total: 1}, {Kind: "cosine", Floor: 2}, {Kind: "constant", Warmup: -1}} {
		if s.Validate() == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
}

func BenchmarkAdamW(b *testing.B) {
	pool := kernels.NewPool(0)
	const n = 1 << 20
	p, g := make([]float32, n), make([]float32, n)
	for i := range g {
		g[i] = float32(i%17) - 8
	}
	o := NewAdamW(pool, n, Defaults())
	b.SetBytes(n * 4)
	for b.Loop() {
		o.Step(p, g, 1e-3)
	}
}
