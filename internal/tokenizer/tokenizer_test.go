package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"plumb/internal/golden"
	"plumb/internal/rng"
)

// tiny is a byte-level tokenizer.json with the given components put in; the vocabulary is the byte alphabet and a few
// merges, the added tokens are the caller's.
func tiny(t testing.TB, added, normalizer, pre, post string) []byte {
	t.Helper()
	f := file{Model: modelFile{Type: "BPE", Vocab: map[string]int32{}}}
	for b := range 256 {
		f.Model.Vocab[string(byteAlphabet[b])] = int32(b)
	}
	for i, m := range [][2]string{{"a", "b"}, {"c", "d"}, {"ab", "cd"}, {"b", "c"}, {"Ġ", "ab"}} {
		f.Model.Merges = append(f.Model.Merges, m)
		f.Model.Vocab[m[0]+m[1]] = int32(256 + i)
	}
	raw := func(s, otherwise string) json.RawMessage {
		if s == "" {
			s = otherwise
		}
		return json.RawMessage(s)
	}
	if added != "" {
		if err := json.Unmarshal([]byte(added), &f.AddedTokens); err != nil {
			t.Fatal(err)
		}
	}
	f.Normalizer = raw(normalizer, "null")
	f.PreTokenizer = raw(pre, `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`)
	f.PostProcessor = raw(post, "null")
	f.Decoder = json.RawMessage(`{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`)
	return f.marshal()
}

