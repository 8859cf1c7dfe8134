package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// normalizer rewrites a segment of text.
type normalizer interface {
	normalize(p piece) (piece, error)
}

func newNormalizer(raw json.RawMessage, depth int) (normalizer, error) {
	c, ok, err := parseComponent(raw, "normalizer")
	if err != nil || !ok {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		if depth == maxNesting {
			return nil, fmt.Errorf("normalizer Sequences are nested deeper than %d", maxNesting)
		}
		var seq normalizerSequence
		for _, raw := range c.Normalizers {
			n, err := newNormalizer(raw, depth+1)
			if err != nil {
				return nil, err
			}
			if n != nil {
				seq = append(seq, n)
			}
		}
		return seq, nil
	case "NFC", "NFD", "NFKC", "NFKD":
		return unicodeForm{compose: c.Type == "NFC" || c.Type == "NFKC", compat: c.Type == "NFKC" || c.Type == "NFKD"}, nil
	case "Prepend":
		if c.Prepend == nil {
			return nil, fmt.Errorf("normalizer Prepend has no prepend")
		}
		return prependText(*c.Prepend), nil
	case "Replace":
		if c.Content == nil {
			return nil, fmt.Errorf("normalizer Replace has no content")
		}
		m, err := newMatcher(c.Pattern, "normalizer Replace")
		return replaceText{m, *c.Content}, err
	case "Lowercase":
		return lowercase{}, nil
	case "Strip":
		return stripSpace{left: c.StripLeft, right: c.StripRight}, nil
	}
	return nil, unsupported("normalizer", c.Type)
}

type normalizerSequence []normalizer

func (s normalizerSequence) normalize(p piece) (piece, error) {
	var err error
	for _, n := range s {
		if p, err = n.normalize(p); err != nil {
			return p, err
		}
	}
	return p, nil
}

// prependText puts a text before every segment that is not empty.
type prependText string

func (s prependText) normalize(p piece) (piece, error) { return p.prepend(string(s)), nil }

type replaceText struct {
	matcher
	content string
}

func (r replaceText) normalize(p piece) (piece, error) {
	cuts, err := r.cuts(p.text)
	if err != nil {
		return p, err
	}
	return p.replace(cuts, r.content), nil
}

// lowercase maps every character by itself, as Rust's char::to_lowercase: no rule looks at its neighbours.
type lowercase struct{}

func (lowercase) normalize(p piece) (piece, error) {
	same := true
	for _, r := range p.text {
		same = same && (r == unicode.ToLower(r))
	}
	if same {
		return p, nil
	}
	changes := make([]change, 0, len(p.text))
	for i := 0; i < len(p.text); {
		r, size := runeAt(p.text, i)
		i += size
		if r == 'İ' { // the only character whose lower case is two characters
			changes = append(changes, change{'i', 0}, change{'\u0307', 1})
			continue
		}
		if r >= 0 {
			r = unicode.ToLower(r)
		}
		changes = append(changes, change{r, 0})
	}
	return p.transform(changes), nil
}

type stripSpace struct{ left, right bool }

func (s stripSpace) normalize(p piece) (piece, error) {
	start, end := 0, len(p.text)
	if s.left {
		start = spaceLeft(p.text)
	}
	if s.right {
		end = max(start, trimSpaceRight(p.text))
	}
	return p.slice(start, end), nil
}

// lossyUTF8 reads bytes as UTF-8. Each longest beginning of a character that does not go on as it should becomes
// one U+FFFD (Unicode 15, 3.9, "substitution of maximal subparts"), as does each other byte out of place.
func lossyUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out = append(out, b[:n]...)
			b = b[n:]
			continue
		}
		out = utf8.AppendRune(out, utf8.RuneError)
		b = b[maximalSubpart(b):]
	}
	return string(out)
}

// maximalSubpart is the length of the longest beginning of b, of at least one byte, that some character begins
// with; b does not begin with a character.
func maximalSubpart(b []byte) int {
	low, high, more := byte(0x80), byte(0xBF), 0
	switch c := b[0]; {
	case c >= 0xC2 && c <= 0xDF:
		more = 1
	case c >= 0xE0 && c <= 0xEF:
		more = 2
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		more = 3
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for n <= more && n < len(b) && b[n] >= low && b[n] <= high {
		n++
		low, high = 0x80, 0xBF
	}
	return n
}
