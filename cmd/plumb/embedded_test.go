package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"plumb/internal/dataset"
)

// Every embedded data set is read as what it is, and is the same each time.
func TestEmbeddedData(t *testing.T) {
	dir := t.TempDir()
	for ref, kind := range map[string]dataset.Kind{
		"embedded:tales/demonstrations": dataset.Demonstrations, "embedded:tales/pairs": dataset.Comparisons,
		"embedded:tales/prompts": dataset.Prompts, "embedded:tales/held": dataset.Prompts,
	} {
		path, err := embeddedFile(dir, ref)
		if err != nil {
			t.Fatal(err)
		}
		s, err := dataset.Detect(path, dataset.Options{})
		if err != nil || s.Kind != kind {
			t.Errorf("%s is read as %s, %v", ref, s.Kind, err)
		}
		a, err := embeddedRecords(ref)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := embeddedRecords(ref); !bytes.Equal(a, b) {
			t.Errorf("%s differs the second time", ref)
		}
	}
	if _, err := embeddedRecords("embedded:tales/nothing"); err == nil {
		t.Error("a data set that is not there was made")
	}
}

// No prompt that the evaluation uses is one that a stage trains on.
func TestHeldPromptsAreApart(t *testing.T) {
	seen := map[string]bool{}
	prompts := func(ref string) (out []string) {
		data, err := embeddedRecords(ref)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		for dec.More() {
			var r struct{ Prompt []message }
			if err := dec.Decode(&r); err != nil {
				t.Fatal(err)
			}
			out = append(out, r.Prompt[0].Content)
		}
		return out
	}
	for _, p := range prompts("embedded:tales/prompts") {
		seen[p] = true
	}
	twice := 0
	held := prompts("embedded:tales/held")
	for _, p := range held {
		if seen[p] {
			twice++
		}
	}
	if twice > 0 {
		t.Errorf("%d of %d held-out prompts are among those to train on", twice, len(held))
	}
}
