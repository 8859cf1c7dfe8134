package ppo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"plumb/internal/objective"
	"plumb/internal/run"
)

// 25. Metrics: masked, with their n, per token and per sequence; the numbers of a batch small enough to work out by hand.
func TestPoint25HonestMetrics(t *testing.T) {
	tr := &Trajectories{
		Episodes: []uint64{0, 1}, Prompts: [][]int32{{1}, {1, 2}}, Responses: [][]int32{{7, 7, 7, 7, 7, stopID}, {stopID}}, Ended: []bool{true, true},
		Starts: StartsOf([]int{6, 1}), KLCoef: 0.5,
		SampledLogp: []float64{-1, -1, -1, -1, -1, -1, -4}, OldLogp: []float64{-1, -1, -1, -1, -1, -1, -4},
		RefLogp: []float64{-2, -1, -1, -1, -1, -1, -5}, KL: []float64{1, 0, 0, 0, 0, 0, 1},
		OldValues: []float64{0, 0, 0, 0, 0, 0, 2}, Returns: []float64{1, 1, 1, 1, 1, 1, 3}, RawScores: []float64{1, 4}, Scores: []float64{1, 3},
		Advantages: []float64{1, 1, 1, 1, 1, 1, -6},
	}
	tr.Rewards = Rewards(tr.KL, tr.Starts, tr.Scores, tr.KLCoef)
	steps := []stepStats{
		{trainedPolicy: true, policyLoss: 1, entropy: 2, policyNorm: 3, policy: objective.PolicyStats{ApproxKL: 0.5, Ratio: 1, RatioMax: 4}},
		{nonFinite: true, policyLoss: math.NaN()},
		{valueLoss: 4, criticNorm: 1}, // the critic's warm-up: not counted among the policy's
	}
	m := run.Values(metrics(tr, Default(), &state{Episodes: 10, NonFinite: 1}, steps, 0.1, 0.2))
	for key, want := range map[string]float64{
		"episode": 10, "batch/episodes": 2, "batch/tokens": 7, "batch/policy_steps": 1, "batch/critic_steps": 2,
		"objective/kl": 1, "objective/kl_per_token": 2.0 / 7, "objective/kl_coef": 0.5, "objective/kl_se": 0,
		"objective/kl_k3": math.Exp(-1), "objective/scores": 2, "objective/scores_std": math.Sqrt2, "objective/scores_se": 1, "objective/scores_raw": 2.5,
		"objective/non_score_reward": -0.5, "objective/rlhf_reward": 1.5, "objective/entropy": 5,
		"policy/approxkl_avg": 0.5, "policy/entropy_avg": 2, "loss/policy_avg": 1, "loss/value_avg": 2, "val/ratio": 1, "val/ratio_max": 4,
		"grad_norm/policy": 3, "grad_norm/critic": 0.5, "val/num_eos_tokens": 2, "val/eos_frac": 1, "val/var_explained": 1,
		"val/mean": 2.0 / 7, "returns/mean": 9.0 / 7, "tokens/responses_len_mean": 3.5, "tokens/responses_len_max": 6,
		"tokens/responses_len_p95": 5.75, "tokens/queries_len_mean": 1.5,
		// 7777 twice, 777s once; 6 and 0 four-grams... the first response has 3 four-grams, one repeated; the second none.
		"text/repeated_4grams": (1.0 / 3) / 2, "text/distinct_1": 2.0 / 7, "text/distinct_2": 2.0 / 5, "text/empty_frac": 0.5,
		"rollout/logprob_diff_mean": 0, "rollout/logprob_diff_max": 0, "guard/steps": 3, "guard/skipped_nonfinite": 1, "lr": 0.1, "lr_critic": 0.2,
	} {
		if got := get(t, m, key); math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	in, c := toy(t)
	r := trainToy(t, in, c)
	for _, kv := range r.Metrics {
		if math.IsNaN(kv.Value) || math.IsInf(kv.Value, 0) {
			t.Errorf("%s is %v", kv.Key, kv.Value)
		}
	}
}

// response is what the record of rollouts keeps of one: the test's own reading of the file.
type response struct {
	Update    int
	Completed []int32 `json:"completion_ids"`
	Score, KL float64
}

// recorded reads the lines that a training left: its metrics, and its responses by update.
func recorded(t *testing.T, s *run.Stage) (lines []map[string]float64, updates [][]response) {
	t.Helper()
	text, err := os.ReadFile(s.Path("metrics.jsonl"))
	must(t, err)
	for line := range bytes.Lines(text) {
		var m map[string]float64
		must(t, json.Unmarshal(line, &m))
		lines = append(lines, m)
	}
	f, err := os.Open(s.Path(rolloutsFile))
	must(t, err)
	defer f.Close()
	z, err := zstd.NewReader(bufio.NewReader(f))
	must(t, err)
	defer z.Close()
	updates = make([][]response, len(lines))
	for dec := json.NewDecoder(z); dec.More(); {
		var r response
		must(t, dec.Decode(&r))
		updates[r.Update-1] = append(updates[r.Update-1], r)
	}
	return lines, updates
}

// 25. Every line says over how many its means are, so that the means of a run are those of all its responses, the shorter last batch
// included: what is logged is compared with the responses as they were recorded.
func TestPoint25EveryMeanHasItsN(t *testing.T) {
	in, c := toy(t, func(_ *Inputs, c *Config) {
		c.Episodes, c.Batch, c.Minibatches, c.Epochs, c.Critic.Warmup = 28, 8, 2, 2, 1
	})
	s := stage(t, t.TempDir())
	_, err := Train(context.Background(), c, in, s)
	must(t, err)
	lines, updates := recorded(t, s)
	var episodes, policySteps, criticSteps []float64
	soFar := 0.0
	for u, m := range lines {
		tokens, score, kl := 0.0, 0.0, 0.0
		for _, r := range updates[u] {
			tokens, score, kl = tokens+float64(len(r.Completed)), score+r.Score, kl+r.KL
		}
		n := m["batch/episodes"]
		soFar += n
		episodes, policySteps, criticSteps = append(episodes, n), append(policySteps, m["batch/policy_steps"]), append(criticSteps, m["batch/critic_steps"])
		for what, pair := range map[string][2]float64{
			"episodes so far": {m["episode"], soFar}, "tokens": {m["batch/tokens"], tokens}, "length": {m["tokens/responses_len_mean"] * n, tokens},
			"scores": {m["objective/scores"] * n, score}, "KL": {m["objective/kl"] * n, kl}, "KL of the tokens": {m["objective/kl_per_token"] * m["batch/tokens"], kl},
		} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("update %d: %s: logged %v, recorded %v", u+1, what, pair[0], pair[1])
			}
		}
	}
	if !slices.Equal(episodes, []float64{8, 8, 8, 4}) || !slices.Equal(policySteps, []float64{0, 4, 4, 4}) || !slices.Equal(criticSteps, []float64{4, 4, 4, 4}) {
		t.Errorf("responses %v, steps of the policy %v, of the critic %v", episodes, policySteps, criticSteps)
	}
}
