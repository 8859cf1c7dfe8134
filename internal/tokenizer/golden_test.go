package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"plumb/internal/golden"
)

// goldenStrings are the texts all golden files have rows for.
func goldenStrings(t *testing.T) []string {
	var s struct {
		Texts []string `json:"texts"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "tokenizers"), "strings.json.gz"), &s)
	return s.Texts
}

// goldenFile is what Hugging Face tokenizers 0.23.3 made of the strings.
type goldenFile struct {
	File            string            `json:"file"`
	VocabSize       int               `json:"vocab_size"`
	Added           map[string]string `json:"added_tokens"`
	SpecialIDs      []int32           `json:"special_ids"`
	IDs             [][]int32         `json:"ids"`
	Offsets         [][]int           `json:"offsets_code_points"`
	WithSpecial     [][]int32         `json:"ids_with_special"`
	Decoded         []*string         `json:"decoded"`
	DecodedSkip     []*string         `json:"decoded_skip_special"`
	DecodedWithSkip []*string         `json:"decoded_with_special_skip_special"`
	Streams         []struct {
		Row         int       `json:"row"`
		SkipSpecial bool      `json:"skip_special"`
		IDs         []int32   `json:"ids"`
		Chunks      []*string `json:"chunks"`
	} `json:"streams"`
	RandomIDs []struct {
		IDs     []int32 `json:"ids"`
		Decoded string  `json:"decoded"`
		Skip    string  `json:"decoded_skip_special"`
	} `json:"random_ids"`
}

var goldenNames = []string{
	"smollm2", "gpt2", "gpt2-resaved", "llama2", "mistral-v0.1-chatml", "mistral-v0.2", "phi2", "pythia", "stories260k",
	"stories3m", "tinystories-656k", "tinystories-instruct-3m-chat",
}

func parseFile(t *testing.T, path string) *Tokenizer {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return tok
}

func TestGolden(t *testing.T) {
	texts := goldenStrings(t)
	for _, name := range goldenNames {
		t.Run(name, func(t *testing.T) {
			var g goldenFile
			golden.JSON(t, filepath.Join(golden.Dir(t, "tokenizers"), name+".json.gz"), &g)
			dir := "tokenizers"
			if strings.Contains(name, "stories") {
				dir = "models"
			}
			tok := parseFile(t, golden.Shared(t, filepath.Join(dir, g.File)))
			checkVocabulary(t, tok, &g)
			checkRows(t, tok, &g, texts)
			checkDecoding(t, tok, &g)
		})
	}
}

func checkVocabulary(t *testing.T, tok *Tokenizer, g *goldenFile) {
	if tok.Size() != g.VocabSize {
		t.Errorf("size %d, want %d", tok.Size(), g.VocabSize)
	}
	if !slices.Equal(tok.Special(), g.SpecialIDs) {
		t.Errorf("special %v, want %v", tok.Special(), g.SpecialIDs)
	}
	for id, content := range g.Added {
		n, _ := strconv.Atoi(id)
		if s, ok := tok.Token(int32(n)); !ok || s != content {
			t.Errorf("token %d is %q, want %q", n, s, content)
		}
		if got, ok := tok.ID(content); !ok || int(got) != n {
			t.Errorf("id of %q is %d, want %d", content, got, n)
		}
	}
}

func checkRows(t *testing.T, tok *Tokenizer, g *goldenFile, texts []string) {
	bad := 0
	for row, text := range texts {
		plain := tok.Encode(text, EncodeOptions{Special: true})
		full := tok.Encode(text, EncodeOptions{Special: true, AddSpecial: true})
		want := g.IDs[row]
		wantFull := g.WithSpecial[row]
		if wantFull == nil {
			wantFull = want
		}
		ok := slices.Equal(plain.IDs, want) && slices.Equal(full.IDs, wantFull) && len(full.Offsets) == len(full.IDs)
		offsets := codePoints(text, plain.Offsets)
		ok = ok && slices.Equal(offsets, g.Offsets[row])
		decoded := tok.Decode(plain.IDs, false)
		ok = ok && decoded == orText(g.Decoded[row], text) && tok.Decode(plain.IDs, true) == orText(g.DecodedSkip[row], text) &&
			tok.Decode(full.IDs, true) == orText(g.DecodedWithSkip[row], text)
		if ok {
			continue
		}
		if bad++; bad <= 5 {
			t.Errorf("row %d %q:\n ids %v\nwant %v\nfull %v\nwant %v\noffsets %v\nwant    %v\ndecoded %q\nwant    %q", row, text, plain.IDs, want,
				full.IDs, wantFull, offsets, g.Offsets[row], decoded, orText(g.Decoded[row], text))
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d rows differ", bad, len(texts))
	}
}

func orText(s *string, text string) string {
	if s == nil {
		return text
	}
	return *s
}

// codePoints turns byte offsets into the golden's pairs of code points.
func codePoints(text string, offsets [][2]int) []int {
	out := make([]int, 0, 2*len(offsets))
	for _, o := range offsets {
		out = append(out, utf8.RuneCountInString(text[:o[0]]), utf8.RuneCountInString(text[:o[1]]))
	}
	return out
}

func checkDecoding(t *testing.T, tok *Tokenizer, g *goldenFile) {
	for i, r := range g.RandomIDs {
		if got := tok.Decode(r.IDs, false); got != r.Decoded {
			t.Errorf("random ids %d: %q, want %q", i, got, r.Decoded)
		}
		if got := tok.Decode(r.IDs, true); got != r.Skip {
			t.Errorf("random ids %d without special: %q, want %q", i, got, r.Skip)
		}
	}
	for _, s := range g.Streams {
		stream := tok.NewStream(s.SkipSpecial)
		all := ""
		for i, id := range s.IDs {
			want := ""
			if s.Chunks[i] != nil {
				want = *s.Chunks[i]
			}
			got := stream.Next(id)
			if got != want {
				t.Errorf("stream of row %d, id %d: %q, want %q", s.Row, i, got, want)
			}
			all += got
		}
		if all += stream.Rest(); all != tok.Decode(s.IDs, s.SkipSpecial) {
			t.Errorf("stream of row %d: %q, want %q", s.Row, all, tok.Decode(s.IDs, s.SkipSpecial))
		}
	}
	if len(g.Streams) == 0 || len(g.RandomIDs) == 0 {
		t.Error("no streams or no random ids in the golden file")
	}
}
