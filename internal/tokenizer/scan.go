package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// scanner finds words the way one expression does: it returns the end of the match that begins at i. The expressions
// below match at every place of every text, so that matches follow each other without gaps.
type scanner func(s string, i int) int

func (s scanner) cuts(text string) ([]cut, error) {
	var cuts []cut
	for i := 0; i < len(text); {
		j := s(text, i)
		cuts = append(cuts, cut{i, j, true})
		i = j
	}
	return cuts, nil
}

// The expressions that have a scanner. The regular expression engine is the fallback for all others, and the
// oracle of the scanners' tests.
const (
	gpt2Expr   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Expr = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Expr  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	cl100kExpr = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
)

func knownScanner(expr string) (scanner, bool) {
	switch expr {
	case gpt2Expr:
		return scanGPT2, true
	case llama3Expr, cl100kExpr: // the same matches: \s* has already gone over all but the last line end
		return scanLlama3, true
	case qwen2Expr:
		return scanQwen2, true
	}
	return nil, false
}

// class of a character, as the expressions see it.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	number              // \p{N}
	space               // \s
)

var asciiClass = func() (a [utf8.RuneSelf]class) {
	for r := range rune(utf8.RuneSelf) {
		a[r] = classOf(r)
	}
	return a
}()

func classOf(r rune) class {
	switch {
	case isLetter(r):
		return letter
	case isNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// classAt returns the class and the length of the character at s[i:], length 0 at the end.
func classAt(s string, i int) (class, int) {
	if i >= len(s) {
		return other, 0
	}
	if s[i] < utf8.RuneSelf {
		return asciiClass[s[i]], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return classOf(r), n
}

// run returns the end of the run of characters of class c from i on.
func run(s string, i int, c class) int {
	for {
		k, n := classAt(s, i)
		if n == 0 || k != c {
			return i
		}
		i += n
	}
}

// spaces returns the end of what \s+(?!\S)|\s+ matches at i, a white space: all of the run if it ends the text, else
// all but its last character, but at least one.
func spaces(s string, i int) int {
	last := i
	j := i
	for {
		k, n := classAt(s, j)
		if n == 0 {
			return j
		}
		if k != space {
			break
		}
		last = j
		j += n
	}
	if last > i {
		return last
	}
	return j
}

func scanGPT2(s string, i int) int {
	if s[i] == '\'' && i+1 < len(s) {
		switch s[i+1] {
		case 's', 't', 'm', 'd':
			return i + 2
		case 'r', 'v', 'l':
			if i+2 < len(s) && (s[i+2] == 'e' && s[i+1] != 'l' || s[i+2] == 'l' && s[i+1] == 'l') {
				return i + 3
			}
		}
	}
	c, n := classAt(s, i)
	if s[i] == ' ' {
		if k, m := classAt(s, i+1); m > 0 && k != space {
			return run(s, i+1+m, k)
		}
	}
	if c == space {
		return spaces(s, i)
	}
	return run(s, i+n, c)
}

func scanLlama3(s string, i int) int { return scanCased(s, i, 3) }

func scanQwen2(s string, i int) int { return scanCased(s, i, 1) }

// scanCased is the family of Llama 3 and Qwen 2, which differ in how many digits make a number.
func scanCased(s string, i, digits int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:]); n > 0 {
			return i + 1 + n
		}
	}
	c, n := classAt(s, i)
	if c == letter {
		return run(s, i+n, letter)
	}
	if c == number {
		j := i + n
		for range digits - 1 {
			k, m := classAt(s, j)
			if m == 0 || k != number {
				break
			}
			j += m
		}
		return j
	}
	if s[i] != '\r' && s[i] != '\n' {
		if k, m := classAt(s, i+n); m > 0 && k == letter {
			return run(s, i+n+m, letter)
		}
	}
	j := i
	if s[i] == ' ' {
		j++
	}
	if k, m := classAt(s, j); m > 0 && k == other {
		j = run(s, j+m, other)
		for j < len(s) && (s[j] == '\r' || s[j] == '\n') {
			j++
		}
		return j
	}
	if end := lastLineEnd(s, i); end > i {
		return end
	}
	return spaces(s, i)
}

// lastLineEnd returns the end of what \s*[\r\n]+ matches at i, or i.
func lastLineEnd(s string, i int) int {
	end := i
	for {
		k, n := classAt(s, i)
		if n == 0 || k != space {
			return end
		}
		i += n
		if s[i-1] == '\n' || s[i-1] == '\r' {
			end = i
		}
	}
}

// contraction returns the length of what (?i:s|t|re|ve|m|ll|d) matches at the beginning of s, 0 for none. ſ is an s
// to a caseless match.
func contraction(s string) int {
	if s == "" {
		return 0
	}
	switch s[0] | 0x20 {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if len(s) > 1 && s[1]|0x20 == 'e' {
			return 2
		}
	case 'l':
		if len(s) > 1 && s[1]|0x20 == 'l' {
			return 2
		}
	}
	if len(s) > 1 && s[:2] == "ſ" {
		return 2
	}
	return 0
}
