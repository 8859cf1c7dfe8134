package tokenizer

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plumb/internal/checkpoint"
	"plumb/internal/golden"
)

func metadata(t *testing.T, path string) map[string]any {
	t.Helper()
	g, err := checkpoint.OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g.Metadata
}

// The GGUF vocabularies of llama.cpp encode as llama.cpp does.
func TestGGUFGolden(t *testing.T) {
	texts := goldenStrings(t)
	for _, name := range []string{"llama-spm", "phi-3", "baichuan", "gpt-2", "mpt", "gpt-neox", "starcoder", "refact"} {
		t.Run(name, func(t *testing.T) {
			var g struct {
				File    string    `json:"file"`
				IDs     [][]int32 `json:"ids"`
				Parsed  [][]int32 `json:"ids_special_parsed"`
				Decoded []*string `json:"decoded"`
				BOS     int32     `json:"bos"`
				Prepend bool      `json:"model_prepends_bos"`
			}
			golden.JSON(t, filepath.Join(golden.Dir(t, "tokenizers"), "gguf-"+name+".json.gz"), &g)
			tok, err := FromGGUF(metadata(t, golden.Shared(t, filepath.Join("tokenizers", g.File))))
			if err != nil {
				t.Fatal(err)
			}
			again := tok
			if name != "mpt" && name != "gpt-neox" && name != "baichuan" { // three of a kind take their time
				if again, err = Parse(tok.JSON()); err != nil {
					t.Fatalf("its own tokenizer.json: %v", err)
				}
			}
			bad, differing := 0, 0
			for row, text := range texts {
				plain := tok.Encode(text, EncodeOptions{})
				parsed := tok.Encode(text, EncodeOptions{Special: true})
				full := tok.Encode(text, EncodeOptions{AddSpecial: true})
				want := g.IDs[row]
				wantParsed := g.Parsed[row]
				if wantParsed == nil {
					wantParsed = want
				}
				ok := slices.Equal(plain.IDs, want) && slices.Equal(parsed.IDs, wantParsed)
				if !slices.Equal(again.Encode(text, EncodeOptions{}).IDs, want) {
					differing++
				}
				if g.Prepend {
					ok = ok && slices.Equal(full.IDs, append([]int32{g.BOS}, want...))
				} else {
					ok = ok && slices.Equal(full.IDs, want)
				}
				// Where llama.cpp gives the text back, so do we; elsewhere it tidies spaces up, which no model sees.
				if g.Decoded[row] == nil && tok.Decode(want, false) != text {
					ok = false
				}
				if ok {
					continue
				}
				if bad++; bad <= 5 {
					t.Errorf("row %d %q:\nids  %v\nwant %v\nparsed %v\nwant   %v\ndecoded %q", row, text, plain.IDs, want, parsed.IDs, wantParsed,
						tok.Decode(want, false))
				}
			}
			if bad > 0 {
				t.Errorf("%d of %d rows differ", bad, len(texts))
			}
			// A tokenizer.json cannot say that the bytes next to one the vocabulary lacks stay apart: rows 288 and 346.
			allowed := 0
			if name == "starcoder" || name == "refact" {
				allowed = 2
			}
			if differing != allowed {
				t.Errorf("as a tokenizer.json it differs on %d rows, not %d", differing, allowed)
			}
		})
	}
}

// A GGUF of SmolLM2 tokenizes as its tokenizer.json, apart from bytes SmolLM2 has no token for: with those llama.cpp and
// Hugging Face differ.
func TestGGUFSmolLM2(t *testing.T) {
	hf := parseFile(t, golden.Shared(t, "tokenizers/smollm2-hf/tokenizer.json"))
	tok, err := FromGGUF(metadata(t, golden.SmolLM2(t, "SmolLM2-135M-Instruct.Q4_1.gguf")))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
texts:
	for _, text := range goldenStrings(t) {
		for i := range len(text) {
			if hf.model.byteIDs[text[i]] < 0 {
				continue texts
			}
		}
		compared++
		got, want := tok.Encode(text, EncodeOptions{Special: true}), hf.Encode(text, EncodeOptions{Special: true})
		if !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Offsets, want.Offsets) {
			t.Errorf("%q: %v, want %v", text, got.IDs, want.IDs)
		}
	}
	if compared < 350 { // of 459
		t.Errorf("only %d texts were compared", compared)
	}
}

func TestGGUFRefusals(t *testing.T) {
	base := func() map[string]any {
		return map[string]any{
			"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
			"tokenizer.ggml.tokens": []string{"a", "b", "ab"}, "tokenizer.ggml.merges": []string{"a b"},
			"tokenizer.ggml.token_type": []int32{1, 1, 1},
		}
	}
	if _, err := FromGGUF(base()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"tokenizer.ggml.model", "bert", `tokenizer.ggml.model "bert" is not supported`},
		{"tokenizer.ggml.model", nil, "tokenizer.ggml.model is missing"},
		{"tokenizer.ggml.pre", "tekken", `tokenizer.ggml.pre "tekken" is not supported`},
		{"tokenizer.ggml.tokens", nil, "tokenizer.ggml.tokens is missing"},
		{"tokenizer.ggml.tokens", []string{}, "tokenizer.ggml.tokens has 0 entries"},
		{"tokenizer.ggml.tokens", []any{"a", 1}, "entry 1 is int, not a string"},
		{"tokenizer.ggml.token_type", []int32{1}, "1 entries for 3 tokens"},
		{"tokenizer.ggml.token_type", "x", "not numbers"},
		{"tokenizer.ggml.merges", []string{"ab"}, "not two tokens"},
		{"tokenizer.ggml.merges", []string{"a c"}, `"c" is not in the vocabulary`},
		{"tokenizer.ggml.merges", []string{""}, "not two tokens"},
		{"tokenizer.ggml.add_bos_token", true, "there is no tokenizer.ggml.bos_token_id"},
	} {
		meta := base()
		meta[c.key] = c.value
		if c.value == nil {
			delete(meta, c.key)
		}
		if _, err := FromGGUF(meta); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: %v, want %q", c.key, c.value, err, c.want)
		}
	}
	meta := base()
	meta["tokenizer.ggml.add_bos_token"], meta["tokenizer.ggml.bos_token_id"] = true, uint32(7)
	if _, err := FromGGUF(meta); err == nil || !strings.Contains(err.Error(), "there are 3 tokens") {
		t.Errorf("BOS out of range: %v", err)
	}
	meta = base()
	meta["tokenizer.ggml.model"], meta["tokenizer.ggml.scores"] = "llama", []float32{1}
	if _, err := FromGGUF(meta); err == nil || !strings.Contains(err.Error(), "1 entries for 3 tokens") {
		t.Errorf("scores: %v", err)
	}
}
