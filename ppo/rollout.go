package ppo

import (
	"context"
	"fmt"
	"math"

	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/rollout"
)

// Streams of random numbers, so that the order of prompts, the order of minibatches and the sampler's draws have nothing to do
// with each other, nor with the draws of other stages of the same seed.
const (
	promptStream  = 0x70706f70 // "ppop"
	shuffleStream = 0x70706f73 // "ppos"
	sampleStream  = 0x70706f72 // "ppor"
)

// Scorer judges whole texts. A reward model is one; so is a rule.
type Scorer interface {
	// Scores returns one score per response, higher is better. It is given exactly the ids that the policy was given and
	// chose, up to and including the stop token where there is one; it must not keep or change them.
	Scores(ctx context.Context, prompts, responses [][]int32) ([]float64, error)
}

// rewardModel is a Scorer that is an adapter with a scalar head on the policy's own base: a score is gain times the head's output at the
// last token of the response, plus bias.
type rewardModel interface {
	RewardModel() (a *peft.Adapter, gain, bias float64)
}

// order is the sequence in which pass number pass goes through n prompts: each has an order of its own.
func order(seed uint64, pass, n int) []int { return rng.New(seed, promptStream, uint64(pass)).Perm(n) }

// rollOut is step 1 of an update: the responses to episodes st.Episodes and following.
func (l *learner) rollOut(ctx context.Context, in Inputs, st *state) (*Trajectories, error) {
	c := l.c
	n := min(c.Batch, c.Episodes-st.Episodes)
	tr := &Trajectories{}
	reqs := make([]rollout.Request, n)
	var perm []int
	for i := range reqs {
		episode := st.Episodes + i
		pass, at := episode/len(in.Prompts), episode%len(in.Prompts)
		if i == 0 || at == 0 {
			perm = order(in.Seed, pass, len(in.Prompts))
		}
		p := in.Prompts[perm[at]]
		reqs[i] = rollout.Request{Prompt: p.IDs, Episode: uint64(episode)}
		tr.Episodes, tr.Prompts, tr.texts = append(tr.Episodes, uint64(episode)), append(tr.Prompts, p.IDs), append(tr.texts, p.Text)
	}
	options, drawn := rolloutOptions(c, in.Seed, in.StopIDs), 0
	options.KV = l.kv
	options.Token = func(int, int32, float32) {
		drawn++
		l.show.Set(st.Episodes, fmt.Sprintf("sampling, %d tokens", drawn))
	}
	done, err := rollout.Generate(ctx, l.model, []*peft.Adapter{l.policy.adapter}, reqs, options)
	if err != nil {
		return nil, err
	}
	var lengths []int
	for _, d := range done {
		response, ended := CutAtStop(d.IDs, in.StopIDs, c.Stop.After)
		tr.Responses, tr.Ended = append(tr.Responses, response), append(tr.Ended, ended)
		lengths = append(lengths, len(response))
		for _, lp := range d.LogProbs[:len(response)] {
			tr.SampledLogp = append(tr.SampledLogp, float64(lp))
		}
	}
	tr.Starts = StartsOf(lengths)
	return tr, nil
}

// rolloutOptions sample from the whole distribution at the temperature, and nothing else. With stop.after the stop ids do not
// end a generation: they are ordinary tokens up to there, and the response is cut afterwards.
func rolloutOptions(c Config, seed uint64, stop []int32) rollout.Options {
	seed = rng.Derive(seed, sampleStream)
	o := rollout.Options{Temperature: float32(c.Sampling.Temperature), TopP: 1, MaxNew: c.Sampling.MaxNew, MaxBatch: c.Sampling.MaxBatch, Seed: seed, StopIDs: stop}
	if c.Stop.After > 0 {
		o.StopIDs, o.IgnoreStop = nil, true
	}
	return o
}

// checkScores refuses what is not a number for every response; err is what the scorer had to say.
func checkScores(tr *Trajectories, err error) error {
	first, last := tr.Episodes[0], tr.Episodes[tr.B()-1]
	if err != nil {
		return fmt.Errorf("score episodes %d to %d: %w", first, last, err)
	}
	if n := len(tr.RawScores); n != tr.B() {
		return fmt.Errorf("score episodes %d to %d: %d scores for %d responses", first, last, n, tr.B())
	}
	for i, x := range tr.RawScores {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("score episode %d: the scorer gave %v", tr.Episodes[i], x)
		}
	}
	return nil
}

// shape turns raw scores into those the rewards are made of: scaled by the running deviation, clipped, and the missing-stop
// rule, in this order. It takes the raw scores into the moments.
func shape(raw []float64, ended []bool, c Config, st *state) []float64 {
	out := append([]float64(nil), raw...)
	st.Moments.Update(raw)
	if c.Score.Scale == "running" {
		for i := range out {
			out[i] /= max(st.Moments.Std(), 1e-8)
		}
	}
	return c.MissingStop.Apply(ClipScores(out, c.Score.Clip), ended)
}
