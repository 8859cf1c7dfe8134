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
	prompts := func(start, n int) {
		for _, p := range tales.Prompts(start, n, talesSeed) {
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
	case embeddedPrefix + "tales/prompts":
		prompts(0, talesPrompts)
	case embeddedPrefix + "tales/held":
		prompts(talesPrompts, talesHeld)
	default:
		return nil, fmt.Errorf("no embedded data are called %q; there are embedded:tales/demonstrations, /prompts, /held and /corpus", ref)
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
