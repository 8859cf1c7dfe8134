package labeling

import (
	"strings"

	"golang.org/x/text/unicode/bidi"
)

// Marks of the bidirectional algorithm (Unicode Standard Annex 9). They have no width, and a terminal that does not reorder shows
// nothing of them. One that does would take two Hebrew answers with only a bar between them for one run and exchange the
// columns; what stands between an isolate's two marks is a run of its own, whatever stands around it.
const (
	ltrIsolate = "\u2066" // text that runs to the right
	rtlIsolate = "\u2067" // text that runs to the left
	anyIsolate = "\u2068" // text that runs as its first letter does
	endIsolate = "\u2069"
	ltrMark    = "\u200e" // a letter without a width that runs to the right
)

// leftward says whether a text holds anything that a terminal may show from right to left. Text without has no need of marks and
// gets none.
func leftward(s string) bool {
	for _, r := range s {
		if r < 0x590 { // the first Hebrew point
			continue
		}
		p, _ := bidi.LookupRune(r)
		switch p.Class() {
		case bidi.R, bidi.AL, bidi.AN:
			return true
		}
	}
	return false
}

// runsLeft says whether the paragraph of a text with byte at runs from right to left: as its first letter does (rules P2 and P3).
func runsLeft(s string, at int) bool {
	for _, r := range s[strings.LastIndexByte(s[:at], '\n')+1:] {
		if r == '\n' {
			break
		}
		p, _ := bidi.LookupRune(r)
		switch p.Class() {
		case bidi.L:
			return false
		case bidi.R, bidi.AL:
			return true
		}
	}
	return false
}

// isolated makes words that a person or a model wrote ready to stand in a line among others: visible, and in an isolate where they
// need it.
func isolated(s string) string {
	s = visible(s)
	if !leftward(s) {
		return s
	}
	return anyIsolate + s + endIsolate
}

// isolates are the marks around a row of a text. All rows of a paragraph run the same way, and code runs to the right.
func isolates(s string, r row, spans []span) (open, end string) {
	if !leftward(s[r.from:r.to]) {
		return "", ""
	}
	code := false
	for _, sp := range spans {
		code = code || sp.look == codeLook && sp.from <= r.from && r.from < sp.to
	}
	if !code && runsLeft(s, r.from) {
		return rtlIsolate, endIsolate
	}
	return ltrIsolate, endIsolate
}

// openEnded is what fills a line up to its end without a mark there: the end of the line ends an isolate too, and some terminals take a
// mark for a letter too many.
func openEnded(s string) string { return strings.TrimSuffix(s, endIsolate) }

// closed is the beginning of a line, such as fit cuts it, with its isolate ended.
func closed(s string) string {
	if strings.LastIndex(s, anyIsolate) > strings.LastIndex(s, endIsolate) {
		return s + endIsolate
	}
	return s
}
