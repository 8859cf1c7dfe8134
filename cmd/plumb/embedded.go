package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"plumb/internal/checkpoint"
	"plumb/internal/run"
	"plumb/internal/tales"
)

// embeddedPrefix marks what comes with the program: embedded:tales.
const embeddedPrefix = "embedded:"

// openEmbedded opens a model that comes with the program.
func openEmbedded(ref string) (*checkpoint.Source, error) {
	if ref != embeddedPrefix+"tales" {
		return nil, fmt.Errorf("no embedded model is called %q; there is embedded:tales", strings.TrimPrefix(ref, embeddedPrefix))
	}
	return checkpoint.OpenFS(tales.Base(), ref)
}

// The embedded data sets, all drawn with one seed of their own: they are the same in every run.
const (
	talesSeed      = 20
	talesDocuments = 60000
	talesExamples  = 4096
	talesPrompts   = 8192
	talesHeld      = 512
)

// embeddedRecords makes the records of an embedded data set, as JSONL.
func embeddedRecords(ref string) ([]byte, error) {
	var records []any
	prompts := func(list []string) {
		for _, p := range list {
			records = append(records, map[string]any{"prompt": []message{{"user", p}}})
		}
	}
	switch ref {
	case embeddedPrefix + "tales/corpus":
		for _, text := range tales.Corpus(talesDocuments, talesSeed) {
			records = append(records, map[string]string{"text": text})
		}
	case embeddedPrefix + "tales/demonstrations":
		for _, d := range tales.Demonstrations(talesExamples, talesSeed) {
			records = append(records, map[string]any{"messages": []message{{"user", d.Prompt}, {"assistant", d.Completion}}})
		}
	case embeddedPrefix + "tales/pairs":
		pairs, err := talesComparisons()
		if err != nil {
			return nil, err
		}
		records = pairs
	case embeddedPrefix + "tales/prompts":
		prompts(tales.Prompts(0, talesPrompts, talesSeed))
	case embeddedPrefix + "tales/held":
		prompts(talesHeldOut())
	default:
		return nil, fmt.Errorf("no embedded data are called %q; there are embedded:tales/demonstrations, /pairs, /prompts, /held and /corpus", ref)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// talesHeldOut are prompts that are in no other embedded data set.
func talesHeldOut() []string {
	seen := map[string]bool{}
	for _, p := range tales.Prompts(0, talesPrompts, talesSeed) {
		seen[p] = true
	}
	for _, d := range tales.Demonstrations(talesExamples, talesSeed) {
		seen[d.Prompt] = true
	}
	for _, p := range tales.Pairs(talesExamples, talesSeed) {
		seen[p.Prompt] = true
	}
	var out []string
	for start := talesPrompts; len(out) < talesHeld; start++ {
		if p := tales.Prompts(start, 1, talesSeed)[0]; !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// talesComparisons are pairs of tales by the authors of the demonstrations, judged by the simulated labeler; ties are left out.
func talesComparisons() ([]any, error) {
	margins := []float64{0, 0, 1. / 3, 2. / 3, 1} // by strength, slightly to much
	var out []any
	for i, p := range tales.Pairs(talesExamples, talesSeed) {
		q, err := tales.ParseRequest(p.Prompt)
		if err != nil {
			return nil, err
		}
		l := tales.LabelPair(q, p.A, p.B, talesSeed, uint64(i))
		if l == 0 {
			continue
		}
		chosen, rejected := p.A, p.B
		if l < 0 {
			l, chosen, rejected = -l, p.B, p.A
		}
		out = append(out, map[string]any{
			"prompt": []message{{"user", p.Prompt}}, "chosen": []message{{"assistant", chosen}}, "rejected": []message{{"assistant", rejected}}, "margin": margins[l],
		})
	}
	return out, nil
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// embeddedFile writes an embedded data set into folder, where it is not there already, and returns its path.
func embeddedFile(folder, ref string) (string, error) {
	data, err := embeddedRecords(ref)
	if err != nil {
		return "", err
	}
	name := strings.ReplaceAll(strings.TrimPrefix(ref, embeddedPrefix), "/", "-") + ".jsonl"
	path := filepath.Join(folder, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return path, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	return path, run.WriteFile(path, writeBytes(data))
}
