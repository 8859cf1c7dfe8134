package ppo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/optim"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/run"
	"plumb/internal/tensor"
)

// trained is one model that moves.
type trained struct {
	name    string
	adapter *peft.Adapter
	opt     *optim.AdamW
}

// learner holds what every update uses. policy and critic are the same on a shared trunk.
type learner struct {
	c           Config
	seed        uint64
	model       *model.Model
	reference   *peft.Adapter
	policy      *trained
	critic      *trained
	temperature float32
	kv          kernels.KVType
	bias        float64 // of V
	trunk       int     // the block at which the critic's training starts; what lies below is computed once a batch
	refOnTrunk  bool    // the reference does the same below it
	// scoreOnTrunk: so does the reward model, with the score rewardGain·head + rewardBias.
	scoreOnTrunk           bool
	reward                 *peft.Adapter
	rewardGain, rewardBias float64
	trunks                 []float32 // what trajectories keep of the trunk
	kept                   []float32 // the same of one pass
	pass                   micro     // the one that is learned from
	vectors                vectors   // of the step that is learned from

	show   Progress
	room   func(coming int) int // nil: any, or the tape is bounded already
	loaded bool                 // the moments were read from a checkpoint
	rows   int                  // of the largest micro-batch
	tape   *tensor.Tape         // records
	eval   *tensor.Tape         // does not

	policyLoss, valueLoss *objective.Loss
}

func newLearner(in Inputs, c Config) *learner {
	pool := in.Model.Pool()
	l := &learner{
		c: c, seed: in.Seed, model: in.Model, reference: in.Reference, temperature: float32(c.Sampling.Temperature),
		show: in.Progress, tape: tensor.NewTape(pool), eval: tensor.NewInferenceTape(pool),
		policyLoss: objective.Policy(c.clipping(), c.EntropyCoef), valueLoss: objective.Value(c.Clip.Value),
	}
	l.kv, _ = kernels.ParseKVType(c.Sampling.KVCache) // which Validate has done
	l.tape.Recompute(c.Recompute)
	l.room, l.rows = in.Room, largestMicro(in.Prompts, c)
	if l.show == nil {
		l.show = silent{}
	}
	prepare := func(name string, a *peft.Adapter) *trained {
		return &trained{name: name, adapter: a, opt: optim.NewAdamW(pool, len(a.Values), c.Optimizer.config(), a.Groups()...)}
	}
	if c.Critic.Shared {
		a := in.Policy.Clone()
		a.AddScoreHead(in.Model.Config.Hidden, 0, 0)
		l.policy = prepare("policy", a)
		l.critic = l.policy
		return l
	}
	l.policy, l.critic = prepare("policy", in.Policy), prepare("critic", in.Critic)
	l.bias = in.CriticBias
	if in.CriticGain != 0 {
		scaleHead(in.Critic, float32(in.CriticGain))
	}
	l.trunk = lowestTrained(in.Critic)
	l.refOnTrunk = l.trunk > 0 && sameBelow(in.Critic, in.Reference, l.trunk)
	if r, ok := in.Scorer.(rewardModel); ok && l.trunk > 0 {
		l.reward, l.rewardGain, l.rewardBias = r.RewardModel()
		l.scoreOnTrunk = sameBelow(in.Critic, l.reward, l.trunk)
	}
	return l
}

// scaleHead multiplies an adapter's scalar head.
func scaleHead(a *peft.Adapter, gain float32) {
	for _, p := range a.Params() {
		if strings.HasSuffix(p.Name, "score.weight") {
			for i := range p.Len() {
				a.Values[p.Off+i] *= gain
			}
		}
	}
}

// models are the distinct models that move, the policy first.
func (l *learner) models() []*trained {
	if l.critic == l.policy {
		return []*trained{l.policy}
	}
	return []*trained{l.policy, l.critic}
}

// page keeps the moments in files in dir; close lets them go.
func (l *learner) page(dir string) error {
	for _, m := range l.models() {
		if err := m.opt.Page(dir); err != nil {
			return err
		}
	}
	return nil
}

func (l *learner) close() error {
	var errs []error
	for _, m := range l.models() {
		errs = append(errs, m.opt.Close())
	}
	return errors.Join(errs...)
}

