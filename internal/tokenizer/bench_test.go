package tokenizer

import (
	"os"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// BenchmarkEncode measures stories of 1 to 2 KB, one Encode each, as training data come.
func BenchmarkEncode(b *testing.B) {
	raw, err := os.ReadFile(golden.Shared(b, "data/corpora/tinystories/tinystories.txt"))
	if err != nil {
		b.Fatal(err)
	}
	docs := strings.SplitAfter(string(raw[:1<<20]), "<|endoftext|>")
	for _, name := range []string{
		"tokenizers/smollm2-hf", "tokenizers/llama2-hf", "models/tinystories-656k", "models/stories260k", "tokenizers/pythia-neox-hf",
	} {
		b.Run(name, func(b *testing.B) {
			j, err := os.ReadFile(golden.Shared(b, name+"/tokenizer.json"))
			if err != nil {
				b.Fatal(err)
			}
			tok, err := Parse(j)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(1 << 20)
			for b.Loop() {
				for _, d := range docs {
					tok.Encode(d, EncodeOptions{})
				}
			}
		})
	}
}
