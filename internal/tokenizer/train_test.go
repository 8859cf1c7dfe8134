package tokenizer

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func trainingText(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/train.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(raw), "\x00")
}

// testdata/train-hf.json was made of train.txt (texts parted by NUL) by Hugging Face tokenizers 0.23.3:
// BpeTrainer(vocab_size=420, min_frequency=2, special_tokens=["<|endoftext|>", "<|user|>"],
// initial_alphabet=ByteLevel.alphabet()), pre-tokenizer ByteLevel(add_prefix_space=False).
func TestTrainBPE(t *testing.T) {
	texts := trainingText(t)
	special := []string{"<|endoftext|>", "<|user|>"}
	tok, err := TrainBPE(slices.Values(texts), 420, special)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/train-hf.json")
	if err != nil {
		t.Fatal(err)
	}
	var want, got file
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(tok.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Model, want.Model) {
		for i := range min(len(got.Model.Merges), len(want.Model.Merges)) {
			if got.Model.Merges[i] != want.Model.Merges[i] {
				t.Fatalf("merge %d is %q, want %q", i, got.Model.Merges[i], want.Model.Merges[i])
			}
		}
		t.Fatalf("%d tokens and %d merges, want %d and %d", len(got.Model.Vocab), len(got.Model.Merges), len(want.Model.Vocab), len(want.Model.Merges))
	}
	if !reflect.DeepEqual(got.AddedTokens, want.AddedTokens) {
		t.Errorf("added tokens %v, want %v", got.AddedTokens, want.AddedTokens)
	}

	// A smaller vocabulary is the beginning of the larger one.
	small, err := TrainBPE(slices.Values(texts), 300, special)
	if err != nil {
		t.Fatal(err)
	}
	if small.Size() != 300 {
		t.Errorf("size %d, want 300", small.Size())
	}
	for id := range int32(300) {
		a, _ := small.Token(id)
		b, _ := tok.Token(id)
		if a != b {
			t.Errorf("token %d is %q, want %q", id, a, b)
		}
	}

	// The order of the texts changes nothing, nor do special tokens written in them.
	slices.Reverse(texts)
	texts[3] += "<|endoftext|>"
	again, err := TrainBPE(slices.Values(texts), 420, special)
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != tok.Hash() {
		t.Error("another order of the texts gives another vocabulary")
	}
	if again.Hash() == small.Hash() {
		t.Error("different vocabularies have one hash")
	}
	for _, text := range append(texts, "\x00\xff né 漢字 <|user|>") {
		e := tok.Encode(text, EncodeOptions{Special: true})
		if got := tok.Decode(e.IDs, false); got != strings.ToValidUTF8(text, "\uFFFD") {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
}

func TestTrainBPERefusals(t *testing.T) {
	none := slices.Values([]string{"a"})
	for _, c := range []struct {
		size    int
		special []string
		want    string
	}{
		{255, nil, "needs at least 256"},
		{257, []string{"<a>", "<b>"}, "needs at least 258"},
		{1 << 30, nil, "at most"},
		{300, []string{"Ġ"}, "character of the byte-level alphabet"},
		{300, []string{""}, "is empty"},
		{300, []string{"<a>", "<a>"}, `"<a>" is given twice`},
	} {
		if _, err := TrainBPE(none, c.size, c.special); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("size %d, special %q: %v, want %q", c.size, c.special, err, c.want)
		}
	}
}
