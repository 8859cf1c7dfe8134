package tokenizer

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// unicodeForm brings text into one of Unicode's normal forms (UAX #15) and keeps track of which character came from
// which: a decomposed character's parts stand for it, a composed one stands for its first part.
type unicodeForm struct{ compose, compat bool }

func (u unicodeForm) form() norm.Form {
	switch {
	case u.compose && u.compat:
		return norm.NFKC
	case u.compat:
		return norm.NFKD
	case u.compose:
		return norm.NFC
	}
	return norm.NFD
}

func (u unicodeForm) normalize(p piece) (piece, error) {
	if isASCII(p.text) || u.form().IsNormalString(p.text) {
		return p, nil
	}
	changes := u.decompose(p.text)
	if u.compose {
		changes = composeChanges(changes)
	}
	return p.transform(changes), nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Hangul syllables are composed by arithmetic (Unicode 15, 3.12).
const (
	hangulS, hangulL, hangulV, hangulT = 0xAC00, 0x1100, 0x1161, 0x11A7
	countL, countV, countT             = 19, 21, 28
)

// combiningClass returns r's canonical combining class.
func combiningClass(r rune) uint8 {
	if r < 0x300 {
		return 0
	}
	return norm.NFD.PropertiesString(string(r)).CCC()
}

// decompose returns the full decomposition of s in canonical order.
func (u unicodeForm) decompose(s string) []change {
	form := norm.NFD
	if u.compat {
		form = norm.NFKD
	}
	out := make([]change, 0, len(s))
	var class []uint8 // of the characters since ready
	ready := 0
	push := func(r rune, n int) {
		c := uint8(0)
		if r >= 0 {
			c = combiningClass(r)
		}
		if c == 0 {
			sortByClass(out[ready:], class)
			ready, class = len(out), class[:0]
		}
		out = append(out, change{r, n})
		class = append(class, c)
	}
	for i := 0; i < len(s); {
		r, size := runeAt(s, i)
		from := s[i : i+size]
		i += size
		switch {
		case r < utf8.RuneSelf:
			push(r, 0)
		case r >= hangulS && r < hangulS+countL*countV*countT:
			index := r - hangulS
			push(hangulL+index/(countV*countT), 0)
			push(hangulV+index%(countV*countT)/countT, 1)
			if t := index % countT; t != 0 {
				push(hangulT+t, 1)
			}
		default:
			d := form.PropertiesString(from).Decomposition()
			if d == nil {
				push(r, 0)
				break
			}
			for j, part := range string(d) {
				push(part, min(j, 1))
			}
		}
	}
	sortByClass(out[ready:], class)
	return out
}

// sortByClass sorts a run of characters by combining class, keeping the order within a class. A starter (class 0)
// only ever stands first.
func sortByClass(run []change, class []uint8) {
	if len(run) < 2 {
		return
	}
	type pair struct {
		c     change
		class uint8
	}
	pairs := make([]pair, len(run))
	for i := range run {
		pairs[i] = pair{run[i], class[i]}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return int(a.class) - int(b.class) })
	for i := range run {
		run[i] = pairs[i].c
	}
}

// composeChanges composes a canonically ordered decomposition (UAX #15, canonical composition algorithm).
func composeChanges(in []change) []change {
	out := make([]change, 0, len(in))
	starter := -1          // index in out of the character later ones may be composed with
	last, seen := 0, false // combining class of what lies between the starter and here
	for _, c := range in {
		class := 0
		if c.r >= 0 {
			class = int(combiningClass(c.r))
		}
		if starter >= 0 && (!seen || last < class) {
			if r, ok := composePair(out[starter].r, c.r); ok {
				out[starter] = change{r, out[starter].n + c.n - 1}
				continue
			}
		}
		if class == 0 {
			starter, seen = len(out), false
		} else {
			last, seen = class, true
		}
		out = append(out, c)
	}
	return out
}

// composePair returns the primary composite of a and b, if there is one.
func composePair(a, b rune) (rune, bool) {
	if b < 0x300 || a < 0 {
		return 0, false
	}
	if a >= hangulL && a < hangulL+countL && b >= hangulV && b < hangulV+countV {
		return hangulS + ((a-hangulL)*countV+b-hangulV)*countT, true
	}
	if a >= hangulS && a < hangulS+countL*countV*countT && (a-hangulS)%countT == 0 && b > hangulT && b < hangulT+countT {
		return a + b - hangulT, true
	}
	var buf [2 * utf8.UTFMax]byte
	pair := utf8.AppendRune(utf8.AppendRune(buf[:0], a), b)
	s := norm.NFC.Bytes(pair)
	r, n := utf8.DecodeRune(s)
	return r, n == len(s)
}
