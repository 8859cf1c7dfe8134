package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"plumb/internal/tales"
)

// lines reads a file of JSON objects.
func lines[T any](t *testing.T, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []T
	for dec := json.NewDecoder(f); dec.More(); {
		var x T
		if err := dec.Decode(&x); err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// goldOf is the hidden rule's word on a story.
func goldOf(t *testing.T, prompt, story string) float64 {
	t.Helper()
	q, err := tales.ParseRequest(prompt)
	if err != nil {
		t.Fatal(err)
	}
	return tales.Gold(q, story)
}

// above is 1 where a is above b, ½ where they are equal.
func above(a, b float64) float64 {
	switch {
	case a > b:
		return 1
	case a == b:
		return 0.5
	}
	return 0
}

// A run of every stage whose labels follow the embedded rule leaves every number of the chain in summary.json: what can be counted again
// from the pairs, the answers and the manifests that the stages leave. The table printed at the end says the same.
func TestSummaryOfEveryStage(t *testing.T) {
	dir := taleChain(t)
	live := filepath.Join(dir, "runs", "t")
	table := command(t, "run", filepath.Join(dir, "recipe.yaml"), "--data-dir", dir, "--runs", filepath.Join(dir, "runs"), "-q")
	var summary map[string]any
	if err := readJSON(filepath.Join(live, "summary.json"), &summary); err != nil {
		t.Fatal(err)
	}
	number := func(path string) float64 {
		t.Helper()
		var v any = summary
		for key := range strings.SplitSeq(path, ".") {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		x, ok := v.(float64)
		if !ok {
			t.Errorf("summary.json: %s is %v", path, v)
		}
		return x
	}
	want := map[string]float64{}

	var accuracy, ceiling, pairs float64
	for _, h := range lines[heldPair](t, filepath.Join(live, "reward", heldFile)) {
		if h.Better == 1 { // else a tie, which nobody can get right
			accuracy += above(h.Scores[0], h.Scores[1])
			ceiling += above(goldOf(t, h.Prompt, h.Chosen), goldOf(t, h.Prompt, h.Rejected))
			pairs++
		}
	}
	want["reward.accuracy"], want["reward.ceiling"], want["reward.pairs"] = accuracy/pairs, ceiling/pairs, pairs

	var gold, proxy [2][]float64 // before and after
	var difference []float64
	for _, x := range lines[struct {
		Prompt, Before, After string
		Scores                map[string][2]float64
	}](t, filepath.Join(live, "eval", "answers.jsonl")) {
		before, after := goldOf(t, x.Prompt, x.Before), goldOf(t, x.Prompt, x.After)
		gold[0], gold[1] = append(gold[0], before), append(gold[1], after)
		proxy[0], proxy[1] = append(proxy[0], x.Scores["reward"][0]), append(proxy[1], x.Scores["reward"][1])
		difference = append(difference, after-before)
		want["win_rate"] += above(after, before) / 10
	}
	if len(difference) != 10 {
		t.Fatalf("%d answers, want one to each of 10 prompts", len(difference))
	}
	want["gold.before"], want["gold.after"] = stat.Mean(gold[0], nil), stat.Mean(gold[1], nil)
	want["proxy.before"], want["proxy.after"] = stat.Mean(proxy[0], nil), stat.Mean(proxy[1], nil)
	mean, deviation := stat.MeanStdDev(difference, nil)
	student := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: 9}
	want["gold.p"] = 2 * student.Survival(math.Abs(mean)/deviation*math.Sqrt(10))

	var report struct{ KL float64 }
	if err := readJSON(filepath.Join(live, "eval", "report.json"), &report); err != nil {
		t.Fatal(err)
	}
	want["kl"] = report.KL
	for _, stage := range stageOrder {
		var m struct{ Timing struct{ Seconds float64 } }
		if err := readJSON(filepath.Join(live, stage, "run.json"), &m); err != nil {
			t.Fatal(err)
		}
		want["seconds"] += m.Timing.Seconds
	}
	for path, x := range want {
		near(t, path, []float64{number(path)}, []float64{x}, 1e-9)
	}
	if deviation == 0 || want["proxy.before"] == want["proxy.after"] || want["kl"] == 0 {
		t.Error("nothing happened between before and after: the numbers prove nothing")
	}

	for row, path := range map[string]string{
		"reward model accuracy": "reward.accuracy", "noise ceiling": "reward.ceiling", "proxy score before": "proxy.before",
		"proxy score after": "proxy.after", "gold score before": "gold.before", "gold score after": "gold.after",
		"gold score after .* p =": "gold.p", "KL from the SFT policy": "kl", "win rate": "win_rate",
	} {
		m := regexp.MustCompile(`(?m)^` + row + ` +([-+.e0-9]+)\b`).FindStringSubmatch(table)
		if m == nil {
			t.Errorf("the table has no %q:\n%s", row, table)
			continue
		}
		// Four digits are printed.
		if x, err := strconv.ParseFloat(m[1], 64); err != nil || math.Abs(x-number(path)) > 0.51e-3*math.Abs(number(path)) {
			t.Errorf("the table says %s for %q, summary.json has %g", m[1], row, number(path))
		}
	}
	spent := fmt.Sprintf("%.0fs", number("seconds"))
	if !regexp.MustCompile(`(?m)^time +` + spent + ` +all stages$`).MatchString(table) {
		t.Errorf("the table does not say %s:\n%s", spent, table)
	}
}
