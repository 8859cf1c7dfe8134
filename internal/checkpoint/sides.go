package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// maxSide is the largest text file read beside the weights, in bytes. The largest tokenizers are near 40 MB.
const maxSide = 256 << 20

// TokenizerFiles holds the tokenizer of a Hugging Face folder, nil where a file is absent.
type TokenizerFiles struct {
	JSON        []byte // tokenizer.json
	Config      []byte // tokenizer_config.json
	SpecialMap  []byte // special_tokens_map.json
	TemplateRaw []byte // chat_template.jinja
}

// SpecialTokens are the texts of the special tokens, "" where the model has none.
type SpecialTokens struct {
	BOS, EOS, UNK, PAD string
}

// Generation is what generation_config.json says, as far as Plumb uses it.
type Generation struct {
	JSON []byte // the file; nil when absent
	// BOS and PAD are token ids, -1 where nothing is said; EOS lists every id that ends a text.
	BOS, PAD int32
	EOS      []int32
}

// readSides reads what lies beside the weights: config, tokenizer, special tokens, templates. All are optional here;
// the model or the tokenizer asks for what it needs.
func (s *Source) readSides(fsys fs.FS, dir string) error {
	s.Generation = Generation{BOS: -1, PAD: -1}
	for _, side := range []struct {
		name string
		to   *[]byte
	}{
		{"config.json", &s.ConfigJSON},
		{"generation_config.json", &s.Generation.JSON},
		{"tokenizer.json", &s.Tokenizer.JSON},
		{"tokenizer_config.json", &s.Tokenizer.Config},
		{"special_tokens_map.json", &s.Tokenizer.SpecialMap},
		{"chat_template.jinja", &s.Tokenizer.TemplateRaw},
	} {
		text, err := readSmall(fsys, side.name, path.Join(dir, side.name), maxSide)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		*side.to = text
	}
	for _, parse := range []struct {
		name string
		f    func() error
	}{
		{"config.json", s.parseIDs(&s.ConfigJSON)},
		{"generation_config.json", s.parseIDs(&s.Generation.JSON)},
		{"special_tokens_map.json", s.parseTokens(&s.Tokenizer.SpecialMap)},
		{"tokenizer_config.json", s.parseTokens(&s.Tokenizer.Config)},
		{"tokenizer_config.json", s.parseTemplates},
	} {
		if err := parse.f(); err != nil {
			return fmt.Errorf("%s: %w", path.Join(dir, parse.name), err)
		}
	}
	if s.Tokenizer.TemplateRaw != nil {
		s.ChatTemplate = string(s.Tokenizer.TemplateRaw) // the newer place wins, as in transformers
	}
	return nil
}

// parseIDs reads the token ids of config.json or generation_config.json; the latter is read last and wins.
func (s *Source) parseIDs(text *[]byte) func() error {
	return func() error {
		if *text == nil {
			return nil
		}
		var c struct {
			BOS json.RawMessage `json:"bos_token_id"`
			EOS json.RawMessage `json:"eos_token_id"`
			PAD json.RawMessage `json:"pad_token_id"`
		}
		if err := json.Unmarshal(*text, &c); err != nil {
			return err
		}
		for _, one := range []struct {
			name string
			raw  json.RawMessage
			to   *int32
		}{{"bos_token_id", c.BOS, &s.Generation.BOS}, {"pad_token_id", c.PAD, &s.Generation.PAD}} {
			ids, err := idList(one.raw)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			if len(ids) > 0 {
				*one.to = ids[0]
			}
		}
		ids, err := idList(c.EOS)
		if err != nil {
			return fmt.Errorf("eos_token_id: %w", err)
		}
		if len(ids) > 0 {
			s.Generation.EOS = ids
		}
		return nil
	}
}

// idList reads a token id, a list of them, or null.
func idList(raw json.RawMessage) ([]int32, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var ids []int32
	if raw[0] != '[' {
		ids = make([]int32, 1)
		if err := json.Unmarshal(raw, &ids[0]); err != nil {
			return nil, fmt.Errorf("%.40s is not a token id", raw)
		}
	} else if err := json.Unmarshal(raw, &ids); err != nil {
		return nil, fmt.Errorf("%.40s is not a list of token ids", raw)
	}
	for _, id := range ids {
		if id < 0 {
			return nil, fmt.Errorf("%d is not a token id", id)
		}
	}
	return ids, nil
}

// parseTokens reads bos_token and the like, each a string or an object with a content. tokenizer_config.json is read
// last and wins.
func (s *Source) parseTokens(text *[]byte) func() error {
	return func() error {
		if *text == nil {
			return nil
		}
		var c struct {
			BOS tokenText `json:"bos_token"`
			EOS tokenText `json:"eos_token"`
			UNK tokenText `json:"unk_token"`
			PAD tokenText `json:"pad_token"`
		}
		if err := json.Unmarshal(*text, &c); err != nil {
			return err
		}
		for _, one := range []struct {
			from tokenText
			to   *string
		}{{c.BOS, &s.Special.BOS}, {c.EOS, &s.Special.EOS}, {c.UNK, &s.Special.UNK}, {c.PAD, &s.Special.PAD}} {
			if one.from != "" {
				*one.to = string(one.from)
			}
		}
		return nil
	}
}

type tokenText string

func (t *tokenText) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		var o struct {
			Content string `json:"content"`
		}
		if err := json.Unmarshal(text, &o); err != nil {
			return err
		}
		*t = tokenText(o.Content)
		return nil
	}
	return json.Unmarshal(text, (*string)(t))
}

// parseTemplates reads chat_template: a string, or a list of named templates of which "default" is the default.
func (s *Source) parseTemplates() error {
	if s.Tokenizer.Config == nil {
		return nil
	}
	var c struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(s.Tokenizer.Config, &c); err != nil {
		return err
	}
	raw := bytes.TrimSpace(c.Template)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case raw[0] == '"':
		return json.Unmarshal(raw, &s.ChatTemplate)
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if raw[0] == '{' { // seen in the wild: {"default": "...", "rag": "..."}
		if err := json.Unmarshal(raw, &s.ChatTemplates); err != nil {
			return fmt.Errorf("chat_template: %w", err)
		}
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("chat_template: neither a string nor a list of named templates: %w", err)
	}
	for _, t := range list {
		if s.ChatTemplates == nil {
			s.ChatTemplates = make(map[string]string)
		}
		if _, dup := s.ChatTemplates[t.Name]; dup {
			return fmt.Errorf("chat_template: %q occurs twice", t.Name)
		}
		s.ChatTemplates[t.Name] = t.Template
	}
	s.ChatTemplate = s.ChatTemplates["default"]
	return nil
}
