package model

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// stored makes a golden file a checkpoint, independent of the product's reader.
type stored map[string]golden.Tensor

func (s stored) Names() []string {
	var out []string
	for n := range s {
		out = append(out, n)
	}
	return out
}

func (s stored) Info(name string) (string, []int, bool) {
	t, ok := s[name]
	return t.DType, t.Shape, ok
}

func (s stored) Float32(name string) ([]float32, error) { return s[name].F, nil }

func (s stored) BF16(name string) ([]uint16, error) {
	out := make([]uint16, len(s[name].F))
	for i, v := range s[name].F {
		out[i] = uint16(math.Float32bits(v) >> 16)
	}
	return out, nil
}

func newPool(t testing.TB, threads int) *kernels.Pool {
	p := kernels.NewPool(threads)
	t.Cleanup(p.Close)
	return p
}

// openModel reads a folder of one or several safetensors files.
func openModel(t testing.TB, dir, config string) *Model {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, config))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	all := stored{}
	for _, f := range files {
		for n, x := range golden.Tensors(t, f) {
			all[n] = x
		}
	}
	m, err := New(c, all, newPool(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// reference is a golden set of three sequences.
type reference struct {
	tensors    map[string]golden.Tensor
	tolerances map[string]string
	ids        [][]int32
	mask       [][]int64
}

func openReference(t testing.TB, dir string) reference {
	t.Helper()
	var meta struct {
		Tolerances map[string]string `json:"tolerances"`
	}
	golden.JSON(t, filepath.Join(dir, "golden.json"), &meta)
	r := reference{tensors: golden.Tensors(t, filepath.Join(dir, "golden.safetensors")), tolerances: meta.Tolerances}
	for s := 0; ; s++ {
		x, ok := r.tensors[fmt.Sprintf("input_ids.%d", s)]
		if !ok {
			return r
		}
		r.ids = append(r.ids, narrow(x.I))
		r.mask = append(r.mask, r.tensors[fmt.Sprintf("loss_mask.%d", s)].I)
	}
}

// limit reads the first number of a tolerance such as "abs 8e-05" or "max|a-b| <= 2e-05 * max|b|".
func (r reference) limit(t testing.TB, what string) float64 {
	t.Helper()
	for _, w := range strings.Fields(r.tolerances[what]) {
		var v float64
		if n, _ := fmt.Sscanf(w, "%g", &v); n == 1 && v > 0 {
			return v
		}
	}
	t.Fatalf("no tolerance for %s", what)
	return 0
}

func narrow(v []int64) []int32 {
	out := make([]int32, len(v))
	for i, x := range v {
		out[i] = int32(x)
	}
	return out
}

func apart(a, b []float32) (d float64) {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for i := range a {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
		if a[i] != a[i] {
			return math.Inf(1)
		}
	}
	return d
}

func largest(a []float32) (d float64) {
	for _, v := range a {
		d = max(d, math.Abs(float64(v)))
	}
	return d
}

func within(t *testing.T, what string, got, want []float32, limit float64) {
	t.Helper()
	if d := apart(got, want); !(d <= limit) {
		t.Errorf("%s: %.3g apart, more than %.3g", what, d, limit)
	}
}

// selection lists, for packed sequences, the rows that predict something and what they should predict. With masks, only
// the targets whose mask is 1.
func selection(b Batch, masks [][]int64) (rows, targets []int32) {
	for s := range len(b.Starts) - 1 {
		for i := b.Starts[s] + 1; i < b.Starts[s+1]; i++ {
			if masks == nil || masks[s][i-b.Starts[s]] == 1 {
				rows, targets = append(rows, i-1), append(targets, b.IDs[i])
			}
		}
	}
	return rows, targets
}

// lossAndGrads computes the masked mean loss and adds its gradients to the adapter.
func lossAndGrads(tape *tensor.Tape, m *Model, a *peft.Adapter, r reference) float64 {
	b := Pack(r.ids...)
	rows, targets := selection(b, r.mask)
	logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), rows, targets, 1)
	loss, seed := 0.0, make([]float64, len(rows))
	for i, v := range logp.Data {
		loss -= float64(v) / float64(len(rows))
		seed[i] = -1 / float64(len(rows))
	}
	logp.Seed(seed)
	tape.Backward()
	return loss
}

