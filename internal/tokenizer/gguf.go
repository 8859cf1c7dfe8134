package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// FromGGUF makes a tokenizer of a GGUF file's metadata: keys "tokenizer.ggml.…" with string, bool, numeric and slice
// values. It takes the models llama (SentencePiece BPE with scores) and gpt2 (byte-level BPE with merges), the
// latter with the pre-tokenizers of ggufPreTokenizers; others are refused by name. It encodes as llama.cpp does, except
// that plain text never becomes a control token.
func FromGGUF(meta map[string]any) (*Tokenizer, error) {
	g := ggufVocab{meta: meta}
	t, err := g.build()
	if err != nil {
		return nil, fmt.Errorf("GGUF tokenizer: %w", err)
	}
	t.notes = append(t.notes, g.notes...)
	return t, nil
}

// Token types of GGUF.
const (
	typeNormal = 1 + iota
	typeUnknown
	typeControl
	typeUserDefined
	typeUnused
	typeByte
)

type ggufVocab struct {
	meta   map[string]any
	tokens []string
	types  []int64
	notes  []string
}

func (g *ggufVocab) build() (*Tokenizer, error) {
	var err error
	if g.tokens, err = g.strings("tokenizer.ggml.tokens"); err != nil {
		return nil, err
	}
	if n := len(g.tokens); n == 0 || n > maxVocab {
		return nil, fmt.Errorf("tokenizer.ggml.tokens has %d entries", n)
	}
	if g.types, err = numbers[int64](g.meta, "tokenizer.ggml.token_type"); err != nil {
		return nil, err
	}
	if g.types != nil && len(g.types) != len(g.tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.token_type has %d entries for %d tokens", len(g.types), len(g.tokens))
	}
	f := &file{Model: modelFile{Type: "BPE", Vocab: make(map[string]int32, len(g.tokens)), texts: g.tokens}}
	for id, s := range g.tokens {
		f.Model.Vocab[s] = int32(id)
	}
	switch model, _ := g.meta["tokenizer.ggml.model"].(string); model {
	case "llama":
		err = g.llama(f)
	case "gpt2":
		err = g.gpt2(f)
	case "":
		err = fmt.Errorf("tokenizer.ggml.model is missing")
	default:
		err = unsupported("tokenizer.ggml.model", model)
	}
	if err != nil {
		return nil, err
	}
	return build(f)
}

// kind is the type of a token; without tokenizer.ggml.token_type all are normal.
func (g *ggufVocab) kind(id int) int64 {
	if g.types == nil {
		return typeNormal
	}
	return g.types[id]
}

// added returns the tokens that are recognised in text. Of user-defined ones the text is always a token; control and
// unknown ones are special.
func (g *ggufVocab) added() []AddedToken {
	var added []AddedToken
	// llama.cpp knows by the model's name that Phi-3's control tokens take the white space after them.
	name, _ := g.meta["general.name"].(string)
	name = strings.ToLower(name)
	phi3 := strings.Contains(name, "phi-3") || strings.Contains(name, "phi3")
	for id, s := range g.tokens {
		k := g.kind(id)
		if s == "" || k != typeControl && k != typeUnknown && k != typeUserDefined {
			continue
		}
		tok := AddedToken{ID: int32(id), Content: s, Special: k != typeUserDefined || endsGeneration(s)}
		if phi3 {
			tok.RStrip = s != "<unk>" && s != "<s>" && s != "<|endoftext|>"
		}
		added = append(added, tok)
	}
	return added
}

// endsGeneration names the tokens that llama.cpp takes for control tokens whatever type the file gives them.
func endsGeneration(token string) bool {
	switch token {
	case "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "</s>",
		"<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>", "<end_of_utterance>":
		return true
	}
	return false
}

