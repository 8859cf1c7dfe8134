package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// Vocabularies that exist only as tiktoken ranks, turned into a tokenizer.json: a merge is a token's last step when it is
// built from tokens of lower rank.
func TestTiktokenGolden(t *testing.T) {
	texts := goldenStrings(t)
	for _, c := range []struct {
		name, expr string
	}{
		{"r50k", gpt2Expr},
		{"p50k", gpt2Expr},
		{"cl100k", cl100kExpr},
		{"llama3", llama3Expr},
		{"qwen", qwen2Expr},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var g struct {
				File    string           `json:"file"`
				Special map[string]int32 `json:"special_tokens"`
				IDs     [][]int32        `json:"ids"`
				Allowed [][]int32        `json:"ids_specials_allowed"`
				NFC     [][]int32        `json:"qwen_ids_after_nfc"`
				Invalid []struct {
					Bytes string  `json:"bytes_hex"`
					IDs   []int32 `json:"ids"`
				} `json:"invalid_utf8"`
			}
			golden.JSON(t, filepath.Join(golden.Dir(t, "tokenizers"), c.name+".json.gz"), &g)
			tok := fromRanks(t, golden.Shared(t, filepath.Join("tokenizers", g.File)), c.expr, g.Special)
			bad := 0
			for row, text := range texts {
				want := g.IDs[row]
				if g.NFC != nil {
					after, _ := unicodeForm{compose: true}.normalize(piece{text: text})
					wantNFC := g.NFC[row]
					if wantNFC == nil {
						wantNFC = want
					}
					if got := tok.Encode(after.text, EncodeOptions{}); !slices.Equal(got.IDs, wantNFC) {
						t.Errorf("row %d %q after NFC: %v, want %v", row, text, got.IDs, wantNFC)
					}
				}
				got := tok.Encode(text, EncodeOptions{})
				special := tok.Encode(text, EncodeOptions{Special: true})
				allowed := g.Allowed[row]
				if allowed == nil {
					allowed = want
				}
				if slices.Equal(got.IDs, want) && slices.Equal(special.IDs, allowed) && tok.Decode(want, false) == text {
					continue
				}
				if bad++; bad <= 5 {
					t.Errorf("row %d %q:\ngot  %v\nwant %v\nspecial %v\nwant    %v", row, text, got.IDs, want, special.IDs, allowed)
				}
			}
			if bad > 0 {
				t.Errorf("%d rows differ", bad)
			}
			for _, x := range g.Invalid {
				raw, _ := hex.DecodeString(x.Bytes)
				if got := tok.Encode(string(raw), EncodeOptions{}); !slices.Equal(got.IDs, x.IDs) {
					t.Errorf("bytes %s: %v, want %v", x.Bytes, got.IDs, x.IDs)
				}
			}
		})
	}
}

func fromRanks(t *testing.T, path, expr string, special map[string]int32) *Tokenizer {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rank := map[string]int32{}
	s := bufio.NewScanner(bytes.NewReader(raw))
	for s.Scan() {
		b64, n, ok := strings.Cut(s.Text(), " ")
		if !ok {
			continue
		}
		b, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			t.Fatal(err)
		}
		r, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		rank[string(b)] = int32(r)
	}
	spell := func(s string) string { return spellBytes(piece{text: s}).text }
	type ranked struct {
		pair [2]string
		rank int32
	}
	var merges []ranked
	vocab := map[string]int32{}
	for tok, r := range rank {
		vocab[spell(tok)] = r
		if len(tok) == 1 {
			continue
		}
		parts := lastTwo(rank, tok, r)
		if len(parts) != 2 {
			continue // reached only as a whole word
		}
		merges = append(merges, ranked{[2]string{spell(parts[0]), spell(parts[1])}, r})
	}
	slices.SortFunc(merges, func(a, b ranked) int { return int(a.rank) - int(b.rank) })
	f := file{Model: modelFile{Type: "BPE", Vocab: vocab, IgnoreMerges: true}}
	for _, m := range merges {
		f.Model.Merges = append(f.Model.Merges, m.pair)
	}
	for s, id := range special {
		f.AddedTokens = append(f.AddedTokens, AddedToken{ID: id, Content: s, Special: true})
	}
	quoted, _ := json.Marshal(expr)
	f.PreTokenizer = json.RawMessage(`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + string(quoted) +
		`},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}`)
	f.Decoder = json.RawMessage(`{"type":"ByteLevel"}`)
	tok, err := build(&f)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// lastTwo merges a token's bytes by rank as long as the rank is below limit.
func lastTwo(rank map[string]int32, tok string, limit int32) []string {
	parts := strings.Split(tok, "")
	parts = parts[:0]
	for i := range len(tok) {
		parts = append(parts, tok[i:i+1])
	}
	for {
		best, at := limit, -1
		for i := range len(parts) - 1 {
			if r, ok := rank[parts[i]+parts[i+1]]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return parts
		}
		parts[at] += parts[at+1]
		parts = slices.Delete(parts, at+1, at+2)
	}
}
