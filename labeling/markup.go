package labeling

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// words cuts a text into words, runs of space, and single other characters; each as [from,to).
func words(s string) []row {
	var out []row
	class := func(r rune) int {
		switch {
		case unicode.IsSpace(r):
			return 1
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '_' || r == '\'' || r == '’':
			return 2
		}
		return 0
	}
	last := -1
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		c := class(r)
		if c == last && c != 0 {
			out[len(out)-1].to = i + size
		} else {
			out = append(out, row{from: i, to: i + size})
		}
		last = c
		i += size
	}
	return out
}

// maxDiff bounds the table of the comparison: beyond it only the common beginning and end are taken off.
const maxDiff = 4 << 20

// wordDiff marks in each of two texts the words that are not in their longest common subsequence of words. Space alone is
// never marked.
func wordDiff(a, b string) (inA, inB []span) {
	wa, wb := words(a), words(b)
	equal := func(x, y row) bool { return a[x.from:x.to] == b[y.from:y.to] }
	for len(wa) > 0 && len(wb) > 0 && equal(wa[0], wb[0]) {
		wa, wb = wa[1:], wb[1:]
	}
	for len(wa) > 0 && len(wb) > 0 && equal(wa[len(wa)-1], wb[len(wb)-1]) {
		wa, wb = wa[:len(wa)-1], wb[:len(wb)-1]
	}
	n, m := len(wa), len(wb)
	var keepA, keepB []bool = make([]bool, n), make([]bool, m)
	if n*m <= maxDiff {
		// lcs[i*(m+1)+j] is the longest common subsequence of wa[i:] and wb[j:].
		lcs := make([]uint16, (n+1)*(m+1))
		for i := n - 1; i >= 0; i-- {
			for j := m - 1; j >= 0; j-- {
				if equal(wa[i], wb[j]) {
					lcs[i*(m+1)+j] = lcs[(i+1)*(m+1)+j+1] + 1
				} else {
					lcs[i*(m+1)+j] = max(lcs[(i+1)*(m+1)+j], lcs[i*(m+1)+j+1])
				}
			}
		}
		for i, j := 0, 0; i < n && j < m; {
			switch {
			case equal(wa[i], wb[j]):
				keepA[i], keepB[j] = true, true
				i, j = i+1, j+1
			case lcs[(i+1)*(m+1)+j] >= lcs[i*(m+1)+j+1]:
				i++
			default:
				j++
			}
		}
	}
	return marks(a, wa, keepA), marks(b, wb, keepB)
}

func marks(s string, ws []row, keep []bool) []span {
	var out []span
	for i, w := range ws {
		if keep[i] || strings.TrimSpace(s[w.from:w.to]) == "" {
			continue
		}
		// Words that differ in a row are marked with the space between them.
		if k := len(out) - 1; k >= 0 && strings.Trim(s[out[k].to:w.from], " ") == "" {
			out[k].to = w.to
			continue
		}
		out = append(out, span{w.from, w.to, diffLook})
	}
	return out
}

// find marks every place where a text holds what was searched for, without regard to case.
func find(s, what string) []span {
	if what == "" {
		return nil
	}
	var out []span
	low, want := foldCase(s), foldCase(what)
	for i := 0; ; {
		k := strings.Index(low[i:], want)
		if k < 0 {
			return out
		}
		out = append(out, span{i + k, i + k + len(want), foundLook})
		i += k + len(want)
	}
}

// foldCase lowers letters whose lower case is as long, so that offsets stay those of s.
func foldCase(s string) string {
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); utf8.RuneLen(l) == utf8.RuneLen(r) {
			return l
		}
		return r
	}, s)
}
