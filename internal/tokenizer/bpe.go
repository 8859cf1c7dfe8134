package tokenizer

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// maxVocab bounds ids, so that a damaged file cannot ask for a table that fits no memory.
const maxVocab = 1 << 23

// bpe is a byte-pair-encoding model (Sennrich et al. 2016): a word starts as characters or bytes, and the pair with
// the lowest rank, the leftmost of equals, is merged until no pair of neighbours has a rank.
type bpe struct {
	vocab map[string]int32
	texts []string // id -> text; "" where there is none
	pairs map[uint64]merge

	bytes        bool       // words are bytes of the byte-level alphabet
	byteIDs      [256]int32 // bytes: the id of each byte; byteFallback: of <0x00> …; -1: none
	byteFallback bool
	unk          int32 // -1: characters the vocabulary lacks are left out
	fuseUnk      bool
	ignoreMerges bool   // a word that is a token is that token
	prefix       string // of the tokens that do not begin a word
	suffix       string // of the tokens that end a word
	keepMissing  bool   // a byte without a token keeps its neighbours apart until all is merged (llama.cpp)
	boundary     string // no merge crosses the place before it, see findBoundary; "": none
	words        *cache
}

// merge is what a pair of neighbours becomes.
type merge struct{ rank, id int32 }

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func newBPE(f *modelFile, bytes bool) (*bpe, error) {
	if f.Type != "BPE" && (f.Type != "" || f.Merges == nil) { // files before 2020 do not name it
		return nil, unsupported("model", f.Type)
	}
	if f.Dropout != nil && *f.Dropout != 0 {
		return nil, fmt.Errorf("BPE dropout %g would encode at random and is not supported", *f.Dropout)
	}
	m := &bpe{
		vocab: f.Vocab, bytes: bytes, byteFallback: f.ByteFallback, fuseUnk: f.FuseUnk, ignoreMerges: f.IgnoreMerges,
		unk: -1, words: newCache(), keepMissing: f.keepMissing,
	}
	if f.Prefix != nil {
		m.prefix = *f.Prefix
	}
	if f.Suffix != nil {
		m.suffix = *f.Suffix
	}
	if err := m.setTexts(f); err != nil {
		return nil, err
	}
	if f.UnkToken != nil {
		id, ok := m.vocab[*f.UnkToken]
		if !ok {
			return nil, fmt.Errorf("unk_token %q is not in the vocabulary", *f.UnkToken)
		}
		m.unk = id
	}
	for b := range m.byteIDs {
		name := string(byteAlphabet[b])
		if !bytes {
			name = fmt.Sprintf("<0x%02X>", b)
		}
		id, ok := m.vocab[name]
		if !ok {
			id = -1
		}
		m.byteIDs[b] = id
	}
	if err := m.setMerges(f); err != nil {
		return nil, err
	}
	m.findBoundary()
	return m, nil
}

func (m *bpe) setTexts(f *modelFile) error {
	if f.texts != nil {
		m.texts = f.texts
		return nil
	}
	size := 0
	for s, id := range f.Vocab {
		if id < 0 || id >= maxVocab {
			return fmt.Errorf("token %q: id %d is out of range", s, id)
		}
		size = max(size, int(id)+1)
	}
	if size > 2*len(f.Vocab)+1<<16 {
		return fmt.Errorf("the vocabulary has %d tokens but ids up to %d", len(f.Vocab), size-1)
	}
	m.texts = make([]string, size)
	for s, id := range f.Vocab {
		if old := m.texts[id]; old != "" {
			return fmt.Errorf("tokens %q and %q share id %d", min(old, s), max(old, s), id)
		}
		m.texts[id] = s
	}
	return nil
}

func (m *bpe) setMerges(f *modelFile) error {
	m.pairs = make(map[uint64]merge, len(f.Merges))
	var buf []byte
	for i, p := range f.Merges {
		left, okLeft := m.vocab[p[0]]
		right, okRight := m.vocab[p[1]]
		if !okLeft || !okRight {
			missing := p[0]
			if okLeft {
				missing = p[1]
			}
			return fmt.Errorf("merge %d (%q, %q): %q is not in the vocabulary", i, p[0], p[1], missing)
		}
		if len(p[1]) < len(m.prefix) {
			return fmt.Errorf("merge %d (%q, %q): %q lacks the prefix %q", i, p[0], p[1], p[1], m.prefix)
		}
		buf = append(append(buf[:0], p[0]...), p[1][len(m.prefix):]...)
		id, ok := m.vocab[string(buf)]
		if !ok {
			return fmt.Errorf("merge %d (%q, %q): %q is not in the vocabulary", i, p[0], p[1], buf)
		}
		rank := int32(i)
		if f.ranks != nil {
			rank = f.ranks[i]
		}
		m.pairs[pairKey(left, right)] = merge{rank, id}
	}
	return nil
}

