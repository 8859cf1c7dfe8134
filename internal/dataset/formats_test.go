package dataset

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"plumb/internal/chat"
	"plumb/internal/golden"
)

// shown is a passage in a form that is easy to compare: a text, or "role: content" joined by bars.
func shown(p Passage) string {
	if !p.IsChat() {
		return p.Text
	}
	return shownMessages(p.Messages)
}

func shownMessages(ms []chat.Message) string {
	var parts []string
	for _, m := range ms {
		parts = append(parts, m.Role+": "+m.Content)
	}
	return strings.Join(parts, " | ")
}

func shownRecord(v any) string {
	switch r := v.(type) {
	case Demonstration:
		s := ""
		if len(r.Tools) > 0 {
			s = fmt.Sprintf("[%d tools] ", len(r.Tools))
		}
		if r.Conversation != nil {
			return s + "conversation " + shownMessages(r.Conversation)
		}
		return s + fmt.Sprintf("prompt <%s> completion <%s>", shown(r.Prompt), shown(r.Completion))
	case []Comparison:
		var parts []string
		for _, c := range r {
			s := fmt.Sprintf("prompt <%s> chosen <%s> rejected <%s>", shown(c.Prompt), shown(c.Chosen), shown(c.Rejected))
			if c.Margin != 0 {
				s += fmt.Sprintf(" margin %g", c.Margin)
			}
			if c.HasScores {
				s += fmt.Sprintf(" scores %g %g", c.Scores[0], c.Scores[1])
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, "; ")
	case Judgement:
		return fmt.Sprintf("prompt <%s> completion <%s> good %t", shown(r.Prompt), shown(r.Completion), r.Good)
	case Labelled:
		return fmt.Sprintf("text <%s> label %g", r.Text, r.Label)
	case Prompt:
		s := fmt.Sprintf("prompt <%s>", shown(r.Prompt))
		for _, f := range r.Fields {
			s += fmt.Sprintf(" %s=%v", f.Key, f.Value)
		}
		return s
	case Text:
		return "text <" + r.Text + ">"
	}
	return fmt.Sprintf("%T", v)
}

// One record of each form people publish; the expected records were written by hand.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		format Format
		kind   Kind
		line   string
		want   string
	}{
		{
			FormatMessages, Demonstrations, `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"tools":"[{\"name\":\"f\"}]"}`,
			"[1 tools] conversation system: s | user: u | assistant: a",
		},
		{FormatMessages, Prompts, `{"id":7,"messages":[{"role":"user","content":"u"}]}`, "prompt <user: u> id=7"},
		{
			FormatShareGPT, Demonstrations, `{"system":"s","conversations":[{"from":"human","value":"u"},{"from":"gpt","value":"a","weight":0}]}`,
			"conversation system: s | user: u | assistant: a",
		},
		{
			FormatAlpaca, Demonstrations, `{"instruction":"i","input":"x","output":"o","history":[["q","r"]],"system":"s"}`,
			"conversation system: s | user: q | assistant: r | user: i\nx | assistant: o",
		},
		{FormatAlpaca, Demonstrations, `{"instruction":"i","input":"","response":"o"}`, "conversation user: i | assistant: o"},
		{FormatCompletion, Demonstrations, `{"prompt":"p","completion":" c"}`, "prompt <p> completion < c>"},
		{FormatCompletion, Demonstrations, `{"prompt":[{"role":"user","content":"u"}],"completion":"c"}`, "prompt <user: u> completion <assistant: c>"},
		{FormatCompletion, Demonstrations, `{"question":"q","answer":"a"}`, "prompt <q> completion <a>"},
		{FormatText, Texts, `{"text":"t"}`, "text <t>"},
		{FormatText, Texts, `"just a string"`, "text <just a string>"},
		{FormatPrompt, Prompts, `{"prompt":"p","answer_key":"B"}`, "prompt <p> answer_key=B"},
		{FormatPrompt, Prompts, `{"prompt":[{"role":"user","content":"u"}]}`, "prompt <user: u>"},

		{FormatPreference, Comparisons, `{"prompt":"p","chosen":" c","rejected":" r","margin":0.5}`, "prompt <p> chosen < c> rejected < r> margin 0.5"},
		{FormatPreference, Comparisons, `{"chosen":"The sky is blue.","rejected":"The sky is green."}`, "prompt <The sky is> chosen < blue.> rejected < green.>"},
		{
			FormatPreference, Comparisons, `{"prompt":[{"role":"user","content":"u"}],"chosen":[{"role":"assistant","content":"c"}],"rejected":[{"role":"assistant","content":"r"}]}`,
			"prompt <user: u> chosen <assistant: c> rejected <assistant: r>",
		},
		{
			FormatPreference, Comparisons, `{"chosen":[{"role":"user","content":"u"},{"role":"assistant","content":"c"}],"rejected":[{"role":"user","content":"u"},{"role":"assistant","content":"r"}]}`,
			"prompt <user: u> chosen <assistant: c> rejected <assistant: r>",
		},
		{
			FormatPreference, Comparisons, `{"prompt":"u","chosen":[{"role":"assistant","content":"c"}],"rejected":[{"role":"assistant","content":"r"}]}`,
			"prompt <user: u> chosen <assistant: c> rejected <assistant: r>",
		},
		// UltraFeedback, binarized.
		{
			FormatPreference, Comparisons, `{"prompt":"u","prompt_id":"1","chosen":[{"content":"u","role":"user"},{"content":"c","role":"assistant"}],"rejected":[{"content":"u","role":"user"},{"content":"r","role":"assistant"}],"messages":[{"content":"u","role":"user"},{"content":"c","role":"assistant"}],"score_chosen":8.5,"score_rejected":7}`,
			"prompt <user: u> chosen <assistant: c> rejected <assistant: r> scores 8.5 7",
		},
		// Turns in common behind which the user goes on differently belong to the answers.
		{
			FormatPreference, Comparisons, `{"chosen":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"},{"role":"assistant","content":"c"}],"rejected":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"w"},{"role":"assistant","content":"r"}]}`,
			"prompt <user: u> chosen <assistant: a | user: v | assistant: c> rejected <assistant: a | user: w | assistant: r>",
		},
		{
			FormatHH, Comparisons, `{"chosen":"\n\nHuman: hi\n\nAssistant: hello\n\nHuman: a\n\nb\n\nAssistant: c","rejected":"\n\nHuman: hi\n\nAssistant: hello\n\nHuman: a\n\nb\n\nAssistant:"}`,
			"prompt <user: hi | assistant: hello | user: a\n\nb> chosen <assistant: c> rejected <assistant: >",
		},
		{
			FormatAlpacaPair, Comparisons, `{"instruction":"i","input":"x","output":"c","chosen":"c","rejected":"r"}`,
			"prompt <user: i\nx> chosen <assistant: c> rejected <assistant: r>",
		},
		{
			FormatShareGPTPair, Comparisons, `{"conversations":[{"from":"human","value":"u"}],"chosen":{"from":"gpt","value":"c"},"rejected":{"from":"gpt","value":"r"}}`,
			"prompt <user: u> chosen <assistant: c> rejected <assistant: r>",
		},
		{
			FormatSummarize, Comparisons, `{"info":{"id":"t3","post":"Long.","title":"T","subreddit":"tifu"},"summaries":[{"text":" worse","policy":"a","note":null},{"text":" better","policy":"b","note":""}],"choice":1,"worker":"w","batch":"b","split":"train","extra":{"confidence":7}}`,
			"prompt <SUBREDDIT: r/tifu\n\nTITLE: T\n\nPOST: Long.\n\nTL;DR:> chosen < better> rejected < worse>",
		},
		{
			FormatSummarize, Comparisons, `{"info":{"article":"Text."},"summaries":[{"text":"x"},{"text":"y"}],"choice":0}`,
			"prompt <ARTICLE: Text.\n\nTL;DR:> chosen < x> rejected < y>",
		},
		{
			FormatSHP, Comparisons, `{"post_id":"1","history":"h","human_ref_A":"a","human_ref_B":"b","labels":0,"score_A":3,"score_B":9}`,
			"prompt <user: h> chosen <assistant: b> rejected <assistant: a> scores 9 3",
		},
		{
			FormatNectar, Comparisons, `{"prompt":"\n\nHuman: q\n\nAssistant: ","answers":[{"answer":"x","rank":2.0,"model":"m"},{"answer":"y","rank":1.0},{"answer":"z","rank":2.0}]}`,
			"prompt <user: q> chosen <assistant: y> rejected <assistant: x>; prompt <user: q> chosen <assistant: y> rejected <assistant: z>",
		},
		{FormatKTO, Judgements, `{"prompt":"p","completion":"c","label":true}`, "prompt <p> completion <c> good true"},
		{
			FormatKTO, Judgements, `{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"label":false}`,
			"prompt <user: u> completion <assistant: a> good false",
		},
		{FormatLabelled, LabelledTexts, `{"text":"fine","label":1,"rating":9}`, "text <fine> label 1"},
		{FormatLabelled, LabelledTexts, `{"review":"fine","sentiment":"positive"}`, "text <fine> label 1"},
	} {
		got, s, err := records(t, write(t, "a.jsonl", c.line+"\n"), Options{})
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if shownRecord(got[0]) != c.want || s.Format != c.format || s.Kind != c.kind || !s.Detected || s.First.Line != 1 {
			t.Errorf("%s:\n got %s (%s, %s)\nwant %s (%s, %s)", c.line, shownRecord(got[0]), s.Format, s.Kind, c.want, c.format, c.kind)
		}
		// The same when the format is said.
		if again, _, err := records(t, write(t, "a.jsonl", c.line+"\n"), Options{Format: c.format}); err != nil || !reflect.DeepEqual(dropOrigin(again), dropOrigin(got)) {
			t.Errorf("%s as %s: %v, %v", c.line, c.format, again, err)
		}
	}
}