// learn is step 8 of an update. The steps it returns include skipped ones. When ctx is done it gives up half-way, the models
// moved, and returns ctx's error.
func (l *learner) learn(ctx context.Context, tr *Trajectories, st *state, dump func(s *step) error) ([]stepStats, error) {
	first := l.room != nil || st.Update == l.c.Critic.Warmup // the policy's first step is another than the critic's
	if err := l.bound(); err != nil {
		return nil, err
	}
	var all []stepStats
	for epoch := range l.c.Epochs {
		l.show.Set(st.Episodes, fmt.Sprintf("learning, epoch %d of %d", epoch+1, l.c.Epochs))
		for k, which := range split(l.shuffled(st.Update, epoch, tr.B()), l.c.Minibatches) {
			s := l.newStep(tr, which, st)
			s.epoch, s.minibatch = epoch, k
			if err := s.gradients(ctx); err != nil {
				return nil, err
			}
			if err := l.fits(first && epoch == 0 && k == 0); err != nil {
				return nil, err
			}
			switch {
			case s.stats.nonFinite:
				l.clearGradients()
				st.NonFinite++
				st.NonFiniteInRow++
				if err := dump(s); err != nil {
					return nil, err
				}
				if st.NonFiniteInRow >= maxNonFinite {
					return nil, fmt.Errorf("update %d, epoch %d, minibatch %d (episodes %v, seed %d): loss or gradient not finite, %d times in a row; lower ppo.lr, or look at the dumps in nonfinite/",
						st.Update+1, epoch, k, s.episodes(), l.seed, st.NonFiniteInRow)
				}
			case l.c.MaxRatio > 0 && s.stats.policy.Ratio > l.c.MaxRatio:
				s.stats.overRatio = true
				st.OverRatio++
				st.NonFiniteInRow = 0
			case l.c.TargetKL > 0 && s.stats.policy.ApproxKL > 1.5*l.c.TargetKL:
				st.NonFiniteInRow = 0
				l.clearGradients()
				return append(all, s.stats), nil
			default:
				st.NonFiniteInRow = 0
				s.move()
			}
			l.clearGradients()
			all = append(all, s.stats)
		}
	}
	return all, nil
}

// maxNonFinite is how many minibatches in a row may be skipped before the run ends.
const maxNonFinite = 3

func (l *learner) clearGradients() {
	for _, m := range l.models() {
		m.adapter.ZeroGrads()
	}
}

// shuffled is the order in which an epoch of an update goes through n responses.
func (l *learner) shuffled(update, epoch, n int) []int {
	return rng.New(l.seed, shuffleStream, uint64(update), uint64(epoch)).Perm(n)
}

// split cuts order into n parts whose sizes differ by one at most, fewer where there are fewer elements.
func split(order []int, n int) [][]int {
	n = min(n, len(order))
	out := make([][]int, n)
	for k := range n {
		out[k] = order[k*len(order)/n : (k+1)*len(order)/n]
	}
	return out
}

// step is one optimizer step: a minibatch, whose vectors are those of the trajectories gathered in its order.
type step struct {
	l                *learner
	tr               *Trajectories
	which            []int
	epoch, minibatch int
	policyLR         float64
	criticLR         float64

	vectors
	stats stepStats
}

// vectors are those of a step. The learner keeps their memory from step to step: a step's live until the next is made.
type vectors struct {
	weights                                 []float64 // [n] of every token in the step's losses
	oldLogp, advantages, oldValues, returns []float64 // [n]
	policyLogp, entropy, values             []float64 // [n] by the models as they are now
}

// emptied is the same memory with nothing in it.
func (v vectors) emptied() vectors {
	return vectors{v.weights[:0], v.oldLogp[:0], v.advantages[:0], v.oldValues[:0], v.returns[:0], v.policyLogp[:0], v.entropy[:0], v.values[:0]}
}

func (l *learner) newStep(tr *Trajectories, which []int, st *state) *step {
	s := &step{l: l, tr: tr, which: which, vectors: l.vectors.emptied()}
	s.policyLR, s.criticLR = l.rates(st)
	var lengths []int
	for _, i := range which {
		a, b := tr.Starts.Row(i)
		lengths = append(lengths, b-a)
		s.oldLogp = append(s.oldLogp, tr.OldLogp[a:b]...)
		s.advantages = append(s.advantages, tr.Advantages[a:b]...)
		s.oldValues = append(s.oldValues, tr.OldValues[a:b]...)
		s.returns = append(s.returns, tr.Returns[a:b]...)
	}
	s.weights = l.c.Aggregation.AppendWeights(s.weights, lengths, float64(l.c.Sampling.MaxNew))
	s.stats.trainedPolicy = st.Update >= l.c.Critic.Warmup
	return s
}

// bound sets what the tape may take, once: before the first step, when what sampling and scoring took is still counted, since they
// will take it again.
func (l *learner) bound() error {
	if l.room == nil {
		return nil
	}
	coming := 0
	for _, x := range []*trained{l.policy, l.critic} {
		n := len(x.adapter.Values)
		coming += 4 * n // gradients
		if !l.c.Optimizer.Paged && !l.loaded {
			coming += optim.StateBytes(l.c.Optimizer.Bits, n)
		}
		if l.c.Critic.Shared {
			break
		}
	}
	room := l.room(coming)
	if room <= 0 {
		return run.NoRoom(room, "lower ppo.sampling.max_batch")
	}
	l.tape.Within(room, l.rows, 0) // the tape that does not record is there already
	l.room = nil
	return nil
}

// fits is an error where a step that is to be judged took more than there is room for.
func (l *learner) fits(judged bool) error {
	if over := l.tape.Over(); over > 0 && judged {
		return run.OverBudget("ppo", "max_prompt", over)
	}
	return nil
}

