package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/stats"
	"plumb/internal/ui"
	"plumb/reward"
)

const (
	curveStage = "curve" // a stage beside the recipe's: plumb reward --curve
	curveFile  = "curve.json"
)

// curveJob draws accuracy against the number of labels, in a folder of its own.
func (p *pipeline) curveJob(ctx context.Context) (stageJob, error) {
	c := *p.recipe.Reward
	base, adapter, sources, m, err := p.judgements(ctx)
	if err != nil {
		return stageJob{}, err
	}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		enc, err := base.encoder()
		if err != nil {
			return stageResult{}, err
		}
		if err := readAll(ctx, sources); err != nil {
			return stageResult{}, err
		}
		in := reward.CurveInputs{Model: base.Model, Seed: p.recipe.Seed, Room: p.room(base), Progress: func(label string) reward.Progress { return p.stepsOf(label) }}
		if in.Train, in.Held, err = p.splitPairs(enc, c, sources); err != nil {
			return stageResult{}, err
		}
		in.Fresh = func(seed uint64) (*peft.Adapter, error) {
			if adapter == nil {
				return p.scored(base, c, nil, seed)
			}
			return p.scored(base, c, adapter.Clone(), seed)
		}
		curve, err := reward.DrawCurve(ctx, c, in, s)
		if err != nil {
			return stageResult{}, err
		}
		err = s.WriteFile(curveFile, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(curve)
		})
		return stageResult{step: len(curve.Points), outputs: []string{curveFile}}, err
	}}, nil
}

// showCurve prints the curve that the run has.
func (p *pipeline) showCurve() error {
	data, err := os.ReadFile(p.dir.Path(curveStage, curveFile))
	if err != nil {
		return err
	}
	var c reward.Curve
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("read %s: %w", curveFile, err)
	}
	if p.json {
		return p.printJSON(c)
	}
	fmt.Fprintf(p.out, "accuracy on %d held-out pairs of %d prompts\n\n", c.HeldPairs, c.HeldPrompts)
	if err := p.tableOfPoints(c); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "\n%s\n", plotCurve(c, 60, 14))
	law := "accuracy does not rise with the number of pairs"
	if c.Fit.Scale > 0 {
		law = fmt.Sprintf("error = %.3f + %.3g·n^-%.2f", c.Fit.Floor, c.Fit.Scale, c.Fit.Exponent)
	}
	fmt.Fprintf(p.out, "fit: %s; trainings on as many prompts differ by %.1f points (standard deviation)\n", law, 100*c.TrainingStd)
	for _, g := range c.More {
		fmt.Fprintf(p.out, "%d more ≈ %+.1f ± %.1f points (95 %%: %+.1f to %+.1f)\n", g.Pairs, g.Points, g.SE, g.Interval.Low, g.Interval.High)
	}
	return nil
}

// tableOfPoints lists the trainings.
func (p *pipeline) tableOfPoints(c reward.Curve) error {
	var rows [][]string
	for _, x := range c.Points {
		share := "all"
		if x.Part > 1 {
			share = fmt.Sprintf("1/%d", x.Part)
		}
		rows = append(rows, []string{
			share, fmt.Sprint(x.Prompts), fmt.Sprint(x.Pairs), fmt.Sprintf("%.3f", x.Accuracy),
			fmt.Sprintf("%.3f to %.3f", x.Interval.Low, x.Interval.High), fmt.Sprintf("%.3f", c.Fit.Accuracy(float64(x.Pairs))), fmt.Sprintf("%.4f", x.Loss),
		})
	}
	return ui.Table(p.out, p.theme, []string{"share", "prompts", "pairs", "accuracy", "95 %", "fit", "loss"}, rows)
}

// size is what the trainings of one size say together.
type size struct {
	pairs, accuracy, low, high float64
}

// bySize puts trainings of one size together: means, and the Wilson interval of the mean accuracy.
func bySize(c reward.Curve) []size {
	var out []size
	for i := 0; i < len(c.Points); {
		x, n := size{}, 0.0
		for part := c.Points[i].Part; i < len(c.Points) && c.Points[i].Part == part; i++ {
			x.pairs, x.accuracy, n = x.pairs+float64(c.Points[i].Pairs), x.accuracy+c.Points[i].Accuracy, n+1
		}
		x.pairs, x.accuracy = x.pairs/n, x.accuracy/n
		held := float64(c.HeldPairs)
		ci := stats.Wilson(x.accuracy*held, held, 0.95)
		x.low, x.high = ci.Low, ci.High
		out = append(out, x)
	}
	return out
}

// plotCurve draws accuracy over the logarithm of the number of pairs, up to twice what there is: o the mean of a size's
// trainings, | its interval, . the fit.
func plotCurve(c reward.Curve, width, height int) string {
	points := bySize(c)
	last := points[len(points)-1]
	left, right := math.Log(points[0].pairs), math.Log(2*last.pairs)
	low, high := math.Inf(1), c.Fit.Accuracy(2*last.pairs)
	for _, x := range points {
		low, high = min(low, x.low), max(high, x.high)
	}
	low, high = math.Floor(20*low)/20, math.Ceil(20*high)/20
	column := func(n float64) int { return int(math.Round((math.Log(n) - left) / (right - left) * float64(width-1))) }
	row := func(a float64) int {
		return min(max(int(math.Round((high-a)/(high-low)*float64(height-1))), 0), height-1)
	}
	cells := make([][]rune, height)
	for i := range cells {
		cells[i] = []rune(strings.Repeat(" ", width))
	}
	for x := range width {
		n := math.Exp(left + (right-left)*float64(x)/float64(width-1))
		cells[row(c.Fit.Accuracy(n))][x] = '.'
	}
	for _, p := range points {
		for y := row(p.high); y <= row(p.low); y++ {
			cells[y][column(p.pairs)] = '|'
		}
		cells[row(p.accuracy)][column(p.pairs)] = 'o'
	}
	var b strings.Builder
	for i, line := range cells {
		label := "    "
		if i == 0 || i == height-1 {
			label = fmt.Sprintf("%.2f", []float64{high, low}[min(i, 1)])
		}
		b.WriteString(strings.TrimRight(label+" "+string(line), " ") + "\n")
	}
	axis := []rune(strings.Repeat(" ", width+12))
	for _, p := range slices.Backward(append(points, size{pairs: 2 * last.pairs})) {
		copy(axis[5+column(p.pairs):], []rune(fmt.Sprintf("%.0f ", p.pairs)))
	}
	b.WriteString(strings.TrimRight(string(axis), " ") + "  pairs\n")
	return b.String()
}
