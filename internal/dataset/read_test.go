package dataset

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"plumb/internal/chat"
	"plumb/internal/golden"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func records(t *testing.T, path string, o Options) ([]any, Summary, error) {
	t.Helper()
	var out []any
	s, err := scan(path, o, func(r any, _ *Summary) error { out = append(out, r); return nil })
	return out, s, err
}

// The real files at hand: number of records, format, kind and the beginning of the first.
func TestRealFiles(t *testing.T) {
	for _, c := range []struct {
		file   string
		o      Options
		n      int
		format Format
		kind   Kind
		first  string
	}{
		{"instruct/alpaca/alpaca_5000.json", Options{}, 5000, FormatAlpaca, Demonstrations, "conversation user: Are the two sentences below grammatically correct? Output yes or no.\nSentence 1: I am going"},
		{"instruct/gpteacher/roleplay-simple-deduped.json", Options{}, 1923, FormatAlpaca, Demonstrations, "conversation user: Imagine you are a detective"},
		{"preference/llamafactory/alpaca_en_demo.json", Options{}, 999, FormatAlpaca, Demonstrations, "conversation user: Describe a process of making crepes. | assistant: Making crepes"},
		{"preference/llamafactory/identity.json", Options{}, 91, FormatAlpaca, Demonstrations, "conversation user: hi | assistant: Hello! I am"},
		{"preference/llamafactory/dpo_en_demo.json", Options{}, 300, FormatShareGPTPair, Comparisons, "prompt <user: Hi! I'd like to create"},
		{"preference/llamafactory/dpo_zh_demo.json", Options{}, 300, FormatShareGPTPair, Comparisons, "prompt <user: 国会的转发"},
		{"preference/llamafactory/kto_en_demo.json", Options{}, 300, FormatKTO, Judgements, "prompt <user: The Federal Trade Commission"},
		{"preference/llamafactory/c4_demo.jsonl", Options{}, 300, FormatText, Texts, "text <Don’t think you need"},
		{"preference/llamafactory/wiki_demo.txt", Options{Separator: "\n"}, 30, FormatText, Texts, "text <Anarchism is a political philosophy"},
		{"preference/raschka-dpo/instruction-data-with-preference.json", Options{}, 1100, FormatAlpacaPair, Comparisons, "prompt <user: Evaluate the following phrase by transforming it into the spelling given.\nfreind --> friend> chosen <assistant: The spelling"},
		{"preference/raschka-dpo/instruction-data.json", Options{}, 1100, FormatAlpaca, Demonstrations, "conversation user: Evaluate the following"},
		{"preference/hh-rlhf/harmless-base-test.jsonl.gz", Options{}, 2312, FormatHH, Comparisons, "prompt <user: what are some pranks with a pen i can do? | assistant: Are you looking for practical joke ideas?"},
		{"preference/tldr-vwxyzjn/oai1b.csv_judged.csv", Options{Columns: map[string]string{"prompt": "query", "completion": "reference_responses"}}, 1945, FormatCompletion, Demonstrations, "prompt <SUBREDDIT: r/AskReddit\n\nTITLE: How do you get someone out"},
		{"eval/imdb/imdb_test.jsonl.gz", Options{Limit: 100}, 100, FormatLabelled, LabelledTexts, "text <Once again Mr. Costner"},
		{"eval/sst2/train.tsv", Options{}, 6920, FormatLabelled, LabelledTexts, "text <a stirring , funny and finally transporting"},
		{"eval/sst2/dev.tsv", Options{}, 872, FormatLabelled, LabelledTexts, "text <one long string of cliches> label 0"},
		{"eval/gsm8k/test.jsonl", Options{}, 1319, FormatCompletion, Demonstrations, "prompt <Janet’s ducks lay 16 eggs"},
		{"eval/ifeval/input_data.jsonl", Options{}, 541, FormatPrompt, Prompts, "prompt <Write a 300+ word summary"},
		{"eval/dialogsum/dialogsum.dev.jsonl", Options{Columns: map[string]string{"prompt": "dialogue", "completion": "summary"}}, 500, FormatCompletion, Demonstrations, "prompt <#Person1#: Hello, how are you doing today?"},
		{"instruct/flan-cot/flan/v2/cot_data/gsm8k_train.tsv", Options{Columns: map[string]string{"prompt": "1", "completion": "3"}}, 7473, FormatCompletion, Demonstrations, "prompt <Natalia sold clips"},
		{"corpora/tinystories/tinystories_1000.json", Options{}, 1000, FormatText, Texts, "text <One day, a little girl named Lily"},
		{"corpora/shakespeare/input.txt", Options{}, 1, FormatText, Texts, "text <First Citizen:\nBefore we proceed"},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			got, s, err := records(t, golden.Shared(t, "data/"+c.file), c.o)
			if err != nil {
				t.Fatal(err)
			}
			if len(got)+dropped(s) != c.n || s.Format != c.format || s.Kind != c.kind {
				t.Errorf("%d records and %d dropped, %s, %s; want %d, %s, %s", len(got), dropped(s), s.Format, s.Kind, c.n, c.format, c.kind)
			}
			if first := shownRecord(got[0]); !strings.HasPrefix(first, c.first) {
				t.Errorf("first record %.200s …, want %s …", first, c.first)
			}
			t.Log(s)
		})
	}
}