// llama fills f for a SentencePiece vocabulary: the pair whose token has the highest score is merged first, the
// leftmost of equals.
func (g *ggufVocab) llama(f *file) error {
	scores, err := numbers[float64](g.meta, "tokenizer.ggml.scores")
	if err != nil {
		return err
	}
	if len(scores) != len(g.tokens) {
		return fmt.Errorf("tokenizer.ggml.scores has %d entries for %d tokens", len(scores), len(g.tokens))
	}
	f.AddedTokens = g.added()
	f.Model.ByteFallback, f.Model.FuseUnk = true, true
	if id, ok := scalar[int64](g.meta["tokenizer.ggml.unknown_token_id"]); ok && id >= 0 && id < int64(len(g.tokens)) {
		f.Model.UnkToken = &g.tokens[id]
	} else if i := slices.Index(g.types, typeUnknown); i >= 0 {
		f.Model.UnkToken = &g.tokens[i]
	}
	g.mergesByScore(&f.Model, scores)
	normalizer := `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`
	decoder := `{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}`
	if g.flag("tokenizer.ggml.add_space_prefix", true) {
		normalizer = `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},` + normalizer + `]}`
		decoder += `,{"type":"Strip","content":" ","start":1,"stop":0}`
	}
	f.Normalizer = json.RawMessage(normalizer)
	f.Decoder = json.RawMessage(`{"type":"Sequence","decoders":[` + decoder + `]}`)
	return g.template(f, true)
}

