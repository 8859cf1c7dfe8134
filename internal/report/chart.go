package report

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Series is one named curve. Points that are not finite are left out.
type Series struct {
	Name string
	X, Y []float64
}

var palette = []color.RGBA{{36, 86, 166, 255}, {196, 90, 28, 255}, {40, 130, 84, 255}, {136, 70, 150, 255}, {120, 120, 120, 255}}

// Curves adds a line chart. Nothing is added where no series has a point.
func (p *Page) Curves(caption, xLabel, yLabel string, series ...Series) error {
	pl := newPlot(xLabel, yLabel)
	some := false
	for i, s := range series {
		pts := finite(s.X, s.Y)
		if len(pts) == 0 {
			continue
		}
		some = true
		l, err := plotter.NewLine(pts)
		if err != nil {
			return fmt.Errorf("draw %s: %w", caption, err)
		}
		l.Color, l.Width = palette[i%len(palette)], vg.Points(1.4)
		pl.Add(l)
		if len(series) > 1 {
			pl.Legend.Add(s.Name, l)
		}
	}
	if !some {
		return nil
	}
	return p.figure(caption, pl)
}

// Frontier names the points that no other reaches in y at as little x, in order of x: each is higher than all before it. Points
// that are not finite are none.
func Frontier(x, y []float64) []int {
	var order, out []int
	for i := range y {
		if !math.IsNaN(x[i]+y[i]) && !math.IsInf(x[i]+y[i], 0) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Or(cmp.Compare(x[i], x[j]), cmp.Compare(y[j], y[i])) })
	for _, i := range order {
		if n := len(out); n == 0 || y[i] > y[out[n-1]] {
			out = append(out, i)
		}
	}
	return out
}

// Points adds a chart of points, and their frontier as a line of steps. Nothing is added where there is no point.
func (p *Page) Points(caption, xLabel, yLabel string, x, y []float64) error {
	pts := finite(x, y)
	if len(pts) == 0 {
		return nil
	}
	marks, err := plotter.NewScatter(pts)
	if err != nil {
		return fmt.Errorf("draw %s: %w", caption, err)
	}
	marks.Color, marks.Radius, marks.Shape = palette[0], vg.Points(2), draw.CircleGlyph{}
	var edge plotter.XYs
	for _, i := range Frontier(x, y) {
		if n := len(edge); n > 0 {
			edge = append(edge, plotter.XY{X: x[i], Y: edge[n-1].Y})
		}
		edge = append(edge, plotter.XY{X: x[i], Y: y[i]})
	}
	line, err := plotter.NewLine(edge)
	if err != nil {
		return fmt.Errorf("draw %s: %w", caption, err)
	}
	line.Color, line.Width = palette[1], vg.Points(1.4)
	pl := newPlot(xLabel, yLabel)
	pl.Add(marks, line)
	return p.figure(caption, pl)
}

// Histogram adds overlaid histograms with common bins of the values given.
func (p *Page) Histogram(caption, xLabel string, bins int, series ...Series) error {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range series {
		for _, v := range s.Y {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if low > high {
		return nil
	}
	if low == high {
		low, high = low-0.5, high+0.5
	}
	pl := newPlot(xLabel, "count")
	width := (high - low) / float64(bins)
	for i, s := range series {
		counts := make(plotter.XYs, 0, 2*bins+2)
		n := make([]float64, bins)
		for _, v := range s.Y {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				n[min(int((v-low)/width), bins-1)]++
			}
		}
		counts = append(counts, plotter.XY{X: low})
		for b, c := range n {
			counts = append(counts, plotter.XY{X: low + float64(b)*width, Y: c}, plotter.XY{X: low + float64(b+1)*width, Y: c})
		}
		counts = append(counts, plotter.XY{X: high})
		l, err := plotter.NewLine(counts)
		if err != nil {
			return fmt.Errorf("draw %s: %w", caption, err)
		}
		l.Color, l.Width = palette[i%len(palette)], vg.Points(1.4)
		pl.Add(l)
		if len(series) > 1 {
			pl.Legend.Add(s.Name, l)
		}
	}
	return p.figure(caption, pl)
}

func newPlot(x, y string) *plot.Plot {
	pl := plot.New()
	pl.X.Label.Text, pl.Y.Label.Text = x, y
	pl.Legend.Top = true
	pl.Add(plotter.NewGrid())
	return pl
}

func finite(x, y []float64) plotter.XYs {
	var out plotter.XYs
	for i := range y {
		if !math.IsNaN(x[i]+y[i]) && !math.IsInf(x[i]+y[i], 0) {
			out = append(out, plotter.XY{X: x[i], Y: y[i]})
		}
	}
	return out
}

func (p *Page) figure(caption string, pl *plot.Plot) error {
	c := vgsvg.New(6.2*vg.Inch, 2.6*vg.Inch)
	pl.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return fmt.Errorf("draw %s: %w", caption, err)
	}
	svg := b.Bytes()
	if i := bytes.Index(svg, []byte("<svg")); i > 0 { // without the XML declaration, which has no place inside a page
		svg = svg[i:]
	}
	p.Blocks = append(p.Blocks, Block{Figure: &Figure{caption, template.HTML(svg)}})
	return nil
}
