package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb/internal/dataset"
	"plumb/internal/golden"
	"plumb/reward"
	"plumb/sft"
)

// A prompt that two sources have is on one side only.
func TestSourcesAreSplitTogether(t *testing.T) {
	var sources [2][]string
	for i := range 40 {
		sources[0] = append(sources[0], fmt.Sprint("prompt ", i))
		sources[1] = append(sources[1], fmt.Sprint("prompt ", i*2))
	}
	train, held, err := splitSources(sources[:], sources[:], 0.25, 1) // A row is its key.
	if err != nil {
		t.Fatal(err)
	}
	if len(held) < 15 || len(held) > 25 || len(held)+len(train[0])+len(train[1]) != 80 {
		t.Errorf("%d rows held out, %d and %d to train on", len(held), len(train[0]), len(train[1]))
	}
	out := map[string]bool{}
	for _, k := range held {
		out[k] = true
	}
	for _, rows := range train {
		for _, k := range rows {
			if out[k] {
				t.Errorf("%q is trained on and held out", k)
			}
		}
	}
}

// What packing leaves out is said: a prompt that fills the row (2 bins of 4 ids; the first has nothing to learn), and ids cut off.
func TestPackingSaysWhatItLeavesOut(t *testing.T) {
	row := func(n, from int) dataset.Example {
		x := dataset.Example{IDs: make([]int32, n), Weights: make([]float32, n)}
		for i := from; i < n; i++ {
			x.Weights[i] = 1
		}
		return x
	}
	var said bytes.Buffer
	p := &pipeline{app: &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &said, now: time.Now}}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	rows, err := p.sftPack("to train on", []dataset.Example{row(6, 5), row(4, 1)}, sft.Config{Packing: true, MaxLength: 4})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if !strings.Contains(said.String(), "1 have nothing to learn") || !strings.Contains(said.String(), "2 tokens were cut off") {
		t.Errorf("said %q", said.String())
	}
}

// Stop tokens are named by the vocabulary's text or by one that is one token.
func TestStopTokensByText(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, now: time.Now}
	if err := a.start(); err != nil {
		t.Fatal(err)
	}
	at, err := a.locate(context.Background(), golden.Shared(t, "models/tinystories-656k"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.openSides(at, "tinystories-656k")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := l.tokensOf([]string{".", "\n"})
	if err != nil || len(ids) != 2 || l.Tokenizer.Decode(ids, false) != ".\n" {
		t.Errorf("ids %v, which are %q; %v", ids, l.Tokenizer.Decode(ids, false), err)
	}
	if _, err := l.tokensOf([]string{"two words here"}); err == nil || !strings.Contains(err.Error(), "two words here") {
		t.Errorf("a text of many tokens: %v", err)
	}
}

// What has no prompt cannot be normalised on: said in words, before anything is trained. The tokenizer has no BOS, which could
// stand for an empty prompt.
func TestNormaliseNeedsPrompts(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, now: time.Now}
	if err := a.start(); err != nil {
		t.Fatal(err)
	}
	l, err := a.openSides(place{base: golden.Shared(t, "tokenizers/gpt2-hf/tokenizer.json")}, "gpt2")
	if err != nil {
		t.Fatal(err)
	}
	enc, err := dataset.NewEncoder(dataset.EncoderConfig{Tokenizer: l.Tokenizer})
	if err != nil {
		t.Fatal(err)
	}
	two := []dataset.Prompt{{Prompt: dataset.Passage{Text: "One day"}}, {Prompt: dataset.Passage{Text: "A cat"}}}
	got, err := normaliseOn(enc, two, 3)
	if err != nil || len(got) != 3 || !slices.Equal(got[0].Prompt, got[2].Prompt) || got[2].Episode != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := normaliseOn(enc, []dataset.Prompt{{}}, 3); err == nil || !strings.Contains(err.Error(), "normalise.prompts") {
		t.Errorf("%v", err)
	}
}

// Rows seen are told with and without held-out rows.
func TestSFTResults(t *testing.T) {
	done := sft.Summary{Loss: 2, Tokens: 7, EvalLoss: 3, BestStep: 4}
	if got := fmt.Sprint(sftResults(done, false)); got != "[{loss 2} {num_tokens 7}]" {
		t.Errorf("without held-out rows: %s", got)
	}
	if got := fmt.Sprint(sftResults(done, true)); got != "[{loss 2} {num_tokens 7} {eval_loss 3} {best_step 4}]" {
		t.Errorf("with held-out rows: %s", got)
	}
}

// Two judgements of one item have one origin; each pair keeps the record it was made of.
func TestPairsKeepTheirRecords(t *testing.T) {
	var said bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &said, now: time.Now}
	if err := a.start(); err != nil {
		t.Fatal(err)
	}
	at, err := a.locate(context.Background(), golden.Shared(t, "models/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.openSides(at, "stories260k")
	if err != nil {
		t.Fatal(err)
	}
	enc, err := l.encoder()
	if err != nil {
		t.Fatal(err)
	}
	record := func(chosen, rejected string) dataset.Comparison {
		return dataset.Comparison{
			Origin: dataset.Origin{File: "labels.db", Line: 1}, Better: 1,
			Prompt: dataset.Passage{Text: "One day"}, Chosen: dataset.Passage{Text: chosen}, Rejected: dataset.Passage{Text: rejected},
		}
	}
	list := []dataset.Comparison{record(" same", " same"), record(" a dog", " a cat"), record(" a cat", " a dog")}
	p := &pipeline{app: a}
	pairs, err := p.rewardPairs(enc, reward.Default(), comparisons{name: "labels.db", list: list})
	if err != nil || len(pairs) != 2 {
		t.Fatalf("%d pairs, %v", len(pairs), err)
	}
	for i, x := range pairs {
		if want := list[i+1].Chosen.Text; x.Record.Chosen.Text != want {
			t.Errorf("pair %d has the record of %q, want %q", i, x.Record.Chosen.Text, want)
		}
	}
}
