// Package report makes self-contained HTML pages: headings, paragraphs, tables and charts (drawn by gonum/plot as SVG inside
// the page). The same content gives the same bytes; nothing is loaded from anywhere.
package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
)

//go:embed page.html
var pageFS embed.FS

// Page is a report under construction. Blocks appear in the order they are added.
type Page struct {
	Title, Subtitle string
	Blocks          []Block
}

// Block is one element of a page; exactly one of its fields but Heading is set.
type Block struct {
	Heading string
	Text    string
	Table   *Table
	Figure  *Figure
	Sample  *Sample
}

// Table is a header and rows of equal length. Numbers are right-aligned.
type Table struct {
	Caption string
	Header  []string
	Rows    [][]string
}

// Figure is an SVG drawing with its caption.
type Figure struct {
	Caption string
	SVG     template.HTML
}

// Sample is a prompt and named answers to it, with a line about each.
type Sample struct {
	Prompt  string
	Answers []Answer
}

// Answer is one text of a Sample.
type Answer struct{ Name, Text, Note string }

// Heading starts a section.
func (p *Page) Heading(s string) { p.Blocks = append(p.Blocks, Block{Heading: s}) }

// Text adds a paragraph.
func (p *Page) Text(format string, args ...any) {
	p.Blocks = append(p.Blocks, Block{Text: fmt.Sprintf(format, args...)})
}

// Table adds a table. It panics when a row has another length than the header: that is the caller's error.
func (p *Page) Table(caption string, header []string, rows [][]string) {
	for _, r := range rows {
		if len(r) != len(header) {
			panic("report: Table: a row differs in length from the header")
		}
	}
	p.Blocks = append(p.Blocks, Block{Table: &Table{caption, header, rows}})
}

// Sample adds texts to read.
func (p *Page) Sample(s Sample) { p.Blocks = append(p.Blocks, Block{Sample: &s}) }

// Write renders the page.
func (p *Page) Write(w io.Writer) error {
	t, err := template.New("page.html").Funcs(template.FuncMap{"numeric": numeric}).ParseFS(pageFS, "page.html")
	if err != nil {
		return fmt.Errorf("parse report page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("render report %q: %w", p.Title, err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// numeric says whether a cell starts like a number.
func numeric(s string) bool {
	if s == "" {
		return false
	}
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.' || s[end] == '-' || s[end] == '+' || s[end] == 'e') {
		end++
	}
	_, err := strconv.ParseFloat(s[:end], 64)
	return err == nil && (end == len(s) || s[end] == ' ') // "95th" is a word
}

// Number prints a figure with four significant digits, and a dash for NaN.
func Number(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// PlusMinus prints a value with its standard error, the latter with two significant digits.
func PlusMinus(x, se float64) string {
	if math.IsNaN(se) {
		return Number(x)
	}
	return Number(x) + " ± " + strconv.FormatFloat(se, 'g', 2, 64)
}

// Range prints an interval.
func Range(low, high float64) string { return "[" + Number(low) + ", " + Number(high) + "]" }
