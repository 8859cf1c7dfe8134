package dataset

import (
	"fmt"
	"strings"
	"testing"

	"plumb/internal/golden"
)

func TestParsePart(t *testing.T) {
	for s, want := range map[string]Part{"": {}, "1/1": {0, 0, 1}, "2/2": {1, 1, 2}, "1-9/20": {0, 8, 20}} {
		got, err := ParsePart(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%q: %v (%s), %v", s, got, got, err)
		}
	}
	for _, s := range []string{"1", "0/2", "3/2", "2-1/2", "1/0", "-1/2", "a/b", "1/2/3", "1-/2", "1/9999999"} {
		if p, err := ParsePart(s); err == nil {
			t.Errorf("%q is read as %v", s, p)
		}
	}
}

func TestReadingValidate(t *testing.T) {
	for _, good := range []Reading{{}, {Opening: 8}, {Opening: 8, Words: 9, Part: "1/2"}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for want, bad := range map[string]Reading{"part": {Part: "3/2"}, "opening": {Opening: -1}, "words": {Opening: 8, Words: 8}} {
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), want+": ") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Parts of the real comparisons: together they are everything, no two have a first question in common, and a part's size
// is within five standard deviations of a fair draw of questions.
func TestPartsDivideByFirstQuestion(t *testing.T) {
	path := golden.Shared(t, "data/preference/hh-rlhf/harmless-base-test.jsonl.gz")
	where, total := map[string]string{}, 0
	for _, part := range []string{"1-9/20", "10-18/20", "19-20/20"} {
		o := Reading{Part: part}.Options(0, 1)
		cs, s, err := ReadComparisons(path, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			q := strings.ToLower(strings.TrimSpace(c.Prompt.Messages[0].Content))
			if in := where[q]; in != "" && in != part {
				t.Errorf("%q is in %s and %s", q, in, part)
			}
			where[q] = part
		}
		total += len(cs) + len(s.Dropped)
		share := float64(o.Part.Last-o.Part.First+1) / 20
		// 2,178 questions of 2,312 records: sd of a share of records is below sqrt(share*(1-share)/2178)*1.2 < 0.013.
		if got := float64(len(cs)) / 2312; got < share-5*0.013 || got > share+5*0.013 {
			t.Errorf("part %s has %.3f of the records", part, got)
		}
	}
	if all, s, _ := ReadComparisons(path, Options{}); total != len(all)+len(s.Dropped) && total < len(all) {
		t.Errorf("the parts have %d records, the file %d", total, len(all))
	}
}

// A text lies in one part whatever is made of it, and whatever the seed; limit counts within the part.
func TestPartOfTexts(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "{\"text\": \"Same words begin number %d. And more.\", \"label\": %d}\n", i, i%2)
	}
	path := write(t, "l.jsonl", b.String())
	lines := func(part string, seed uint64) (prompts, demos map[int]bool) {
		prompts, demos = map[int]bool{}, map[int]bool{}
		ps, _, err := ReadPrompts(path, Reading{Part: part, Opening: 3}.Options(0, seed))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			prompts[p.Line] = true
		}
		ds, _, err := ReadDemonstrations(path, Reading{Part: part, Opening: 2, Words: 5}.Options(0, seed+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			demos[d.Line] = true
		}
		return prompts, demos
	}
	a, b1 := lines("1/2", 1)
	c, d := lines("2/2", 7)
	if len(a) != len(b1) || len(c) != len(d) || len(a)+len(c) != 200 || len(a) < 60 || len(c) < 60 {
		t.Fatalf("%d, %d, %d, %d records", len(a), len(b1), len(c), len(d))
	}
	for line := range a {
		if !b1[line] || c[line] || d[line] {
			t.Errorf("line %d is in both parts, or only as a prompt", line)
		}
	}
	ds, s, err := ReadTexts(path, Reading{Part: "2/2"}.Options(10, 1))
	if err != nil || len(ds) != 10 || s.Read == 10 || !strings.Contains(s.String(), "are not in part 2/2") {
		t.Errorf("%d texts, %s, %v", len(ds), s, err)
	}
}

func TestWordsCutBehindASentence(t *testing.T) {
	for _, c := range []struct {
		text  string
		words int
		want  string
	}{
		{"One two three.", 3, "One two three."},
		{"One two three.", 9, "One two three."},
		{"One two. Three four. Five six.", 5, "One two. Three four."},
		{"One two! Three", 3, "One two! Three"}, // all of it
		{"He said \"go.\" Then he left us", 5, "He said \"go.\""},
		{"no end in sight here", 3, "no end in"},
		{"  Spaces first. And  then some", 4, "  Spaces first."},
		{"Ein Satz.\u00a0Noch einer", 3, "Ein Satz."},
	} {
		if got := c.text[:sentencesWithin(c.text, c.words)]; got != c.want {
			t.Errorf("%q within %d words: %q, want %q", c.text, c.words, got, c.want)
		}
	}
	path := write(t, "l.jsonl", `{"text":"A bad film. Truly. Do not go","label":0}`+"\n"+`{"text":"A good film. Really so. Go there","label":1}`)
	cs, _, err := ReadComparisons(path, Reading{Words: 5}.Options(0, 1))
	if err != nil || len(cs) != 1 || cs[0].Chosen.Text != "A good film. Really so." || cs[0].Rejected.Text != "A bad film. Truly." {
		t.Errorf("%v, %v", cs, err)
	}
}

func TestPairsLimit(t *testing.T) {
	path := golden.Shared(t, "data/eval/sst2/dev.tsv")
	all, _, err := ReadComparisons(path, Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	some, s, err := ReadComparisons(path, Options{Seed: 1, Pairs: 20})
	keys := map[string]bool{}
	for _, c := range all {
		keys[c.PromptKey()] = true
	}
	if len(keys) != len(all) { // No two pairs of unrelated texts belong together.
		t.Errorf("%d keys for %d pairs", len(keys), len(all))
	}
	if err != nil || len(some) != 20 || s.Kept != 20 || some[19].Chosen.Text != all[19].Chosen.Text {
		t.Errorf("%d pairs, %s, %v", len(some), s, err)
	}
}
