package ui

import (
	"fmt"
	"math"
	"time"
)

// Duration writes a time to two parts: 45s, 3m10s, 2h05m, 3d04h.
func Duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", max(s, 0))
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// Count writes a number to three digits: 950, 1.23k, 45.6M.
func Count(x float64) string {
	units := []string{"", "k", "M", "G", "T"}
	i := 0
	for math.Abs(x) >= 999.5 && i < len(units)-1 {
		x /= 1000
		i++
	}
	if i == 0 && x == math.Trunc(x) {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x) + units[i]
}

// Bytes writes a size in binary units: 512 B, 1.5 KiB, 270 MiB.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x, i := float64(n), 0
	for x >= 1000 && i < len(units)-1 {
		x /= 1024
		i++
	}
	return fmt.Sprintf("%.3g %s", x, units[i])
}