func allRows(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

var llamaSets = []struct{ dir, values, config string }{
	{"llama", "llama", "config.json"},
	{"llama", "llama", "config.v5.json"},
	{"llama-bf16", "llama-bf16", "config.json"},
	{"llama-sharded", "llama", "config.json"},
	{"llama-tied", "llama-tied", "config.json"},
	{"llama-tied-head-only", "llama-tied", "config.json"},
}

func TestLlamaAgainstTransformers(t *testing.T) {
	for _, set := range llamaSets {
		t.Run(set.dir+"/"+set.config, func(t *testing.T) {
			r := openReference(t, golden.Dir(t, "models/"+set.values))
			m := openModel(t, golden.Dir(t, "models/"+set.dir), set.config)
			tape := tensor.NewInferenceTape(m.Pool())
			for s, ids := range r.ids {
				tape.Reset()
				b := Pack(ids)
				h := m.Hidden(tape, nil, b)
				logits := m.Logits(tape, nil, h, allRows(len(ids)))
				within(t, fmt.Sprintf("logits.%d", s), logits.Data, r.tensors[fmt.Sprintf("logits.%d", s)].F, r.limit(t, "logits"))
				rows, targets := selection(b, nil)
				logp, _, best := m.Predict(tape, nil, h, rows, targets, 1)
				for i, row := range rows {
					likeliest := argmax(logits.Data[int(row)*m.Vocab : int(row+1)*m.Vocab])
					if (best.Data[i] == 1) != (likeliest == targets[i]) {
						t.Errorf("sequence %d row %d: target %d, likeliest %d, yet best says %g", s, row, targets[i], likeliest, best.Data[i])
					}
				}
				within(t, fmt.Sprintf("logprobs.%d", s), logp.Data, r.tensors[fmt.Sprintf("logprobs.%d", s)].F, r.limit(t, "logprobs"))
			}
			checkHiddenStates(t, m, r)
			checkGreedy(t, m, r)
			checkLossAndGradients(t, m, r)
		})
	}
}

func checkHiddenStates(t *testing.T, m *Model, r reference) {
	t.Helper()
	tape, b := tensor.NewInferenceTape(m.Pool()), Pack(r.ids[0])
	for k := range m.Layers + 1 {
		x := m.Trunk(tape, nil, b, k)
		if k == m.Layers {
			x = m.HiddenFrom(tape, nil, b, k, x)
		}
		want := r.tensors[fmt.Sprintf("hidden_states.0.%d", k)].F
		within(t, fmt.Sprintf("hidden_states.0.%d", k), x.Data, want, 2e-5*max(1, largest(want)))
	}
}

func checkGreedy(t *testing.T, m *Model, r reference) {
	t.Helper()
	tape, d, pages := tensor.NewInferenceTape(m.Pool()), m.NewDecoder(nil), m.NewPages(kernels.KVFloat32)
	var feeds []Feed
	for _, ids := range r.ids {
		feeds = append(feeds, Feed{Cache: pages.NewCache(), IDs: ids})
	}
	got := make([][]int32, len(feeds))
	for range 24 {
		tape.Reset()
		h := d.Step(tape, feeds)
		rows, at := make([]int32, len(feeds)), 0
		for s, f := range feeds {
			at += len(f.IDs)
			rows[s] = int32(at - 1)
		}
		logits := m.Logits(tape, nil, h, rows)
		for s := range feeds {
			best := argmax(logits.Data[s*m.Vocab : (s+1)*m.Vocab])
			got[s] = append(got[s], best)
			feeds[s].IDs = []int32{best}
		}
	}
	for s := range feeds {
		if want := narrow(r.tensors[fmt.Sprintf("greedy.%d", s)].I); fmt.Sprint(got[s]) != fmt.Sprint(want) {
			t.Errorf("greedy.%d: %v, want %v", s, got[s], want)
		}
	}
}

func argmax(v []float32) int32 {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return int32(best)
}

func checkLossAndGradients(t *testing.T, m *Model, r reference) {
	t.Helper()
	a := peft.NewFull(m.Modules())
	tape := tensor.NewTape(m.Pool())
	loss := lossAndGrads(tape, m, a, r)
	if d := math.Abs(loss - float64(r.tensors["loss"].F[0])); d > r.limit(t, "loss") {
		t.Errorf("loss: %v apart", d)
	}
	n := 0
	for _, p := range a.Params() {
		want, ok := r.tensors["grad."+p.Name]
		if !ok {
			continue
		}
		n++
		within(t, "grad."+p.Name, a.Grads[p.Off:p.Off+p.Len()], want.F, r.limit(t, "gradients")*largest(want.F))
	}
	for name := range r.tensors {
		if strings.HasPrefix(name, "grad.") {
			n--
		}
	}
	if n != 0 {
		t.Errorf("%d gradients of the reference were not compared", -n)
	}
}

func TestConfigJSONReadsBack(t *testing.T) {
	for _, set := range llamaSets {
		text, err := os.ReadFile(filepath.Join(golden.Dir(t, "models/"+set.dir), set.config))
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConfig(c.JSON("float32"))
		if err != nil {
			t.Fatal(err)
		}
		x, _ := json.Marshal(c)
		y, _ := json.Marshal(again)
		if string(x) != string(y) {
			t.Errorf("%s: %s reads back as %s", set.dir, x, y)
		}
	}
}
