package model

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// small is a random model whose sizes are multiples of nothing.
func small(t testing.TB, pool *kernels.Pool) *Model {
	t.Helper()
	c := Config{
		Vocab: 1061, Hidden: 40, Intermediate: 52, Layers: 3, Heads: 5, KVHeads: 1, HeadDim: 6, MaxPositions: 512, Eps: 1e-5,
		RopeTheta: 10000, InitStd: 0.3, BOS: -1, AttentionBias: true, MLPBias: true,
	}
	m, err := NewRandom(c, 5, pool)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// shaken is an adapter whose every value was moved.
func shaken(t testing.TB, cfg peft.Config, m *Model) *peft.Adapter {
	t.Helper()
	a, err := peft.New(cfg, m.Modules(), 1)
	if err != nil {
		t.Fatal(err)
	}
	shake(a)
	return a
}

func shake(a *peft.Adapter) {
	draw := rng.New(9)
	for _, p := range a.Params() {
		for i := range p.Len() {
			a.Values[p.Off+i] += float32(0.1 * draw.Norm())
		}
	}
}

// everywhere puts a pair on every matrix, embedding and head included.
func everywhere() peft.Config {
	c := peft.Default()
	c.R, c.Alpha = 5, 7
	c.Targets = peft.Targets{Regex: ".*(_proj|embed_tokens|lm_head)"}
	return c
}

func sequences(vocab int, lengths ...int) [][]int32 {
	draw, out := rng.New(2), make([][]int32, len(lengths))
	for s, n := range lengths {
		for range n {
			out[s] = append(out[s], int32(draw.IntN(vocab)))
		}
	}
	return out
}

// results are what a sequence gives: log-probability and entropy of every token after the first, and its score.
type results struct{ logp, entropy, score []float32 }

func together(m *Model, a *peft.Adapter, seqs [][]int32) []results {
	tape, b := tensor.NewInferenceTape(m.Pool()), Pack(seqs...)
	h := m.Hidden(tape, a, b)
	rows, targets := selection(b, nil)
	logp, entropy := m.LogProbs(tape, a, h, rows, targets, 0.7)
	score := m.Scores(tape, a, h, allRows(len(b.IDs)))
	out, at := make([]results, len(seqs)), 0
	for s, ids := range seqs {
		n := len(ids) - 1
		out[s] = results{logp.Data[at : at+n], entropy.Data[at : at+n], score.Data[b.Starts[s]:b.Starts[s+1]]}
		at += n
	}
	return out
}

func same(t *testing.T, what string, x, y results) {
	t.Helper()
	if !slices.Equal(x.logp, y.logp) || !slices.Equal(x.entropy, y.entropy) || !slices.Equal(x.score, y.score) {
		t.Errorf("%s: other bits", what)
	}
}

// Neither what else is in the batch, nor its order, nor the number of threads changes a bit of what a sequence gives.
func TestSequencesDoNotInfluenceEachOther(t *testing.T) {
	var first []results
	for _, threads := range []int{1, 2, 3} {
		m := small(t, newPool(t, threads))
		a := shaken(t, everywhere(), m)
		a.AddScoreHead(m.Config.Hidden, 1, 0.1)
		shake(a)
		seqs := sequences(m.Vocab, 17, 2, 150, 65, 3, 64, 31)
		all := together(m, a, seqs)
		if first == nil {
			first = all
		}
		for s := range seqs {
			same(t, fmt.Sprintf("%d threads, sequence %d", threads, s), all[s], first[s])
			same(t, fmt.Sprint("alone, sequence ", s), together(m, a, seqs[s:s+1])[0], first[s])
		}
		slices.Reverse(seqs)
		turned := together(m, a, seqs)
		slices.Reverse(turned)
		for s := range seqs {
			same(t, fmt.Sprint("reversed, sequence ", s), turned[s], first[s])
		}
	}
}

// Decoding with a cache, in pieces of any size, mixed with other sequences, gives the bits of one full forward; the
// distribution read from a row of logits gives the bits of LogProbs.
func TestDecodingGivesTheBitsOfTheFullForward(t *testing.T) {
	m := small(t, newPool(t, 2))
	a := shaken(t, everywhere(), m)
	seqs := sequences(m.Vocab, 90, 140, 70)
	full := tensor.NewInferenceTape(m.Pool())
	b := Pack(seqs...)
	h := m.Hidden(full, a, b)
	rows, targets := selection(b, nil)
	logp, entropy := m.LogProbs(full, a, h, rows, targets, 0.7)
	logits := m.Logits(full, a, h, rows)
	for i, v := range targets {
		row := logits.Data[i*m.Vocab : (i+1)*m.Vocab]
		d := Distribution(row, 0.7)
		if d.LogProb(row[v]) != logp.Data[i] || d.Entropy() != entropy.Data[i] {
			t.Fatalf("row %d: the distribution of the logits has other bits than LogProbs", i)
		}
	}

	dec, tape, pages := m.NewDecoder(a), tensor.NewInferenceTape(m.Pool()), m.NewPages(kernels.KVFloat32)
	feeds := []Feed{{Cache: pages.NewCache()}, {Cache: pages.NewCache()}, {Cache: pages.NewCache()}}
	draw, at := rng.New(4), make([]int, 3)
	for !slices.Equal(at, []int{90, 140, 70}) {
		var now []Feed
		var from []int
		for s := range feeds {
			if n := min(1+draw.IntN(40)*draw.IntN(2), len(seqs[s])-at[s]); n > 0 {
				now = append(now, Feed{Cache: feeds[s].Cache, IDs: seqs[s][at[s] : at[s]+n]})
				from = append(from, int(b.Starts[s])+at[s])
				at[s] += n
			}
		}
		tape.Reset()
		got, row := dec.Step(tape, now), 0
		for i, f := range now {
			n := len(f.IDs) * got.Cols
			if !slices.Equal(got.Data[row:row+n], h.Data[from[i]*got.Cols:][:n]) {
				t.Fatalf("tokens from row %d on differ", from[i])
			}
			row += n
		}
	}
}

// A prompt computed once serves several continuations, which have its pages in common until one of them writes; what is cut off is
// forgotten, and pages that nobody has are used again.
func TestCachesAreSharedAndCut(t *testing.T) {
	m := small(t, newPool(t, 2))
	seqs := sequences(m.Vocab, 150, 80)
	full := tensor.NewInferenceTape(m.Pool())
	h := m.Hidden(full, nil, Pack(seqs[0]))
	dec, tape, pages := m.NewDecoder(nil), tensor.NewInferenceTape(m.Pool()), m.NewPages(kernels.KVFloat32)
	taken := func(want int) {
		t.Helper()
		if pages.made != want {
			t.Errorf("%d pages are taken, want %d", pages.made, want)
		}
	}
	src, dst, third := pages.NewCache(), pages.NewCache(), pages.NewCache()
	dec.Step(tape, []Feed{{Cache: src, IDs: slices.Concat(seqs[0][:100], []int32{1, 2, 3})}})
	dst.ShareFrom(src, 100)
	third.ShareFrom(dst, 64)
	taken(2)
	src.Truncate(100)
	for _, c := range []*Cache{src, third, dst} {
		tape.Reset()
		from := c.Len()
		got := dec.Step(tape, []Feed{{Cache: c, IDs: seqs[0][from:]}})
		if !slices.Equal(got.Data, h.Data[from*got.Cols:]) || c.Len() != 150 {
			t.Errorf("the continuation from %d on differs from the full forward", from)
		}
	}
	taken(7) // the first page is all three's
	src.Truncate(0)
	dst.Truncate(0)
	other := pages.NewCache()
	tape.Reset()
	got := dec.Step(tape, []Feed{{Cache: other, IDs: seqs[1]}})
	full.Reset()
	if !slices.Equal(got.Data, m.Hidden(full, nil, Pack(seqs[1])).Data) {
		t.Error("pages used again change the result")
	}
	taken(7)
}

// With keys and values rounded, decoding is near the full forward but not it; in pieces of any size and beside others it has the
// same bits. A rounded number is off by at most half a step: of 2^-8 of itself in bfloat16, of 1/127 of the largest in int8. What
// comes of that in the hidden states, of norm 1 per element, is taken to be of the order of the step in each of the blocks.
func TestRoundedCaches(t *testing.T) {
	m := small(t, newPool(t, 2))
	seqs := sequences(m.Vocab, 90, 140, 70)
	h := m.Hidden(tensor.NewInferenceTape(m.Pool()), nil, Pack(seqs...))
	for _, c := range []struct {
		form kernels.KVType
		step float64
	}{{kernels.KVBF16, 1. / 256}, {kernels.KVInt8, 1. / 127}} {
		dec, tape, pages := m.NewDecoder(nil), tensor.NewInferenceTape(m.Pool()), m.NewPages(c.form)
		var feeds []Feed
		for _, ids := range seqs {
			feeds = append(feeds, Feed{Cache: pages.NewCache(), IDs: ids})
		}
		together := slices.Clone(dec.Step(tape, feeds).Data)
		var mean float64
		for i := range together {
			mean += math.Abs(float64(together[i]-h.Data[i])) / float64(len(together))
		}
		if mean == 0 || mean > float64(m.Layers)*c.step {
			t.Errorf("%v: hidden states are off by %v on average", c.form, mean)
		}
		cache, at := pages.NewCache(), len(seqs[0])*h.Cols
		for i := 0; i < len(seqs[1]); i += 3 {
			tape.Reset()
			got := dec.Step(tape, []Feed{{Cache: cache, IDs: seqs[1][i:min(i+3, len(seqs[1]))]}}).Data
			if !slices.Equal(got, together[at:at+len(got)]) {
				t.Fatalf("%v: tokens from %d on differ in pieces", c.form, i)
			}
			at += len(got)
		}
	}
}

// A critic that trains its top layers computes and learns the same from the kept activations of the trunk.
func TestTrunkActivationsCanBeKept(t *testing.T) {
	m := small(t, newPool(t, 2))
	a := shaken(t, peft.Default(), m)
	a.AddScoreHead(m.Config.Hidden, 1, 0.1)
	b := Pack(sequences(m.Vocab, 20, 33)...)
	const layer = 2
	a.FreezeBelow(layer)
	run := func(hidden func(t *tensor.Tape) *tensor.Tensor) []float32 {
		a.ZeroGrads()
		tape := tensor.NewTape(m.Pool())
		s := m.Scores(tape, a, hidden(tape), allRows(len(b.IDs)))
		s.Seed(slices.Repeat([]float64{1}, len(b.IDs)))
		tape.Backward()
		return slices.Concat(s.Data, a.Grads)
	}
	whole := run(func(t *tensor.Tape) *tensor.Tensor { return m.Hidden(t, a, b) })
	infer := tensor.NewInferenceTape(m.Pool())
	kept := slices.Clone(m.Trunk(infer, a, b, layer).Data)
	if top := run(func(t *tensor.Tape) *tensor.Tensor {
		return m.HiddenFrom(t, a, b, layer, t.Leaf(kept, len(b.IDs), m.Config.Hidden, false))
	}); !slices.Equal(top, whole) {
		t.Error("other scores or gradients from the kept activations")
	}
	for _, p := range a.Params() {
		g := a.Grads[p.Off : p.Off+p.Len()]
		if moved := slices.ContainsFunc(g, func(v float32) bool { return v != 0 }); moved != (p.Layer >= layer) || p.Trainable != moved {
			t.Errorf("%s: gradient %v, trainable %v", p.Name, moved, p.Trainable)
		}
	}
}

// Recomputing blocks in the backward pass changes no gradient.
func TestRecomputingChangesNothing(t *testing.T) {
	for _, set := range []string{"lora-all-linear", "lora-embedding"} {
		dir := golden.Dir(t, "peft/"+set)
		m, a := openAdapter(t, dir)
		r := openReference(t, dir)
		lossAndGrads(tensor.NewTape(m.Pool()), m, a, r)
		want := slices.Clone(a.Grads)
		a.ZeroGrads()
		tape := tensor.NewTape(m.Pool())
		tape.Recompute(true)
		lossAndGrads(tape, m, a, r)
		if !slices.Equal(a.Grads, want) {
			t.Errorf("%s: other gradients", set)
		}
	}
}

// A steady training step leaves no garbage, whatever lengths its sequences have.
func TestTrainingStepsLeaveNoGarbage(t *testing.T) {
	dir := golden.Dir(t, "peft/lora-all-linear")
	m, a := openAdapter(t, dir)
	for _, recompute := range []bool{false, true} {
		tape := tensor.NewTape(m.Pool())
		tape.Recompute(recompute)
		var batches []Batch
		for _, n := range []int{9, 30, 21} {
			batches = append(batches, Pack(sequences(m.Vocab, n, 12, n/2)...))
		}
		seed := slices.Repeat([]float64{1}, 200)
		var rows, targets [][]int32
		for _, b := range batches {
			r, v := selection(b, nil)
			rows, targets = append(rows, r), append(targets, v)
		}
		k := 0
		step := func() {
			b := batches[k%3]
			tape.Reset()
			logp, _ := m.LogProbs(tape, a, m.Hidden(tape, a, b), rows[k%3], targets[k%3], 1)
			logp.Seed(seed[:len(logp.Data)])
			tape.Backward()
			k++
		}
		for range 6 {
			step()
		}
		if n := testing.AllocsPerRun(6, step); n > 2 { // the function that packs the adapter
			t.Errorf("recompute %v: %v allocations a step", recompute, n)
		}
	}
}

// Pairs on the head and the embedding of a model act as their merged weights do, also where merging unties them.
func TestMergingHeadAndEmbedding(t *testing.T) {
	for _, base := range []string{"llama", "llama-tied"} {
		m := openModel(t, golden.Dir(t, "models/"+base), "config.json")
		a := shaken(t, everywhere(), m)
		g := m.Merge(a)
		if g.Config.Tied {
			t.Errorf("%s: still tied", base)
		}
		merged, err := New(g.Config, g, m.Pool())
		if err != nil {
			t.Fatal(err)
		}
		b := Pack(sequences(m.Vocab, 20)...)
		tape := tensor.NewInferenceTape(m.Pool())
		x, y := m.Logits(tape, a, m.Hidden(tape, a, b), allRows(20)), merged.Logits(tape, nil, merged.Hidden(tape, nil, b), allRows(20))
		// As the references allow: logits of a merged model within 3e-4, here relative to logits of order 10.
		within(t, base, x.Data, y.Data, 3e-5*max(10, largest(y.Data)))
		if none := m.Logits(tape, nil, m.Hidden(tape, nil, b), allRows(20)); apart(none.Data, x.Data) < 0.1 {
			t.Errorf("%s: the adapter does nothing", base)
		}
		out := t.TempDir()
		if err := a.Save(out, base); err != nil {
			t.Fatal(err)
		}
		tensors := golden.Tensors(t, filepath.Join(out, "adapter_model.safetensors"))
		for _, key := range []string{"lm_head.base_layer.weight", "lm_head.lora_A.weight", "model.embed_tokens.base_layer.weight"} {
			if _, ok := tensors["base_model.model."+key]; !ok {
				t.Errorf("%s: %s is not saved", base, key)
			}
		}
	}
}