func dropped(s Summary) int {
	n := 0
	for _, d := range s.Dropped {
		n += d.Count
	}
	return n
}

// The same records in every container and packing.
func TestContainers(t *testing.T) {
	rows := [][2]string{{"p one", "c\t1"}, {"p \"two\"", "c,2\nline"}, {"pé", "c3"}}
	var jsonl, json, csv, spread bytes.Buffer
	json.WriteString("\ufeff [\n")
	csv.WriteString("prompt,completion\n")
	for i, r := range rows {
		obj := fmt.Sprintf(`{"prompt":%s,"completion":%s}`, quote(r[0]), quote(r[1]))
		jsonl.WriteString(obj + "\r\n\n")
		spread.WriteString(strings.ReplaceAll(obj, `,"c`, ",\n \"c"))
		if i > 0 {
			json.WriteString(",")
		}
		json.WriteString(obj)
		fmt.Fprintf(&csv, "\"%s\",\"%s\"\n", strings.ReplaceAll(r[0], `"`, `""`), strings.ReplaceAll(r[1], `"`, `""`))
	}
	json.WriteString("]\n")
	for name, content := range map[string]string{
		"a.jsonl": jsonl.String(), "a.ndjson": jsonl.String(), "a.json": json.String(), "a.csv": csv.String(), "b.json": spread.String(),
		"c.json": `{"version":1,"data":` + strings.TrimSpace(strings.TrimPrefix(json.String(), "\ufeff")) + `}`, "A.JSONL": jsonl.String(),
	} {
		for _, packing := range []string{"", ".gz", ".zst"} {
			path := write(t, name+packing, pack(t, content, packing))
			got, s, err := records(t, path, Options{})
			if err != nil {
				t.Errorf("%s%s: %v", name, packing, err)
				continue
			}
			for i, r := range got {
				d := r.(Demonstration)
				if d.Prompt.Text != rows[i][0] || d.Completion.Text != rows[i][1] || d.File != path {
					t.Errorf("%s%s: record %d is %s", name, packing, i, shownRecord(r))
				}
			}
			if len(got) != 3 || s.Read != 3 {
				t.Errorf("%s%s: %d records", name, packing, len(got))
			}
		}
	}
	tsv := "prompt\tcompletion\nfirst \"quoted\tc\n\nsecond\td\n"
	docs := "one\ntwo\n<|endoftext|>\n<|endoftext|>three<|endoftext|>\n"
	for _, packing := range []string{"", ".gz", ".zst"} {
		got, s, err := records(t, write(t, "a.tsv"+packing, pack(t, tsv, packing)), Options{})
		if err != nil || len(got) != 2 || shownRecord(got[0]) != `prompt <first "quoted> completion <c>` || got[1].(Demonstration).Line != 4 || s.Container != "tsv" {
			t.Errorf("tsv%s: %v, %v, %v", packing, got, s, err)
		}
		got, s, err = records(t, write(t, "a.txt"+packing, pack(t, docs, packing)), Options{})
		if err != nil || len(got) != 2 || got[0].(Text).Text != "one\ntwo\n" || got[1].(Text).Text != "three" || got[1].(Text).Line != 4 || s.Container != "txt" {
			t.Errorf("txt%s: %v, %v, %v", packing, got, s, err)
		}
	}
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

func pack(t *testing.T, s, packing string) string {
	var b bytes.Buffer
	switch packing {
	case ".gz":
		w := gzip.NewWriter(&b)
		w.Write([]byte(s))
		w.Close()
	case ".zst":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(s))
		w.Close()
	default:
		return s
	}
	return b.String()
}

