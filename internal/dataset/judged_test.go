package dataset

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"plumb/internal/golden"
)

// judgements writes answers to prompts: the prompt, then how many good and how many bad ones. An answer names its prompt, its
// label and its number.
func judgements(prompts ...[3]any) string {
	var b strings.Builder
	for _, p := range prompts {
		for side, label := range []string{"good", "bad"} {
			for i := range p[1+side].(int) {
				fmt.Fprintf(&b, `{"prompt":%s,"completion":"%s %s %d","label":%t}`+"\n", quote(p[0].(string)), p[0], label, i, side == 0)
			}
		}
	}
	return b.String()
}

// A pair is a good and a bad answer to the very same prompt, no answer is in two, and who is left over is counted: of p one
// good answer, of P, which is another prompt, its only one, and of "p " two bad ones.
func TestJudgedPairs(t *testing.T) {
	text := judgements([3]any{"p", 3, 2}, [3]any{"q", 1, 1}, [3]any{"P", 1, 0}, [3]any{"p ", 0, 2}) +
		`{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"user: u good"}],"label":1}` + "\n" +
		`{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"user: u bad"}],"label":0}` + "\n"
	path := write(t, "a.jsonl", text)
	got, s, err := ReadComparisons(path, Options{Seed: 5})
	if err != nil || len(got) != 4 || s.Read != 12 || s.Kept != 4 || s.Kind != Judgements {
		t.Fatalf("%d pairs, %v, %v", len(got), s, err)
	}
	if want := "; 4 pairs made of a good and a bad answer to one prompt, seed 5; 4 answers had no counterpart"; !strings.HasSuffix(s.String(), want) {
		t.Errorf("said %q, want %q at the end", s, want)
	}
	used := map[string]bool{}
	for _, c := range got {
		chosen, rejected := strings.TrimPrefix(shown(c.Chosen), "assistant: "), strings.TrimPrefix(shown(c.Rejected), "assistant: ")
		prompt := shown(c.Prompt)
		if !strings.HasPrefix(chosen, prompt+" good") || !strings.HasPrefix(rejected, prompt+" bad") || used[chosen] || used[rejected] {
			t.Errorf("prompt %q: %q over %q", prompt, chosen, rejected)
		}
		if c.Better != 1 || c.Margin != 0 || c.Across || c.Line == 0 {
			t.Errorf("pair %+v", c)
		}
		used[chosen], used[rejected] = true, true
	}
	some, s, err := ReadComparisons(path, Options{Seed: 5, Pairs: 3})
	if err != nil || s.Kept != 3 || !reflect.DeepEqual(some, got[:3]) {
		t.Errorf("three of them: %v, %v, %v", some, s, err)
	}
}

// Who meets whom follows the seed, and so does the order.
func TestJudgedPairsFollowTheSeed(t *testing.T) {
	path := write(t, "a.jsonl", judgements([3]any{"p", 20, 20}))
	meet := func(seed uint64) (order string, with map[string]string) {
		got, _, err := ReadComparisons(path, Options{Seed: seed})
		if err != nil || len(got) != 20 {
			t.Fatalf("%d pairs, %v", len(got), err)
		}
		with = map[string]string{}
		for _, c := range got {
			order += c.Chosen.Text + ", "
			with[c.Chosen.Text] = c.Rejected.Text
		}
		return order, with
	}
	order, with := meet(1)
	again, withAgain := meet(1)
	other, withOther := meet(2)
	if order != again || !reflect.DeepEqual(with, withAgain) {
		t.Error("the same seed gives other pairs")
	}
	if order == other || reflect.DeepEqual(with, withOther) {
		t.Error("another seed gives the same pairs")
	}
}

// Without a prompt whole texts are compared, and what both begin with is no prompt; a text never meets a conversation.
func TestJudgedTexts(t *testing.T) {
	path := write(t, "a.jsonl", `{"prompt":"","completion":"The film is good","label":true}`+"\n"+`{"prompt":"","completion":"The film is bad","label":false}`+"\n"+
		`{"prompt":"","completion":[{"role":"assistant","content":"Bad."}],"label":false}`)
	for seed := range uint64(8) { // so that the text would meet the conversation with some
		got, s, err := ReadComparisons(path, Options{Seed: seed})
		if err != nil || len(got) != 1 || got[0].Chosen.Text != "The film is good" || got[0].Rejected.Text != "The film is bad" ||
			got[0].PromptKey() != "the film is good" || !strings.Contains(s.String(), "1 answers had no counterpart") {
			t.Errorf("seed %d: %+v, %v, %v", seed, got, s, err)
		}
	}
}

// Data in which no answer has a counterpart cannot be compared, and that is the error; of LLaMA-Factory's 300 judgements, to
// 297 prompts, two meet (counted with another program).
func TestJudgedPairsOfFewPrompts(t *testing.T) {
	path := write(t, "a.jsonl", judgements([3]any{"p", 2, 0}, [3]any{"q", 0, 1}))
	if _, _, err := ReadComparisons(path, Options{}); err == nil || !strings.Contains(err.Error(), "a.jsonl: no prompt has both a good and a bad answer") {
		t.Errorf("no counterparts: %v", err)
	}
	got, s, err := ReadComparisons(golden.Shared(t, "data/preference/llamafactory/kto_en_demo.json"), Options{})
	if err != nil || len(got) != 1 || !strings.Contains(s.String(), "; 298 answers had no counterpart") {
		t.Errorf("%d pairs, %v, %v", len(got), s, err)
	}
}

// Scores of the answers are no margin; that they are not used is said, with how many records have them.
func TestScoresAreSaidToBeUnused(t *testing.T) {
	said := " score both answers, which is not used: a margin is what the field margin says"
	for text, want := range map[string]string{
		`{"prompt":"p","chosen":"a","rejected":"b","score_chosen":9,"score_rejected":2}` + "\n" +
			`{"prompt":"p","chosen":"c","rejected":"d","score_chosen":8,"score_rejected":7,"margin":0.5}` + "\n" +
			`{"prompt":"p","chosen":"e","rejected":"f"}`: "; 2 records" + said,
		`{"history":"h","human_ref_A":"a","human_ref_B":"b","labels":0,"score_A":3,"score_B":9}`: "; 1 records" + said,
		`{"prompt":"p","chosen":"a","rejected":"b","margin":0.5}`:                                "",
		`{"text":"fine","label":1}` + "\n" + `{"text":"bad","label":0}`:                          "",
	} {
		got, s, err := ReadComparisons(write(t, "a.jsonl", text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.String(), want) || want == "" && strings.Contains(s.String(), "score") {
			t.Errorf("%s:\nsaid %q, want %q", text, s, want)
		}
		for _, c := range got {
			if c.Margin != 0 && c.Margin != 0.5 {
				t.Errorf("%s: margin %g", text, c.Margin)
			}
		}
	}
}
