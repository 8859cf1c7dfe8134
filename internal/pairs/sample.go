package pairs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/rollout"
)

// Policy is a model that answers.
type Policy struct {
	Name    string // as the recipe names it
	Model   *model.Model
	Adapter *peft.Adapter // nil: the model as it is
	StopIDs []int32
	Decoder rollout.Decoder
	// Text is what sampled ids are, as the answer to a prompt; without special tokens.
	Text func(prompt Prompt, ids []int32) string
}

// answersLike says whether two policies differ in nothing but their adapters, while they sample.
func (p Policy) answersLike(q Policy) bool {
	return p.Model == q.Model && p.Decoder == q.Decoder && slices.Equal(p.StopIDs, q.StopIDs)
}

// Prompt is one prompt, encoded for each policy.
type Prompt struct {
	Number int       // place in the file, from 0: it keys the draws
	IDs    [][]int32 // [policies]
}

// Answer is one sampled answer.
type Answer struct {
	Text        string    `json:"text"` // without special tokens
	IDs         []int32   `json:"ids"`  // the stop token included
	LogProbs    []float32 `json:"logprobs"`
	Stop        string    `json:"stop"` // eos, stop_id, stop_string, length
	Policy      string    `json:"policy"`
	Temperature float64   `json:"temperature"`
	Seed        uint64    `json:"seed"`
	Sample      int       `json:"sample"` // which of its prompt's answers, from 0
}

// LogProb is the log-probability of the whole answer under the distribution it was drawn from, nats.
func (a Answer) LogProb() float64 {
	sum := 0.0
	for _, l := range a.LogProbs {
		sum += float64(l)
	}
	return sum
}

// streamPairs keeps these draws apart from those of other stages with the same seed.
const streamPairs = 0x616e7377657273 // "answers"

// Seed is the sampling seed of a recipe's seed. It has 53 bits, so that every reader of JSON keeps it.
func Seed(seed uint64) uint64 { return rng.Derive(seed, streamPairs) >> 11 }

// source tells which policy and which temperature answer j of a prompt comes from.
func (c *Config) source(j, policies int) (policy int, temperature float64) {
	return j % policies, c.Temperature[j/policies%len(c.Temperature)]
}

// Sample is step 1: PerPrompt answers for each prompt, [prompts][PerPrompt]. seed is what Seed returned. token, if not nil,
// is called as each token is drawn, to show progress.
func Sample(ctx context.Context, c *Config, seed uint64, policies []Policy, prompts []Prompt, token func()) ([][]Answer, error) {
	out := make([][]Answer, len(prompts))
	for i := range out {
		out[i] = make([]Answer, c.PerPrompt)
	}
	// Answers at one temperature by policies of one model are sampled together: the model is read once for all.
	type group struct {
		first       int // the first of those policies
		temperature float64
	}
	members := map[group][]int{} // answers j
	var order []group
	for j := range c.PerPrompt {
		p, t := c.source(j, len(policies))
		g := group{slices.IndexFunc(policies, policies[p].answersLike), t}
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], j)
	}
	var told func(int, int32, float32)
	if token != nil {
		told = func(int, int32, float32) { token() }
	}
	kv, err := kernels.ParseKVType(c.KVCache)
	if err != nil {
		return nil, fmt.Errorf("kv_cache: %w", err)
	}
	for _, g := range order {
		var reqs []rollout.Request
		first := policies[g.first]
		adapters := make([]*peft.Adapter, len(policies))
		for i, p := range policies {
			if first.answersLike(p) {
				adapters[i] = p.Adapter
			}
		}
		for _, prompt := range prompts {
			for _, j := range members[g] {
				p, _ := c.source(j, len(policies))
				reqs = append(reqs, rollout.Request{Prompt: prompt.IDs[p], Episode: uint64(prompt.Number), Sample: uint64(j), Adapter: p})
			}
		}
		done, err := rollout.Generate(ctx, first.Model, adapters, reqs, rollout.Options{
			Temperature: float32(g.temperature), TopK: c.TopK, TopP: c.TopP, MinP: c.MinP,
			StopIDs: first.StopIDs, StopStrings: c.Stop, MinNew: c.MinNew, MaxNew: c.MaxNew,
			Seed: seed, MaxBatch: c.MaxBatch, Decoder: first.Decoder, Token: told, KV: kv,
		})
		if bad := (*rollout.NotFinite)(nil); errors.As(err, &bad) {
			first = policies[reqs[bad.Request].Adapter]
		}
		if err != nil {
			return nil, fmt.Errorf("answers of %s: %w", first.Name, err)
		}
		for i, a := range done {
			prompt, r := i/len(members[g]), reqs[i]
			p := policies[r.Adapter]
			out[prompt][r.Sample] = Answer{
				Text: p.Text(prompts[prompt], a.IDs), IDs: a.IDs, LogProbs: a.LogProbs, Stop: a.Stop,
				Policy: p.Name, Temperature: g.temperature, Seed: seed, Sample: int(r.Sample),
			}
		}
	}
	return out, nil
}
