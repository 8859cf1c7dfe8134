package tokenizer

import (
	"encoding/json"
	"fmt"
)

// Parse reads a tokenizer.json. It keeps the bytes, which the caller must not change afterwards.
//
// An error names the component or token that is wrong or not supported.
func Parse(tokenizerJSON []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(tokenizerJSON, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t, err := build(&f)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t.json = tokenizerJSON
	return t, nil
}

// build makes a tokenizer of a file's content.
func build(f *file) (*Tokenizer, error) {
	t := &Tokenizer{file: f}
	t.initHash()
	var err error
	if t.norm, err = newNormalizer(f.Normalizer, 0); err != nil {
		return nil, err
	}
	if t.pre, err = newPreSteps(f.PreTokenizer, 0); err != nil {
		return nil, err
	}
	if t.model, err = newBPE(&f.Model, t.byteMode(&f.Model)); err != nil {
		return nil, err
	}
	if t.added, err = newAddedTokens(f.AddedTokens, t.model, t.norm); err != nil {
		return nil, err
	}
	if err := t.post.add(f.PostProcessor, t, 0); err != nil {
		return nil, err
	}
	if t.decoders, err = newDecoders(f.Decoder, 0); err != nil {
		return nil, err
	}
	t.size = len(t.model.texts)
	for _, a := range f.AddedTokens {
		t.size = max(t.size, int(a.ID)+1)
	}
	if t.size == 0 {
		return nil, fmt.Errorf("no tokens at all")
	}
	if !isNull(f.Truncation) {
		t.notes = append(t.notes, "the tokenizer file asks for truncation, which is left to the caller")
	}
	if !isNull(f.Padding) {
		t.notes = append(t.notes, "the tokenizer file asks for padding, which is left to the caller")
	}
	return t, nil
}

// byteMode decides whether words reach the model as plain bytes, each standing for the character the byte-level
// alphabet gives it. That saves spelling the alphabet out, and is possible where nothing comes after ByteLevel
// that would see its characters.
func (t *Tokenizer) byteMode(m *modelFile) bool {
	plain := (m.Prefix == nil || *m.Prefix == "") && (m.Suffix == nil || *m.Suffix == "")
	for i, step := range t.pre {
		b, ok := step.(*byteLevel)
		if !ok {
			continue
		}
		if plain && i == len(t.pre)-1 {
			return true
		}
		b.spell = true
	}
	return false
}