// largestMicro is the most tokens that a micro-batch can have.
func largestMicro(prompts []Prompt, c Config) int {
	longest := 0
	for _, p := range prompts {
		longest = max(longest, len(p.IDs))
	}
	longest += c.Sampling.MaxNew
	return max(longest, min(c.MicroTokens, longest*((c.Batch+c.Minibatches-1)/c.Minibatches)))
}

// rates are the learning rates of an update: schedules count episodes, so both are 0 when the last one is done.
func (l *learner) rates(st *state) (policy, critic float64) {
	return l.c.schedule(l.c.LR).LR(st.Episodes), l.c.schedule(l.c.Critic.LR).LR(st.Episodes)
}

// gradients adds up the micro-batches' gradients and computes the step's statistics. Nothing moves.
func (s *step) gradients(ctx context.Context) error {
	l := s.l
	m := &l.pass
	for which := s.which; len(which) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := s.tr.fit(which, l.c.MicroTokens, false)
		s.tr.lay(m, which[:n], false)
		which = which[n:]
		a := len(s.values)
		b := a + len(m.rows)
		if s.stats.trainedPolicy {
			l.tape.Reset()
			h := l.model.Hidden(l.tape, l.policy.adapter, m.batch.Batch)
			s.policyPass(m, h, a, b)
			if l.c.Critic.Shared {
				s.valuePass(m, h, a, b, l.c.Critic.Coef)
			}
			l.tape.Backward()
		}
		if !l.c.Critic.Shared {
			l.tape.Reset()
			s.valuePass(m, l.criticHidden(s.tr, m), a, b, 1)
			l.tape.Backward()
		}
	}
	l.vectors = s.vectors
	s.summarise()
	return nil
}

// policyPass seeds the gradient of the policy loss of tokens a to b of the step.
func (s *step) policyPass(m *micro, h *tensor.Tensor, a, b int) {
	l := s.l
	logp, entropy := l.model.LogProbs(l.tape, l.policy.adapter, h, m.rows, m.targets, l.temperature)
	s.policyLogp, s.entropy = widen(s.policyLogp, logp), widen(s.entropy, entropy)
	r := l.policyLoss.Eval(s.weights[a:b], map[string][]float64{
		"policyLogp": s.policyLogp[a:b], "oldLogp": s.oldLogp[a:b], "advantages": s.advantages[a:b], "entropy": s.entropy[a:b],
	})
	for i, x := range r.Show["surrogate"] {
		s.stats.policyLoss += s.weights[a+i] * x
	}
	logp.Seed(r.Grad["policyLogp"])
	if l.c.EntropyCoef != 0 {
		entropy.Seed(r.Grad["entropy"])
	}
}

// valuePass seeds the gradient of coef times the value loss of tokens a to b of the step.
func (s *step) valuePass(m *micro, h *tensor.Tensor, a, b int, coef float64) {
	l := s.l
	values := l.model.Scores(l.tape, l.critic.adapter, h, m.rows)
	s.values = l.widenValues(s.values, values)
	r := l.valueLoss.Eval(s.weights[a:b], map[string][]float64{"values": s.values[a:b], "oldValues": s.oldValues[a:b], "returns": s.returns[a:b]})
	s.stats.valueLoss += r.Loss
	seed := r.Grad["values"]
	for i := range seed {
		seed[i] *= coef
	}
	values.Seed(seed)
}

// summarise computes the statistics and clips the gradients.
func (s *step) summarise() {
	l, st := s.l, &s.stats
	if st.trainedPolicy {
		st.policy = objective.PolicyHealth(s.policyLogp, s.oldLogp, s.advantages, l.c.clipping())
		st.entropy = objective.Mean(s.entropy)
		st.policyNorm = optim.Clip(l.model.Pool(), l.policy.adapter.Grads, l.c.MaxGradNorm)
	}
	st.value = objective.ValueHealth(s.values, s.oldValues, s.returns, l.c.Clip.Value)
	if l.critic != l.policy {
		st.criticNorm = optim.Clip(l.model.Pool(), l.critic.adapter.Grads, l.c.MaxGradNorm)
	}
	for _, x := range []float64{st.policyLoss, st.valueLoss, st.entropy, st.policyNorm, st.criticNorm, st.policy.Ratio, st.value.Error} {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			st.nonFinite = true
		}
	}
}

// move applies the gradients.
func (s *step) move() {
	l := s.l
	if s.stats.trainedPolicy {
		l.policy.opt.Step(l.policy.adapter.Values, l.policy.adapter.Grads, s.policyLR)
	}
	if l.critic != l.policy {
		l.critic.opt.Step(l.critic.adapter.Values, l.critic.adapter.Grads, s.criticLR)
	}
}

func (s *step) episodes() []uint64 {
	var out []uint64
	for _, i := range s.which {
		out = append(out, s.tr.Episodes[i])
	}
	return out
}
