package tokenizer

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// addedTokens finds added tokens in text.
type addedTokens struct {
	tokens     []AddedToken
	ids        map[string]int32
	index      map[int32]int // id -> position in tokens
	shown      []string      // what Decode prints, parallel to tokens: the form that is looked for
	raw        *trie         // of tokens looked for in the original text
	normalized *trie         // of those looked for in the normalized text
}

func newAddedTokens(tokens []AddedToken, m *bpe, n normalizer) (addedTokens, error) {
	a := addedTokens{
		tokens: tokens, ids: make(map[string]int32, len(tokens)), index: make(map[int32]int, len(tokens)),
		raw: newTrie(), normalized: newTrie(),
	}
	for i, tok := range tokens {
		if tok.Content == "" {
			return a, fmt.Errorf("added token with id %d is empty", tok.ID)
		}
		if tok.ID < 0 || int(tok.ID) >= maxVocab {
			return a, fmt.Errorf("added token %q: id %d is out of range", tok.Content, tok.ID)
		}
		if id, ok := m.vocab[tok.Content]; ok && id != tok.ID {
			return a, fmt.Errorf("added token %q has id %d, but the vocabulary gives it %d", tok.Content, tok.ID, id)
		}
		if s, ok := m.token(tok.ID); ok && s != tok.Content {
			return a, fmt.Errorf("added token %q has id %d, which is %q in the vocabulary", tok.Content, tok.ID, s)
		}
		if id, ok := a.ids[tok.Content]; ok {
			return a, fmt.Errorf("added token %q occurs twice, with ids %d and %d", tok.Content, id, tok.ID)
		}
		if j, ok := a.index[tok.ID]; ok {
			return a, fmt.Errorf("added tokens %q and %q share id %d", tokens[j].Content, tok.Content, tok.ID)
		}
		a.ids[tok.Content] = tok.ID
		a.index[tok.ID] = i
		if !tok.Normalized {
			a.raw.insert(tok.Content, int32(i))
			a.shown = append(a.shown, tok.Content)
			continue
		}
		content := tok.Content
		if n != nil {
			p, err := n.normalize(piece{text: content})
			if err != nil {
				return a, fmt.Errorf("added token %q: %w", content, err)
			}
			content = p.text
		}
		a.shown = append(a.shown, content)
		if content != "" {
			a.normalized.insert(content, int32(i))
		}
	}
	return a, nil
}

func (a *addedTokens) byID(id int32) *AddedToken {
	if i, ok := a.index[id]; ok {
		return &a.tokens[i]
	}
	return nil
}

// isSpecialText reports whether s is the text of a special token.
func (a *addedTokens) isSpecialText(s string) bool {
	id, ok := a.ids[s]
	return ok && a.tokens[a.index[id]].Special
}

// cut goes through p from left to right, the longest match first at each place, and hands the added tokens to
// token and what lies between them to rest.
func (a *addedTokens) cut(t *trie, p piece, special bool, token func(tok *AddedToken, p piece), rest func(piece)) {
	if t.empty() {
		rest(p)
		return
	}
	text := p.text
	done := 0 // what lies before it is handed out
	for i := 0; i < len(text); {
		i = t.next(text, i)
		if i >= len(text) {
			break
		}
		n, found := t.longest(text[i:])
		if found < 0 {
			i++
			continue
		}
		start, stop := i, i+n
		i = stop
		tok := &a.tokens[found]
		if tok.Special && !special {
			continue
		}
		if tok.SingleWord && (endsWithWord(text[:start]) || startsWithWord(text[stop:])) {
			continue
		}
		if tok.LStrip {
			start = trimSpaceRight(text[:start])
		}
		start = max(start, done) // white space may have gone to the token before
		if tok.RStrip {
			stop += spaceLeft(text[stop:])
		}
		if stop <= done { // a token made of white space that the one before it took
			continue
		}
		if done < start {
			rest(p.slice(done, start))
		}
		token(tok, p.slice(start, stop))
		done = stop
	}
	if done < len(text) {
		rest(p.slice(done, len(text)))
	}
}

func isWordRune(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc) || unicode.Is(unicode.Other_Alphabetic, r) ||
		unicode.Is(unicode.Join_Control, r)
}

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWordRune(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWordRune(r)
}

// trimSpaceRight returns the length of s without the white space at its end.
func trimSpaceRight(s string) int {
	n := len(s)
	for n > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:n])
		if !unicode.IsSpace(r) {
			break
		}
		n -= size
	}
	return n
}

// spaceLeft returns the length of the white space s begins with.
func spaceLeft(s string) int {
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if !unicode.IsSpace(r) {
			break
		}
		n += size
	}
	return n
}

// trie finds the longest of a set of strings at a place in a text.
type trie struct {
	root  [256]int32 // node after the first byte, 0: none
	nodes []trieNode // nodes[0] is not used
}

type trieNode struct {
	keys  []byte
	next  []int32
	value int32 // -1: no string ends here
}

func newTrie() *trie { return &trie{nodes: make([]trieNode, 1)} }

func (t *trie) empty() bool { return len(t.nodes) == 1 }

func (t *trie) insert(s string, value int32) {
	at := t.root[s[0]]
	if at == 0 {
		at = t.add()
		t.root[s[0]] = at
	}
	for i := 1; i < len(s); i++ {
		next := t.nodes[at].step(s[i])
		if next == 0 {
			next = t.add()
			n := &t.nodes[at]
			n.keys = append(n.keys, s[i])
			n.next = append(n.next, next)
		}
		at = next
	}
	if t.nodes[at].value < 0 { // the first of equal strings wins
		t.nodes[at].value = value
	}
}

func (t *trie) add() int32 {
	t.nodes = append(t.nodes, trieNode{value: -1})
	return int32(len(t.nodes) - 1)
}

func (n *trieNode) step(b byte) int32 {
	for i, k := range n.keys {
		if k == b {
			return n.next[i]
		}
	}
	return 0
}

// next returns the first place from i on where some string may begin.
func (t *trie) next(s string, i int) int {
	for i < len(s) && t.root[s[i]] == 0 {
		i++
	}
	return i
}

// longest returns the length and the value of the longest string s begins with; the value is -1 if there is none.
func (t *trie) longest(s string) (length int, value int32) {
	value = -1
	at := t.root[s[0]]
	for i := 1; ; i++ {
		if at == 0 {
			return length, value
		}
		if v := t.nodes[at].value; v >= 0 {
			length, value = i, v
		}
		if i == len(s) {
			return length, value
		}
		at = t.nodes[at].step(s[i])
	}
}
