package ui

import (
	"strings"

	"github.com/muesli/termenv"
)

// profile is how many colours may be used, by the environment alone.
func profile(color bool, getenv func(string) string) termenv.Profile {
	name := getenv("TERM")
	switch ct := getenv("COLORTERM"); {
	case !color:
		return termenv.Ascii
	case ct == "truecolor" || ct == "24bit":
		return termenv.TrueColor
	case strings.Contains(name, "256color"):
		return termenv.ANSI256
	}
	return termenv.ANSI
}
