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
		l, err := p.onBase(ctx, p.ownRef(ref))
		if err != nil {
			return stageJob{}, fmt.Errorf("pairs.from: %s: %w", ref, err)
		}
		enc, err := l.encoder()
		if err != nil {
			return stageJob{}, err
		}
		encoders = append(encoders, enc)
		policies = append(policies, pairs.Policy{Name: ref, Model: l.Model, Adapter: l.Adapter, StopIDs: enc.StopIDs(), Decoder: l.Tokenizer})
		if l.StageDir != "" {
			m.Parents = append(m.Parents, run.Parent{Role: fmt.Sprintf("policy %d", i+1), Path: l.StageDir})
		}
	}
	read, src, err := p.readPrompts(ctx, "pairs.prompts", c.Prompts, "", c.Limit)
	if err != nil {
		return stageJob{}, err
	}
	m.Data = []run.Source{src}
	prompts, shown, err := p.encodeForAll(read, encoders, c.MaxPrompt)
	if err != nil {
		return stageJob{}, fmt.Errorf("pairs.prompts: %w", err)
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
	for from < len(prompts) {
		to := min(from+c.SaveEvery, len(prompts))
		answers, err := pairs.Sample(ctx, c, seed, policies, prompts[from:to], nil)
		if err != nil {
			return stageResult{}, err // Between two chunks nothing is lost: the last checkpoint is where this one began.
		}
		var lines bytes.Buffer
		for i, list := range answers {
			made, n := pairs.Make(c, list)
			counts.Add(n)
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
		p.progress.Set(from, fmt.Sprintf("%+v", counts))
		if err := s.Checkpoint(from, func(dir string) error { return writeJSON(filepath.Join(dir, "pairs.json"), counts) }); err != nil {
			return stageResult{}, err
		}
	}
	made, err := p.fillQueue(ctx, s.Path(pairsFile))
	if err != nil {
		return stageResult{}, err
	}
	if made == 0 {
		return stageResult{}, errors.New("every pair was nearly identical: raise pairs.temperature, or pairs.near")
	}
	return stageResult{step: len(prompts), outputs: []string{pairsFile}, results: []run.KV{{Key: "prompts", Value: float64(len(prompts))}, {Key: "pairs", Value: float64(made)}}}, nil
}

func stored(a pairs.Answer) labeling.Answer {
	meta, err := json.Marshal(answerMeta{a.Temperature, a.Sample, a.Stop, a.IDs, a.LogProbs})
	if err != nil {
		panic("plumb: an answer's numbers cannot be written as JSON")
	}
	seed, logp := a.Seed, a.LogProb()
	return labeling.Answer{Text: a.Text, Model: a.Policy, Seed: &seed, LogProb: &logp, Meta: meta}
}

// fillQueue adds the pairs of a file to the label store; those that are there
// already stay as they are.
func (p *pipeline) fillQueue(ctx context.Context, file string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var items []labeling.Item
	dec := json.NewDecoder(bufio.NewReader(f))
	for dec.More() {
		var l pairLine
		if err := dec.Decode(&l); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		items = append(items, labeling.Item{Prompt: l.Prompt, Answers: l.Answers})
	}
	if len(items) == 0 {
		return 0, nil
	}
	store, err := labeling.Open(ctx, p.storePath(p.storeName()))
	if err != nil {
		return 0, err
	}
	defer store.Close()
	added, err := store.AddItems(ctx, items)
	if err != nil {
		return 0, err
	}
	p.note("pairs: %d in the queue %s, %d of them new", len(items), store.Path(), added.New)
	return len(items), nil
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
