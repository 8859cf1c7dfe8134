package ui

import (
	"io"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Table writes rows under a header, columns two spaces apart and as wide as
// their widest cell; a column of numbers stands to the right. Cells may hold
// styles. A cell with a line break is cut there.
func Table(w io.Writer, theme Theme, header []string, rows [][]string) error {
	n := len(header)
	for _, r := range rows {
		n = max(n, len(r))
	}
	width, right := make([]int, n), make([]bool, n)
	for j := range n {
		right[j] = len(rows) > 0
	}
	for i, r := range append([][]string{header}, rows...) {
		for j, c := range r {
			c = oneLine(c)
			width[j] = max(width[j], ansi.StringWidth(c))
			if i > 0 && c != "" && !isNumber(ansi.Strip(c)) {
				right[j] = false
			}
		}
	}
	var b strings.Builder
	put := func(r []string, style func(string) string) {
		var line strings.Builder
		for j := range n {
			c := ""
			if j < len(r) {
				c = oneLine(r[j])
			}
			pad := strings.Repeat(" ", width[j]-ansi.StringWidth(c))
			if j > 0 {
				line.WriteString("  ")
			}
			if right[j] {
				line.WriteString(pad + style(c))
			} else {
				line.WriteString(style(c) + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	if len(header) > 0 {
		put(header, func(s string) string {
			if s == "" {
				return s
			}
			return theme.Dim.Render(s)
		})
	}
	for _, r := range rows {
		put(r, func(s string) string { return s })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func oneLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func isNumber(s string) bool {
	s = strings.TrimSpace(strings.TrimSuffix(s, "%"))
	if s == "-" || s == "–" {
		return true
	}
	_, err := strconv.ParseFloat(strings.TrimPrefix(s, "+"), 64)
	return err == nil
}
