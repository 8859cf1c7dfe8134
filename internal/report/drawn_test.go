package report

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	pathElement = regexp.MustCompile(`<path d="([^"]*)" style="([^"]*)"`)
	position    = regexp.MustCompile(`[ML]([-+.0-9e]+),([-+.0-9e]+)`)
)

// drawn are the positions of every path of the page's last figure whose style contains so much. Right and up are positive.
func drawn(t *testing.T, p *Page, style string) [][][2]float64 {
	t.Helper()
	var out [][][2]float64
	for _, m := range pathElement.FindAllStringSubmatch(string(p.Blocks[len(p.Blocks)-1].Figure.SVG), -1) {
		if !strings.Contains(m[2], style) {
			continue
		}
		var path [][2]float64
		for _, at := range position.FindAllStringSubmatch(m[1], -1) {
			x, errX := strconv.ParseFloat(at[1], 64)
			y, errY := strconv.ParseFloat(at[2], 64)
			if errX != nil || errY != nil {
				t.Fatal(errX, errY)
			}
			path = append(path, [2]float64{x, y})
		}
		out = append(out, path)
	}
	return out
}

// scaled checks that drawn positions are the wanted numbers on some linear scale, which the first and the last different ones set;
// five digits are written.
func scaled(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d positions are drawn, want %d", what, len(got), len(want))
	}
	lo, hi := slices.Index(want, slices.Min(want)), slices.Index(want, slices.Max(want))
	unit := (got[hi] - got[lo]) / (want[hi] - want[lo])
	for i, w := range want {
		if at := got[lo] + unit*(w-want[lo]); unit <= 0 || math.Abs(got[i]-at) > 0.01 {
			t.Errorf("%s: number %d is drawn at %v, where %v is; want %v", what, i, got[i], want[lo]+(got[i]-got[lo])/unit, w)
		}
	}
}

func split(path [][2]float64) (x, y []float64) {
	for _, p := range path {
		x, y = append(x, p[0]), append(y, p[1])
	}
	return x, y
}

// The bars that are drawn, by hand: from 0 to 4 in four bins; the largest value belongs to the last bin, what is no number to none.
func TestHistogramDrawsTheCounts(t *testing.T) {
	p := &Page{}
	one := Series{Name: "chosen", Y: []float64{1.5, 0.25, 4, 1, 3.5, math.NaN(), 3, 1.999}}
	two := Series{Name: "rejected", Y: []float64{0, 0.5, 0.75, 2, math.Inf(-1)}}
	if err := p.Histogram("scores", "score", 4, one, two); err != nil {
		t.Fatal(err)
	}
	edges := []float64{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}
	for colour, counts := range map[string][]float64{"stroke:#2456A6": {0, 1, 1, 3, 3, 0, 0, 3, 3, 0}, "stroke:#C45A1C": {0, 3, 3, 0, 0, 1, 1, 0, 0, 0}} {
		found := false
		for _, path := range drawn(t, p, colour) {
			if len(path) == 2 { // of the legend
				continue
			}
			found = true
			x, y := split(path)
			scaled(t, colour+" edges", x, edges)
			scaled(t, colour+" counts", y, counts)
		}
		if !found {
			t.Errorf("nothing is drawn with %s", colour)
		}
	}
	svg := string(p.Blocks[0].Figure.SVG)
	if p.Blocks[0].Figure.Caption != "scores" || !strings.Contains(svg, ">chosen<") || !strings.Contains(svg, ">rejected<") {
		t.Error("the caption or the legend is not there")
	}
}

// By hand: number 3 and 4 have less y than number 1 at as much x, the last no more than the first, and number 6 is no point.
func TestPointsDrawTheFrontier(t *testing.T) {
	x := []float64{0, 2, 1, 3, 2, 5, 4, 0.5}
	y := []float64{1, 3, 2, 2.5, 2.9, 3.5, math.NaN(), 1}
	if got := Frontier(x, y); !slices.Equal(got, []int{0, 2, 1, 5}) {
		t.Fatalf("frontier %v, want 0, 2, 1, 5", got)
	}
	if got := Frontier([]float64{1, 1, 1}, []float64{2, 4, 3}); !slices.Equal(got, []int{1}) {
		t.Errorf("of three with one x: %v, want the highest", got)
	}
	if got := Frontier([]float64{math.Inf(1), math.NaN()}, []float64{1, 2}); got != nil {
		t.Errorf("of no points: %v", got)
	}
	p := &Page{}
	if err := p.Points("score against KL", "KL", "score", x, y); err != nil {
		t.Fatal(err)
	}
	var at [][2]float64
	for _, path := range drawn(t, p, "fill:#2456A6") {
		at = append(at, path[0]) // a circle begins at its right: all are moved alike
	}
	gotX, gotY := split(at)
	scaled(t, "points' x", gotX, []float64{0, 2, 1, 3, 2, 5, 0.5})
	scaled(t, "points' y", gotY, []float64{1, 3, 2, 2.5, 2.9, 3.5, 1})
	lines := drawn(t, p, "stroke:#C45A1C")
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	gotX, gotY = split(lines[0])
	scaled(t, "the line's x", gotX, []float64{0, 1, 1, 2, 2, 5, 5})
	scaled(t, "the line's y", gotY, []float64{1, 1, 2, 2, 3, 3, 3.5})
	blocks := len(p.Blocks)
	if err := p.Points("nothing", "x", "y", []float64{1}, []float64{math.NaN()}); err != nil || len(p.Blocks) != blocks {
		t.Errorf("a chart without points: %v", err)
	}
}
