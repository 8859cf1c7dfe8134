package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
)

// Tokenizer maps text to ids and back. It is safe for concurrent use.
type Tokenizer struct {
	file  *file  // what it was made of
	json  []byte // the tokenizer.json it was read from, nil if it was not
	notes []string

	added    addedTokens
	norm     normalizer // nil: text is taken as it is
	pre      []preStep  // in order
	model    *bpe
	post     postProcessor
	decoders []decoder // nil: tokens are joined by spaces
	size     int

	hash func() string
}

// EncodeOptions says what to do with special tokens.
type EncodeOptions struct {
	// AddSpecial puts the tokens around the text that the file's post-processor asks for (BOS, EOS).
	AddSpecial bool
	// Special recognises special tokens written in the text, as Hugging Face tokenizers does by default. Without
	// it they are plain text: use that for text from outside. Added tokens that are not special are always
	// recognised.
	Special bool
}

// Encoding is an encoded text.
type Encoding struct {
	IDs []int32
	// Offsets are the byte ranges of the text that the tokens stand for, parallel to IDs. A token that holds only a
	// part of a character covers the whole character; tokens that AddSpecial added are {0, 0}.
	Offsets [][2]int
	// Err is set, and the rest empty, when one of the file's own regular expressions ran out of its time on this
	// text. It is nil for all tokenizers whose expressions are known (see scan.go).
	Err error
}

// Encode encodes a text.
func (t *Tokenizer) Encode(text string, o EncodeOptions) Encoding {
	e := encoder{t: t}
	e.text(text, o)
	if e.err != nil {
		return Encoding{Err: e.err}
	}
	if t.post.trimOffsets {
		t.trim(&e, text)
	}
	enc := Encoding{IDs: e.ids, Offsets: e.offsets}
	if o.AddSpecial {
		enc = t.post.wrap(enc)
	}
	return enc
}

// Size is the number of ids: one more than the largest.
func (t *Tokenizer) Size() int { return t.size }

// ID returns the id of a token's text, as it stands in the vocabulary ("Ġthe", "▁the", "<|im_end|>").
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	id, ok := t.model.vocab[token]
	return id, ok
}

// Token returns the text of an id as it stands in the vocabulary.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if a := t.added.byID(id); a != nil {
		return a.Content, true
	}
	return t.model.token(id)
}

// IsSpecial reports whether an id is a special token, which Decode can leave out.
func (t *Tokenizer) IsSpecial(id int32) bool {
	a := t.added.byID(id)
	return a != nil && a.Special
}

// Special returns the special tokens' ids in ascending order.
func (t *Tokenizer) Special() []int32 {
	var ids []int32
	for i := range t.added.tokens {
		if t.added.tokens[i].Special {
			ids = append(ids, t.added.tokens[i].ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Notes are sentences about what the file asks for and this package leaves to its callers, for a person to read.
func (t *Tokenizer) Notes() []string { return t.notes }

// JSON returns the tokenizer as a tokenizer.json: the very bytes it was parsed from, or, for a GGUF vocabulary and
// a trained one, bytes that Hugging Face tokenizers reads. The caller must not change them.
func (t *Tokenizer) JSON() []byte {
	if t.json != nil {
		return t.json
	}
	return t.file.marshal()
}

// Hash identifies what the tokenizer does: the SHA-256 (hex) of its content in a canonical form. Two files that
// differ only in layout have the same hash.
func (t *Tokenizer) Hash() string { return t.hash() }

func (t *Tokenizer) initHash() {
	t.hash = sync.OnceValue(func() string {
		sum := sha256.Sum256(t.file.marshal())
		return hex.EncodeToString(sum[:])
	})
}