func dropOrigin(rs []any) []string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = shownRecord(r)
	}
	return out
}

// Where the common part of two texts ends.
func TestSplitTexts(t *testing.T) {
	for _, c := range []struct{ a, b, prompt string }{
		{"same start x", "same start y", "same start"},
		{"The sky is  blue", "The sky is  green", "The sky is "},
		{"abc", "xyz", ""},
		{" abc", " xyz", ""},
		{"say word1", "say word2", "say"}, // TRL: "say word"
		{"ab", "abc", ""},                 // TRL: "a"
		{"Hello", "Hello world", ""},      // TRL: "Hell"
		{"Hello there", "Hello there you", "Hello"},
		{"don't", "don't.", ""},
		{"it's on", "it's off", "it's"},
		{"naïve é", "naïve è", "naïve"},
		{"価格é", "価格è", ""},
		{"Q: x\nA: yes", "Q: x\nA: no", "Q: x\nA:"},
		{"a\n\nb", "a\n\nc", "a\n"},
		{"x (y", "x [y", "x"},
		{"", "abc", ""},
	} {
		p, x, y := splitTexts(c.a, c.b)
		if p.Text != c.prompt || p.Text+x.Text != c.a || p.Text+y.Text != c.b {
			t.Errorf("%q, %q: prompt %q, %q and %q, want prompt %q", c.a, c.b, p.Text, x.Text, y.Text, c.prompt)
		}
	}
}