// testdata/*.parquet were written by pyarrow 22: nested lists of structs, nulls, zstd and snappy, several row groups.
func TestParquet(t *testing.T) {
	got, s, err := records(t, "testdata/ultrafeedback.parquet", Options{})
	if err != nil || len(got) != 3 || s.Format != FormatPreference {
		t.Fatalf("%v, %v, %v", got, s, err)
	}
	if want := "prompt <user: Café?> chosen <assistant: Oui> rejected <assistant: Non> scores 7 6.5"; shownRecord(got[1]) != want {
		t.Errorf("got %s, want %s", shownRecord(got[1]), want)
	}
	for i, f := range s.First.Fields { // in the file's order
		if want := []string{"prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"}[i]; f.Key != want {
			t.Errorf("field %d is %s, want %s", i, f.Key, want)
		}
	}
	chosen, _ := s.First.Fields.Get("chosen")
	if o := chosen.([]any)[0].(chat.Object); o[0].Key != "content" || o[1].Key != "role" {
		t.Errorf("message fields %v are not in the file's order", o)
	}
	raw, err := os.ReadFile("testdata/labelled.parquet")
	if err != nil {
		t.Fatal(err)
	}
	for _, packing := range []string{"", ".gz", ".zst"} {
		got, _, err := records(t, write(t, "l.parquet"+packing, pack(t, string(raw), packing)), Options{})
		if err != nil || len(got) != 5 || shownRecord(got[3]) != "text <review 3> label 1" {
			t.Errorf("packed %q: %v, %v", packing, got, err)
		}
	}
	for n := 0; n < len(raw); n += 13 {
		if _, _, err := records(t, write(t, "cut.parquet", string(raw[:n])), Options{}); err == nil {
			t.Errorf("a file cut at %d of %d bytes is read", n, len(raw))
		}
	}
	p, _, err := ReadPrompts(golden.Shared(t, "models/verl-arithmetic/tests/e2e/arithmetic_sequence/data/train.parquet"), Options{})
	if err != nil || shown(p[0].Prompt) != "user: 8,3:9,4" {
		t.Errorf("%v, %v", p, err)
	}
}

