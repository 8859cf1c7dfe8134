package rollout

import (
	"slices"
	"strings"
)

// stop says why a sequence is complete after its newest token, or "" if it is not.
func (g *generator) stop(s *sequence) (reason, stopString string) {
	n, id := len(s.IDs), s.last[0]
	if !g.o.IgnoreStop {
		if slices.Contains(g.o.StopIDs, id) {
			if slices.Contains(g.m.EOS, id) {
				return StopEOS, ""
			}
			return StopID, ""
		}
		if len(g.o.StopStrings) > 0 {
			before := s.text
			s.text = g.o.Decoder.Decode(s.IDs, false)
			if n >= g.o.MinNew {
				if stop := completed(before, s.text, g.o.StopStrings); stop != "" {
					return StopString, stop
				}
			}
		}
	}
	if n >= g.o.MaxNew {
		return StopLength, ""
	}
	return "", ""
}

// completed returns the stop string that ends first among those that after has, and the text before it did not: the newest
// token completed it. The text may also have changed at its end, where a character was incomplete.
func completed(before, after string, stops []string) string {
	same := 0
	for same < len(before) && same < len(after) && before[same] == after[same] {
		same++
	}
	best, end := "", len(after)+1
	for _, stop := range stops {
		from := max(0, same-len(stop)+1)
		if i := strings.Index(after[from:], stop); i >= 0 && from+i+len(stop) < end {
			best, end = stop, from+i+len(stop)
		}
	}
	return best
}
