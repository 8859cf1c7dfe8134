package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// ggufOf is the metadata that a GGUF file has of a byte-level vocabulary: its tokens by id, the control tokens among them or
// behind them, and the merges as lines.
func ggufOf(t *testing.T, pre string, vocab, control map[string]int32, merges []string) map[string]any {
	t.Helper()
	size := len(vocab)
	for s := range control {
		if _, ok := vocab[s]; !ok {
			size++
		}
	}
	tokens, types := make([]string, size), make([]int32, size)
	for s, id := range vocab {
		tokens[id], types[id] = s, typeNormal
	}
	for s, id := range control {
		tokens[id], types[id] = s, typeControl
	}
	if i := slices.Index(types, 0); i >= 0 {
		t.Fatalf("no token has id %d", i)
	}
	return map[string]any{
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
		"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": merges,
	}
}

// linesOf are the lines of a file, without an empty last one.
func linesOf(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

// llama-bpe: Llama 3's vocabulary and merges as metadata give tiktoken's ids, with BOS before them where special tokens are
// asked for, and llama.cpp's on its own texts.
func TestGGUFLlama3(t *testing.T) {
	var g struct {
		Special map[string]int32 `json:"special_tokens"`
		IDs     [][]int32        `json:"ids"`
		Allowed [][]int32        `json:"ids_specials_allowed"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "tokenizers"), "llama3.json.gz"), &g)
	var vocab map[string]int32
	golden.JSON(t, golden.Shared(t, "tokenizers/llama3/encoder.json"), &vocab)
	bos := g.Special["<|begin_of_text|>"]
	meta := ggufOf(t, "llama-bpe", vocab, g.Special, linesOf(t, golden.Shared(t, "tokenizers/llama3/vocab.bpe")))
	meta["tokenizer.ggml.bos_token_id"] = uint32(bos)
	tok, err := FromGGUF(meta)
	if err != nil {
		t.Fatal(err)
	}
	for row, text := range goldenStrings(t) {
		want, parsed := g.IDs[row], g.Allowed[row]
		if parsed == nil {
			parsed = want
		}
		if got := tok.Encode(text, EncodeOptions{}).IDs; !slices.Equal(got, want) {
			t.Errorf("row %d %q: %v, want %v", row, text, got, want)
		}
		if got := tok.Encode(text, EncodeOptions{Special: true}).IDs; !slices.Equal(got, parsed) {
			t.Errorf("row %d %q, special tokens read: %v, want %v", row, text, got, parsed)
		}
		if got := tok.Encode(text, EncodeOptions{AddSpecial: true}).IDs; !slices.Equal(got, append([]int32{bos}, want...)) {
			t.Errorf("row %d %q: %v, want %d and %v", row, text, got, bos, want)
		}
	}
	const mark = "\n__ggml_vocab_test__"
	texts := strings.Split(strings.TrimSuffix(strings.Join(linesOf(t, golden.Shared(t, "tokenizers/llamacpp-vocabs/ggml-vocab-llama-bpe.gguf.inp")), "\n"), mark), mark+"\n")
	ids := linesOf(t, golden.Shared(t, "tokenizers/llamacpp-vocabs/ggml-vocab-llama-bpe.gguf.out"))
	if len(texts) != len(ids) || len(texts) < 40 {
		t.Fatalf("%d texts and %d lines of ids", len(texts), len(ids))
	}
	for i, text := range texts {
		var want []int32
		for _, s := range strings.Fields(ids[i]) {
			id, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, int32(id))
		}
		if got := tok.Encode(text, EncodeOptions{}).IDs; !slices.Equal(got, want) {
			t.Errorf("llama.cpp's text %d %q: %v, want %v", i, text, got, want)
		}
	}
}

// smollm: SmolLM2's vocabulary and merges as metadata give the ids of Hugging Face, on texts whose every byte is a token.
func TestGGUFSmolLM2Vocabulary(t *testing.T) {
	var g goldenFile
	golden.JSON(t, filepath.Join(golden.Dir(t, "tokenizers"), "smollm2.json.gz"), &g)
	control := map[string]int32{}
	for id, s := range g.Added {
		n, err := strconv.Atoi(id)
		if err != nil {
			t.Fatal(err)
		}
		control[s] = int32(n)
	}
	var vocab map[string]int32
	golden.JSON(t, golden.Shared(t, "tokenizers/smollm2-hf/vocab.json"), &vocab)
	merges := linesOf(t, golden.Shared(t, "tokenizers/smollm2-hf/merges.txt"))
	tok, err := FromGGUF(ggufOf(t, "smollm", vocab, control, merges[1:])) // behind "#version"
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
texts:
	for row, text := range goldenStrings(t) {
		for _, b := range spellBytes(piece{text: text}).text {
			if _, ok := vocab[string(b)]; !ok {
				continue texts // there llama.cpp and Hugging Face differ
			}
		}
		compared++
		if got := tok.Encode(text, EncodeOptions{Special: true}); !slices.Equal(got.IDs, g.IDs[row]) || !slices.Equal(codePoints(text, got.Offsets), g.Offsets[row]) {
			t.Errorf("row %d %q: %v at %v, want %v at %v", row, text, got.IDs, got.Offsets, g.IDs[row], g.Offsets[row])
		}
	}
	if compared < 350 { // of 459
		t.Errorf("only %d texts were compared", compared)
	}
}
