package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"plumb/internal/kernels"
	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/rollout"
	"plumb/internal/run"
	"plumb/internal/stats"
	"plumb/internal/tensor"
)

// Prompt is a prompt as the person wrote it and as the policy reads it, generation prompt included.
type Prompt struct {
	Text string
	IDs  []int32
}

// Held is a demonstration's ids, and the weight of each as a target; ids of weight 0 are context only.
type Held struct {
	IDs    []int32
	Weight []float32
}

// Policy is one side: an adapter on the model (nil: the model itself).
type Policy struct {
	Name    string
	Adapter *peft.Adapter
}

// Inputs is what the stage compares and with what.
type Inputs struct {
	Model         *model.Model
	Before, After Policy // Before is also the reference of KL
	Prompts       []Prompt
	Held          []Held
	Judge         Scorer
	Proxies       []Scorer // shown beside the judge
	Optimised     []string // hashes of the scorers PPO optimised
	StopIDs       []int32
	Decode        func(prompt, ids []int32) string // what ids add to the prompt's text, without special tokens
	Seed          uint64
	Progress      Progress
}

// Progress is told what is being done and how far it is, in units; total is 0 where it is not known.
type Progress interface {
	Step(what, unit string, done, total int)
}

// Report is report.json.
type Report struct {
	Prompts     int          `json:"prompts"`
	Samples     int          `json:"samples"`
	Before      string       `json:"before"`
	After       string       `json:"after"`
	Comparisons []Comparison `json:"comparisons"` // the judge first
	// KL(after‖before), nats per answer: mean over after's answers of the sum of log after - log before (k1), its standard
	// error, and the same by k3, whose terms cannot be negative.
	KL          float64      `json:"kl"`
	KLSE        stats.Number `json:"kl_se"`
	KLK3        stats.Number `json:"kl_k3"`
	KLPerToken  float64      `json:"kl_per_token"`
	TextsBefore Texts        `json:"texts_before"`
	TextsAfter  Texts        `json:"texts_after"`
	// Perplexity of the answers of each side, given their prompts, under the bare model: how fluent it finds them.
	FluencyBefore stats.Number  `json:"answers_perplexity_before"`
	FluencyAfter  stats.Number  `json:"answers_perplexity_after"`
	PerplexityN   int           `json:"perplexity_tokens,omitempty"`
	PerplexityB   *stats.Number `json:"perplexity_before,omitempty"`
	PerplexityA   *stats.Number `json:"perplexity_after,omitempty"`
	before, after []Answer
}

// Run compares the two sides and writes report.json and report.html into the stage. The caller has begun the stage and
// finishes it.
func Run(ctx context.Context, cfg Config, in Inputs, st *run.Stage) (*Report, error) {
	// 1. The judge must be nobody's target.
	if in.Judge.Hash != "" && slices.Contains(in.Optimised, in.Judge.Hash) {
		return nil, fmt.Errorf("judge %s is the reward model that PPO optimised: its scores after PPO say how well it was gamed; name another reward stage (eval.judge.reward) or a rule", in.Judge.Name)
	}
	if len(in.Prompts) == 0 {
		return nil, errors.New("eval.prompts: no prompts")
	}
	if cfg.Limit > 0 && len(in.Prompts) > cfg.Limit {
		in.Prompts = in.Prompts[:cfg.Limit]
	}
	e := &evaluation{cfg: cfg, in: in, tape: tensor.NewInferenceTape(in.Model.Pool())}
	r := &Report{Prompts: len(in.Prompts), Samples: cfg.Samples, Before: in.Before.Name, After: in.After.Name}

	// 2. Answers of both sides by the same draws.
	sides, err := e.answers(ctx, in.Before, in.After)
	if err != nil {
		return nil, err
	}
	r.before, r.after = sides[0], sides[1]
	// 3. and 4. Scores and what they say.
	for i, s := range append([]Scorer{in.Judge}, in.Proxies...) {
		s.Role = "proxy"
		if i == 0 {
			s.Role = "judge"
		}
		before, err := e.scores(ctx, s, in.Before.Name, r.before)
		if err != nil {
			return nil, err
		}
		after, err := e.scores(ctx, s, in.After.Name, r.after)
		if err != nil {
			return nil, err
		}
		c, err := compare(s, before, after, cfg, in.Seed+uint64(2*i))
		if err != nil {
			return nil, err
		}
		r.Comparisons = append(r.Comparisons, c)
	}
	// 5. How far the policy moved.
	if err := e.kl(ctx, r); err != nil {
		return nil, err
	}
	// 6. What the texts look like.
	r.TextsBefore, r.TextsAfter = describe(r.before, r.after), describe(r.after, r.before)
	if err := e.fluency(ctx, r); err != nil {
		return nil, err
	}
	// 7. What was forgotten.
	if err := e.perplexities(ctx, r); err != nil {
		return nil, err
	}
	// 8. The report.
	return r, r.write(st, cfg)
}

