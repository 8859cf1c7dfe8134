package plan

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/rollout"
	"plumb/internal/tensor"
)

// Line is a quantity as a function of depth: Fixed outside the blocks and Block for each of them.
type Line struct{ Fixed, Block float64 }

// At is its value for a number of blocks.
func (l Line) At(layers int) float64 { return l.Fixed + l.Block*float64(layers) }

// through is the line through two measured points; noise may not make a part negative.
func through(d0 int, y0 float64, d1 int, y1 float64) Line {
	if d0 == d1 {
		return Line{Block: y0 / float64(d0)}
	}
	l := Line{Block: max(y1-y0, 0) / float64(d1-d0)}
	l.Fixed = max(y0-l.Block*float64(d0), 0)
	return l
}

// Rows are the sequences of a stage: their lengths in tokens and how many tokens of each carry a loss.
type Rows struct{ Lengths, Targets []int }

// Tokens is the sum of the lengths.
func (r Rows) Tokens() int {
	n := 0
	for _, l := range r.Lengths {
		n += l
	}
	return n
}

// Loss says what a pass computes at its end.
type Loss string

// What passes end in.
const (
	Likelihood Loss = "likelihood" // log-probabilities of targets, cross-entropy
	Policy     Loss = "policy"     // log-probabilities, the clipped surrogate
	Value      Loss = "value"      // a scalar for each target, squared error
	Ranking    Loss = "ranking"    // a scalar for each sequence, of which neighbours are compared
)

// Adapter makes what is trained on a model of any depth; nil is the bare model.
type Adapter struct {
	Name string // equal names are equal adapters
	New  func(m *model.Model) (*peft.Adapter, error)
}

// Pass is what one token costs in a pass like the one measured.
type Pass struct {
	Seconds Line // a token
	Bytes   Line // of activations, gradients and scratch, a token
	Garbage Line // bytes left to the collector, a token
}

// Rehearsal measures passes over a model. It keeps what it measured, so that equal questions have equal answers.
type Rehearsal struct {
	cfg    model.Config
	pool   *kernels.Pool
	depths [2]int
	models [2]*model.Model

	// Weights is the memory of the packed weights, Load the time to read and pack them.
	Weights, Load Line
	passes        map[string]Pass
	steps         map[string][2]Line
	optimizer     map[moved]float64
	losses        losses
}

// losses are compiled once, as a stage does.
type losses struct{ likelihood, policy, value *objective.Loss }

// budget is about how long a measurement may take, and measuredTokens how many tokens go into one: more than enough to fill the
// kernels' tiles.
const (
	budget         = 100 * time.Millisecond
	measuredTokens = 512
	shallowBytes   = 64 << 20
)

// New prepares a rehearsal: the model at one block and at a few more, all of them where it is small.
func New(cfg model.Config, w model.Weights, pool *kernels.Pool) (*Rehearsal, error) {
	r := &Rehearsal{cfg: cfg, pool: pool}
	r.reset()
	return r, r.load(w, shallowBytes)
}

func (r *Rehearsal) reset() {
	r.passes, r.steps, r.optimizer = map[string]Pass{}, map[string][2]Line{}, map[moved]float64{}
	r.losses = losses{objective.NLL(), objective.Policy(objective.Clipping{Low: 0.2, High: 0.2}, 0), objective.Value(0.2)}
}

// load reads the blocks that are measured; a model whose blocks have fewer bytes than small is taken whole.
func (r *Rehearsal) load(w model.Weights, small float64) error {
	var bytes, seconds [2]float64
	for i := range r.models {
		depth := 1
		if i == 1 {
			depth = min(3, r.cfg.Layers)
			if bytes[0]*float64(r.cfg.Layers) < small {
				depth = r.cfg.Layers
			}
		}
		c := r.cfg
		c.Layers = depth
		began := time.Now()
		m, err := model.New(c, shallow{w, depth}, r.pool)
		if err != nil {
			return err
		}
		seconds[i], bytes[i] = time.Since(began).Seconds(), float64(m.Bytes())
		r.depths[i], r.models[i] = depth, m
	}
	r.Weights = through(r.depths[0], bytes[0], r.depths[1], bytes[1])
	r.Load = through(r.depths[0], seconds[0], r.depths[1], seconds[1])
	return nil
}

// Loaded is the memory of the weights that the rehearsal itself holds.
func (r *Rehearsal) Loaded() int64 { return int64(r.models[0].Bytes() + r.models[1].Bytes()) }

// Layers is the model's depth.
func (r *Rehearsal) Layers() int { return r.cfg.Layers }

// CacheBytes is the memory of the keys and values of so many tokens, in whole pages.
func (r *Rehearsal) CacheBytes(t kernels.KVType, tokens int) float64 {
	page := kernels.KVLayout{Type: t, Blocks: r.cfg.Layers, KV: r.cfg.KVHeads, D: r.cfg.HeadDim}.PageBytes()
	return float64((tokens + kernels.KeyTile - 1) / kernels.KeyTile * page)
}

