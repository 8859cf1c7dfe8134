package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// file is a tokenizer.json.
type file struct {
	Version       string          `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	AddedTokens   []AddedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         modelFile       `json:"model"`
}

// AddedToken is a token that is recognised in text as a whole, before the model sees it.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no word character touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space after it
	Normalized bool   `json:"normalized"`  // is looked for in the normalized text, in its own normalized form
	Special    bool   `json:"special"`
}

type modelFile struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	UnkToken     *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnk      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       mergeList        `json:"merges"`

	ranks       []int32  // of GGUF vocabularies: priority of each merge, equal ones allowed; nil: the position in Merges
	texts       []string // of GGUF vocabularies: the text of every id, where two ids may share one
	keepMissing bool     // of GGUF vocabularies: see bpe
}

// mergeList reads both forms of merges: "a b" and, in files written since 2024, ["a", "b"].
type mergeList [][2]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *mergeList) UnmarshalJSON(b []byte) error {
	var lines []string
	if json.Unmarshal(b, &lines) == nil {
		*m = make(mergeList, len(lines))
		for i, line := range lines {
			left, right, ok := strings.Cut(line, " ")
			if !ok || strings.Contains(right, " ") {
				return fmt.Errorf("merge %d, %q, is not two tokens with a space between them", i, line)
			}
			(*m)[i] = [2]string{left, right}
		}
		return nil
	}
	var pairs [][]string
	if err := json.Unmarshal(b, &pairs); err != nil {
		return fmt.Errorf("merges are neither strings nor pairs of strings: %w", err)
	}
	*m = make(mergeList, len(pairs))
	for i, p := range pairs {
		if len(p) != 2 {
			return fmt.Errorf("merge %d has %d tokens, not two", i, len(p))
		}
		(*m)[i] = [2]string(p)
	}
	return nil
}

// component holds every field that any normalizer, pre-tokenizer, post-processor or decoder of this package has.
type component struct {
	Type          string            `json:"type"`
	Normalizers   []json.RawMessage `json:"normalizers"`
	Pretokenizers []json.RawMessage `json:"pretokenizers"`
	Processors    []json.RawMessage `json:"processors"`
	Decoders      []json.RawMessage `json:"decoders"`

	Pattern     *pattern `json:"pattern"`
	Content     *string  `json:"content"`
	Prepend     *string  `json:"prepend"`
	Replacement *string  `json:"replacement"`
	Behavior    string   `json:"behavior"`
	Invert      bool     `json:"invert"`

	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	TrimOffsets      *bool  `json:"trim_offsets"`
	UseRegex         *bool  `json:"use_regex"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`
	IndividualDigits bool   `json:"individual_digits"`
	StripLeft        bool   `json:"strip_left"`
	StripRight       bool   `json:"strip_right"`

	Start  int    `json:"start"`
	Stop   int    `json:"stop"`
	Suffix string `json:"suffix"`

	Single        []map[string]templateItem `json:"single"`
	SpecialTokens map[string]templateToken  `json:"special_tokens"`
}

type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

type templateItem struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

type templateToken struct {
	IDs []int32 `json:"ids"`
}

// maxNesting bounds Sequences inside Sequences.
const maxNesting = 8

// parseComponent reads one component; ok is false for null and for nothing.
func parseComponent(raw json.RawMessage, what string) (c component, ok bool, err error) {
	if isNull(raw) {
		return c, false, nil
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, false, fmt.Errorf("%s: %w", what, err)
	}
	if c.Type == "" {
		return c, false, fmt.Errorf("%s has no type", what)
	}
	return c, true, nil
}

func isNull(raw json.RawMessage) bool {
	s := bytes.TrimSpace(raw)
	return len(s) == 0 || string(s) == "null"
}

func unsupported(what, name string) error {
	return fmt.Errorf("%s %q is not supported", what, name)
}

func isTrue(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

// marshal writes the file in a canonical form: components with sorted keys, the vocabulary in order of ids.
func (f *file) marshal() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	put := func(key string, v any) {
		b.WriteString(key)
		if raw, ok := v.(json.RawMessage); ok {
			var x any
			if !isNull(raw) {
				if err := json.Unmarshal(raw, &x); err != nil {
					panic("tokenizer: marshal: component is not JSON")
				}
			}
			v = x
		}
		if err := enc.Encode(v); err != nil { // strings, numbers, and what was JSON before
			panic("tokenizer: marshal: value is not JSON")
		}
		b.Truncate(b.Len() - 1) // the newline
	}
	added := f.AddedTokens
	if added == nil {
		added = []AddedToken{}
	}
	put(`{"version":`, "1.0")
	put(`,"truncation":`, nil)
	put(`,"padding":`, nil)
	put(`,"added_tokens":`, added)
	put(`,"normalizer":`, f.Normalizer)
	put(`,"pre_tokenizer":`, f.PreTokenizer)
	put(`,"post_processor":`, f.PostProcessor)
	put(`,"decoder":`, f.Decoder)
	m := f.Model
	put(`,"model":{"type":`, "BPE")
	put(`,"dropout":`, nil)
	put(`,"unk_token":`, m.UnkToken)
	put(`,"continuing_subword_prefix":`, m.Prefix)
	put(`,"end_of_word_suffix":`, m.Suffix)
	put(`,"fuse_unk":`, m.FuseUnk)
	put(`,"byte_fallback":`, m.ByteFallback)
	put(`,"ignore_merges":`, m.IgnoreMerges)
	b.WriteString(`,"vocab":{`)
	type entry struct {
		token string
		id    int32
	}
	vocab := make([]entry, 0, len(m.Vocab))
	for s, id := range m.Vocab {
		vocab = append(vocab, entry{s, id})
	}
	slices.SortFunc(vocab, func(x, y entry) int { return cmp.Compare(x.id, y.id) })
	for i, e := range vocab {
		if i > 0 {
			b.WriteByte(',')
		}
		put("", e.token)
		put(":", e.id)
	}
	b.WriteString(`}`)
	merges := m.Merges
	if merges == nil {
		merges = mergeList{}
	}
	put(`,"merges":`, [][2]string(merges))
	b.WriteString("}}\n")
	return b.Bytes()
}
