package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// preStep cuts a piece into words and hands them on: e.pre(word, next).
type preStep interface {
	apply(e *encoder, p piece, next int)
}

func newPreSteps(raw json.RawMessage, depth int) ([]preStep, error) {
	c, ok, err := parseComponent(raw, "pre-tokenizer")
	if err != nil || !ok {
		return nil, err
	}
	one := func(s preStep, err error) ([]preStep, error) { return []preStep{s}, err }
	switch c.Type {
	case "Sequence":
		if depth == maxNesting {
			return nil, fmt.Errorf("pre-tokenizer Sequences are nested deeper than %d", maxNesting)
		}
		var steps []preStep
		for _, raw := range c.Pretokenizers {
			s, err := newPreSteps(raw, depth+1)
			if err != nil {
				return nil, err
			}
			steps = append(steps, s...)
		}
		return steps, nil
	case "ByteLevel":
		return one(&byteLevel{prefixSpace: isTrue(c.AddPrefixSpace, true), split: isTrue(c.UseRegex, true)}, nil)
	case "Split":
		b, err := parseBehavior(c.Behavior, "pre-tokenizer Split")
		if err != nil {
			return nil, err
		}
		m, err := newMatcher(c.Pattern, "pre-tokenizer Split")
		if err != nil {
			return nil, err
		}
		if scan, ok := m.(scanner); ok && b == isolated {
			return one(scan, nil) // every place matches: inverting changes nothing
		}
		return one(&split{m, b, c.Invert}, nil)
	case "Digits":
		b := contiguous
		if c.IndividualDigits {
			b = isolated
		}
		return one(&split{runeClass(isNumber), b, false}, nil)
	case "Punctuation":
		if c.Behavior == "" {
			c.Behavior = "Isolated"
		}
		b, err := parseBehavior(c.Behavior, "pre-tokenizer Punctuation")
		return one(&split{runeClass(isPunctuation), b, false}, err)
	case "WhitespaceSplit":
		return one(&split{runeClass(unicode.IsSpace), removed, false}, nil)
	case "Whitespace":
		m, err := newRegex(`\w+|[^\w\s]+`)
		return one(&split{m, removed, true}, err)
	case "Metaspace":
		return one(newMetaspace(&c))
	}
	return nil, unsupported("pre-tokenizer", c.Type)
}

// split is Split, Digits, Punctuation and the like.
type split struct {
	matcher
	behavior
	invert bool
}

func (s *split) apply(e *encoder, p piece, next int) {
	cuts, err := s.cuts(p.text)
	if err != nil {
		e.fail(err)
		return
	}
	if s.invert {
		for i := range cuts {
			cuts[i].match = !cuts[i].match
		}
	}
	for _, c := range s.behavior.apply(cuts) {
		if c.start < c.end {
			e.pre(p.slice(c.start, c.end), next)
		}
	}
}

// runeClass matches single characters.
type runeClass func(rune) bool

func (is runeClass) cuts(text string) ([]cut, error) {
	var cuts []cut
	at := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if is(r) {
			if at < i {
				cuts = append(cuts, cut{at, i, false})
			}
			cuts = append(cuts, cut{i, i + size, true})
			at = i + size
		}
		i += size
	}
	if at < len(text) {
		cuts = append(cuts, cut{at, len(text), false})
	}
	return cuts, nil
}

func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return unicode.IsPunct(r) || unicode.IsSymbol(r)
	}
	return unicode.IsPunct(r)
}

// apply lets a scanner be a pre-tokenizer by itself.
func (s scanner) apply(e *encoder, p piece, next int) {
	for i := 0; i < len(p.text) && e.err == nil; {
		j := s(p.text, i)
		e.pre(p.slice(i, j), next)
		i = j
	}
}

// byteLevel is GPT-2's: words by its expression, bytes instead of characters.
type byteLevel struct {
	prefixSpace bool // put a space before a text that does not begin with one
	split       bool
	spell       bool // hand on the characters of the byte-level alphabet instead of bytes
}

func (b *byteLevel) apply(e *encoder, p piece, next int) {
	if b.prefixSpace && p.text[0] != ' ' {
		p = p.prepend(" ")
	}
	for i := 0; i < len(p.text) && e.err == nil; {
		j := len(p.text)
		if b.split {
			j = scanGPT2(p.text, i)
		}
		word := p.slice(i, j)
		if b.spell {
			word = spellBytes(word)
		}
		e.pre(word, next)
		i = j
	}
}

func spellBytes(p piece) piece {
	q := piece{base: p.base, align: make([]span, 0, 2*len(p.text))}
	text := make([]byte, 0, 2*len(p.text))
	for i := range len(p.text) {
		from := len(text)
		text = utf8.AppendRune(text, byteAlphabet[p.text[i]])
		for range len(text) - from {
			q.align = append(q.align, p.at(i))
		}
	}
	q.text = string(text)
	return q
}

// byteAlphabet gives every byte a printable character (GPT-2's bytes_to_unicode): printable Latin-1 characters stand
// for themselves, the other bytes in order for U+0100 and on.
var byteAlphabet = func() (a [256]rune) {
	n := rune(0)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= '¡' && b <= '¬' || b >= '®' && b <= 'ÿ' {
			a[b] = b
			continue
		}
		a[b] = 256 + n
		n++
	}
	return a
}()

// alphabetByte is the inverse of byteAlphabet.
func alphabetByte(r rune) (byte, bool) {
	switch {
	case r >= '!' && r <= '~' || r >= '¡' && r <= '¬' || r >= '®' && r <= 'ÿ':
		return byte(r), true
	case r >= 0x100 && r <= 0x120: // 0x00 … 0x20
		return byte(r - 0x100), true
	case r >= 0x121 && r <= 0x142: // 0x7F … 0xA0
		return byte(r - 0x121 + 0x7F), true
	case r == 0x143:
		return 0xAD, true
	}
	return 0, false
}

// metaspace is SentencePiece's: spaces become ▁, and words begin with it.
type metaspace struct {
	replacement string
	prepend     string // always, first, never
	split       bool
}

func newMetaspace(c *component) (*metaspace, error) {
	m := &metaspace{replacement: "▁", prepend: c.PrependScheme, split: isTrue(c.Split, true)}
	if c.Replacement != nil {
		m.replacement = *c.Replacement
	}
	if utf8.RuneCountInString(m.replacement) != 1 {
		return nil, fmt.Errorf("pre-tokenizer Metaspace: replacement %q is not one character", m.replacement)
	}
	if m.prepend == "" {
		m.prepend = "always"
		if !isTrue(c.AddPrefixSpace, true) { // files before 2024
			m.prepend = "never"
		}
	}
	switch m.prepend {
	case "always", "first", "never":
		return m, nil
	}
	return nil, unsupported("Metaspace prepend_scheme", m.prepend)
}

func (m *metaspace) apply(e *encoder, p piece, next int) {
	begin := p.begin()
	cuts, _ := literal(" ").cuts(p.text)
	p = p.replace(cuts, m.replacement)
	begins := len(p.text) >= len(m.replacement) && p.text[:len(m.replacement)] == m.replacement
	if !begins && (m.prepend == "always" || m.prepend == "first" && begin == 0) {
		p = p.prepend(m.replacement)
	}
	if !m.split {
		e.pre(p, next)
		return
	}
	cuts, _ = literal(m.replacement).cuts(p.text)
	for _, c := range mergedWithNext.apply(cuts) {
		e.pre(p.slice(c.start, c.end), next)
	}
}
