package model

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"plumb/internal/kernels"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// large is a checkpoint of any size that is drawn when it is asked for: linear layers in NF4, the rest in bfloat16.
type large struct{ modules []peft.Module }

func (l large) module(name string) *peft.Module {
	for i := range l.modules {
		if l.modules[i].Name+".weight" == name {
			return &l.modules[i]
		}
	}
	return nil
}

func (l large) Names() (names []string) {
	for _, m := range l.modules {
		names = append(names, m.Name+".weight")
	}
	return names
}

func (l large) Info(name string) (string, []int, bool) {
	m := l.module(name)
	switch {
	case m == nil:
		return "", nil, false
	case m.Kind == peft.Norm:
		return "F32", []int{m.Out}, true
	}
	return "BF16", []int{m.Out, m.In}, true
}

func (l large) Float32(name string) ([]float32, error) { // norms
	w := make([]float32, l.module(name).Out)
	for i := range w {
		w[i] = 1
	}
	return w, nil
}

func (l large) BF16(name string) ([]uint16, error) {
	m := l.module(name)
	w, draw := make([]uint16, m.Out*m.In), rng.New(1, uint64(m.Out))
	for i := range w {
		w[i] = kernels.RoundBF16(float32(0.02 * draw.Norm()))
	}
	return w, nil
}

func (l large) FewBits(name string, layer bool) (*kernels.Quantised, error) {
	if !layer {
		return nil, nil
	}
	m := l.module(name)
	n, draw := m.Out*m.In, rng.New(2, uint64(m.Layer), uint64(m.Out))
	q := &kernels.Quantised{
		Bits: 4, Block: 64, Codes: make([]byte, n/2), Table: kernels.NF4(), ScaleCodes: make([]byte, n/64),
		Nested: make([]float32, (n/64+255)/256), NestedTable: kernels.DynamicMap(true), Offset: 0.05,
	}
	for i := range q.Codes {
		q.Codes[i] = byte(draw.IntN(256))
	}
	return q, nil
}

// TestBillionWithinTwoGigabytes: the 1.1 billion parameters of a Llama shape (TinyLlama's: 22 blocks of 2048, MLP 5632, 32 heads on
// 4, 32000 tokens) in NF4 take LoRA steps (rank 16, all linear layers, blocks recomputed) on 512 tokens within 2 GB resident,
// binary and heap and all. It takes minutes: PLUMB_LARGE=1 runs it, alone, since what ran before counts.
func TestBillionWithinTwoGigabytes(t *testing.T) {
	if os.Getenv("PLUMB_LARGE") == "" {
		t.Skip("PLUMB_LARGE=1 go test -run TestBillionWithinTwoGigabytes -v ./internal/model")
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	c := Config{
		Vocab: 32000, Hidden: 2048, Intermediate: 5632, Layers: 22, Heads: 32, KVHeads: 4, HeadDim: 64, MaxPositions: 2048,
		Eps: 1e-5, RopeTheta: 10000, InitStd: 0.02, BOS: -1,
	}
	debug.SetGCPercent(10) // what the program sets for a base of this size (cmd/plumb/memory.go)
	m, err := New(c, large{describe(c)}, newPool(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Parameters(); n < 1_090_000_000 || n > 1_110_000_000 {
		t.Errorf("%d parameters, want 1.1 billion", n)
	}
	t.Logf("%d parameters, base %d MB, resident %d MB at most while it was made", m.Parameters(), m.Bytes()/1e6, peak(t)/1e6)
	a, err := peft.New(peft.Config{R: 16, Alpha: 32, Targets: peft.AllLinear(), TaskType: "CAUSAL_LM"}, m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	opt := optim.NewAdamW(m.Pool(), len(a.Values), optim.Defaults(), a.Groups()...)
	tape := tensor.NewTape(m.Pool())
	tape.Recompute(true)
	b := Pack(sequences(c.Vocab, 512)...)
	rows, targets := selection(b, nil)
	var losses []float64
	for step := range 3 {
		start := time.Now()
		tape.Reset()
		a.ZeroGrads()
		logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), rows, targets, 1)
		loss, seed := 0.0, make([]float64, len(rows))
		for i, v := range logp.Data {
			loss -= float64(v) / float64(len(rows))
			seed[i] = -1 / float64(len(rows))
		}
		logp.Seed(seed)
		tape.Backward()
		optim.Clip(m.Pool(), a.Grads, 1)
		opt.Step(a.Values, a.Grads, 1e-3)
		losses = append(losses, loss)
		t.Logf("step %d: loss %.4f, %.1f s, resident %d MB at most", step+1, loss, time.Since(start).Seconds(), peak(t)/1e6)
	}
	if !(losses[2] < losses[0]) {
		t.Errorf("losses %v do not fall", losses)
	}
	if p := peak(t); p > 2e9 {
		t.Errorf("%d MB resident at most, more than 2000", p/1e6)
	}
}

// peak is the largest resident memory of this process so far, in bytes.
func peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "VmHWM:" {
			n, err := strconv.Atoi(string(f[1]))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal(fmt.Errorf("no VmHWM in /proc/self/status"))
	return 0
}
