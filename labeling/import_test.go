package labeling

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/internal/golden"
)

// summary is what an import made of a file, in words that a test can list.
func summary(t *testing.T, s *Store) []string {
	t.Helper()
	var out []string
	js, err := s.Judgements(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range js {
		p, _ := marshal(j.Item.Prompt)
		c, r, _ := j.Pair()
		var line string
		if j.Event.Choice == Win {
			line = fmt.Sprintf("%s: %s %q > %q by %s", p, j.Event.Choice, j.Item.Answers[c].String(), j.Item.Answers[r].String(), j.Event.Annotator)
		} else {
			line = fmt.Sprintf("%s: %s by %s", p, j.Event.Choice, j.Event.Annotator)
		}
		if m := j.Margin(); m != 0 {
			line += fmt.Sprintf(" margin %.2f", m)
		}
		out = append(out, line)
	}
	return out
}

func TestImport(t *testing.T) { onBackends(t, testImport) }

func testImport(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		format Format
		want   []string
	}{
		"trl text": {
			`{"prompt":"p","chosen":"good","rejected":"bad","margin":0.5}` + "\n\n" + `{"prompt":"p2","chosen":"g","rejected":"b"}`, TRL,
			[]string{`"p": win "good" > "bad" by trl margin 0.50`, `"p2": win "g" > "b" by trl`},
		},
		"trl messages": {
			`[{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"y"}],"rejected":[{"role":"assistant","content":"n"}]}]`, TRL,
			[]string{`[{"role":"user","content":"q"}]: win "y" > "n" by trl`},
		},
		"ultrafeedback binarized: prompt inside both": {
			`{"prompt":"q","prompt_id":"1","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"y"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"n"}],"score_chosen":8}`, TRL,
			[]string{`[{"role":"user","content":"q"}]: win "y" > "n" by trl`},
		},
		"trl text, implicit, splits at a word": {
			`{"chosen":"The sky is blue","rejected":"The sky is black"}`, TRL,
			[]string{`"The sky is ": win "blue" > "black" by trl`},
		},
		"hh": {
			`{"chosen":"\n\nHuman: a?\n\nAssistant: b\n\nHuman: c?\n\nAssistant: yes","rejected":"\n\nHuman: a?\n\nAssistant: b\n\nHuman: c?\n\nAssistant: no"}`, HH,
			[]string{`[{"role":"user","content":"a?"},{"role":"assistant","content":"b"},{"role":"user","content":"c?"}]: win "yes" > "no" by hh-rlhf`},
		},
		"summarize": {
			`{"info":{"post":"long","title":"t","subreddit":"s"},"summaries":[{"text":" one","policy":"sup"},{"text":" two","policy":"ppo"}],"choice":1,"worker":"w7","extra":{"confidence":8}}`, Summarize,
			[]string{`"SUBREDDIT: r/s\n\nTITLE: t\n\nPOST: long\n\nTL;DR:": win "two" > "one" by w7`},
		},
		"ultrafeedback": {
			`{"instruction":"i","completions":[{"model":"a","response":"x","overall_score":7},{"model":"b","response":"y","overall_score":9},{"model":"c","response":"z","overall_score":7}]}`, Ultra,
			[]string{
				`[{"role":"user","content":"i"}]: win "y" > "x" by ultrafeedback`, `[{"role":"user","content":"i"}]: tie by ultrafeedback`,
				`[{"role":"user","content":"i"}]: win "y" > "z" by ultrafeedback`,
			},
		},
		"llama-factory": {
			`[{"conversations":[{"from":"human","value":"h"}],"chosen":{"from":"gpt","value":"y"},"rejected":{"from":"gpt","value":"n"}}]`, LlamaFac,
			[]string{`[{"role":"user","content":"h"}]: win "y" > "n" by llamafactory`},
		},
		"kto": {
			`{"prompt":"p","completion":"good","label":true}` + "\n" + `{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"n"}],"label":false}`, KTO,
			[]string{`"p": good by kto`, `[{"role":"user","content":"q"}]: bad by kto`},
		},
		"argilla ranking": {
			`[{"id":"1","fields":{"prompt":"p","response-1":"a","response-2":"b"},"responses":{"rank":[{"value":[{"value":"response-2","rank":1},{"value":"response-1","rank":2}],"user_id":"u"}]}}]`, Argilla,
			[]string{`"p": win "b" > "a" by u`},
		},
		"label studio": {
			`[{"id":1,"data":{"prompt":"p","answer1":"a","answer2":"b"},"annotations":[{"completed_by":3,"result":[{"from_name":"pw","to_name":"answer1","type":"pairwise","value":{"selected":"right"}}]},{"completed_by":{"email":"x@y"},"was_cancelled":true,"result":[]}]}]`, LabelStudio,
			[]string{`"p": win "b" > "a" by user 3`},
		},
		"label studio, its own name of the prompt": {
			`[{"id":1,"data":{"text":"p","answer1":"a","answer2":"b"},"annotations":[{"completed_by":3,"result":[{"from_name":"pw","to_name":"answer1","type":"pairwise","value":{"selected":"left"}}]}]}]`, LabelStudio,
			[]string{`"p": win "a" > "b" by user 3`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newTestStore(t), context.Background()
			got, err := s.Import(ctx, strings.NewReader(c.in), "f.jsonl", ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Format != c.format {
				t.Errorf("format %s, want %s", got.Format, c.format)
			}
			if diff := cmp.Diff(c.want, summary(t, s)); diff != "" {
				t.Error(diff)
			}
			before, _ := s.Hash(ctx)
			again, err := s.Import(ctx, strings.NewReader(c.in), "f.jsonl", ImportOptions{})
			if err != nil || again.New != 0 || again.Judged != 0 || again.Known != len(c.want) {
				t.Errorf("second time: %+v, %v", again, err)
			}
			if after, _ := s.Hash(ctx); after != before {
				t.Error("reading the file twice changed the store")
			}
			un := newTestStore(t)
			if _, err := un.Import(ctx, strings.NewReader(c.in), "f.jsonl", ImportOptions{Unlabeled: true, Tags: []string{"new"}}); err != nil {
				t.Fatal(err)
			}
			if n, decided, _ := un.Count(ctx); n != len(c.want) || decided != 0 {
				t.Errorf("unlabeled: %d items, %d decided", n, decided)
			}
			if it, err := un.Item(ctx, 1); err != nil || len(it.Tags) != 1 {
				t.Errorf("tags %v, %v", it.Tags, err)
			}
		})
	}
}

// Annotations brought to Label Studio belong to one user there, and say whose they were; that user's own do not, and a copy that another
// user has made of one is that user's.
func TestStudioAnnotationsOfOneUser(t *testing.T) {
	s := newTestStore(t)
	_, err := s.Import(context.Background(), strings.NewReader(`[{"id":1,"data":{"prompt":"p","answer1":"a","answer2":"b"},"annotations":[`+
		`{"completed_by":3,"ground_truth":false,"result":[{"from_name":"comparison","meta":{"annotator":"ann"},"to_name":"answer1","type":"pairwise","value":{"selected":"right"}}]},`+
		`{"completed_by":3,"result":[{"from_name":"comparison","to_name":"answer1","type":"pairwise","value":{"selected":"left"}}]},`+
		`{"completed_by":4,"parent_annotation":1,"result":[{"from_name":"comparison","meta":{"annotator":"ann"},"to_name":"answer1","type":"pairwise","value":{"selected":"left"}}]}]}]`), "f.json", ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`"p": win "b" > "a" by ann`, `"p": win "a" > "b" by user 3`, `"p": win "a" > "b" by user 4`}, summary(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestImportErrorsNameTheLine(t *testing.T) { onBackends(t, testImportErrorsNameTheLine) }

func testImportErrorsNameTheLine(t *testing.T) {
	for in, want := range map[string]string{
		`{"prompt":"p","chosen":"a","rejected":"b"}` + "\n" + `{"prompt":"p","chosen":3,"rejected":"b"}`:                                   "line 2: as trl: chosen: neither text nor",
		`[{"answer1":"a","answer2":"b","prompt":"p","comparison":[{"selected":"left"}],"annotator":1,"annotation_id":2,"lead_time":1.5}]`:  "element 1: this is Label Studio's JSON-MIN",
		`[{"chosen":"a","rejected":"b","prompt":"p","comparison":[{"selected":"right"}],"annotator":1,"annotation_id":2,"lead_time":1.5}]`: "element 1: this is Label Studio's JSON-MIN",
		`{"x":1}`: "line 1: no known format of comparisons has the keys x",
		`{"prompt":"p","chosen":"a","rejected":"b"}` + "\n" + `{"prompt":`:       "line 2: not a JSON object",
		`[{"prompt":"p","chosen":"a","rejected":"b"}`:                            "element 2: the array does not end",
		`[{"prompt":"p","chosen":"a","rejected":"b"},{"prompt":"p","chosen":"a"`: "element 2: unexpected EOF",
		``: "no records",
		`{"info":{},"summaries":[{"text":"a"},{"text":"b"}],"choice":0}`: "neither post nor article",
	} {
		s, ctx := newTestStore(t), context.Background()
		_, err := s.Import(ctx, strings.NewReader(in), "f.jsonl", ImportOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f.jsonl") {
			t.Errorf("%.60q: %v, want %q", in, err, want)
		}
		if n, _, _ := s.Count(ctx); n != 0 {
			t.Errorf("%.60q: %d items of a broken file stay", in, n)
		}
	}
}

// What we write for another tool we read back as the same judgements, strength and all.
func TestToolsRoundTrip(t *testing.T) { onBackends(t, testToolsRoundTrip) }

func testToolsRoundTrip(t *testing.T) {
	for _, f := range []Format{Argilla, LabelStudio} {
		s := labelledStore(t)
		text, x := exportText(t, s, f)
		if x.Rows != 6 {
			t.Errorf("%s: %d rows", f, x.Rows)
		}
		back := newTestStore(t)
		got, err := back.Import(context.Background(), strings.NewReader(text), "x.json", ImportOptions{})
		if err != nil || got.Format != f || got.Judged != 6 {
			t.Fatalf("%s: %+v, %v", f, got, err)
		}
		if diff := cmp.Diff(summary(t, s), summary(t, back)); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
	}
}

// Each of the real files at hand, as far as they are comparisons.
func TestImportRealFiles(t *testing.T) {
	hh := golden.Shared(t, "data/preference/hh-rlhf/harmless-base-test.jsonl.gz")
	s, ctx := newTestStore(t), context.Background()
	f, err := os.Open(hh)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := s.Import(ctx, f, "hh", ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dropped := 0
	for _, n := range got.Dropped {
		dropped += n
	}
	// 2,312 is the number of pairs the data set's README gives for harmless-base test.
	if got.Records != 2312 || got.New+got.Existing+got.Same+dropped != got.Records {
		t.Errorf("%+v", got)
	}
	if dropped > got.Records/50 {
		t.Errorf("dropped %v of %d", got.Dropped, got.Records)
	}
	// Files list the chosen answer first; its place in the store says nothing. of 2,300 fair coins the share of
	// heads has a standard deviation of 0.0104, so 0.05 is nearly five of them; and the draw is a hash, the same every time.
	firsts := 0
	js, err := s.Judgements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range js {
		firsts += j.Event.Ranking[1] // 1 where answer 0 won
	}
	if share := float64(firsts) / float64(len(js)); share < 0.45 || share > 0.55 {
		t.Errorf("the chosen answer comes first in %.3f of the pairs", share)
	}
	lf, err := os.Open(golden.Shared(t, "data/preference/llamafactory/dpo_en_demo.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer lf.Close()
	if got, err := s.Import(ctx, lf, "lf", ImportOptions{}); err != nil || got.Records != 300 || got.Format != LlamaFac {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestImportCompressed(t *testing.T) { onBackends(t, testImportCompressed) }

func testImportCompressed(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, "\ufeff"+`{"prompt":"p","chosen":"a","rejected":"b"}`)
	z.Close()
	s := newTestStore(t)
	if got, err := s.Import(context.Background(), &b, "f.gz", ImportOptions{}); err != nil || got.Judged != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"prompt":"p","chosen":"a","rejected":"b","margin":1}`))
	f.Add([]byte(`[{"fields":{"prompt":"p","chosen":"a","rejected":"b"},"responses":{"q":[{"value":["chosen","rejected"]}]}}]`))
	f.Add([]byte(`{"data":{"prompt":[{"role":"u","content":"c"}],"answer1":"a","answer2":"b"},"annotations":[{"result":[{"type":"rating","value":{"rating":9}}]}]}`))
	f.Add([]byte(`{"chosen":"\n\nHuman: a\n\nAssistant: b","rejected":"Human: a\n\nAssistant:"}`))
	f.Add([]byte(`{"instruction":"i","completions":[{"response":"x","overall_score":1},{"response":"y","overall_score":1}]}`))
	f.Add([]byte(`{"prompt":"p","completion":"a","label":true}`))
	f.Add([]byte(`[{"prompt":[{"role":"user","content":"c"}],"completion":[{"role":"assistant","content":"a"}],"label":false}]`))
	f.Add([]byte(`[{"fields":{"prompt":"p","response_1":"a","response_2":"b","response_3":"c"},"responses":{"ranking":[{"value":[{"value":"response_2","rank":1},{"value":"response_1","rank":3},{"value":"response_3","rank":null}],"user_id":"u"}]}}]`))
	f.Add([]byte(`[{"fields":{"prompt":"p","response":"a"},"metadata":{"annotator":"n"},"responses":[{"user_id":"u","status":"submitted","values":{"good_or_bad":{"value":"good"},"x":{"value":4}}}]}]`))
	f.Add([]byte(`{"data":{"prompt":"p","items":[{"id":"x","body":"a"},{"id":2,"title":"b"},{"id":"z","html":"c"}]},"annotations":[{"completed_by":1,"result":[{"type":"ranker","value":{"ranker":{"_":[],"r":["2","x","z"]}}},{"type":"choices","from_name":"verdict","value":{"choices":["tie"]}}]}]}`))
	f.Add([]byte(`{"data":{"prompt":"p","answer":"a"},"annotations":[{"result":[{"type":"choices","from_name":"good_or_bad","value":{"choices":["bad"]}}]}]}`))
	dir, stores := f.TempDir(), 0
	blank, err := Open(context.Background(), filepath.Join(dir, "blank.db"))
	if err := errors.Join(err, blank.Close()); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "blank.db"))
	if err != nil {
		f.Fatal(err)
	}
	s := blank
	fresh := func() {
		s.Close()
		stores++
		path := filepath.Join(dir, fmt.Sprint(stores, ".db"))
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			f.Fatal(err)
		}
		if s, err = Open(context.Background(), path); err != nil {
			f.Fatal(err)
		}
		s.db.SetMaxOpenConns(1)
		if _, err := s.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
			f.Fatal(err)
		}
	}
	fresh()
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, in []byte) {
		if n, _, err := s.Count(context.Background()); err != nil {
			t.Fatal(err)
		} else if n > 200 { // exports would take ever longer
			fresh()
		}
		// Whatever comes in is taken whole or refused: never a panic, and what was taken can be exported again.
		if _, err := s.Import(context.Background(), bytes.NewReader(in), "fuzz", ImportOptions{}); err != nil {
			return
		}
		for _, format := range []Format{Argilla, LabelStudio, KTO} {
			if _, err := s.Export(context.Background(), &bytes.Buffer{}, format); err != nil {
				t.Fatal(err)
			}
		}
		for _, mode := range []Mode{Compare, Rank, Single, Rate} { // what can be taken can be regrouped, or is refused by name
			if _, err := s.Import(context.Background(), bytes.NewReader(in), "fuzz", ImportOptions{Mode: mode}); err != nil && !strings.Contains(err.Error(), "fuzz") && !strings.Contains(err.Error(), "record") {
				t.Fatal(err)
			}
		}
	})
}
