package tokenizer

import (
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzParse: no file makes Parse or what it returns panic, hang or ask for a large table.
func FuzzParse(f *testing.F) {
	f.Add(tiny(f, `[{"id":300,"content":"<x>","lstrip":true}]`, `{"type":"NFC"}`, "", ""), "a <x> b")
	f.Add(tiny(f, "", `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}`,
		`{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}`, `{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}}]}`), "ab\xff\n é")
	f.Add(tiny(f, "", `{"type":"NFKD"}`, `{"type":"Split","pattern":{"Regex":"a+b?"},"behavior":"MergedWithNext"}`, ""), "aaaa b")
	raw, err := os.ReadFile("testdata/train-hf.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, "the river")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		tok, err := Parse(file)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer.json: ") {
				t.Errorf("error %q does not say where it comes from", err)
			}
			return
		}
		if len(text) > 1<<10 {
			text = text[:1<<10]
		}
		e := tok.Encode(text, EncodeOptions{Special: true, AddSpecial: true})
		if len(e.IDs) != len(e.Offsets) {
			t.Fatalf("%d ids, %d offsets", len(e.IDs), len(e.Offsets))
		}
		stream := tok.NewStream(false)
		for i, id := range e.IDs {
			if o := e.Offsets[i]; o[0] < 0 || o[0] > o[1] || o[1] > len(text) {
				t.Fatalf("offsets %v in a text of %d bytes", o, len(text))
			}
			if _, ok := tok.Token(id); !ok || int(id) >= tok.Size() {
				t.Fatalf("id %d is no token", id)
			}
			stream.Next(id)
		}
		stream.Rest()
		tok.Decode(e.IDs, true)
		if again, err := Parse(tok.file.marshal()); err != nil {
			t.Errorf("its own output: %v", err)
		} else if again.Hash() != tok.Hash() {
			t.Error("its own output has another hash")
		}
	})
}

// FuzzRoundTrip: byte-level tokenizers give every text back, with offsets that go over it without gaps; the scanners cut
// as their expressions.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", "Hello world", "it's 1234\r\n\n  x", "é漢\u0301 \xff\xc3", "   ", "'LL 'ſ", strings.Repeat("abcd", 50)} {
		f.Add(s)
	}
	plain := mustParse(f, tiny(f, "", "", "", ""))
	type known struct {
		scan scanner
		re   regex
	}
	var scanners []known
	for _, expr := range []string{gpt2Expr, llama3Expr, qwen2Expr} {
		scan, _ := knownScanner(expr)
		re, err := newRegex(expr)
		if err != nil {
			f.Fatal(err)
		}
		scanners = append(scanners, known{scan, re})
	}
	f.Fuzz(func(t *testing.T, text string) {
		e := plain.Encode(text, EncodeOptions{})
		if got := plain.Decode(e.IDs, false); got != lossyUTF8([]byte(text)) {
			t.Errorf("%q comes back as %q", text, got)
		}
		at := 0
		for _, o := range e.Offsets {
			if o[0] > at || o[1] < at {
				t.Fatalf("%q: offsets %v leave a gap at %d", text, e.Offsets, at)
			}
			at = o[1]
		}
		if at != len(text) {
			t.Errorf("%q: offsets end at %d", text, at)
		}
		if !utf8.ValidString(text) {
			return
		}
		for _, r := range text {
			if isLetter(r) != unicode.IsLetter(r) || isNumber(r) != unicode.IsNumber(r) {
				return // newer than the engine's tables
			}
		}
		for _, s := range scanners {
			compareScanner(t, s.scan, s.re, text)
		}
	})
}

// FuzzFromGGUF: no metadata makes FromGGUF or what it returns panic, and errors say where they come from.
func FuzzFromGGUF(f *testing.F) {
	f.Add("a\nb\nab\n<s>", "a b", []byte{1, 1, 1, 3}, "gpt2", "gpt-2", uint32(3), "ab<s>a")
	f.Add("<unk>\n<s>\n</s>\n▁a\n<0x41>", "", []byte{2, 3, 3, 1, 6}, "llama", "default", uint32(1), " aA")
	f.Add("a\na", "a", []byte{9}, "gpt2", "none", uint32(99), "a")
	f.Fuzz(func(t *testing.T, tokens, merges string, types []byte, model, pre string, bos uint32, text string) {
		list := strings.Split(tokens, "\n")
		meta := map[string]any{
			"tokenizer.ggml.model": model, "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": list,
			"tokenizer.ggml.bos_token_id": bos, "tokenizer.ggml.add_bos_token": bos%2 == 0,
		}
		if merges != "" {
			meta["tokenizer.ggml.merges"] = strings.Split(merges, "\n")
		}
		kinds, scores := make([]int32, len(types)), make([]float32, len(list))
		for i, c := range types {
			kinds[i] = int32(c)
		}
		meta["tokenizer.ggml.token_type"] = kinds
		for i := range scores {
			scores[i] = -float32(i)
		}
		meta["tokenizer.ggml.scores"] = scores
		tok, err := FromGGUF(meta)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "GGUF tokenizer: ") {
				t.Errorf("error %q does not say where it comes from", err)
			}
			return
		}
		if len(text) > 1<<10 {
			text = text[:1<<10]
		}
		e := tok.Encode(text, EncodeOptions{Special: true, AddSpecial: true})
		for _, id := range e.IDs {
			if _, ok := tok.Token(id); !ok || int(id) >= tok.Size() {
				t.Fatalf("id %d is no token", id)
			}
		}
		tok.Decode(e.IDs, true)
	})
}
