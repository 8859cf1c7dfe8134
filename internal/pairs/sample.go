package pairs

import (
	"context"
	"fmt"

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
	type group struct {
		policy      int
		temperature float64
	}
	members := map[group][]int{} // answers j
	var order []group
	for j := range c.PerPrompt {
		p, t := c.source(j, len(policies))
		g := group{p, t}
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
		p := policies[g.policy]
		var reqs []rollout.Request
		for _, prompt := range prompts {
			for _, j := range members[g] {
				reqs = append(reqs, rollout.Request{Prompt: prompt.IDs[g.policy], Episode: uint64(prompt.Number), Sample: uint64(j)})
			}
		}
		done, err := rollout.Generate(ctx, p.Model, p.Adapter, reqs, rollout.Options{
			Temperature: float32(g.temperature), TopK: c.TopK, TopP: c.TopP, MinP: c.MinP,
			StopIDs: p.StopIDs, StopStrings: c.Stop, MinNew: c.MinNew, MaxNew: c.MaxNew,
			Seed: seed, MaxBatch: c.MaxBatch, Decoder: p.Decoder, Token: told, KV: kv,
		})
		if err != nil {
			return nil, fmt.Errorf("answers of %s: %w", p.Name, err)
		}
		for i, a := range done {
			prompt, j := i/len(members[g]), members[g][i%len(members[g])]
			out[prompt][j] = Answer{
				Text: p.Text(prompts[prompt], a.IDs), IDs: a.IDs, LogProbs: a.LogProbs, Stop: a.Stop,
				Policy: p.Name, Temperature: g.temperature, Seed: seed, Sample: j,
			}
		}
	}
	return out, nil
}
