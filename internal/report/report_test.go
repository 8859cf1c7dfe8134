package report

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func example(t *testing.T) *Page {
	p := &Page{Title: "a <title>", Subtitle: "sub"}
	p.Heading("One")
	p.Text("text with %d < 3", 2)
	p.Table("cap", []string{"name", "value"}, [][]string{{"loss", "0.5"}})
	p.Sample(Sample{"prompt", []Answer{{"before", "<script>alert(1)</script>", "note"}}})
	for _, err := range []error{
		p.Curves("loss by step", "step", "loss", Series{"a", []float64{1, 2, 3}, []float64{3, math.NaN(), 1}}, Series{"b", []float64{1, 2}, []float64{2, 2}}),
		p.Histogram("scores", "score", 10, Series{"a", nil, []float64{1, 2, 2, math.Inf(1)}}),
		p.Curves("nothing", "x", "y", Series{"none", nil, nil}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestPageIsSelfContainedEscapedAndReproducible(t *testing.T) {
	var a, b bytes.Buffer
	if err := example(t).Write(&a); err != nil {
		t.Fatal(err)
	}
	if err := example(t).Write(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same page was written with other bytes")
	}
	s := a.String()
	for _, bad := range []string{"<script", "src=", "@import", "<?xml", "a <title>"} {
		if strings.Contains(s, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, want := range []string{"a &lt;title&gt;", "text with 2 &lt; 3", `<td class="n">0.5</td>`, "loss by step", "&lt;script&gt;"} {
		if !strings.Contains(s, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(s, "<svg"); n != 2 {
		t.Errorf("%d drawings, want 2: a chart without points is left out", n)
	}
}

func TestNumeric(t *testing.T) {
	for s, want := range map[string]bool{"0.5": true, "1.5 ± 0.01": true, "-2e-05 [0, 1]": true, "95th percentile": false, "": false, "loss": false, "–": false} {
		if numeric(s) != want {
			t.Errorf("numeric(%q) is %v", s, !want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Number(1.23456): "1.235", Number(math.NaN()): "–", PlusMinus(1.5, 0.0123): "1.5 ± 0.012", PlusMinus(2, math.NaN()): "2", Range(0, 1): "[0, 1]",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