// mergesByScore makes a merge of every way to write a token as two tokens.
func (g *ggufVocab) mergesByScore(m *modelFile, scores []float64) {
	type scored struct {
		pair  [2]string
		score float64
	}
	var all []scored
	for id, s := range g.tokens {
		if k := g.kind(id); k == typeControl || k == typeUnknown || k == typeByte || len(s) > 1<<10 {
			continue
		}
		for i := range s {
			if i == 0 {
				continue
			}
			_, left := m.Vocab[s[:i]]
			_, right := m.Vocab[s[i:]]
			if left && right {
				all = append(all, scored{[2]string{s[:i], s[i:]}, scores[id]})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	m.Merges, m.ranks = make(mergeList, len(all)), make([]int32, len(all))
	rank := int32(0)
	for i, s := range all {
		if i > 0 && s.score != all[i-1].score {
			rank++
		}
		m.Merges[i], m.ranks[i] = s.pair, rank
	}
}

const byteLevelJSON = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":%t}`

// ggufPreTokenizers returns the pre-tokenizer that a name in tokenizer.ggml.pre stands for, and whether a word that is
// a token is taken whole and BOS is added by default (llama.cpp, llama-vocab.cpp).
func ggufPreTokenizers(name string) (pre string, llama3 bool, ok bool) {
	regex := func(exprs ...string) string {
		var parts []string
		for _, e := range exprs {
			quoted, _ := json.Marshal(e)
			parts = append(parts, `{"type":"Split","pattern":{"Regex":`+string(quoted)+`},"behavior":"Isolated","invert":false}`)
		}
		return `{"type":"Sequence","pretokenizers":[` + strings.Join(append(parts, fmt.Sprintf(byteLevelJSON, false)), ",") + `]}`
	}
	switch name {
	case "gpt-2", "mpt":
		return fmt.Sprintf(byteLevelJSON, true), false, true
	case "smollm", "starcoder", "refact":
		return `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` +
			fmt.Sprintf(byteLevelJSON, true) + `]}`, false, true
	case "llama-bpe", "llama3", "llama-v3":
		return regex(llama3Expr), true, true
	case "qwen2":
		return regex(qwen2Expr), false, true
	case "default":
		return regex(`[\p{P}\$\+<=>\^~\|]+`, gpt2Expr, `\p{N}+`, `[0-9][0-9][0-9]`), false, true
	}
	return "", false, false
}

// gpt2 fills f for a byte-level vocabulary.
func (g *ggufVocab) gpt2(f *file) error {
	name, _ := g.meta["tokenizer.ggml.pre"].(string)
	if name == "" {
		name = "default"
		g.notes = append(g.notes, "the GGUF file names no pre-tokenizer: text is cut as llama.cpp does by default, which may not be what the model was trained on")
	}
	pre, llama3, ok := ggufPreTokenizers(name)
	if !ok {
		return unsupported("tokenizer.ggml.pre", name)
	}
	merges, err := g.strings("tokenizer.ggml.merges")
	if err != nil {
		return err
	}
	f.Model.Merges = make(mergeList, len(merges))
	for i, line := range merges {
		_, first := utf8.DecodeRuneInString(line)
		cut := strings.IndexByte(line[first:], ' ') // a space may be a token's first character
		if cut < 0 {
			return fmt.Errorf("tokenizer.ggml.merges %d, %q, is not two tokens with a space between them", i, line)
		}
		f.Model.Merges[i] = [2]string{line[:first+cut], line[first+cut+1:]}
	}
	f.AddedTokens = g.added()
	f.Model.IgnoreMerges = llama3
	f.Model.keepMissing = true
	f.PreTokenizer = json.RawMessage(pre)
	f.Decoder = json.RawMessage(fmt.Sprintf(byteLevelJSON, true))
	return g.template(f, llama3)
}

// template makes the post-processor that adds BOS and EOS.
func (g *ggufVocab) template(f *file, addBOS bool) error {
	single := []string{`{"Sequence":{"id":"A","type_id":0}}`}
	special := map[string]any{}
	token := func(add, key string, otherwise bool) (string, error) {
		if !g.flag(add, otherwise) {
			return "", nil
		}
		v, ok := g.meta[key]
		if !ok {
			if _, asked := g.meta[add]; asked {
				return "", fmt.Errorf("%s is set, but there is no %s", add, key)
			}
			return "", nil
		}
		id, ok := scalar[int64](v)
		if !ok || id < 0 || id >= int64(len(g.tokens)) {
			return "", fmt.Errorf("%s is %v, and there are %d tokens", key, v, len(g.tokens))
		}
		s := g.tokens[id]
		special[s] = map[string]any{"id": s, "ids": []int64{id}, "tokens": []string{s}}
		quoted, err := json.Marshal(s)
		return `{"SpecialToken":{"id":` + string(quoted) + `,"type_id":0}}`, err
	}
	bos, err := token("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", addBOS)
	if err != nil {
		return err
	}
	eos, err := token("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false)
	if err != nil {
		return err
	}
	if bos == "" && eos == "" {
		return nil
	}
	if bos != "" {
		single = slices.Insert(single, 0, bos)
	}
	if eos != "" {
		single = append(single, eos)
	}
	defs, err := json.Marshal(special)
	if err != nil {
		return err
	}
	one := strings.Join(single, ",")
	pair := one + "," + strings.ReplaceAll(strings.ReplaceAll(one, `"id":"A"`, `"id":"B"`), `"type_id":0`, `"type_id":1`)
	f.PostProcessor = json.RawMessage(`{"type":"TemplateProcessing","single":[` + one + `],"pair":[` + pair + `],"special_tokens":` +
		string(defs) + `}`)
	return nil
}

func (g *ggufVocab) flag(key string, otherwise bool) bool {
	if b, ok := g.meta[key].(bool); ok {
		return b
	}
	return otherwise
}

func (g *ggufVocab) strings(key string) ([]string, error) {
	switch v := g.meta[key].(type) {
	case []string:
		return v, nil
	case []any:
		out := make([]string, len(v))
		for i, x := range v {
			s, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("%s: entry %d is %T, not a string", key, i, x)
			}
			out[i] = s
		}
		return out, nil
	case nil:
		return nil, fmt.Errorf("%s is missing", key)
	default:
		return nil, fmt.Errorf("%s is %T, not strings", key, v)
	}
}

// numbers reads a list of numbers of any type; nil if the key is missing.
func numbers[T int64 | float64](meta map[string]any, key string) ([]T, error) {
	switch v := meta[key].(type) {
	case nil:
		return nil, nil
	case []int32:
		return convert[T](v), nil
	case []uint32:
		return convert[T](v), nil
	case []int64:
		return convert[T](v), nil
	case []float32:
		return convert[T](v), nil
	case []float64:
		return convert[T](v), nil
	case []any:
		out := make([]T, len(v))
		for i, x := range v {
			n, ok := scalar[T](x)
			if !ok {
				return nil, fmt.Errorf("%s: entry %d is %T, not a number", key, i, x)
			}
			out[i] = n
		}
		return out, nil
	default:
		return nil, fmt.Errorf("%s is %T, not numbers", key, v)
	}
}

func convert[T int64 | float64, S int32 | uint32 | int64 | float32 | float64](in []S) []T {
	out := make([]T, len(in))
	for i, x := range in {
		out[i] = T(x)
	}
	return out
}

func scalar[T int64 | float64](v any) (T, bool) {
	switch n := v.(type) {
	case int:
		return T(n), true
	case int8:
		return T(n), true
	case int16:
		return T(n), true
	case int32:
		return T(n), true
	case int64:
		return T(n), true
	case uint8:
		return T(n), true
	case uint16:
		return T(n), true
	case uint32:
		return T(n), true
	case uint64:
		return T(n), true
	case float32:
		return T(n), true
	case float64:
		return T(n), true
	}
	return 0, false
}