// TRL's extract_prompt on the same pairs, where it parts them between words; messages always.
func TestSplitLikeTRL(t *testing.T) {
	var g struct {
		Cases []struct {
			Example, Result map[string]any
		} `json:"extract_prompt"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "preference.json"), &g)
	compared := 0
	for _, c := range g.Cases {
		if a, ok := c.Example["chosen"].(string); ok {
			b := c.Example["rejected"].(string)
			want := c.Result["prompt"].(string)
			if within := len(want) > 0 && want != a && want != b && (wordAt(a, len(want)) || wordAt(b, len(want))); within || strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
				continue
			}
			compared++
			if p, _, _ := splitTexts(a, b); p.Text != want {
				t.Errorf("%q, %q: prompt %q, want %q", a, b, p.Text, want)
			}
			continue
		}
		side := func(v any) []chat.Message {
			var out []chat.Message
			for _, m := range v.([]any) {
				o := m.(map[string]any)
				out = append(out, chat.Message{Role: o["role"].(string), Content: o["content"].(string)})
			}
			return out
		}
		compared++
		p, x, y, err := splitConversations(side(c.Example["chosen"]), side(c.Example["rejected"]))
		if err != nil || !reflect.DeepEqual(p.Messages, side(c.Result["prompt"])) || !reflect.DeepEqual(x.Messages, side(c.Result["chosen"])) ||
			!reflect.DeepEqual(y.Messages, side(c.Result["rejected"])) {
			t.Errorf("%v: %v, %v, %v, %v", c.Example, p, x, y, err)
		}
	}
	if compared < 10 {
		t.Errorf("only %d of %d cases were compared", compared, len(g.Cases))
	}
}