// Faults name file and line, and what to do where that is not plain.
func TestReadErrors(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"a.jsonl", "{\"text\":\"a\"}\n{\"text\":\n", "a.jsonl:2: decode JSON"},
		{"a.jsonl", "{\"text\":\"a\"}\n[1]\n", "a.jsonl:2: a record is an object or a string, not a list"},
		{"a.jsonl", "{\"text\":\"a\"}\n{\"text\":5}\n", "a.jsonl:2: field text|content is a number, not a string"},
		{"a.jsonl", "{\"text\":\"\xff\"}\n", "a.jsonl:1: the line is not valid UTF-8"},
		{"a.jsonl", "{\"foo\":1,\"bar\":2}\n", "a.jsonl:1: the record is of no known format: its fields are foo, bar; `columns`"},
		{"a.jsonl", "\n\n", "there are no records"},
		{"a.jsonl", "", "there are no records"},
		{"a.json", "", "the file is empty"},
		{"a.json", "[{\"text\":\"a\"},{\"text\":", "a.json:2: the file ends in the middle of a record"},
		{"a.json", "[{\"text\":\"a\"} {\"text\":\"b\"}]", "a.json:2: byte"},
		{"a.json", "[{\"text\":\"a\"}", "the file ends in the middle"},
		{"a.json", "\"x\"", "begins with [ or {"},
		{"a.csv", "text,label\n\"open,1\n", "a.csv:2: extraneous or missing \""},
		{"a.csv", "text,label\na,1\nb\n", "a.csv:3: 1 columns, where the first line has 2"},
		{"a.csv", "text,text\na,1\n", `column "text" is there twice`},
		{"a.tsv", "", "the file is empty"},
		{"a.xyz", "", "the name ends in none of .jsonl"},
		{"a.jsonl.gz", "not gzip", "a.jsonl.gz: not a gzip file"},
		{"a.parquet", "not parquet at all", "a.parquet: "},
		{"a.jsonl", `{"chosen":"a","rejected":"b"}` + "\n" + `{"chosen":"a"}`, "a.jsonl:2: field rejected is missing"},
		{"a.jsonl", `{"messages":[{"role":"user","content":"u"},{"content":"a"}]}`, "a.jsonl:1: field messages: message 2: it has neither role nor from"},
		{"a.jsonl", `{"conversations":[{"from":"martian","value":"u"}]}`, `message 1: role "martian" is unknown`},
		{"a.jsonl", `{"chosen":"a","rejected":[{"role":"assistant","content":"x"}]}`, "one is a text and the other a conversation"},
		{"a.jsonl", `{"chosen":"a","rejected":"b","margin":"wide"}`, "field margin is wide, not a number"},
		{"a.jsonl", `{"instruction":"i","chosen":"a","rejected":"b","history":[["x"]]}`, "history 1 is not a pair of texts"},
		{"a.jsonl", `{"info":{"post":"p"},"summaries":[{"text":"a"}],"choice":0}`, "summaries has 1 entries"},
		{"a.jsonl", `{"history":"h","human_ref_A":"a","human_ref_B":"b","labels":2}`, "labels is 2, not 0 or 1"},
		{"a.jsonl", `{"prompt":"p","completion":""}`, "the completion is empty"},
		{"a.jsonl", strings.Repeat("[", 500), "a.jsonl:1: decode JSON: nested deeper"},
	} {
		_, _, err := records(t, write(t, c.name, c.content), Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.80q: %v, want %q", c.name, c.content, err, c.want)
		}
	}
	long := write(t, "long.jsonl", `{"text":"`+strings.Repeat("x", 5000)+`"}`)
	if _, _, err := records(t, long, Options{MaxRecord: 1000}); err == nil || !strings.Contains(err.Error(), "longer than 1000 bytes") {
		t.Errorf("a long line: %v", err)
	}
	long = write(t, "long.json", `[{"text":"a"},{"text":"`+strings.Repeat("x", 50000)+`"}]`)
	if _, _, err := records(t, long, Options{MaxRecord: 1000}); err == nil || !strings.Contains(err.Error(), "longer than 1000 bytes") {
		t.Errorf("a long element: %v", err)
	}
	bomb := write(t, "bomb.csv.gz", pack(t, "text,label\n\""+strings.Repeat("0", 1<<20), ".gz"))
	if _, _, err := records(t, bomb, Options{MaxRecord: 1 << 16}); err == nil || !strings.Contains(err.Error(), "longer than 65536 bytes") {
		t.Errorf("a record that unpacks without end: %v", err)
	}
	if _, _, err := records(t, filepath.Join(t.TempDir(), "none.jsonl"), Options{}); err == nil || strings.Count(err.Error(), "none.jsonl") != 1 {
		t.Errorf("a missing file: %v", err)
	}
	ok := write(t, "ok.jsonl", `{"text":"a"}`)
	if _, _, err := records(t, ok, Options{Format: "alpacca"}); err == nil || !strings.Contains(err.Error(), `"alpacca" is unknown; the formats are`) {
		t.Errorf("an unknown format: %v", err)
	}
	if _, _, err := records(t, ok, Options{Columns: map[string]string{"text": "story"}}); err == nil || !strings.Contains(err.Error(), `no column "story"`) {
		t.Errorf("an unknown column: %v", err)
	}
	if _, _, err := ReadComparisons(ok, Options{}); err == nil || !strings.Contains(err.Error(), "ok.jsonl:1: texts (format text) cannot be compared") {
		t.Errorf("texts as comparisons: %v", err)
	}
	if _, _, err := ReadPrompts(ok, Options{}); err == nil || !strings.Contains(err.Error(), "has no prompt") {
		t.Errorf("texts as prompts: %v", err)
	}
}

