package main

import (
	"slices"
	"testing"

	"plumb/internal/chat"
	"plumb/internal/golden"
)

// What generate says of a prompt is what score reads: the ids sampled, under a tokenizer whose decoder drops the space that
// begins a text. Greedy texts of a trained model are written as its tokenizer writes them.
func TestGeneratedTextScoresAsSampled(t *testing.T) {
	for _, name := range []string{"stories260k", "stories3m"} {
		dir := golden.Shared(t, "models/"+name)
		var in []any
		for _, prompt := range []string{"Once upon a time", "One day Tom saw a big", "The girl said"} {
			in = append(in, map[string]any{"prompt": prompt})
		}
		said := do(t, in, "generate", dir, "--greedy", "--max-new", "24", "--ignore-stop")
		var texts []any
		for _, r := range said {
			texts = append(texts, r)
		}
		for i, r := range do(t, texts, "score", dir) {
			ids, sampled := field[[]int32](t, r, "ids"), field[[]int32](t, said[i], "completion_ids")
			if n := len(ids) - len(sampled); n < 0 || !slices.Equal(ids[n:], sampled) {
				t.Errorf("%s: %q became %v, sampled were %v", name, field[string](t, said[i], "completion"), ids, sampled)
			}
		}
	}
}

// A template that asks for the date gets none: ids are the same every day, and those of training.
func TestTemplatesSeeNoClock(t *testing.T) {
	tmpl, err := chat.Parse("{{ strftime_now('%Y') if strftime_now is defined else 'no date' }}")
	if err != nil {
		t.Fatal(err)
	}
	l := &loaded{Template: tmpl}
	text, err := l.render([]chat.Message{{Role: "user", Content: "Hello"}}, false)
	if err != nil || text != "no date" {
		t.Errorf("rendered %q, %v", text, err)
	}
}