// LogitBytes is the memory of one row of logits.
func (r *Rehearsal) LogitBytes() float64 { return float64(4 * r.cfg.Vocab) }

// Parameters is the number of values of an adapter at full depth.
func (r *Rehearsal) Parameters(a Adapter) (int, error) {
	var n [2]float64
	for i, m := range r.models {
		ad, err := a.New(m)
		if err != nil {
			return 0, err
		}
		n[i] = float64(len(ad.Values))
	}
	return int(through(r.depths[0], n[0], r.depths[1], n[1]).At(r.cfg.Layers) + 0.5), nil
}

// Largest is about the most tokens that one of so many steps of n rows has: the mean and, for normal sums, √(2 ln steps) deviations
// more (the expected maximum of as many draws is at most that).
func (r Rows) Largest(n, steps int) int {
	k := float64(max(len(r.Lengths), 1))
	mean, square := float64(r.Tokens())/k, 0.0
	longest := 0
	for _, l := range r.Lengths {
		square += (float64(l) - mean) * (float64(l) - mean)
		longest = max(longest, l)
	}
	z := math.Sqrt(2 * math.Log(float64(max(steps, 2))))
	most := float64(n)*mean + z*math.Sqrt(square/k*float64(n))
	return int(min(most, float64(n*longest), float64(max(r.Tokens(), 1))))
}

// sample takes whole rows, evenly spaced, of about limit tokens.
func (r Rows) sample(limit int) Rows {
	total := r.Tokens()
	if total == 0 {
		return r
	}
	every := max(1, total/max(limit, 1))
	var out Rows
	for i := 0; i < len(r.Lengths); i += every {
		out.Lengths, out.Targets = append(out.Lengths, r.Lengths[i]), append(out.Targets, r.Targets[i])
		if out.Tokens() >= limit {
			break
		}
	}
	if n := len(out.Lengths); n%2 == 1 && n < len(r.Lengths) { // ranking compares neighbours
		out.Lengths, out.Targets = append(out.Lengths, r.Lengths[n]), append(out.Targets, r.Targets[n])
	}
	return out
}

// Train measures forward and backward passes of rows at most micro tokens at a time. An adapter whose lowest trained block is not
// the first costs less than this: see Forward for the blocks below.
func (r *Rehearsal) Train(a Adapter, rows Rows, micro int, loss Loss, recompute bool) (Pass, error) {
	return r.pass(fmt.Sprintf("train %s %s recompute=%v", a.Name, loss, recompute), a, rows, micro, func(t *tensor.Tape, m *model.Model, ad *peft.Adapter, x batch) {
		r.losses.forward(t, m, ad, x, loss)
		t.Backward()
	}, func(p *kernels.Pool) *tensor.Tape {
		t := tensor.NewTape(p)
		t.Recompute(recompute)
		return t
	})
}

// Forward measures passes that are not differentiated.
func (r *Rehearsal) Forward(a Adapter, rows Rows, micro int, loss Loss) (Pass, error) {
	return r.pass(fmt.Sprintf("forward %s %s", a.Name, loss), a, rows, micro, func(t *tensor.Tape, m *model.Model, ad *peft.Adapter, x batch) {
		r.losses.forward(t, m, ad, x, loss)
	}, tensor.NewInferenceTape)
}

func (r *Rehearsal) pass(name string, a Adapter, rows Rows, micro int, run func(*tensor.Tape, *model.Model, *peft.Adapter, batch), tape func(*kernels.Pool) *tensor.Tape) (Pass, error) {
	some := rows.sample(min(micro, measuredTokens))
	key := fmt.Sprint(name, some)
	if p, ok := r.passes[key]; ok {
		return p, nil
	}
	x := newBatch(some, r.cfg.Vocab)
	var seconds, bytes, garbage [2]float64
	for i, m := range r.models {
		ad, err := a.New(m)
		if err != nil {
			return Pass{}, err
		}
		t := tape(r.pool)
		pass := func() {
			t.Reset()
			run(t, m, ad, x)
		}
		n := float64(len(x.b.IDs))
		seconds[i], bytes[i] = shortest(pass)/n, float64(t.Touched())/n
		garbage[i] = allocated(pass) / n
	}
	line := func(y [2]float64) Line { return through(r.depths[0], y[0], r.depths[1], y[1]) }
	p := Pass{line(seconds), line(bytes), line(garbage)}
	r.passes[key] = p
	return p, nil
}

// Steps measures sampling: the seconds of one step with n sequences side by side are one.At(layers) for n = 1 and grow linearly to
// full.At(layers) for n = batch. Prompts are so many tokens long.
func (r *Rehearsal) Steps(ctx context.Context, a Adapter, batch, prompt int, kv kernels.KVType) (one, full Line, err error) {
	key := fmt.Sprint(a.Name, batch, prompt, kv)
	if s, ok := r.steps[key]; ok {
		return s[0], s[1], nil
	}
	var out [2]Line
	for k, n := range [...]int{1, batch} {
		var seconds [2]float64
		for i, m := range r.models {
			ad, err := a.New(m)
			if err != nil {
				return one, full, err
			}
			if seconds[i], err = r.stepSeconds(ctx, m, ad.Freeze(), n, prompt, kv); err != nil {
				return one, full, err
			}
		}
		out[k] = through(r.depths[0], seconds[0], r.depths[1], seconds[1])
	}
	r.steps[key] = out
	return out[0], out[1], nil
}