// Bad records can be left out; they are counted, and so are pairs that say nothing.
func TestSkipBad(t *testing.T) {
	path := write(t, "a.jsonl", `{"prompt":"p","chosen":"a","rejected":"b"}`+"\n"+
		`{"prompt":"p","chosen":"a","rejected":`+"\n"+`{"prompt":"p","chosen":"a","rejected":"a"}`+"\n"+`{"prompt":"q","chosen":7,"rejected":"a"}`+"\n")
	got, s, err := ReadComparisons(path, Options{SkipBad: true})
	if err != nil || len(got) != 1 || s.Read != 4 || s.Kept != 1 {
		t.Fatalf("%v, %v, %v", got, s, err)
	}
	want := []Drop{{"unreadable", 2, Origin{path, 2}}, {"chosen and rejected are the same", 1, Origin{path, 3}}}
	if !reflect.DeepEqual(s.Dropped, want) {
		t.Errorf("dropped %v, want %v", s.Dropped, want)
	}
	if _, _, err := ReadComparisons(path, Options{}); err == nil || !strings.Contains(err.Error(), "a.jsonl:2: ") {
		t.Errorf("without SkipBad: %v", err)
	}
}

// Records of one kind serve as another where that is plain.
func TestConversions(t *testing.T) {
	pref := write(t, "p.jsonl", `{"prompt":"p","chosen":" c","rejected":" r"}`)
	d, _, err := ReadDemonstrations(pref, Options{})
	if err != nil || shownRecord(d[0]) != "prompt <p> completion < c>" {
		t.Errorf("%v, %v", d, err)
	}
	p, _, err := ReadPrompts(pref, Options{})
	if err != nil || shown(p[0].Prompt) != "p" {
		t.Errorf("%v, %v", p, err)
	}
	j, _, err := ReadJudgements(pref, Options{})
	if err != nil || len(j) != 2 || !j[0].Good || j[1].Good || j[1].Completion.Text != " r" {
		t.Errorf("%v, %v", j, err)
	}
	conv := write(t, "m.jsonl", `{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"},{"role":"assistant","content":"b"}]}`)
	if p, _, err := ReadPrompts(conv, Options{}); err != nil || shown(p[0].Prompt) != "user: u | assistant: a | user: v" {
		t.Errorf("%v, %v", p, err)
	}
	review := write(t, "l.jsonl", `{"text":"  one two three four","label":1}`+"\n"+`{"text":"short","label":0}`)
	if p, _, err := ReadPrompts(review, Options{Opening: 2}); err != nil || len(p) != 2 || p[0].Prompt.Text != "  one two" || p[1].Prompt.Text != "short" {
		t.Errorf("%v, %v", p, err)
	}
	d, s, err := ReadDemonstrations(review, Options{Opening: 2})
	if err != nil || len(d) != 1 || shownRecord(d[0]) != "prompt <  one two> completion < three four>" || len(s.Dropped) != 1 {
		t.Errorf("%v, %v, %v", d, s, err)
	}
	texts, _, err := ReadTexts(review, Options{})
	if err != nil || len(texts) != 2 || texts[1].Text != "short" {
		t.Errorf("%v, %v", texts, err)
	}
	if s, err := Detect(review, Options{}); err != nil || s.Format != FormatLabelled || s.Read != 1 || s.First.Fields[0].Key != "text" {
		t.Errorf("%v, %v", s, err)
	}
	n := 0
	if err := Each(review, Options{}, func(r Row) bool { n += r.Line; return true }); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestPairs(t *testing.T) {
	var texts []Labelled
	for i := range 10 {
		texts = append(texts, Labelled{Origin{"f", i + 1}, fmt.Sprintf("t%d", i), float64(i % 2)})
	}
	texts = append(texts, Labelled{Origin{"f", 11}, "t10", 1}, Labelled{Origin{"f", 12}, "t11", 5})
	pairs, left, err := Pairs(texts, 3)
	if err != nil || len(pairs) != 6 || left != 0 { // 5 of 0, 6 of 1, 1 of 5
		t.Fatalf("%d pairs, %d left, %v", len(pairs), left, err)
	}
	used := map[string]bool{}
	for _, p := range pairs {
		if p.Scores[0] <= p.Scores[1] || used[p.Chosen.Text] || used[p.Rejected.Text] || p.Better != 1 || !p.Prompt.Empty() {
			t.Errorf("pair %v", p)
		}
		used[p.Chosen.Text], used[p.Rejected.Text] = true, true
	}
	again, _, _ := Pairs(texts, 3)
	other, _, _ := Pairs(texts, 4)
	if !reflect.DeepEqual(pairs, again) || reflect.DeepEqual(pairs, other) {
		t.Error("pairs do not follow the seed")
	}
	if _, _, err := Pairs(texts[:1], 1); err == nil {
		t.Error("one label is paired")
	}
	got, s, err := ReadComparisons(golden.Shared(t, "data/eval/sst2/dev.tsv"), Options{Seed: 1})
	if err != nil || len(got) != 428 { // 428 negative, 444 positive
		t.Errorf("%d pairs, %v, %v", len(got), s, err)
	}
}

// FuzzRead: no file of any kind makes the readers panic or loop.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"labelled.parquet", "ultrafeedback.parquet"} {
		raw, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(4, raw)
	}
	f.Add(0, []byte(`{"chosen":"\n\nHuman: a\n\nAssistant: b","rejected":"\n\nHuman: a\n\nAssistant: c"}`))
	f.Add(1, []byte(`{"data":[{"conversations":[{"from":"human","value":"x"}],"chosen":{"from":"gpt","value":"y"},"rejected":{"from":"gpt","value":"z"}}]}`))
	f.Add(2, []byte("text,label\n\"a\nb\",1\n"))
	f.Add(3, []byte("a b\t1\n"))
	f.Add(5, []byte("a<|endoftext|>b"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kind int, raw []byte) {
		exts := []string{"jsonl", "json", "csv", "tsv", "parquet", "txt", "jsonl.gz", "json.zst"}
		path := filepath.Join(dir, fmt.Sprintf("%d.%s", os.Getpid(), exts[((kind%8)+8)%8]))
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, skip := range []bool{false, true} {
			_, s, err := ReadDemonstrations(path, Options{SkipBad: skip, MaxRecord: 1 << 20})
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			if s.Kept+dropped(s) > s.Read {
				t.Errorf("%d kept and %d dropped of %d", s.Kept, dropped(s), s.Read)
			}
		}
		ReadComparisons(path, Options{SkipBad: true, MaxRecord: 1 << 20})
	})
}
