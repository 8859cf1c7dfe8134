package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"plumb/internal/report"
	"plumb/internal/run"
)

// reportFile is the page of a stage.
const reportFile = "report.html"

// metricLine is one line of metrics.jsonl; keys in the order of the file.
type metricLine struct {
	step float64
	kvs  []metricKV
}

type metricKV struct {
	key   string
	value float64 // NaN where the file has null
}

// stageReport writes the page of a training stage: its results and every metric it logged, a chart each.
func stageReport(s *run.Stage, results []run.KV) error {
	lines, err := readMetrics(s.Path("metrics.jsonl"))
	if err != nil {
		return err
	}
	m := s.Manifest()
	p := &report.Page{Title: fmt.Sprintf("%s of run %s", m.Stage, m.Run), Subtitle: fmt.Sprintf("seed %d on %s; %d lines of metrics", m.Seed, m.Base.Name, len(lines))}
	var rows [][]string
	for _, kv := range results {
		rows = append(rows, []string{kv.Key, report.Number(kv.Value)})
	}
	if len(rows) > 0 {
		p.Heading("Result")
		p.Table("", []string{"measure", "value"}, rows)
	}
	if err := addHistogram(p, s.Path(heldFile)); err != nil {
		return err
	}
	if err := addFrontier(p, lines); err != nil {
		return err
	}
	p.Heading("Metrics")
	if err := addCurves(p, lines); err != nil {
		return err
	}
	return s.WriteFile(reportFile, p.Write)
}

// addCurves draws each metric over the steps; a metric and its counterpart on held-out rows share a chart.
func addCurves(p *report.Page, lines []metricLine) error {
	var order []string
	series := map[string]*report.Series{}
	for _, l := range lines {
		for _, kv := range l.kvs {
			c := series[kv.key]
			if c == nil {
				c = &report.Series{Name: kv.key}
				series[kv.key] = c
				order = append(order, kv.key)
			}
			c.X, c.Y = append(c.X, l.step), append(c.Y, kv.value)
		}
	}
	for _, key := range order {
		if base, ok := strings.CutPrefix(key, "eval_"); ok && series[base] != nil {
			continue // drawn with it
		}
		curves := []report.Series{*series[key]}
		if c := series["eval_"+key]; c != nil {
			curves = append(curves, *c)
		}
		if err := p.Curves(key, "step", key, curves...); err != nil {
			return err
		}
	}
	return nil
}

// addFrontier draws the score against the divergence it was bought with, where the stage logged both: a point an update.
func addFrontier(p *report.Page, lines []metricLine) error {
	var at []metricLine
	var kl, score []float64
	for _, l := range lines {
		x, y := l.of("objective/kl"), l.of("objective/scores")
		if !math.IsNaN(x + y) {
			at, kl, score = append(at, l), append(kl, x), append(score, y)
		}
	}
	if len(at) == 0 {
		return nil
	}
	p.Heading("Score against KL")
	err := p.Points("a point for each update: the mean score of its responses against their mean KL from the reference; the line is the highest score within a KL",
		"KL, nats per response", "score", kl, score)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, i := range report.Frontier(kl, score) {
		l := at[i]
		rows = append(rows, []string{
			count(l.step), report.PlusMinus(kl[i], l.of("objective/kl_se")), report.PlusMinus(score[i], l.of("objective/scores_se")),
			count(l.of("batch/episodes")), count(l.of("batch/tokens")),
		})
	}
	p.Table("the line's corners: updates with a higher score than any at as little KL", []string{"update", "KL", "score", "responses", "tokens"}, rows)
	return nil
}

// count prints a whole number of any size.
func count(x float64) string {
	if math.IsNaN(x) {
		return report.Number(x)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

// of is the value of a metric, NaN where the line has none.
func (l metricLine) of(key string) float64 {
	for _, kv := range l.kvs {
		if kv.key == key {
			return kv.value
		}
	}
	return math.NaN()
}

// addHistogram draws the scores of held-out pairs, where the stage left them.
func addHistogram(p *report.Page, path string) error {
	held, err := readHeld(path)
	if err != nil || len(held) == 0 {
		return err
	}
	var chosen, rejected []float64
	for _, h := range held {
		chosen, rejected = append(chosen, h.Scores[0]), append(rejected, h.Scores[1])
	}
	p.Heading("Scores of held-out pairs")
	return p.Histogram("normalised scores of the better and the worse answers", "score", 24, report.Series{Name: "chosen", Y: chosen}, report.Series{Name: "rejected", Y: rejected})
}

func readMetrics(path string) ([]metricLine, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []metricLine
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		l, err := parseMetrics(sc.Text())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		out = append(out, l)
	}
	return out, sc.Err()
}

func parseMetrics(text string) (metricLine, error) {
	var l metricLine
	dec := json.NewDecoder(strings.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return l, err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return l, err
		}
		var v *float64
		if err := dec.Decode(&v); err != nil {
			return l, err
		}
		name, _ := key.(string)
		switch {
		case name == "step" && v != nil:
			l.step = *v
		case v != nil:
			l.kvs = append(l.kvs, metricKV{name, *v})
		}
	}
	return l, nil
}

// heldFile holds a reward stage's held-out pairs with their scores.
const heldFile = "held.jsonl"

// heldPair is a line of heldFile. Scores are normalised, of Chosen and Rejected.
type heldPair struct {
	Prompt   string     `json:"prompt"`
	Chosen   string     `json:"chosen"`
	Rejected string     `json:"rejected"`
	Better   float64    `json:"better"` // 1, or ½ for a tie
	Scores   [2]float64 `json:"scores"`
}

func readHeld(path string) ([]heldPair, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []heldPair
	dec := json.NewDecoder(bufio.NewReader(f))
	for dec.More() {
		var h heldPair
		if err := dec.Decode(&h); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
		}
		out = append(out, h)
	}
	return out, nil
}
