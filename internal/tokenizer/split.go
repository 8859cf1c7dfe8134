package tokenizer

import (
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// cut is a range of a text that matched a pattern, or lies between two that did.
type cut struct {
	start, end int
	match      bool
}

// matcher divides a text into matches of a pattern and the rest.
type matcher interface {
	cuts(text string) ([]cut, error)
}

func newMatcher(p *pattern, what string) (matcher, error) {
	switch {
	case p == nil || (p.String == nil) == (p.Regex == nil):
		return nil, fmt.Errorf("%s needs a pattern that is either a String or a Regex", what)
	case p.String != nil:
		if *p.String == "" {
			return nil, fmt.Errorf("%s has an empty pattern", what)
		}
		return literal(*p.String), nil
	}
	if scan, ok := knownScanner(*p.Regex); ok {
		return scan, nil
	}
	m, err := newRegex(*p.Regex)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return m, nil
}

// literal matches a string.
type literal string

func (l literal) cuts(text string) ([]cut, error) {
	var cuts []cut
	for at := 0; at < len(text); {
		i := strings.Index(text[at:], string(l))
		if i < 0 {
			return append(cuts, cut{at, len(text), false}), nil
		}
		if i > 0 {
			cuts = append(cuts, cut{at, at + i, false})
		}
		cuts = append(cuts, cut{at + i, at + i + len(l), true})
		at += i + len(l)
	}
	return cuts, nil
}

// regexTime bounds how long a file's own expression may search one text.
const regexTime = 5 * time.Second

// regex matches an expression that no scanner is known for.
type regex struct{ re *regexp2.Regexp }

func newRegex(expr string) (regex, error) {
	re, err := regexp2.Compile(expr, regexp2.Unicode)
	if err != nil {
		return regex{}, fmt.Errorf("expression %q: %w", expr, err)
	}
	re.MatchTimeout = regexTime
	return regex{re}, nil
}

func (r regex) cuts(text string) ([]cut, error) {
	found, err := r.re.FindAllStringIndex(text, -1)
	if err != nil {
		return nil, fmt.Errorf("tokenizer expression %q: %w", r.re.String(), err)
	}
	var cuts []cut
	at := 0
	for _, m := range found {
		if at < m[0] {
			cuts = append(cuts, cut{at, m[0], false})
		}
		cuts = append(cuts, cut{m[0], m[1], true})
		at = m[1]
	}
	if at < len(text) {
		cuts = append(cuts, cut{at, len(text), false})
	}
	return cuts, nil
}

// behavior says what becomes of matches.
type behavior int

const (
	isolated behavior = iota // each match is a word of its own
	removed
	mergedWithPrevious
	mergedWithNext
	contiguous // neighbouring matches make one word
)

func parseBehavior(s, what string) (behavior, error) {
	switch s {
	case "Isolated":
		return isolated, nil
	case "Removed":
		return removed, nil
	case "MergedWithPrevious":
		return mergedWithPrevious, nil
	case "MergedWithNext":
		return mergedWithNext, nil
	case "Contiguous":
		return contiguous, nil
	}
	return 0, unsupported(what+" behavior", s)
}

// apply changes cuts, in place, into the words they make.
func (b behavior) apply(cuts []cut) []cut {
	out := cuts[:0]
	switch b {
	case isolated:
		return cuts
	case removed:
		for _, c := range cuts {
			if !c.match {
				out = append(out, c)
			}
		}
	case mergedWithPrevious, contiguous:
		before := false
		for _, c := range cuts {
			join := c.match && !before
			if b == contiguous {
				join = c.match == before
			}
			before = c.match
			if join && len(out) > 0 {
				out[len(out)-1].end = c.end
				continue
			}
			out = append(out, c)
		}
	case mergedWithNext:
		pending := -1
		for i, c := range cuts {
			last := i+1 == len(cuts)
			if c.match && !last && !cuts[i+1].match { // goes to the next, which is no match itself
				pending = c.start
				continue
			}
			if pending >= 0 {
				c.start, pending = pending, -1
			}
			out = append(out, c)
		}
	}
	return out
}
