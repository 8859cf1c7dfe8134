package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"plumb/internal/dataset"
	"plumb/internal/pairs"
	"plumb/internal/run"
	"plumb/internal/ui"
	"plumb/labeling"
)

// pairsFile holds the pairs of the stage, one JSON object a line.
const pairsFile = "pairs.jsonl"

// pairLine is a line of pairs.jsonl: an item of the labeling queue.
type pairLine struct {
	Prompt  labeling.Prompt   `json:"prompt"`
	Answers []labeling.Answer `json:"answers"`
}

// answerMeta is what the queue keeps of an answer besides its text; hidden while judging.
type answerMeta struct {
	Temperature float64   `json:"temperature"`
	Sample      int       `json:"sample"`
	Stop        string    `json:"stop"`
	IDs         []int32   `json:"ids"`
	LogProbs    []float32 `json:"logprobs"`
}

func (a *app) pairsCmd() *cobra.Command {
	return a.stageCmd("pairs", "Sample answers into the labeling queue",
		"Runs the stage pairs of a recipe: prompts in, pairs of answers in the label store out.")
}

// pairsStage samples answers, pairs them and puts the pairs into the label store.
func (p *pipeline) pairsStage(ctx context.Context) (stageJob, error) {
	c := p.recipe.Pairs
	base, err := p.trunk(ctx)
	if err != nil {
		return stageJob{}, err
	}
	m := manifestOf(base)
	refs := c.From
	if len(refs) == 0 {
		refs = []string{"base"}
		if p.recipe.SFT != nil {
			refs = []string{"sft"}
		}
	}
	var policies []pairs.Policy
	var encoders []*dataset.Encoder
	for i, ref := range refs {
		own := p.ownRef(ref)
		if own != ref && ref != "base" && !run.IsStage(own) {
			return stageJob{}, fmt.Errorf("pairs.from: this run has no %s yet: run that stage first", ref)
		}
		l, err := p.onBase(ctx, own)
		if err != nil {
			return stageJob{}, fmt.Errorf("pairs.from: %s: %w", ref, err)
		}
		enc, err := l.encoder()
		if err != nil {
			return stageJob{}, err
		}
		encoders = append(encoders, enc)
		policies = append(policies, pairs.Policy{Name: ref, Model: l.Model, Adapter: l.Adapter, StopIDs: enc.StopIDs(), Decoder: l.Tokenizer})
		switch {
		case l.StageDir != "":
			m.Parents = append(m.Parents, run.Parent{Role: fmt.Sprintf("policy %d", i+1), Path: l.StageDir})
		case own != p.recipe.Base: // a model or an adapter from elsewhere
			sum := l.Base.SHA256
			if dir := expandHome(own); dirExists(dir) {
				if sum, err = hashPath(dir); err != nil {
					return stageJob{}, err
				}
			}
			m.Data = append(m.Data, run.Source{Name: ref, SHA256: sum})
		}
	}
	read, src, err := p.readPrompts(ctx, "pairs.prompts", c.Prompts, "", c.Limit)
	if err != nil {
		return stageJob{}, err
	}
	m.Data = append(m.Data, src)
	prompts, shown, err := p.encodeForAll(read, encoders, c.MaxPrompt)
	if err != nil {
		return stageJob{}, fmt.Errorf("pairs.prompts: %w", err)
	}
	for i, enc := range encoders {
		policies[i].Text = func(q pairs.Prompt, ids []int32) string { return enc.Answer(read[q.Number], q.IDs[i], ids) }
	}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		return p.samplePairs(ctx, s, c, policies, prompts, shown)
	}}, nil
}

// ownRef turns base, sft and ppo into the run's own; everything else stays.
func (p *pipeline) ownRef(ref string) string {
	switch ref {
	case "base":
		return p.recipe.Base
	case "sft", "ppo":
		return p.dir.Path(ref)
	}
	return ref
}

// encodeForAll encodes prompts for every policy; one too long for any is left
// out, and counted.
func (p *pipeline) encodeForAll(read []dataset.Prompt, encoders []*dataset.Encoder, limit int) ([]pairs.Prompt, []labeling.Prompt, error) {
	var out []pairs.Prompt
	var texts []labeling.Prompt
	long := 0
next:
	for n, pr := range read {
		q := pairs.Prompt{Number: n}
		for _, enc := range encoders {
			ids, err := enc.Prompt(pr)
			if err != nil {
				return nil, nil, err
			}
			if limit > 0 && len(ids) > limit {
				long++
				continue next
			}
			q.IDs = append(q.IDs, ids)
		}
		out = append(out, q)
		texts = append(texts, shownPrompt(pr.Prompt))
	}
	if long > 0 {
		p.warn("pairs: %d of %d prompts are longer than %d tokens and were left out", long, len(read), limit)
	}
	if len(out) == 0 {
		return nil, nil, errors.New("no prompt is left")
	}
	return out, texts, nil
}