// stepSeconds is the time of a sampling step: what some steps more take, divided by their number.
func (r *Rehearsal) stepSeconds(ctx context.Context, m *model.Model, a *peft.Adapter, batch, prompt int, kv kernels.KVType) (float64, error) {
	const few, more = 2, 14
	reqs := make([]rollout.Request, batch)
	for i := range reqs {
		reqs[i] = rollout.Request{Prompt: ids(max(prompt, 1), r.cfg.Vocab, i), Episode: uint64(i)}
	}
	var fail error
	took := func(tokens int) float64 {
		return shortest(func() {
			o := rollout.Options{Temperature: 1, TopP: 1, MaxNew: tokens, MaxBatch: batch, IgnoreStop: true, Seed: 1, KV: kv}
			if _, err := rollout.Generate(ctx, m, []*peft.Adapter{a}, reqs, o); err != nil {
				fail = err
			}
		})
	}
	return max(took(more)-took(few), 0) / (more - few), fail
}

// moved is what an optimizer step depends on.
type moved struct{ n, bits int }

// Optimizer is the time to clip and move n parameters, moments in 32 or 8 bits.
func (r *Rehearsal) Optimizer(n, bits int) float64 {
	key := moved{n, bits}
	if s, ok := r.optimizer[key]; ok {
		return s
	}
	x, g := make([]float32, n), make([]float32, n)
	opt := optim.NewAdamW(r.pool, n, moments(bits))
	s := shortest(func() {
		optim.Clip(r.pool, g, 1)
		opt.Step(x, g, 1e-4)
	})
	r.optimizer[key] = s
	return s
}

func moments(bits int) optim.Config {
	c := optim.Defaults()
	c.Bits = bits
	return c
}

// shortest is the least of the times of a few calls, after one that warms up: what other programs take is not the work's.
func shortest(f func()) float64 {
	f()
	best, start := math.Inf(1), time.Now()
	for n := 0; n < 2 || n < 5 && time.Since(start) < 20*budget || n < 25 && time.Since(start) < budget; n++ {
		began := time.Now()
		f()
		best = min(best, time.Since(began).Seconds())
	}
	return best
}

// allocated is the memory that a call takes from the heap.
func allocated(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}

// batch is packed sequences and where their losses are.
type batch struct {
	b             model.Batch
	rows, targets []int32
	last          []int32
}

func newBatch(r Rows, vocab int) batch {
	var x batch
	x.b.Starts = []int32{0}
	for s, n := range r.Lengths {
		at := len(x.b.IDs)
		x.b.IDs = append(x.b.IDs, ids(n, vocab, s)...)
		x.b.Starts = append(x.b.Starts, int32(len(x.b.IDs)))
		x.last = append(x.last, int32(len(x.b.IDs)-1))
		for i := max(1, n-r.Targets[s]); i < n; i++ {
			x.rows, x.targets = append(x.rows, int32(at+i-1)), append(x.targets, x.b.IDs[at+i])
		}
	}
	return x
}

// ids are n ids that differ from row to row; which ones does not matter to the time.
func ids(n, vocab, row int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32((7*i + 31*row + 3) % vocab)
	}
	return out
}

// forward computes a pass and its loss, and seeds the gradient where the tape records.
func (c losses) forward(t *tensor.Tape, m *model.Model, a *peft.Adapter, x batch, loss Loss) {
	h := m.Hidden(t, a, x.b)
	switch loss {
	case Likelihood, Policy:
		if len(x.rows) == 0 {
			return
		}
		logp, entropy, _ := m.Predict(t, a, h, x.rows, x.targets, 1)
		if !t.Recording() {
			return
		}
		n := len(x.rows)
		lp, w := wide(logp.Data), slices.Repeat([]float64{1 / float64(n)}, n)
		if loss == Likelihood {
			logp.Seed(c.likelihood.Eval(w, map[string][]float64{"logp": lp}).Grad["logp"])
			return
		}
		r := c.policy.Eval(w, map[string][]float64{
			"policyLogp": lp, "oldLogp": lp, "advantages": slices.Repeat([]float64{1}, n), "entropy": wide(entropy.Data),
		})
		logp.Seed(r.Grad["policyLogp"])
	case Value:
		v := m.Scores(t, a, h, x.rows)
		if n := len(x.rows); t.Recording() && n > 0 {
			one := slices.Repeat([]float64{1}, n)
			r := c.value.Eval(one, map[string][]float64{"values": wide(v.Data), "oldValues": one, "returns": one})
			v.Seed(r.Grad["values"])
		}
	case Ranking:
		s := m.Scores(t, a, h, x.last)
		if t.Recording() {
			s.Seed(slices.Repeat([]float64{1}, len(x.last)))
		}
	}
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
