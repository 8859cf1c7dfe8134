package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// span is a byte range of the original text.
type span struct{ start, end int32 }

// piece is a part of the text on its way to the model. Every byte of it stands for a range of the original text.
type piece struct {
	text  string
	base  int    // align == nil: where text begins in the original, of which it is an exact part
	align []span // align != nil: for each byte of text its range in the original
}

// slice returns the part [i, j) of p.
func (p piece) slice(i, j int) piece {
	q := piece{text: p.text[i:j], base: p.base + i}
	if p.align != nil {
		q.align = p.align[i:j]
	}
	return q
}

// at returns the original range of byte i: all bytes of an untouched character stand for the whole of it.
func (p piece) at(i int) span {
	if p.align != nil {
		return p.align[i]
	}
	start, end := charAround(p.text, i)
	return span{int32(p.base + start), int32(p.base + end)}
}

// original returns the range of the original that [i, j), not empty, stands for.
func (p piece) original(i, j int) [2]int {
	if p.align != nil {
		return [2]int{int(p.align[i].start), int(p.align[j-1].end)}
	}
	if p.text[i] >= utf8.RuneSelf {
		i, _ = charAround(p.text, i)
	}
	if p.text[j-1] >= utf8.RuneSelf {
		_, j = charAround(p.text, j-1)
	}
	return [2]int{p.base + i, p.base + j}
}

// begin is where the piece begins in the original.
func (p piece) begin() int {
	if p.align != nil {
		if len(p.align) == 0 {
			return p.base
		}
		return int(p.align[0].start)
	}
	return p.base
}

// charAround returns the range of the character byte i belongs to; a byte that is not part of valid UTF-8 is one by
// itself.
func charAround(s string, i int) (start, end int) {
	for back := 0; back < utf8.UTFMax && back <= i; back++ {
		if !utf8.RuneStart(s[i-back]) {
			continue
		}
		if _, n := utf8.DecodeRuneInString(s[i-back:]); n > back {
			return i - back, i - back + n
		}
		break
	}
	return i, i + 1
}

// change is one character of a transformed text: how it came about decides what it stands for.
// n = 0: it replaces the next character; n < 0: the next one, and -n more go with it; n > 0: it is put in and shares the
// range of what lies before it.
type change struct {
	r rune // negative: -1 - a byte that is not valid UTF-8
	n int
}

// transform applies changes that go over the whole of p.
func (p piece) transform(changes []change) piece {
	var b strings.Builder
	b.Grow(len(p.text))
	align := make([]span, 0, len(p.text))
	at := 0
	for _, c := range changes {
		var a span
		switch {
		case c.n > 0 && at == 0:
			a = span{int32(p.base), int32(p.base)}
			if len(p.align) > 0 {
				a = span{p.align[0].start, p.align[0].start}
			}
		case c.n > 0:
			a = p.at(at - 1)
		default:
			a = p.at(at)
			for range 1 - c.n {
				_, size := utf8.DecodeRuneInString(p.text[at:])
				at += size
			}
		}
		before := b.Len()
		if c.r < 0 {
			b.WriteByte(byte(-1 - c.r))
		} else {
			b.WriteRune(c.r)
		}
		for range b.Len() - before {
			align = append(align, a)
		}
	}
	return piece{text: b.String(), base: p.base, align: align}
}

// runeAt decodes the character at s[i:] for use in a change.
func runeAt(s string, i int) (r rune, size int) {
	r, size = utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && size == 1 {
		return -1 - rune(s[i]), 1
	}
	return r, size
}

// prepend puts s before p; it stands for the same as p's first character.
func (p piece) prepend(s string) piece {
	if p.text == "" || s == "" {
		return p
	}
	align := make([]span, len(s)+len(p.text))
	first := p.at(0)
	for i := range len(s) {
		align[i] = first
	}
	for i := range len(p.text) {
		align[len(s)+i] = p.at(i)
	}
	return piece{text: s + p.text, base: p.base, align: align}
}

// replace puts content in the place of every range of cuts that matched; it stands for the last byte replaced.
func (p piece) replace(cuts []cut, content string) piece {
	changed := false
	for _, c := range cuts {
		changed = changed || c.match
	}
	if !changed {
		return p
	}
	var b strings.Builder
	b.Grow(len(p.text))
	align := make([]span, 0, len(p.text)+len(p.text)/2)
	for _, c := range cuts {
		if !c.match {
			b.WriteString(p.text[c.start:c.end])
			for i := c.start; i < c.end; i++ {
				align = append(align, p.at(i))
			}
			continue
		}
		b.WriteString(content)
		a := span{int32(p.base), int32(p.base)}
		if c.end > 0 {
			a = p.at(c.end - 1)
		}
		for range len(content) {
			align = append(align, a)
		}
	}
	return piece{text: b.String(), base: p.base, align: align}
}