// samplePairs goes through the prompts in chunks of SaveEvery, appends their
// pairs to pairs.jsonl and checkpoints after each chunk.
func (p *pipeline) samplePairs(ctx context.Context, s *run.Stage, c *pairs.Config, policies []pairs.Policy, prompts []pairs.Prompt, shown []labeling.Prompt) (stageResult, error) {
	file, err := s.Append(pairsFile)
	if err != nil {
		return stageResult{}, err
	}
	var counts pairs.Counts
	from := 0
	if step, dir, ok := s.Latest(); ok {
		from = step
		if err := readJSON(filepath.Join(dir, "pairs.json"), &counts); err != nil {
			return stageResult{}, err
		}
	}
	seed := pairs.Seed(p.recipe.Seed)
	p.progress.Start("pairs", "prompts", from, len(prompts))
	tokens := counts.Tokens
	for from < len(prompts) {
		to := min(from+c.SaveEvery, len(prompts))
		answers, err := pairs.Sample(ctx, c, seed, policies, prompts[from:to], func() {
			tokens++
			p.progress.Set(from, ui.Count(float64(tokens))+" tokens")
		})
		if err != nil {
			return stageResult{}, err // Between two chunks nothing is lost: the last checkpoint is where this one began.
		}
		var lines bytes.Buffer
		var now pairs.Counts
		for i, list := range answers {
			made, n := pairs.Make(c, list)
			now.Add(n)
			for _, pair := range made {
				if err := encodeLine(&lines, pairLine{shown[from+i], []labeling.Answer{stored(list[pair[0]]), stored(list[pair[1]])}}); err != nil {
					return stageResult{}, err
				}
			}
		}
		if _, err := file.Write(lines.Bytes()); err != nil {
			return stageResult{}, err
		}
		from = to
		counts.Add(now)
		if err := s.Log(from, pairMetrics(now)); err != nil {
			return stageResult{}, err
		}
		p.progress.Set(from, "")
		if err := s.Checkpoint(from, func(dir string) error { return writeJSON(filepath.Join(dir, "pairs.json"), counts) }); err != nil {
			return stageResult{}, err
		}
	}
	p.progress.Done()
	p.note("pairs: %d of %d answers to %d prompts; dropped %d identical, %d nearly so; %d prompts without a pair",
		counts.Pairs, counts.Answers, counts.Prompts, counts.Identical, counts.Near, counts.Single)
	if counts.Pairs == 0 {
		return stageResult{}, errors.New("no two answers to a prompt differ enough to be compared: raise pairs.temperature, pairs.per_prompt or pairs.near")
	}
	if err := p.fillQueue(ctx, s.Path(pairsFile)); err != nil {
		return stageResult{}, err
	}
	return stageResult{step: len(prompts), outputs: []string{pairsFile}, results: pairMetrics(counts)}, nil
}

func pairMetrics(n pairs.Counts) []run.KV {
	answers := max(float64(n.Answers), 1)
	return []run.KV{
		{Key: "prompts", Value: float64(n.Prompts)},
		{Key: "pairs", Value: float64(n.Pairs)},
		{Key: "answers", Value: float64(n.Answers)},
		{Key: "identical", Value: float64(n.Identical)},
		{Key: "near_identical", Value: float64(n.Near)},
		{Key: "prompts_without_pair", Value: float64(n.Single)},
		{Key: "completions/mean_length", Value: float64(n.Tokens) / answers},
		{Key: "completions/clipped_ratio", Value: 1 - float64(n.Stopped)/answers},
	}
}

func stored(a pairs.Answer) labeling.Answer {
	meta, err := json.Marshal(answerMeta{a.Temperature, a.Sample, a.Stop, a.IDs, a.LogProbs})
	if err != nil {
		panic("plumb: an answer's numbers cannot be written as JSON")
	}
	seed, logp := a.Seed, a.LogProb()
	return labeling.Answer{Text: a.Text, Model: a.Policy, Seed: &seed, LogProb: &logp, Meta: meta}
}

// fillQueue puts the pairs of a file into the run's label store, all or none.
// Those that are there already stay as they are, so doing it twice does it once.
func (p *pipeline) fillQueue(ctx context.Context, file string) error {
	items, err := readPairs(file)
	if err != nil {
		return err
	}
	return withStore(ctx, p.storePath(p.storeName()), true, func(store *labeling.Store) error {
		added, err := store.AddLabelled(ctx, items)
		if err == nil && added.New > 0 {
			p.note("queue %s: %d new pairs, %d were there already", store.Path(), added.New, added.Existing)
		}
		return err
	})
}

// isPairsFile reports whether a file is pairs.jsonl, by its first line.
func isPairsFile(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	line, _ := readLine(bufio.NewReader(f))
	r, err := parseRecord(1, line)
	return err == nil && r.has("prompt") && r.has("answers") && len(r.fields) == 2, nil
}

// readPairs reads pairs.jsonl as items to be judged.
func readPairs(name string) ([]labeling.Labelled, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var items []labeling.Labelled
	dec := json.NewDecoder(bufio.NewReader(f))
	for dec.More() {
		var l pairLine
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("%s: pair %d: %w", name, len(items)+1, err)
		}
		items = append(items, labeling.Labelled{Item: labeling.Item{Prompt: l.Prompt, Answers: l.Answers}})
	}
	return items, nil
}

// shownPrompt is a prompt as the labeling queue keeps it.
func shownPrompt(p dataset.Passage) labeling.Prompt {
	if !p.IsChat() {
		return labeling.Prompt{Text: p.Text}
	}
	var out labeling.Prompt
	for _, m := range p.Messages {
		out.Messages = append(out.Messages, labeling.Message{Role: m.Role, Content: m.Content})
	}
	return out
}
