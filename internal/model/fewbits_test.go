package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// quantised is a checkpoint whose linear layers are to be held in few bits.
type quantised struct {
	stored
	by func(w []float32) *kernels.Quantised
}

func (q quantised) FewBits(name string, layer bool) (*kernels.Quantised, error) {
	if !layer {
		return nil, nil
	}
	return q.by(q.stored[name].F), nil
}

func openQuantised(t *testing.T, by func(p *kernels.Pool, w []float32) *kernels.Quantised) *Model {
	t.Helper()
	dir := golden.Dir(t, "models/llama")
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, 2)
	w := quantised{stored(golden.Tensors(t, filepath.Join(dir, "model.safetensors"))), func(w []float32) *kernels.Quantised { return by(p, w) }}
	m, err := New(c, w, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestQLoRAAgainstBitsandbytes: models/llama in NF4 under PEFT's adapter: codes, logits with and without the adapter, loss and
// gradients are those of bitsandbytes and PEFT within the file's tolerances; embedding, head and norms are untouched.
func TestQLoRAAgainstBitsandbytes(t *testing.T) {
	m := openQuantised(t, (*kernels.Pool).QuantiseNF4)
	var meta struct {
		Tolerances map[string]string `json:"tolerances"`
	}
	golden.JSON(t, golden.Dir(t, "nf4/qlora.json"), &meta)
	r := reference{tensors: golden.Tensors(t, golden.Dir(t, "nf4/qlora.safetensors")), tolerances: meta.Tolerances}
	for s := range 3 {
		r.ids = append(r.ids, narrow(r.tensors[fmt.Sprintf("input_ids.%d", s)].I))
		r.mask = append(r.mask, r.tensors[fmt.Sprintf("loss_mask.%d", s)].I)
	}
	n := 0
	if err := m.EachFewBits(func(name string, w *kernels.Weight) error {
		n++
		if want := r.tensors["packed."+name].Bytes; string(w.Quantised().Codes) != string(want) {
			t.Errorf("%s: codes differ", name)
		}
		if want, ok := r.tensors["dequantised."+name]; ok {
			got := make([]float32, w.Out*w.In)
			w.Unpack(got)
			within(t, name, got, want.F, 1e-6*largest(want.F)) // nf4/four_bit.json: abs 1e-6 of the block's absmax
		}
		if strings.Contains(name, "embed") || strings.Contains(name, "head") {
			t.Errorf("%s is in few bits", name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n != 7*m.Layers {
		t.Errorf("%d matrices in few bits, want %d", n, 7*m.Layers)
	}
	a, err := peft.Load(golden.Dir(t, "peft/lora-all-linear"), m.Modules())
	if err != nil {
		t.Fatal(err)
	}
	tape := tensor.NewInferenceTape(m.Pool())
	for s, ids := range r.ids {
		for name, a := range map[string]*peft.Adapter{"logits": a, "logits_no_adapter": nil} {
			tape.Reset()
			logits := m.Logits(tape, a, m.Hidden(tape, a, Pack(ids)), allRows(len(ids)))
			within(t, fmt.Sprintf("%s.%d", name, s), logits.Data, r.tensors[fmt.Sprintf("%s.%d", name, s)].F, r.limit(t, "logits"))
		}
	}
	checkAdapterGradients(t, m, a, r)
}

// TestFewBitsIsTheDequantisedModel: a model in int8 has the bits of the one merged from it, which holds the dequantised
// matrices in float32.
func TestFewBitsIsTheDequantisedModel(t *testing.T) {
	m := openQuantised(t, (*kernels.Pool).QuantiseInt8)
	if !m.FewBits() {
		t.Fatal("nothing is in few bits")
	}
	g := m.Merge(nil)
	whole, err := New(g.Config, g, m.Pool())
	if err != nil {
		t.Fatal(err)
	}
	if whole.FewBits() || whole.Bytes() <= m.Bytes() {
		t.Errorf("merged model takes %d bytes, the one in few bits %d", whole.Bytes(), m.Bytes())
	}
	ids := []int32{5, 9, 2, 77, 30, 4, 100, 3}
	logits := func(m *Model) []float32 {
		tape := tensor.NewInferenceTape(m.Pool())
		return m.Logits(tape, nil, m.Hidden(tape, nil, Pack(ids)), allRows(len(ids))).Data
	}
	if d := apart(logits(m), logits(whole)); d != 0 {
		t.Errorf("logits are %g apart", d)
	}
}