// findBoundary sees whether ▁ only ever begins tokens: then words can be cut before each ▁ that follows something
// else, because no merge joins what lies on both sides. SentencePiece vocabularies are like that, and without it a whole
// text would be one word.
func (m *bpe) findBoundary() {
	const mark = "▁"
	if _, ok := m.vocab[mark]; !ok || m.bytes || m.ignoreMerges || m.prefix != "" || m.suffix != "" {
		return
	}
	for pair := range m.pairs {
		left, right := m.texts[pair>>32], m.texts[uint32(pair)]
		if !endsIn(left, mark) && len(right) >= len(mark) && right[:len(mark)] == mark {
			return
		}
	}
	m.boundary = mark
}

func endsIn(s, suffix string) bool { return len(s) >= len(suffix) && s[len(s)-len(suffix):] == suffix }

func (m *bpe) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(m.texts) || m.texts[id] == "" {
		return "", false
	}
	return m.texts[id], true
}

// symbol is a token of a word and the bytes of the word it covers. A character that is left out, because the
// vocabulary lacks it and there is no unknown token, does not count in the positions: offsets after it, up to the
// end of the word, are too low by its length. Hugging Face tokenizers does the same.
type symbol struct{ id, start, end int32 }

// tokens appends the tokens of a word, which is not empty, to dst.
func (m *bpe) tokens(dst []symbol, word string) []symbol {
	if m.ignoreMerges {
		if id, ok := m.whole(word); ok {
			return append(dst, symbol{id, 0, int32(len(word))})
		}
	}
	from := len(dst)
	if m.bytes {
		for i := range len(word) {
			dst = m.appendByte(dst, from, word[i])
		}
	} else {
		dst = m.appendChars(dst, word)
	}
	dst = dst[:from+m.mergeAll(dst[from:])]
	if m.keepMissing {
		dst = append(dst[:from], slices.DeleteFunc(dst[from:], func(s symbol) bool { return s.id < 0 })...)
	}
	return dst
}

// whole looks a word up as it stands.
func (m *bpe) whole(word string) (int32, bool) {
	if !m.bytes {
		id, ok := m.vocab[word]
		return id, ok
	}
	var buf [128]byte
	spelled := buf[:0]
	for i := range len(word) {
		spelled = utf8.AppendRune(spelled, byteAlphabet[word[i]])
	}
	id, ok := m.vocab[string(spelled)]
	return id, ok
}

// appendByte appends the token of a byte.
func (m *bpe) appendByte(dst []symbol, from int, b byte) []symbol {
	id := m.byteIDs[b]
	if id < 0 {
		id = m.unk
		if id < 0 && !m.keepMissing {
			return dst
		}
		if n := len(dst); m.fuseUnk && n > from && dst[n-1].id == id {
			dst[n-1].end++
			return dst
		}
	}
	return appendSymbol(dst, from, id, 1)
}

// appendSymbol appends a token that covers the next n bytes of the word, whose first token is dst[from].
func appendSymbol(dst []symbol, from int, id, n int32) []symbol {
	at := int32(0)
	if len(dst) > from {
		at = dst[len(dst)-1].end
	}
	return append(dst, symbol{id, at, at + n})
}

// appendChars appends the token of each character; one the vocabulary lacks becomes bytes, or unknown.
func (m *bpe) appendChars(dst []symbol, word string) []symbol {
	from := len(dst)
	unknown := int32(0) // bytes that are unknown and not appended yet, so that neighbours can be fused
	flush := func() {
		if unknown > 0 {
			dst = appendSymbol(dst, from, m.unk, unknown)
			unknown = 0
		}
	}
	for i := 0; i < len(word); {
		_, n := utf8.DecodeRuneInString(word[i:])
		s := word[i : i+n]
		if m.prefix != "" && i > 0 {
			s = m.prefix + s
		}
		if m.suffix != "" && i+n == len(word) {
			s += m.suffix
		}
		i += n
		if id, ok := m.vocab[s]; ok {
			flush()
			dst = appendSymbol(dst, from, id, int32(n))
			continue
		}
		if s := word[i-n : i]; m.byteFallback && m.allBytes(s) {
			flush()
			for j := range len(s) {
				dst = appendSymbol(dst, from, m.byteIDs[s[j]], 1)
			}
			continue
		}
		if m.unk < 0 {
			continue
		}
		if !m.fuseUnk {
			flush()
		}
		unknown += int32(n)
	}
	flush()
	return dst
}

func (m *bpe) allBytes(s string) bool {
	for j := range len(s) {
		if m.byteIDs[s[j]] < 0 {
			return false
		}
	}
	return true
}
