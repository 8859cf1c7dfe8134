package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"plumb/internal/run"
	"plumb/internal/tales"
	"plumb/labeling"
)

// sampledPairs runs the stage pairs of a recipe with further flags, and returns its lines and results.
func sampledPairs(t *testing.T, recipe, runs string, flags ...string) ([]pairLine, run.Values) {
	t.Helper()
	command(t, append([]string{"pairs", recipe, "--runs", runs, "-q"}, flags...)...)
	stage := filepath.Join(runs, "two", "pairs")
	m, err := run.ReadManifest(stage)
	if err != nil {
		t.Fatal(err)
	}
	return lines[pairLine](t, filepath.Join(stage, pairsFile)), m.Results
}

func metaOf(t *testing.T, a labeling.Answer) (m answerMeta) {
	t.Helper()
	if err := json.Unmarshal(a.Meta, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// twoPolicies makes the recipe of a run with the base and what SFT made of it, and runs its sft.
func twoPolicies(t *testing.T, prompts []string) (recipe, runs string) {
	t.Helper()
	dir := t.TempDir()
	recipe, runs = filepath.Join(dir, "recipe.yaml"), filepath.Join(dir, "runs")
	var demos, asked strings.Builder
	for _, d := range tales.Demonstrations(8, 1) {
		fmt.Fprintf(&demos, "{\"messages\": [{\"role\": \"user\", \"content\": %q}, {\"role\": \"assistant\", \"content\": %q}]}\n", d.Prompt, d.Completion)
	}
	for _, p := range prompts {
		fmt.Fprintf(&asked, "{\"prompt\": [{\"role\": \"user\", \"content\": %q}]}\n", p)
	}
	text := fmt.Sprintf(`name: two
base: embedded:tales
seed: 7
sft: {data: [{path: %[1]s/demos.jsonl}], eval: 0, lr: 2e-3, peft: {r: 2}}
pairs: {prompts: %[1]s/prompts.jsonl, from: [base, sft], per_prompt: 4, temperature: [1, 0.8], max_new: 24, near: 1}
`, dir)
	for name, text := range map[string]string{"recipe.yaml": text, "demos.jsonl": demos.String(), "prompts.jsonl": asked.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "sft", recipe, "--runs", runs, "-q")
	return recipe, runs
}

// Of two policies the answers come in turn, at each temperature in turn; each is on record with its source, the seed and the
// log-probabilities that its source, and not the other, gives its ids. With two answers a prompt every pair has one of each.
func TestPairsOfTwoPolicies(t *testing.T) {
	prompts := tales.Prompts(0, 6, 20)
	recipe, runs := twoPolicies(t, prompts)
	lines, results := sampledPairs(t, recipe, runs)
	answers := answersOf(t, prompts, lines)
	if n, _ := results.Lookup("identical"); n != 0 || len(lines) != 6*6 {
		t.Fatalf("%g answers are identical, %d pairs: the prompts or the seed make a poor test", n, len(lines))
	}
	var asked, ids []any
	for _, p := range prompts {
		asked = append(asked, map[string]any{"messages": []message{{"user", p}}})
	}
	for i, r := range do(t, asked, "tokenize", "embedded:tales", "--chat", "--generation-prompt") {
		for j, a := range answers[i] {
			m := metaOf(t, a)
			if a.Seed == nil || a.LogProb == nil {
				t.Fatalf("prompt %d, answer %d has no seed or no log-probability", i, j)
			}
			if a.Model != []string{"base", "sft"}[j%2] || m.Temperature != []float64{1, 0.8}[j/2] || *a.Seed != *answers[0][0].Seed {
				t.Errorf("prompt %d, answer %d: of %s at %g, seed %d", i, j, a.Model, m.Temperature, *a.Seed)
			}
			ids = append(ids, map[string]any{"ids": slices.Concat(field[[]int32](t, r, "ids"), m.IDs)})
		}
	}
	scored := map[string][]map[string]json.RawMessage{
		"base": do(t, ids, "score", "embedded:tales"), "sft": do(t, ids, "score", filepath.Join(runs, "two", "sft")),
	}
	for i := range prompts {
		for j, a := range answers[i][:2] { // those at temperature 1
			m := metaOf(t, a)
			said := func(model string) []float32 {
				all := field[[]float32](t, scored[model][4*i+j], "logprobs")
				return all[len(all)-len(m.IDs):]
			}
			other := []string{"sft", "base"}[j]
			if !slices.Equal(m.LogProbs, said(a.Model)) || slices.Equal(m.LogProbs, said(other)) {
				t.Errorf("prompt %d: %v are on record of %s, which gives %v, and %s %v", i, m.LogProbs, a.Model, said(a.Model), other, said(other))
			}
			sum := 0.0
			for _, l := range m.LogProbs {
				sum += float64(l)
			}
			if math.Abs(sum-*a.LogProb) > 1e-9 {
				t.Errorf("prompt %d: log-probability %g, the tokens' sum is %g", i, *a.LogProb, sum)
			}
		}
	}
	two, _ := sampledPairs(t, recipe, runs, "--pairs.per_prompt", "2")
	if len(two) != len(prompts) {
		t.Fatalf("%d pairs of two answers to each of %d prompts", len(two), len(prompts))
	}
	for i, l := range two {
		if l.Answers[0].Model != "base" || l.Answers[1].Model != "sft" || l.Answers[0].Text != answers[i][0].Text || l.Answers[1].Text != answers[i][1].Text {
			t.Errorf("prompt %d: a pair of %s and %s", i, l.Answers[0].Model, l.Answers[1].Model)
		}
	}
}

// answersOf are the answers to each prompt in the order they were sampled.
func answersOf(t *testing.T, prompts []string, lines []pairLine) [][]labeling.Answer {
	t.Helper()
	out := make([][]labeling.Answer, len(prompts))
	for i := range out {
		out[i] = make([]labeling.Answer, 4)
	}
	for _, l := range lines {
		i := slices.Index(prompts, l.Prompt.Messages[0].Content)
		for _, a := range l.Answers {
			out[i][metaOf(t, a).Sample] = a
		}
	}
	return out
}

var simpleWord = regexp.MustCompile(`[A-Za-z0-9]+|[^A-Za-z0-9\s]`) // all there are in a tale

// alike is 1 less the edit distance over the length of the longer, both in words; by the textbook's table.
func alike(a, b string) float64 {
	x, y := simpleWord.FindAllString(a, -1), simpleWord.FindAllString(b, -1)
	table := make([][]int, len(x)+1)
	for i := range table {
		table[i] = make([]int, len(y)+1)
		for j := range table[i] {
			switch {
			case i == 0 || j == 0:
				table[i][j] = i + j
			case x[i-1] == y[j-1]:
				table[i][j] = table[i-1][j-1]
			default:
				table[i][j] = 1 + min(table[i-1][j-1], table[i-1][j], table[i][j-1])
			}
		}
	}
	return 1 - float64(table[len(x)][len(y)])/float64(max(len(x), len(y)))
}

// Answers nearly the same as an earlier one of their prompt are dropped and counted, whichever policy gave them: the pairs are those
// of what is left of the same answers when it is done by hand.
func TestNearlyIdenticalAnswersAreDropped(t *testing.T) {
	prompts := tales.Prompts(0, 6, 20)
	recipe, runs := twoPolicies(t, prompts)
	lines, _ := sampledPairs(t, recipe, runs)
	const limit = 0.4
	var want []string
	near, alone := 0, 0
	for i, list := range answersOf(t, prompts, lines) {
		var kept []labeling.Answer
		for _, a := range list {
			if slices.ContainsFunc(kept, func(k labeling.Answer) bool { return alike(k.Text, a.Text) >= limit }) {
				near++
				continue
			}
			for _, k := range kept {
				want = append(want, fmt.Sprint(prompts[i], metaOf(t, k).Sample, metaOf(t, a).Sample))
			}
			kept = append(kept, a)
		}
		if len(kept) < 2 {
			alone++
		}
	}
	if near == 0 || len(want) == 0 {
		t.Fatalf("%d answers are near another, %d pairs are left: the limit makes a poor test", near, len(want))
	}
	lines, results := sampledPairs(t, recipe, runs, "--pairs.near", fmt.Sprint(limit))
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprint(l.Prompt.Messages[0].Content, metaOf(t, l.Answers[0]).Sample, metaOf(t, l.Answers[1]).Sample))
	}
	slices.Sort(want) // by hand they come in another order
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("pairs of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for key, n := range map[string]int{"prompts": 6, "answers": 24, "near_identical": near, "identical": 0, "prompts_without_pair": alone, "pairs": len(want)} {
		if x, ok := results.Lookup(key); !ok || x != float64(n) {
			t.Errorf("%s is %g (%t), want %d", key, x, ok, n)
		}
	}
}
