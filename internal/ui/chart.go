package ui

import (
	"fmt"
	"math"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

var blocks = []rune(" ▁▂▃▄▅▆▇█")

// Spark draws values as one line of blocks at most width wide, lowest to
// highest; each block is the mean of its share of the values. What is not
// finite leaves a gap.
func Spark(values []float64, width int) string {
	v := resample(values, width)
	lo, hi := limits(v)
	var b strings.Builder
	for _, x := range v {
		switch {
		case !finite(x):
			b.WriteByte(' ')
		case hi == lo:
			b.WriteRune(blocks[4])
		default:
			b.WriteRune(blocks[1+int(math.Round((x-lo)/(hi-lo)*7))])
		}
	}
	return b.String()
}

// Line draws values over their index in height rows of braille dots, two by
// four to a character, with the highest and lowest value at the left.
func Line(values []float64, width, height int) string {
	v := resample(values, 2*width)
	lo, hi := limits(v)
	if math.IsNaN(lo) || width < 1 || height < 1 {
		return "(no values)\n"
	}
	span := hi - lo
	if span == 0 {
		span = 1
	}
	dots := make([][]rune, height)
	for i := range dots {
		dots[i] = make([]rune, width)
	}
	set := func(x, y int) { // y from the top, in dots
		bit := [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}
		dots[y/4][x/2] |= bit[y%4][x%2]
	}
	level := func(x float64) int { return int(math.Round((hi - x) / span * float64(4*height-1))) }
	for i, x := range v {
		if !finite(x) {
			continue
		}
		a, b := level(x), level(x)
		if i > 0 && finite(v[i-1]) { // Joined to the one before.
			a, b = min(a, level(v[i-1])), max(b, level(v[i-1]))
		}
		for y := a; y <= b; y++ {
			set(i, y)
		}
	}
	top, bottom := fmt.Sprintf("%.4g", hi), fmt.Sprintf("%.4g", lo)
	gutter := max(len(top), len(bottom))
	var b strings.Builder
	for i, row := range dots {
		label := ""
		switch i {
		case 0:
			label = top
		case height - 1:
			label = bottom
		}
		fmt.Fprintf(&b, "%*s ", gutter, label)
		for _, d := range row {
			b.WriteRune(0x2800 + d)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Bars draws one row per value: label, bar in proportion to the largest,
// number. Values below 0 draw no bar.
func Bars(labels []string, values []float64, width int) string {
	most, gutter := 0.0, 0
	for i, x := range values {
		if x > most && finite(x) {
			most = x
		}
		gutter = max(gutter, ansi.StringWidth(labels[i]))
	}
	var b strings.Builder
	for i, x := range values {
		eighths := 0
		if most > 0 && x > 0 {
			eighths = int(math.Round(min(x/most, 1) * float64(8*width)))
		}
		line := strings.Repeat("█", eighths/8)
		if r := eighths % 8; r > 0 {
			line += string([]rune(" ▏▎▍▌▋▊▉")[r])
		}
		fmt.Fprintf(&b, "%s%s  %s %s\n", labels[i], strings.Repeat(" ", gutter-ansi.StringWidth(labels[i])), line, fmt.Sprintf("%.4g", x))
	}
	return b.String()
}

// resample is values in at most n means of equal shares.
func resample(values []float64, n int) []float64 {
	if n < 1 || len(values) <= n {
		return values
	}
	out := make([]float64, n)
	for i := range out {
		a, b := i*len(values)/n, (i+1)*len(values)/n
		sum, k := 0.0, 0
		for _, x := range values[a:b] {
			if finite(x) {
				sum += x
				k++
			}
		}
		out[i] = math.NaN()
		if k > 0 {
			out[i] = sum / float64(k)
		}
	}
	return out
}

// limits are the least and greatest finite value; NaN where there is none.
func limits(v []float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, x := range v {
		if finite(x) {
			lo, hi = min(lo, x), max(hi, x)
		}
	}
	if lo > hi {
		return math.NaN(), math.NaN()
	}
	return lo, hi
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