func mustParse(t testing.TB, b []byte) *Tokenizer {
	t.Helper()
	tok, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// tokensOf shows an encoding as the parts of the text its tokens stand for.
func tokensOf(tok *Tokenizer, text string) []string {
	var out []string
	e := tok.Encode(text, EncodeOptions{Special: true})
	for i, id := range e.IDs {
		s, _ := tok.Token(id)
		out = append(out, fmt.Sprintf("%s[%d:%d]", s, e.Offsets[i][0], e.Offsets[i][1]))
	}
	return out
}

// Expected values by hand; the same were got from Hugging Face tokenizers 0.23.3 for the same JSON.
func TestComponents(t *testing.T) {
	token := func(set ...string) string {
		s := `[{"id":300,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]`
		for _, key := range set {
			s = strings.Replace(s, `"`+key+`":false`, `"`+key+`":true`, 1)
		}
		return s
	}
	space := `{"type":"Split","pattern":{"String":" "},"behavior":"%s","invert":%t}`
	seq := `{"type":"Sequence","pretokenizers":[%s,{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}`
	split := func(behavior string, invert bool) string {
		return fmt.Sprintf(seq, fmt.Sprintf(space, behavior, invert))
	}
	for _, c := range []struct {
		name, added, normalizer, pre, post, text string
		want                                     string
	}{
		{"plain", "", "", "", "", "abcd ab", "abcd[0:4] Ġab[4:7]"},
		{"lstrip", token("lstrip"), "", "", "", "ab  <x> ab", "ab[0:2] <x>[2:7] Ġab[7:10]"},
		{"rstrip", token("rstrip"), "", "", "", "ab <x>  ab", "ab[0:2] Ġ[2:3] <x>[3:8] ab[8:10]"},
		{"two strips", token("lstrip", "rstrip"), "", "", "", " <x> <x> ", "<x>[0:5] <x>[5:9]"},
		{"single word", token("single_word"), "", "", "", "<x> a<x>", "<x>[0:3] Ġ[3:4] a[4:5] <[5:6] x[6:7] >[7:8]"},
		{"normalized", token("normalized"), `{"type":"Lowercase"}`, "", "", "AB<X>", "ab[0:2] <x>[2:5]"},
		{"not normalized", token(), `{"type":"Lowercase"}`, "", "", "AB<X>", "ab[0:2] <[2:3] x[3:4] >[4:5]"},
		{"strip", "", `{"type":"Strip","strip_left":true,"strip_right":true}`, "", "", "  ab ", "ab[2:4]"},
		{"replace", "", `{"type":"Replace","pattern":{"Regex":"x+"},"content":"ab"}`, "", "", "xxcd", "abcd[1:4]"},
		{"prepend", "", `{"type":"Prepend","prepend":" "}`, "", "", "ab", "Ġab[0:2]"},
		{"prefix space", "", "", `{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`, "", "ab", "Ġab[0:2]"},
		{"isolated", "", "", split("Isolated", false), "", "ab  ab", "ab[0:2] Ġ[2:3] Ġ[3:4] ab[4:6]"},
		{"removed", "", "", split("Removed", false), "", "ab  ab", "ab[0:2] ab[4:6]"},
		{"removed, inverted", "", "", split("Removed", true), "", "ab  ab", "Ġ[2:3] Ġ[3:4]"},
		{"with next", "", "", split("MergedWithNext", false), "", "ab  ab", "ab[0:2] Ġ[2:3] Ġab[3:6]"},
		{"with previous", "", "", split("MergedWithPrevious", false), "", "ab ab", "ab[0:2] Ġ[2:3] ab[3:5]"},
		{"contiguous", "", "", split("Contiguous", false), "", "ab  ab", "ab[0:2] Ġ[2:3] Ġ[3:4] ab[4:6]"},
		{"digits", "", "", fmt.Sprintf(seq, `{"type":"Digits","individual_digits":true}`), "", "ab12", "ab[0:2] 1[2:3] 2[3:4]"},
		{"punctuation", "", "", fmt.Sprintf(seq, `{"type":"Punctuation","behavior":"Isolated"}`), "", "ab,$cd", "ab[0:2] ,[2:3] $[3:4] cd[4:6]"},
		{"white space", "", "", fmt.Sprintf(seq, `{"type":"Whitespace"}`), "", "ab, cd", "ab[0:2] ,[2:3] cd[4:6]"},
		{
			"byte level in between", "", "", `{"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},{"type":"Digits","individual_digits":true}]}`,
			"", "abcd é1", "abcd[0:4] Ġ[4:5] Ã[5:7] ©[5:7] 1[7:8]",
		},
		{"trim", "", "", "", `{"type":"ByteLevel","trim_offsets":true,"add_prefix_space":false,"use_regex":true}`, "ab ab  ", "ab[0:2] Ġab[3:5] Ġ[6:6] Ġ[7:7]"},
		{"nfc", "", `{"type":"NFC"}`, "", "", "e\u0301ab", "Ã[0:1] ©[0:1] ab[3:5]"},
		{"nfd", "", `{"type":"NFD"}`, "", "", "éab", "e[0:2] Ì[0:2] ģ[0:2] ab[2:4]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := mustParse(t, tiny(t, c.added, c.normalizer, c.pre, c.post))
			if got := strings.Join(tokensOf(tok, c.text), " "); got != c.want {
				t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

func TestParseRefusals(t *testing.T) {
	good := string(tiny(t, "", "", "", ""))
	replace := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in the file", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	norm := func(s string) string { return replace(`"normalizer":null`, `"normalizer":`+s) }
	post := func(s string) string { return replace(`"post_processor":null`, `"post_processor":`+s) }
	deep := strings.Repeat(`{"type":"Sequence","normalizers":[`, 9) + strings.Repeat(`]}`, 9)
	for _, c := range []struct{ file, want string }{
		{"", "unexpected end of JSON"},
		{"[]", "cannot unmarshal"},
		{"{}", `model "" is not supported`},
		{good[:len(good)/2], "unexpected end of JSON"},
		{replace(`"type":"BPE"`, `"type":"Unigram"`), `model "Unigram" is not supported`},
		{replace(`"dropout":null`, `"dropout":0.1`), "dropout 0.1"},
		{norm(`{"type":"Precompiled"}`), `normalizer "Precompiled" is not supported`},
		{norm(`{"type":"Sequence","normalizers":[{"type":"Nmt"}]}`), `normalizer "Nmt" is not supported`},
		{norm(`{}`), "normalizer has no type"},
		{norm(`7`), "normalizer: json"},
		{norm(`{"type":"Replace","pattern":{},"content":""}`), "needs a pattern"},
		{norm(`{"type":"Replace","pattern":{"Regex":"("},"content":""}`), "normalizer Replace: expression"},
		{norm(deep), "nested deeper than 8"},
		{replace(`"pre_tokenizer":{"add_prefix_space":false,"trim_offsets":true,"type":"ByteLevel","use_regex":true}`, `"pre_tokenizer":{"type":"UnicodeScripts"}`), `pre-tokenizer "UnicodeScripts" is not supported`},
		{replace(`"pre_tokenizer":{"add_prefix_space":false,"trim_offsets":true,"type":"ByteLevel","use_regex":true}`, `"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Eaten"}`), `behavior "Eaten"`},
		{post(`{"type":"BertProcessing"}`), `post-processor "BertProcessing" is not supported`},
		{post(`{"type":"TemplateProcessing","single":[]}`), "no place for the text"},
		{post(`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}]}`), `"<s>", which it does not define`},
		{post(`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[9999]}}}`), "there is no id 9999"},
		{post(`{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"Sequence":{"id":"A"}}]}`), `Sequence "A" is not supported`},
		{replace(`"decoder":{"add_prefix_space":true,"trim_offsets":true,"type":"ByteLevel","use_regex":true}`, `"decoder":{"type":"CTC"}`), `decoder "CTC" is not supported`},
		{replace(`"merges":[["a","b"]`, `"merges":[["a","ż"]`), `"ż" is not in the vocabulary`},
		{replace(`"merges":[["a","b"]`, `"merges":[["a","a"]`), `"aa" is not in the vocabulary`},
		{replace(`"merges":[["a","b"]`, `"merges":[["a"]`), "merge 0 has 1 tokens"},
		{replace(`"merges":[["a","b"]`, `"merges":[5`), "neither strings nor pairs"},
		{replace(`"abcd":258`, `"abcd":2147483647`), "out of range"},
		{replace(`"abcd":258`, `"abcd":8000000`), "ids up to 8000000"},
		{replace(`"abcd":258`, `"abcd":-1`), "out of range"},
		{replace(`"abcd":258`, `"abcd":257`), "share id 257"},
		{replace(`"unk_token":null`, `"unk_token":"<unk>"`), `unk_token "<unk>" is not in the vocabulary`},
		{replace(`"added_tokens":[]`, `"added_tokens":[{"id":7,"content":"<s>"}]`), `has id 7, which is`},
		{replace(`"added_tokens":[]`, `"added_tokens":[{"id":300,"content":"ab"}]`), `has id 300, but the vocabulary gives it 256`},
		{replace(`"added_tokens":[]`, `"added_tokens":[{"id":300,"content":""}]`), "is empty"},
		{replace(`"added_tokens":[]`, `"added_tokens":[{"id":-4,"content":"x"}]`), "out of range"},
		{replace(`"added_tokens":[]`, `"added_tokens":[{"id":300,"content":"<a>"},{"id":301,"content":"<a>"}]`), "occurs twice"},
		{replace(`"added_tokens":[]`, `"added_tokens":[{"id":300,"content":"<a>"},{"id":300,"content":"<b>"}]`), "share id 300"},
	} {
		if _, err := Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q …: %v, want %q", c.file, err, c.want)
		}
	}
	tok := mustParse(t, []byte(strings.Replace(replace(`"truncation":null`, `"truncation":{"max_length":5}`), `"padding":null`, `"padding":{}`, 1)))
	if len(tok.Notes()) != 2 {
		t.Errorf("notes %q, want one on truncation and one on padding", tok.Notes())
	}
}

// Plain text never becomes a special token unless asked for.
func TestSpecialAsText(t *testing.T) {
	for _, dir := range []string{"tokenizers/smollm2-hf", "tokenizers/llama2-hf", "tokenizers/pythia-neox-hf"} {
		tok := parseFile(t, golden.Shared(t, dir+"/tokenizer.json"))
		for _, id := range tok.Special() {
			s, _ := tok.Token(id)
			for _, text := range []string{s, "a " + s + " b", s + s} {
				e := tok.Encode(text, EncodeOptions{})
				for _, got := range e.IDs {
					if tok.IsSpecial(got) {
						t.Errorf("%s: %q has special token %d", dir, text, got)
					}
				}
				if got := tok.Decode(e.IDs, true); got != text {
					t.Errorf("%s: %q comes back as %q", dir, text, got)
				}
			}
		}
	}
}

// Both ways of merging agree, whatever the vocabulary.
func TestMergeFewMany(t *testing.T) {
	src := rng.New(1)
	for range 300 {
		m := &bpe{pairs: map[uint64]merge{}}
		// Tokens are strings over {a, b}; every pair whose concatenation is a token may be a merge.
		texts := []string{"a", "b"}
		for range 1 + src.IntN(20) {
			s := texts[src.IntN(len(texts))] + texts[src.IntN(len(texts))]
			if !slices.Contains(texts, s) {
				texts = append(texts, s)
			}
		}
		for i, a := range texts {
			for j, b := range texts {
				if id := slices.Index(texts, a+b); id >= 0 && src.IntN(3) > 0 {
					m.pairs[pairKey(int32(i), int32(j))] = merge{int32(src.IntN(40)), int32(id)}
				}
			}
		}
		word := make([]symbol, 1+src.IntN(fewSymbols))
		for i := range word {
			word[i] = symbol{int32(src.IntN(2)), int32(i), int32(i + 1)}
		}
		few, many := slices.Clone(word), slices.Clone(word)
		few = few[:m.mergeFew(few)]
		many = many[:m.mergeMany(many)]
		if !slices.Equal(few, many) {
			t.Fatalf("%v: %v and %v", word, few, many)
		}
	}
}

// A text without spaces takes no more than a few times longer when it is one word than when it is many.
func TestHostileLength(t *testing.T) {
	tok := parseFile(t, golden.Shared(t, "tokenizers/smollm2-hf/tokenizer.json"))
	took := func(n int) time.Duration {
		text := strings.Repeat("ab", n)
		start := time.Now()
		tok.Encode(text, EncodeOptions{})
		return time.Since(start)
	}
	took(1000)
	// 100 times the text: some 130 times the time for O(n log n), 10,000 for O(n²).
	if short, long := took(10_000), took(1_000_000); long > 1500*max(short, time.Millisecond) {
		t.Errorf("%v for 20 kB, %v for 2 MB", short, long)
	}
}

// Many goroutines get what one gets, while they overwrite each other's cache slots.
func TestConcurrent(t *testing.T) {
	tok := parseFile(t, golden.Shared(t, "models/stories260k/tokenizer.json"))
	texts := goldenStrings(t)
	want := make([]Encoding, len(texts))
	for i, s := range texts {
		fresh := *tok.model
		fresh.words = newCache()
		one := *tok
		one.model = &fresh
		want[i] = one.Encode(s, EncodeOptions{})
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range texts {
				k := (i*7 + g*53) % len(texts)
				if e := tok.Encode(texts[k], EncodeOptions{}); !slices.Equal(e.IDs, want[k].IDs) || !slices.Equal(e.Offsets, want[k].Offsets) {
					t.Errorf("row %d differs", k)
				}
			}
		})
	}
	wg.Wait()
}

// Cutting at boundaries changes nothing.
func TestBoundary(t *testing.T) {
	texts := goldenStrings(t)
	for _, dir := range []string{"tokenizers/llama2-hf", "tokenizers/mistral-hf", "models/stories260k"} {
		tok := parseFile(t, golden.Shared(t, dir+"/tokenizer.json"))
		if tok.model.boundary == "" {
			t.Errorf("%s: no boundary found", dir)
			continue
		}
		whole := *tok.model
		whole.boundary, whole.words = "", newCache()
		uncut := *tok
		uncut.model = &whole
		for _, s := range append(texts, strings.Join(texts, " ")) {
			if a, b := tok.Encode(s, EncodeOptions{}), uncut.Encode(s, EncodeOptions{}); !slices.Equal(a.IDs, b.IDs) || !slices.Equal(a.Offsets, b.Offsets) {
				t.Errorf("%s: %q differs", dir, s)
			}
		}
	}
	// tinystories-656k has tokens that go on into the next word.
	if tok := parseFile(t, golden.Shared(t, "models/tinystories-656k/tokenizer.json")); tok.model.boundary != "" {
		t.Error("a vocabulary whose tokens cross words is cut at words")
	}
}

// U+FFFD as Unicode 15, table 3-8 has it (Rust's from_utf8_lossy).
func TestLossyUTF8(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"abc", "abc"},
		{"\xff", "\uFFFD"},
		{"a\xf1\x80\x80\xe1\x80\xc2b\x80c\x80\xbfd", "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd"},
		{"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"}, // table 3-9
		{"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"}, // table 3-10
		{"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB"},      // table 3-11
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\uFFFD\uFFFD\uFFFD\uFFFDA"},                         // table 3-12
	} {
		if got := lossyUTF8([]byte(c.in)); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// The byte-level alphabet and its inverse (GPT-2's encoder.py).
func TestByteAlphabet(t *testing.T) {
	if byteAlphabet[' '] != 'Ġ' || byteAlphabet['\n'] != 'Ċ' || byteAlphabet[0] != 'Ā' || byteAlphabet[0xAD] != 'Ń' || byteAlphabet[0x7F] != 'ġ' {
		t.Error("byte-level alphabet is not GPT-2's")
	}
	n := 0
	for r := rune(0); r < 1000; r++ {
		if b, ok := alphabetByte(r); ok {
			n++
			if byteAlphabet[b] != r {
				t.Errorf("%q is byte %#x, which is %q", r, b, byteAlphabet[b])
			}
		}
	}
	if n != 256 {
		t.Errorf("%d characters, not 256", n)
	}
}

// randomText is a mix of what the expressions tell apart.
func randomText(src *rng.Source, n int) string {
	pool := []rune(" \n\r\t'''sStTrReEvVlLmMdDxé漢1٣Ⅷ½. ,!ſK \u00ad\u00a0\u2028́😀")
	var b strings.Builder
	for range n {
		if src.IntN(20) == 0 {
			r := rune(src.IntN(0x30000))
			if utf8.ValidRune(r) && !unicode.Is(letters16, r) && !unicode.Is(numbers16, r) {
				b.WriteRune(r)
			}
			continue
		}
		b.WriteRune(pool[src.IntN(len(pool))])
	}
	return b.String()
}

// The scanners cut as the expressions they stand for.
func TestScanners(t *testing.T) {
	src := rng.New(2)
	for _, expr := range []string{gpt2Expr, llama3Expr, qwen2Expr, cl100kExpr} {
		scan, _ := knownScanner(expr)
		re, err := newRegex(expr)
		if err != nil {
			t.Fatal(err)
		}
		for range 2000 {
			compareScanner(t, scan, re, randomText(src, 1+src.IntN(30)))
		}
	}
}

func compareScanner(t *testing.T, scan scanner, re regex, text string) {
	t.Helper()
	if strings.Contains(text, "ſ") {
		return // the engine does not take it for an s, Oniguruma does
	}
	got, _ := scan.cuts(text)
	want, err := re.cuts(text)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q: %v, want %v", text, got, want)
	}
}

// What a completion's ids add to a prompt's text makes, appended to the prompt and encoded again, the same ids: also where the
// decoder drops the space that begins a text. (Right behind a special token a text begins too; a decoder cannot tell.)
func TestDecodeAfterGoesBackToTheIDs(t *testing.T) {
	texts := [][2]string{
		{"Once upon a time", " there was a dog."},
		{"Once upon a time ", "there"},
		{"Once", "upon"},
		{"the cat\n", " sat"},
		{"", "Once upon"},
		{"a", "  two spaces"},
		{"na\u00efve", " \u00e9t\u00e9 \u4f60\u597d"},
		{"Tom said, \"", "Hello!\""},
	}
	for _, dir := range []string{"models/stories260k", "tokenizers/llama2-hf", "tokenizers/mistral-hf", "tokenizers/smollm2-hf", "tokenizers/gpt2-hf"} {
		tok := parseFile(t, golden.Shared(t, dir+"/tokenizer.json"))
		encode := func(s string) []int32 {
			return tok.Encode(s, EncodeOptions{AddSpecial: true, Special: true}).IDs
		}
		compared := 0
		for _, x := range texts {
			prompt, whole := encode(x[0]), encode(x[0]+x[1])
			if len(prompt) > len(whole) || !slices.Equal(prompt, whole[:len(prompt)]) {
				continue // A token across the border: these ids follow on no prompt.
			}
			compared++
			text := tok.DecodeAfter(prompt, whole[len(prompt):], true)
			if again := encode(x[0] + text); !slices.Equal(again, whole) {
				t.Errorf("%s: %q and %q: %v became %q, which is %v", dir, x[0], x[1], whole, text, again)
			}
		}
		if compared < 5 {
			t.Errorf("%s: only %d texts compared", dir, compared)
		}
	}
	// A prompt that ends within a character gives the whole character to what completes it.
	tok := parseFile(t, golden.Shared(t, "tokenizers/gpt2-hf/tokenizer.json"))
	ids := tok.Encode("a\u4f60", EncodeOptions{}).IDs
	if got := tok.DecodeAfter(ids[:2], ids[2:], true); got != "\u4f60" {
		t.Errorf("the rest of a character is %q", got)
	}
}
