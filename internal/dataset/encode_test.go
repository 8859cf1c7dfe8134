package dataset

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"plumb/internal/chat"
	"plumb/internal/golden"
	"plumb/internal/tokenizer"
)

const smolEOS = "<|im_end|>"

// smolTokenizer is parsed once: that takes longer than what the tests do with it.
func smolTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	smolOnce.Do(func() { smolParsed = parseSmol(t) })
	if smolParsed == nil {
		t.Skip("the tokenizer was not found")
	}
	return smolParsed
}

var (
	smolOnce   sync.Once
	smolParsed *tokenizer.Tokenizer
)

func parseSmol(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(golden.Shared(t, "tokenizers/smollm2-hf"), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// smolTemplate is SmolLM2-Instruct's chat template.
const smolTemplate = `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}`

func encoder(t testing.TB, template string, loss Loss) *Encoder {
	t.Helper()
	tmpl, err := chat.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncoder(EncoderConfig{Tokenizer: smolTokenizer(t), Template: tmpl, EOS: smolEOS, Loss: loss})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func messages(turns ...string) []chat.Message {
	var m []chat.Message
	for i := 0; i < len(turns); i += 2 {
		m = append(m, chat.Message{Role: turns[i], Content: turns[i+1]})
	}
	return m
}

func TestMessageWeights(t *testing.T) {
	training := loadSFT(t).Template
	weighted := func(role, content, key string, v any) chat.Message {
		return chat.Message{Role: role, Content: content, Fields: chat.Object{{Key: "role", Value: role}, {Key: "content", Value: content}, {Key: key, Value: v}}}
	}
	d := Demonstration{Conversation: []chat.Message{
		{Role: "user", Content: "one"},
		weighted("assistant", "two", "weight", 0),
		{Role: "user", Content: "three"},
		weighted("assistant", "four", "weight", 0.5),
		{Role: "user", Content: "five"},
		{Role: "assistant", Content: "six"},
	}}
	for name, template := range map[string]string{"grown": smolTemplate, "marked": training} {
		s, err := encoder(t, template, LossAnswers).Segments(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := Marked(s)
		want := "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" +
			"<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n" +
			"<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n«four<|im_end|>»×0.5\n" +
			"<|im_start|>user\nfive<|im_end|>\n<|im_start|>assistant\n«six<|im_end|>»\n"
		if got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
	e := encoder(t, smolTemplate, LossAnswers)
	for want, m := range map[string]chat.Message{
		"only the assistant's turns are learned": weighted("user", "x", "train", true),
		"not a bool or a number":                 weighted("assistant", "x", "training", "yes"),
		"a number from 0 on":                     weighted("assistant", "x", "weight", -1),
	} {
		_, err := e.Demonstration(Demonstration{Origin: Origin{"f.jsonl", 7}, Conversation: []chat.Message{m}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f.jsonl:7: message 1") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := e.Demonstration(Demonstration{Conversation: []chat.Message{weighted("user", "x", "train", false), {Role: "assistant", Content: "y"}}}); err != nil {
		t.Errorf("a user message that is not learned: %v", err)
	}
}

func TestTemplateThatIsNotPrefixPreservingIsRefused(t *testing.T) {
	// As reasoning models do: thoughts of earlier turns are dropped.
	const forgetful = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	e := encoder(t, forgetful, LossAnswers)
	one := Demonstration{Conversation: messages("user", "a", "assistant", "<think>b</think>c")}
	if _, err := e.Demonstration(one); err != nil {
		t.Errorf("one turn: %v", err)
	}
	two := Demonstration{Conversation: append(one.Conversation, messages("user", "d", "assistant", "e")...)}
	_, err := e.Demonstration(two)
	if err == nil || !strings.Contains(err.Error(), "not prefix preserving") || !strings.Contains(err.Error(), "generation %}") {
		t.Errorf("two turns: %v", err)
	}
	if x, err := encoder(t, forgetful, LossAll).Demonstration(two); err != nil || x.Learnable() != len(x.IDs)-1 {
		t.Errorf("all learned: %v %v", x, err)
	}
}

// TestNoBOSTwice: a tokenizer that puts BOS before and EOS behind every text, a text that brings them itself.
func TestNoBOSTwice(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(golden.Shared(t, "tokenizers/llama2-hf"), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := chat.Parse("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncoder(EncoderConfig{Tokenizer: tok, Template: tmpl, BOS: "<s>", EOS: "</s>"})
	if err != nil {
		t.Fatal(err)
	}
	count := func(ids []int32, id int32) (n int) {
		for _, x := range ids {
			n += btoi(x == id)
		}
		return n
	}
	for name, d := range map[string]Demonstration{
		"text":          {Prompt: Passage{Text: "Hi there"}, Completion: Passage{Text: " you"}},
		"text with bos": {Prompt: Passage{Text: "<s>Hi there"}, Completion: Passage{Text: " you</s>"}},
		"chat":          {Conversation: messages("user", "Hi", "assistant", "you")},
	} {
		x, err := e.Demonstration(d)
		if err != nil {
			t.Fatal(err)
		}
		if x.IDs[0] != 1 || count(x.IDs, 1) != 1 || x.IDs[len(x.IDs)-1] != 2 || count(x.IDs, 2) != 1 {
			t.Errorf("%s: %v, want one 1 in front and one 2 at the end", name, x.IDs)
		}
		if x.Weights[0] != 0 || x.Weights[len(x.IDs)-1] != 1 {
			t.Errorf("%s: weights %v", name, x.Weights)
		}
	}
	for name, p := range map[string]Passage{
		"text": {Text: "Hi there"}, "text with bos": {Text: "<s>Hi there"}, "chat": {Messages: messages("user", "Hi")},
	} {
		ids, err := e.Prompt(Prompt{Prompt: p})
		if err != nil || ids[0] != 1 || count(ids, 1) != 1 || count(ids, 2) != 0 {
			t.Errorf("prompt, %s: %v %v", name, ids, err)
		}
	}
}

func TestStopTokenOfTheTemplateIsFound(t *testing.T) {
	tmpl, err := chat.Parse(smolTemplate)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncoder(EncoderConfig{Tokenizer: smolTokenizer(t), Template: tmpl, EOS: "<|endoftext|>"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.StopIDs(), []int32{0, 2}) {
		t.Errorf("stop ids %v, want <|endoftext|> (0) and the template's <|im_end|> (2)", e.StopIDs())
	}
	x, err := e.Demonstration(Demonstration{Conversation: messages("user", "a", "assistant", "b")})
	if err != nil || e.UntrainedStop(x) {
		t.Errorf("%v %v: the stop token is not learned", x, err)
	}
}

func TestStopTokenThatIsNotLearnedIsCounted(t *testing.T) {
	e := encoder(t, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}", "")
	ds := []Demonstration{{Origin: Origin{"a", 1}, Conversation: messages("user", "x", "assistant", "y")}}
	_, c, err := e.Demonstrations(ds, Length{})
	if err != nil || c.NoStop != 1 || c.FirstNo.Line != 1 || !strings.Contains(c.String(), "1 teach no stop token (first a:1)") {
		t.Errorf("%s %v", c, err)
	}
}

func TestCountsNameWhatWasDropped(t *testing.T) {
	e := encoder(t, smolTemplate, "")
	long := strings.Repeat("word ", 50)
	ds := []Demonstration{
		{Origin: Origin{"a", 1}, Prompt: Passage{Text: "p"}, Completion: Passage{Text: " c"}},
		{Origin: Origin{"a", 2}, Prompt: Passage{Text: "p"}, Completion: Passage{Text: " " + long}},
		{Origin: Origin{"a", 3}, Prompt: Passage{Text: long}, Completion: Passage{Text: " c"}},
		{Origin: Origin{"a", 4}, Conversation: messages("user", "nobody answers")},
	}
	rows, c, err := e.Demonstrations(ds, Length{Max: 20})
	want := []Drop{{droppedCut, 1, Origin{"a", 3}}, {droppedNothing, 1, Origin{"a", 4}}}
	if err != nil || c.Read != 4 || c.Kept != 2 || c.Truncated != 1 || !reflect.DeepEqual(c.Dropped, want) || len(rows) != 2 || !rows[1].Truncated {
		t.Errorf("%+v %v", c, err)
	}
	if _, c, err = e.Demonstrations(ds, Length{Max: 20, Cut: DropLong}); err != nil || c.Kept != 1 || c.Dropped[0].Count != 3 {
		t.Errorf("drop: %+v %v", c, err)
	}
	if _, _, err = e.Demonstrations(ds, Length{Max: 20, Cut: RefuseAny}); err == nil || err.Error() != "a:2: 53 tokens, more than 20" {
		t.Errorf("error: %v", err)
	}
	if _, _, err = e.Demonstrations(ds[3:], Length{}); err == nil || !strings.Contains(err.Error(), "nothing to learn") {
		t.Errorf("a set without anything to learn: %v", err)
	}
	if _, _, err = e.Demonstrations(ds, Length{Max: 20, Cut: "middle"}); err == nil {
		t.Error("unknown cut: no error")
	}
	ps := []Prompt{{Prompt: Passage{Text: "p"}}, {Origin: Origin{"a", 3}, Prompt: Passage{Text: long}}}
	kept, c, err := e.Prompts(ps, 20)
	if err != nil || len(kept) != 1 || c.Dropped[0] != (Drop{droppedLong, 1, Origin{"a", 3}}) {
		t.Errorf("prompts: %+v %v", c, err)
	}
}

func TestRecordsThatDoNotFitTheModel(t *testing.T) {
	e, err := NewEncoder(EncoderConfig{Tokenizer: smolTokenizer(t), EOS: smolEOS})
	if err != nil {
		t.Fatal(err)
	}
	chatty, text := Passage{Messages: messages("user", "x")}, Passage{Text: "x"}
	for want, d := range map[string]Demonstration{
		"a:1: the record is a conversation, but the model has no chat template": {Conversation: messages("user", "x", "assistant", "y")},
		"a:1: the prompt is a text and the completion a conversation":           {Prompt: text, Completion: chatty},
		"a:1: the prompt is a conversation and the completion a text":           {Prompt: chatty, Completion: text},
	} {
		d.Origin = Origin{"a", 1}
		if _, err := e.Demonstration(d); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, c := range []EncoderConfig{{}, {Tokenizer: smolTokenizer(t), EOS: "<nope>"}, {Tokenizer: smolTokenizer(t), Loss: "some"}} {
		if _, err := NewEncoder(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// An answer's text goes back to the ids that were sampled, in a text and under templates that put a space before an answer
// themselves, leave it to the answer, or strip it.
func TestAnswerGoesBackToTheIDs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(golden.Shared(t, "tokenizers/llama2-hf"), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	const loop = "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ANSWER }}{% endif %}{% endfor %}"
	for _, c := range []struct{ name, answer, text string }{
		{"behind a special token", "", "big dogs"},
		{"the template's space", "' ' + m['content'] + eos_token", "big dogs"},
		{"the answer's space", "m['content'] + eos_token", " big dogs"},
		{"stripped", "' ' + m['content'] | trim + eos_token", "big dogs"},
		{"no template", "", " big dogs"},
	} {
		p := Prompt{Prompt: Passage{Text: "I like"}}
		if c.name == "behind a special token" {
			p.Prompt.Text = "I like</s>"
		}
		cfg := EncoderConfig{Tokenizer: tok, BOS: "<s>", EOS: "</s>"}
		if c.answer != "" {
			if cfg.Template, err = chat.Parse(strings.ReplaceAll(loop, "ANSWER", c.answer)); err != nil {
				t.Fatal(err)
			}
			p.Prompt = Passage{Messages: messages("user", "What do you like?")}
		}
		e, err := NewEncoder(cfg)
		if err != nil {
			t.Fatal(err)
		}
		prompt, err := e.Prompt(p)
		if err != nil {
			t.Fatal(err)
		}
		var sampled []int32
		for _, s := range []string{"▁big", "▁dogs", "</s>"} {
			id, ok := tok.ID(s)
			if !ok {
				t.Fatalf("no token %q", s)
			}
			sampled = append(sampled, id)
		}
		text := e.Answer(p, prompt, sampled)
		if text != c.text {
			t.Errorf("%s: the answer is %q, want %q", c.name, text, c.text)
		}
		answer := Passage{Text: text}
		if c.answer != "" {
			answer = Passage{Messages: messages("assistant", text)}
		}
		pair, err := e.Comparison(Comparison{Prompt: p.Prompt, Chosen: answer, Rejected: answer, Better: 1})
		if err != nil {
			t.Fatal(err)
		}
		if want := slices.Concat(prompt, sampled); !slices.Equal(pair.Chosen.IDs, want) {
			t.Errorf("%s: %q became %v, sampled were %v", c.name, text, pair.Chosen.IDs, want)
		}
	}
}
