package ui

import (
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"
)

// Theme holds the styles of all screens. Where colour is off they only pass
// text through, so that no meaning may lie in colour alone.
type Theme struct {
	Title  lipgloss.Style // headings
	Strong lipgloss.Style // what matters in a line
	Dim    lipgloss.Style // units, paths, hints
	Good   lipgloss.Style // done, up
	Warn   lipgloss.Style // look here
	Bad    lipgloss.Style // failed, down
	Accent lipgloss.Style // what is selected; keys
	Left   lipgloss.Style // the first of two things compared
	Right  lipgloss.Style // the second; told from Left without red and green
	Border lipgloss.Style

	// Color reports whether any colour is used.
	Color bool
	// Dark reports whether the background is taken to be dark.
	Dark bool

	renderer *lipgloss.Renderer
}

// Renderer is for styles of one screen's own.
func (t Theme) Renderer() *lipgloss.Renderer { return t.renderer }

// IsTerminal reports whether w is a terminal, and how many columns it has (80
// where that cannot be told).
func IsTerminal(w io.Writer) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 80, false
	}
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		return columns, true
	}
	return 80, true
}

// color pairs one of the terminal's own 16 colours, readable on any palette,
// with exact ones for a light and a dark background.
func color(ansi, light, dark string) lipgloss.TerminalColor {
	return lipgloss.CompleteAdaptiveColor{
		Light: lipgloss.CompleteColor{TrueColor: light, ANSI256: light, ANSI: ansi},
		Dark:  lipgloss.CompleteColor{TrueColor: dark, ANSI256: dark, ANSI: ansi},
	}
}

// NewTheme suits the styles to w and the environment: no colour where w is not
// a terminal, TERM is dumb or NO_COLOR is set (no-color.org); the terminal's own
// 16 colours where it has no more; PLUMB_THEME=light or dark, else COLORFGBG,
// else dark. Asking the terminal for its background is left to full screens:
// the answer would arrive between a person's keystrokes.
func NewTheme(w io.Writer, getenv func(string) string) Theme {
	r := lipgloss.NewRenderer(w)
	_, tty := IsTerminal(w)
	t := Theme{renderer: r, Dark: darkBackground(getenv)}
	t.Color = getenv("NO_COLOR") == "" && (tty && getenv("TERM") != "dumb" || getenv("CLICOLOR_FORCE") == "1")
	r.SetHasDarkBackground(t.Dark)
	r.SetColorProfile(profile(t.Color, getenv))
	t.build()
	return t
}

func (t *Theme) build() {
	style := t.renderer.NewStyle
	t.Title = style().Bold(t.Color)
	t.Strong = style().Bold(t.Color)
	t.Dim = style().Foreground(color("8", "#6b6b6b", "#8a8a8a"))
	t.Good = style().Foreground(color("2", "#0a6e31", "#5fd787"))
	t.Warn = style().Foreground(color("3", "#8a5a00", "#ffd75f"))
	t.Bad = style().Foreground(color("1", "#b00020", "#ff6b6b")).Bold(t.Color)
	t.Accent = style().Foreground(color("6", "#00637a", "#5fd7ff"))
	t.Left = style().Foreground(color("4", "#0b57b0", "#87b7ff"))
	t.Right = style().Foreground(color("3", "#8f4700", "#ffb56b"))
	t.Border = style().Foreground(color("8", "#9a9a9a", "#5c5c5c"))
}

func darkBackground(getenv func(string) string) bool {
	switch getenv("PLUMB_THEME") {
	case "light":
		return false
	case "dark":
		return true
	}
	// rxvt's convention, "foreground;background" as colour numbers: 7 and 9 to 15 are light.
	parts := strings.Split(getenv("COLORFGBG"), ";")
	if n, err := strconv.Atoi(parts[len(parts)-1]); err == nil && len(parts) > 1 {
		return n < 7 || n == 8
	}
	return true
}