type evaluation struct {
	cfg  Config
	in   Inputs
	tape *tensor.Tape
}

func (e *evaluation) progress(what, unit string, done, total int) {
	if e.in.Progress != nil {
		e.in.Progress.Step(what, unit, done, total)
	}
}

// shown is how many answers are computed between two words on how far it is.
const shown = 32

// scores are those of a scorer for all answers of a side.
func (e *evaluation) scores(ctx context.Context, s Scorer, side string, answers []Answer) ([]float64, error) {
	var out []float64
	what := "scores of " + side + " by " + s.Name
	for lo := 0; lo < len(answers); lo += shown {
		e.progress(what, "answers", lo, len(answers))
		part, err := s.Score(ctx, answers[lo:min(lo+shown, len(answers))])
		if err != nil {
			return nil, fmt.Errorf("score answers of %s with %s: %w", side, s.Name, err)
		}
		out = append(out, part...)
	}
	e.progress(what, "answers", len(answers), len(answers))
	return out, nil
}

// logProbs are the log-probabilities of all continuations at temperature 1.
func (e *evaluation) logProbs(ctx context.Context, what string, a *peft.Adapter, cs []model.Continuation) ([][]float32, error) {
	var out [][]float32
	for lo := 0; lo < len(cs); lo += shown {
		e.progress(what, "texts", lo, len(cs))
		part, _, err := e.in.Model.LogProbsOf(ctx, e.tape, a, cs[lo:min(lo+shown, len(cs))], 1, e.cfg.MicroTokens)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	e.progress(what, "texts", len(cs), len(cs))
	return out, nil
}

// sampleStream keeps the draws of the answers apart from those of other stages with the same seed.
const sampleStream = 0x6576616c // "eval"

// answers samples sides, each [prompts × samples], together, so that the model is read once for all. Episode and sample number key
// the draws, so all sides see the same ones.
func (e *evaluation) answers(ctx context.Context, sides ...Policy) ([][]Answer, error) {
	kv, err := kernels.ParseKVType(e.cfg.KVCache)
	if err != nil {
		return nil, fmt.Errorf("kv_cache: %w", err)
	}
	var reqs []rollout.Request
	for i, q := range e.in.Prompts {
		for side := range sides {
			for s := range e.cfg.Samples {
				reqs = append(reqs, rollout.Request{Prompt: q.IDs, Episode: uint64(i), Sample: uint64(s), Adapter: side})
			}
		}
	}
	opt := rollout.Options{
		Temperature: float32(e.cfg.Temperature), TopP: e.cfg.TopP, Greedy: e.cfg.Temperature == 0,
		StopIDs: e.in.StopIDs, MaxNew: e.cfg.MaxNew, MaxBatch: e.cfg.MaxBatch, KV: kv, Seed: rng.Derive(e.in.Seed, sampleStream),
	}
	var names []string
	var adapters []*peft.Adapter
	for _, p := range sides {
		names, adapters = append(names, p.Name), append(adapters, p.Adapter)
	}
	what := "answers of " + strings.Join(names, " and ")
	e.progress(what, "answers", 0, len(reqs))
	opt.Ended = func(done int) { e.progress(what, "answers", done, len(reqs)) }
	cs, err := rollout.Generate(ctx, e.in.Model, adapters, reqs, opt)
	if bad := (*rollout.NotFinite)(nil); errors.As(err, &bad) {
		what = "answers of " + names[reqs[bad.Request].Adapter]
	}
	if err != nil {
		return nil, fmt.Errorf("generate %s: %w", what, err)
	}
	out := make([][]Answer, len(sides))
	for i, c := range cs {
		r := reqs[i]
		q := e.in.Prompts[r.Episode]
		out[r.Adapter] = append(out[r.Adapter], Answer{
			Prompt: q.Text, PromptIDs: q.IDs, IDs: c.IDs, Stop: c.Stop, Text: e.in.Decode(q.IDs, c.IDs),
		})
	}
	return out, nil
}

// kl fills KL(after‖before) from the answers of after, at temperature 1.
func (e *evaluation) kl(ctx context.Context, r *Report) error {
	cs := make([]model.Continuation, len(r.after))
	for i, a := range r.after {
		cs[i] = model.Continuation{Context: a.PromptIDs, IDs: a.IDs}
	}
	after, err := e.logProbs(ctx, "log-probabilities by "+e.in.After.Name, e.in.After.Adapter, cs)
	if err != nil {
		return err
	}
	before, err := e.logProbs(ctx, "log-probabilities by "+e.in.Before.Name, e.in.Before.Adapter, cs)
	if err != nil {
		return err
	}
	k1, k3 := make([]float64, len(cs)), make([]float64, len(cs))
	tokens, total := 0, 0.0
	for i := range cs {
		for t := range after[i] {
			d := float64(after[i][t]) - float64(before[i][t])
			k1[i] += d
			k3[i] += math.Exp(-d) - 1 + d
		}
		tokens += len(after[i])
		total += k1[i]
	}
	m := stats.MeanOf(perPrompt(k1, e.cfg.Samples))
	r.KL, r.KLSE, r.KLK3, r.KLPerToken = m.Value, stats.Number(m.SE), stats.Number(stats.MeanOf(k3).Value), total/float64(max(tokens, 1))
	return nil
}

// fluency fills exp of the mean negative log-probability per token of each side's answers, stop tokens included, under the
// model without an adapter.
func (e *evaluation) fluency(ctx context.Context, r *Report) error {
	for i, side := range [][]Answer{r.before, r.after} {
		cs := make([]model.Continuation, len(side))
		for j, a := range side {
			cs[j] = model.Continuation{Context: a.PromptIDs, IDs: a.IDs}
		}
		name := e.in.Before.Name
		if i == 1 {
			name = e.in.After.Name
		}
		lps, err := e.logProbs(ctx, "fluency of the answers of "+name, nil, cs)
		if err != nil {
			return err
		}
		nll, tokens := 0.0, 0
		for _, answer := range lps {
			for _, lp := range answer {
				nll -= float64(lp)
			}
			tokens += len(answer)
		}
		ppl := stats.Number(math.Exp(nll / float64(max(tokens, 1))))
		if i == 0 {
			r.FluencyBefore = ppl
		} else {
			r.FluencyAfter = ppl
		}
	}
	return nil
}

// perplexities fills exp of the mean weighted negative log-probability per held-out target token, for both sides.
func (e *evaluation) perplexities(ctx context.Context, r *Report) error {
	if len(e.in.Held) == 0 {
		return nil
	}
	cs := make([]model.Continuation, len(e.in.Held))
	for i, h := range e.in.Held {
		cs[i] = model.Continuation{Context: h.IDs[:1], IDs: h.IDs[1:]}
	}
	for i, p := range []Policy{e.in.Before, e.in.After} {
		lps, err := e.logProbs(ctx, "perplexity of "+p.Name, p.Adapter, cs)
		if err != nil {
			return err
		}
		nll, weight := 0.0, 0.0
		r.PerplexityN = 0
		for j, h := range e.in.Held {
			for t, lp := range lps[j] {
				if w := float64(h.Weight[t+1]); w > 0 {
					nll -= w * float64(lp)
					weight += w
					r.PerplexityN++
				}
			}
		}
		if weight == 0 {
			return errors.New("eval.held: no demonstration has a token to predict")
		}
		ppl := stats.Number(math.Exp(nll / weight))
		if i == 0 {
			r.PerplexityB = &ppl
		} else {
			r.PerplexityA = &ppl
		}
	}
	return nil
}

// Outputs names the files Run leaves in the stage folder.
func Outputs() []string { return []string{"report.json", "report.html", "answers.jsonl"} }

func (r *Report) write(st *run.Stage, cfg Config) error {
	err := st.WriteFile("report.json", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	})
	if err != nil {
		return err
	}
	err = st.WriteFile("answers.jsonl", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for i, b := range r.before {
			row := map[string]any{"prompt": b.Prompt, "before": b.Text, "after": r.after[i].Text, "before_stop": b.Stop, "after_stop": r.after[i].Stop}
			scores := map[string][2]float64{}
			for _, c := range r.Comparisons {
				scores[c.Scorer] = [2]float64{c.BeforeScores[i], c.AfterScores[i]}
			}
			row["scores"] = scores
			if err := enc.Encode(row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	page, err := r.page(cfg)
	if err != nil {
		return err
	}
	return st.WriteFile("report.html", page.Write)
}
