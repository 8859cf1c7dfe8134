package plan

import (
	"context"
	"math"
	"slices"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// TestOccupancy: by hand. Three answers of 2, 5 and 3 tokens in two places: steps 1-2 run the first and second; then the third
// takes the free place beside the second for steps 3-5, when both end.
func TestOccupancy(t *testing.T) {
	for _, c := range []struct {
		lengths []int
		places  int
		want    []int
	}{
		{[]int{2, 5, 3}, 2, []int{0, 0, 5}},
		{[]int{2, 5, 3}, 1, []int{0, 10}},
		{[]int{2, 5, 3}, 8, []int{0, 2, 1, 2}}, // alone at the end for 2, in pairs for 1, all three for 2
		{nil, 4, []int{0}},
	} {
		if got := Occupancy(c.lengths, c.places); !slices.Equal(got, c.want) {
			t.Errorf("Occupancy(%v, %d) = %v, want %v", c.lengths, c.places, got, c.want)
		}
	}
}

// TestMostPages: by hand, the queue of TestOccupancy with prompts of 3 tokens. When the first answer ends two sequences have 5 tokens,
// when the second and third end 8 and 6: in pages of 2 positions 3+3 and 4+3, in pages of 4 twice 2+2. Three samples of one prompt,
// in pages of 2: its one full page, 2+2 for the two that have 5 tokens, and its last page for the one that waits make 6; then 1+3+2.
// Of three prompts in one place, in pages of 64, each takes one.
func TestMostPages(t *testing.T) {
	for _, c := range []struct{ samples, places, positions, want int }{
		{1, 2, 2, 7}, {1, 2, 4, 4}, {1, 2, 64, 2}, {3, 2, 2, 6}, {1, 1, 64, 1}, {3, 1, 64, 2},
	} {
		if got := MostPages([]int{3, 3, 3}, []int{2, 5, 3}, c.samples, c.places, c.positions); got != c.want {
			t.Errorf("%+v: %d pages", c, got)
		}
	}
	if got := MostPages(nil, nil, 1, 2, 4); got != 0 {
		t.Errorf("no sequences take %d pages", got)
	}
}

// TestLine: 3 + 2·layers through its points at 1 and 3; noise that would make a part negative makes it zero.
func TestLine(t *testing.T) {
	if l := through(1, 5, 3, 9); l != (Line{Fixed: 3, Block: 2}) || l.At(30) != 63 {
		t.Errorf("line %+v, at 30 blocks %g", l, l.At(30))
	}
	if l := through(1, 5, 3, 4); l.Block != 0 || l.Fixed != 5 {
		t.Errorf("falling: %+v", l)
	}
	if l := through(1, 1, 3, 9); l.Fixed != 0 {
		t.Errorf("negative fixed part: %+v", l)
	}
}

// TestLargest: equal rows have no deviation; otherwise the mean of the sum and √(2 ln steps) of its deviations, by hand for rows of
// 10 and 30 (deviation 10): 4·20 + √(2 ln 50)·20 = 135.9; never more than four of the longest.
func TestLargest(t *testing.T) {
	if got := (Rows{Lengths: []int{20, 20, 20, 20, 20}}).Largest(4, 1000); got != 80 {
		t.Errorf("equal rows: %d, want 80", got)
	}
	mixed := Rows{Lengths: slices.Repeat([]int{10, 30}, 100)}
	if got := mixed.Largest(4, 50); got != 120 {
		t.Errorf("capped by the longest: %d, want 120", got)
	}
	if got := mixed.Largest(100, 50); got != 2000+int(math.Sqrt(2*math.Log(50))*100) {
		t.Errorf("100 rows: %d", got)
	}
}

// blocks is a checkpoint of any depth whose weights are all small and finite.
type blocks struct{ c model.Config }

func (b blocks) each(f func(name string, shape []int)) {
	c := b.c
	f("model.embed_tokens.weight", []int{c.Vocab, c.Hidden})
	for l := range c.Layers {
		p := "model.layers." + string(rune('0'+l)) + "."
		for _, n := range []string{"input_layernorm", "post_attention_layernorm"} {
			f(p+n+".weight", []int{c.Hidden})
		}
		q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
		f(p+"self_attn.q_proj.weight", []int{q, c.Hidden})
		f(p+"self_attn.k_proj.weight", []int{kv, c.Hidden})
		f(p+"self_attn.v_proj.weight", []int{kv, c.Hidden})
		f(p+"self_attn.o_proj.weight", []int{c.Hidden, q})
		f(p+"mlp.gate_proj.weight", []int{c.Intermediate, c.Hidden})
		f(p+"mlp.up_proj.weight", []int{c.Intermediate, c.Hidden})
		f(p+"mlp.down_proj.weight", []int{c.Hidden, c.Intermediate})
	}
	f("model.norm.weight", []int{c.Hidden})
}

func (b blocks) Names() (out []string) {
	b.each(func(name string, _ []int) { out = append(out, name) })
	return out
}

func (b blocks) Info(want string) (dtype string, shape []int, ok bool) {
	b.each(func(name string, s []int) {
		if name == want {
			dtype, shape, ok = "F32", s, true
		}
	})
	return
}

func (b blocks) Float32(name string) ([]float32, error) {
	_, shape, _ := b.Info(name)
	n := 1
	for _, d := range shape {
		n *= d
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(i%7-3) / 64
	}
	return out, nil
}

func (b blocks) BF16(string) ([]uint16, error) { return nil, nil }

// TestRehearsal: what is carried from three blocks to seven is what seven have: the weights and the adapter exactly, the memory of a
// training step within 5 % (the lowest block keeps a little less).
func TestRehearsal(t *testing.T) {
	c := model.Config{
		Vocab: 512, Hidden: 256, Intermediate: 512, Layers: 7, Heads: 8, KVHeads: 4, HeadDim: 32, MaxPositions: 512, Eps: 1e-5,
		RopeTheta: 10000, InitStd: 0.02, BOS: -1, Tied: true,
	}
	pool := kernels.NewPool(1)
	defer pool.Close()
	r := &Rehearsal{cfg: c, pool: pool}
	r.reset()
	if err := r.load(blocks{c}, 1); err != nil { // as a large model: not all of its blocks
		t.Fatal(err)
	}
	if r.depths != [2]int{1, 3} {
		t.Fatalf("rehearsed at depths %v", r.depths)
	}
	full, err := model.New(c, blocks{c}, pool)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Weights.At(7), float64(full.Bytes()); math.Abs(got-want) > 1e-6*want {
		t.Errorf("weights %g bytes, the model has %g", got, want)
	}
	a := Adapter{Name: "lora", New: func(m *model.Model) (*peft.Adapter, error) { return peft.New(peft.Default(), m.Modules(), 1) }}
	ad, err := a.New(full)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Parameters(a); err != nil || n != len(ad.Values) {
		t.Errorf("%d parameters, %v; the adapter has %d", n, err, len(ad.Values))
	}
	rows := Rows{Lengths: []int{120, 80}, Targets: []int{60, 40}}
	p, err := r.Train(a, rows, 200, Likelihood, false)
	if err != nil {
		t.Fatal(err)
	}
	tape := tensor.NewTape(pool)
	x := newBatch(rows, c.Vocab)
	r.losses.forward(tape, full, ad, x, Likelihood)
	tape.Backward()
	if got, want := 200*p.Bytes.At(7), float64(tape.Touched()); math.Abs(got-want) > 0.05*want {
		t.Errorf("a step takes %g bytes, said %g", want, got)
	}
	if p.Seconds.Block <= 0 || p.Seconds.At(7) <= p.Seconds.At(1) {
		t.Errorf("seconds %+v", p.Seconds)
	}
	again, err := r.Train(a, rows, 200, Likelihood, false)
	if err != nil || again != p {
		t.Errorf("asked twice: %+v and %+v, %v", p, again, err)
	}
	for _, loss := range []Loss{Policy, Value, Ranking} {
		s := Adapter{Name: "scored", New: func(m *model.Model) (*peft.Adapter, error) {
			ad, err := a.New(m)
			if err == nil {
				ad.AddScoreHead(c.Hidden, 1, 0.1)
			}
			return ad, err
		}}
		if f, err := r.Forward(s, rows, 200, loss); err != nil || f.Seconds.At(7) <= 0 {
			t.Errorf("%s: %+v, %v", loss, f, err)
		}
	}
	one, many, err := r.Steps(context.Background(), a, 4, 16, kernels.KVFloat32)
	// How the two compare says nothing on a machine that other tests keep busy.
	if err != nil || one.At(7) <= 0 || many.At(7) <= 0 {
		t.Errorf("a step of one %+v, of four %+v, %v", one, many, err)
	}
}
