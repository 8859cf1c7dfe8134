package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Decode returns the text of ids. Ids that are no token are left out, and so are special tokens if skipSpecial. Bytes
// that do not make up UTF-8 become U+FFFD.
//
// An added token that is subject to normalization is printed in its normalized form, and if that is not its own text it
// is not left out either ("▁<s>" where the normalizer prepends ▁): so does Hugging Face tokenizers.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if i, ok := t.added.index[id]; ok {
			if s := t.added.shown[i]; !skipSpecial || !t.added.isSpecialText(s) {
				tokens = append(tokens, s)
			}
			continue
		}
		if s, ok := t.model.token(id); ok {
			tokens = append(tokens, s)
		}
	}
	if t.decoders == nil {
		return strings.Join(tokens, " ")
	}
	for _, d := range t.decoders {
		tokens = d.decode(tokens)
	}
	return strings.Join(tokens, "")
}

// DecodeAfter returns what ids add to the text of the ids before them: appended to Decode(before), it is the Decode of
// both. Decode(ids) may lack a space that ▁ stands for, because decoders drop the one that begins a text.
func (t *Tokenizer) DecodeAfter(before, ids []int32, skipSpecial bool) string {
	head := t.Decode(before, skipSpecial)
	whole := t.Decode(slices.Concat(before, ids), skipSpecial)
	if rest, ok := strings.CutPrefix(whole, head); ok {
		return rest
	}
	// The text before ended within a character, which the ids complete.
	n := 0
	for n < len(head) && n < len(whole) && head[n] == whole[n] {
		n++
	}
	for n > 0 && n < len(whole) && !utf8.RuneStart(whole[n]) {
		n--
	}
	return whole[n:]
}

// decoder rewrites the tokens of a text; it may change the slice it is given.
type decoder interface {
	decode(tokens []string) []string
}

func newDecoders(raw json.RawMessage, depth int) ([]decoder, error) {
	c, ok, err := parseComponent(raw, "decoder")
	if err != nil || !ok {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		if depth == maxNesting {
			return nil, fmt.Errorf("decoder Sequences are nested deeper than %d", maxNesting)
		}
		all := []decoder{}
		for _, raw := range c.Decoders {
			d, err := newDecoders(raw, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, d...)
		}
		return all, nil
	case "ByteLevel":
		return []decoder{decodeBytes{}}, nil
	case "ByteFallback":
		return []decoder{decodeFallback{}}, nil
	case "Fuse":
		return []decoder{decodeFuse{}}, nil
	case "Replace":
		if c.Content == nil {
			return nil, fmt.Errorf("decoder Replace has no content")
		}
		if c.Pattern == nil || c.Pattern.String == nil || *c.Pattern.String == "" {
			return nil, fmt.Errorf("decoder Replace is supported only with a String pattern")
		}
		return []decoder{decodeReplace{*c.Pattern.String, *c.Content}}, nil
	case "Strip":
		if c.Content == nil || utf8.RuneCountInString(*c.Content) != 1 {
			return nil, fmt.Errorf("decoder Strip needs one character as its content")
		}
		return []decoder{decodeStrip{*c.Content, c.Start, c.Stop}}, nil
	case "Metaspace":
		m, err := newMetaspace(&c)
		if err != nil {
			return nil, err
		}
		return []decoder{decodeMetaspace{m.replacement, m.prepend != "never"}}, nil
	case "BPEDecoder":
		if c.Suffix == "" {
			c.Suffix = "</w>"
		}
		return []decoder{decodeSuffix(c.Suffix)}, nil
	}
	return nil, unsupported("decoder", c.Type)
}

// decodeBytes goes back from the byte-level alphabet. A token with a character outside it stands for itself.
type decodeBytes struct{}

func (decodeBytes) decode(tokens []string) []string {
	var out []byte
	for _, s := range tokens {
		from := len(out)
		for _, r := range s {
			b, ok := alphabetByte(r)
			if !ok {
				out = append(out[:from], s...)
				break
			}
			out = append(out, b)
		}
	}
	return []string{lossyUTF8(out)}
}

// decodeFallback makes characters of runs of byte tokens, U+FFFD of each byte of a run that is not UTF-8.
type decodeFallback struct{}

func (decodeFallback) decode(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			out = append(out, string(run))
		} else {
			out = append(out, strings.Repeat("\uFFFD", len(run)))
		}
		run = run[:0]
	}
	for _, s := range tokens {
		if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
			if b, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		if len(run) > 0 {
			flush()
		}
		out = append(out, s)
	}
	if len(run) > 0 {
		flush()
	}
	return out
}

type decodeFuse struct{}

func (decodeFuse) decode(tokens []string) []string { return []string{strings.Join(tokens, "")} }

type decodeReplace struct{ from, to string }

func (d decodeReplace) decode(tokens []string) []string {
	for i, s := range tokens {
		tokens[i] = strings.ReplaceAll(s, d.from, d.to)
	}
	return tokens
}

// decodeStrip takes up to start characters off the beginning of each token and stop off its end.
type decodeStrip struct {
	char        string
	start, stop int
}

func (d decodeStrip) decode(tokens []string) []string {
	for i, s := range tokens {
		for n := 0; n < d.start && strings.HasPrefix(s, d.char); n++ {
			s = s[len(d.char):]
		}
		for n := 0; n < d.stop && strings.HasSuffix(s, d.char); n++ {
			s = s[:len(s)-len(d.char)]
		}
		tokens[i] = s
	}
	return tokens
}

type decodeMetaspace struct {
	replacement string
	dropFirst   bool // the first token's are not in the text
}

func (d decodeMetaspace) decode(tokens []string) []string {
	for i, s := range tokens {
		to := " "
		if i == 0 && d.dropFirst {
			to = ""
		}
		tokens[i] = strings.ReplaceAll(s, d.replacement, to)
	}
	return tokens
}

// decodeSuffix makes spaces of the ends of words.
type decodeSuffix string

func (d decodeSuffix) decode(tokens []string) []string {
	for i, s := range tokens {
		to := " "
		if i == len(tokens)-1 {
			to = ""
		}
		tokens[i] = strings.ReplaceAll(s, string(d), to)
	}
	return tokens
}
