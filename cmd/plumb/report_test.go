package main

import (
	"math"
	"reflect"
	"testing"

	"plumb/internal/report"
)

// The page of a stage that logs score and KL shows the one against the other, with the updates on the frontier and their n; by hand:
// update 3 has the score of update 2 at more KL.
func TestPageShowsScoreAgainstKL(t *testing.T) {
	line := func(update, kl, klSE, score, scoreSE, n, tokens float64) metricLine {
		return metricLine{update, []metricKV{
			{"objective/kl", kl}, {"objective/kl_se", klSE}, {"objective/scores", score}, {"objective/scores_se", scoreSE}, {"batch/episodes", n}, {"batch/tokens", tokens},
		}}
	}
	lines := []metricLine{
		line(1, 0, 0, -1, 0.5, 64, 12345), line(2, 1.5, 0.25, 0.25, 0.125, 64, 4000), line(3, 2, 0.25, 0.25, 0.125, 64, 4000),
		line(4, 4, 0.5, 1, 0.125, 16, 1000),
		{5, []metricKV{{"objective/kl", 5}}},
		{6, []metricKV{{"objective/kl", 1}, {"objective/scores", math.NaN()}}},
	}
	p := &report.Page{}
	if err := addFrontier(p, lines); err != nil {
		t.Fatal(err)
	}
	if len(p.Blocks) != 3 || p.Blocks[0].Heading != "Score against KL" || p.Blocks[1].Figure == nil || p.Blocks[2].Table == nil {
		t.Fatalf("%d blocks, want a heading, a chart and a table", len(p.Blocks))
	}
	want := [][]string{
		{"1", "0 ± 0", "-1 ± 0.5", "64", "12345"}, {"2", "1.5 ± 0.25", "0.25 ± 0.12", "64", "4000"}, {"4", "4 ± 0.5", "1 ± 0.12", "16", "1000"},
	}
	if got := p.Blocks[2].Table.Rows; !reflect.DeepEqual(got, want) {
		t.Errorf("the frontier is %v, want %v", got, want)
	}
	p = &report.Page{}
	if err := addFrontier(p, []metricLine{{1, []metricKV{{"loss", 2}}}}); err != nil || len(p.Blocks) != 0 {
		t.Errorf("a stage without KL has %d blocks about it, %v", len(p.Blocks), err)
	}
}
