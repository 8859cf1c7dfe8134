package dataset

import (
	"encoding/json"
	"fmt"
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

// goldenPassage reads a string or a list of {"role","content"} or {"from","value"}.
func goldenPassage(t *testing.T, raw json.RawMessage) Passage {
	t.Helper()
	var p Passage
	if len(raw) == 0 {
		return p
	}
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &p.Text); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var turns []map[string]string
	if err := json.Unmarshal(raw, &turns); err != nil {
		t.Fatal(err)
	}
	for _, turn := range turns {
		p.Messages = append(p.Messages, chat.Message{
			Role: turn["role"] + turn["from"], Content: turn["content"] + turn["value"],
		})
	}
	return p
}

type goldenRow struct {
	IDs    []int32 `json:"input_ids"`
	Labels []int32 `json:"labels"`
	Seqs   []int   `json:"seq_lengths"`
}

type goldenSFT struct {
	Template string `json:"training_template"`
	Cases    []struct {
		Kind     string                       `json:"kind"`
		Examples []map[string]json.RawMessage `json:"examples"`
		Runs     []struct {
			Options struct {
				Completion bool     `json:"completion_only_loss"`
				Assistant  bool     `json:"assistant_only_loss"`
				Max        int      `json:"max_length"`
				Truncation string   `json:"truncation_mode"`
				Packing    bool     `json:"packing"`
				Strategy   Strategy `json:"packing_strategy"`
			} `json:"options"`
			Template    string      `json:"template"`
			Rows        []goldenRow `json:"rows"`
			PaddingFree *struct {
				IDs    [][]int32 `json:"input_ids"`
				Labels [][]int32 `json:"labels"`
				Starts []int32   `json:"cu_seq_lens_q"`
			} `json:"padding_free_batch"`
		} `json:"runs"`
		Masks []struct {
			IDs  []int32 `json:"input_ids"`
			Mask []int   `json:"assistant_mask"`
		} `json:"assistant_masks_training_template"`
	} `json:"cases"`
}

func (f *goldenSFT) demonstrations(t *testing.T, i int) (ds []Demonstration, texts []Text) {
	t.Helper()
	for _, ex := range f.Cases[i].Examples {
		switch {
		case ex["text"] != nil:
			texts = append(texts, Text{Text: goldenPassage(t, ex["text"]).Text})
		case ex["messages"] != nil:
			ds = append(ds, Demonstration{Conversation: goldenPassage(t, ex["messages"]).Messages})
		case ex["conversations"] != nil:
			ds = append(ds, Demonstration{Conversation: goldenPassage(t, ex["conversations"]).Messages})
		default:
			ds = append(ds, Demonstration{Prompt: goldenPassage(t, ex["prompt"]), Completion: goldenPassage(t, ex["completion"])})
		}
	}
	return ds, texts
}

// labels are TRL's: the id where it is learned, -100 elsewhere.
func labels(ids []int32, weights []float32) []int32 {
	out := slices.Repeat([]int32{-100}, len(ids))
	for i, w := range weights {
		if w == 1 {
			out[i] = ids[i]
		}
	}
	return out
}

func loadSFT(t *testing.T) *goldenSFT {
	t.Helper()
	var f goldenSFT
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "sft.json.gz"), &f)
	return &f
}

// TestRowsLikeTRL encodes, cuts, drops, packs and flattens TRL's example data sets as TRL does, ids and labels.
func TestRowsLikeTRL(t *testing.T) {
	f := loadSFT(t)
	runs := 0
	for i, c := range f.Cases {
		ds, texts := f.demonstrations(t, i)
		for _, r := range c.Runs {
			o := r.Options
			name := fmt.Sprintf("%s %+v", c.Kind, o)
			loss := map[[2]bool]Loss{
				{false, false}: LossAll, {true, false}: LossCompletion, {false, true}: LossAssistant, {true, true}: LossAnswers,
			}[[2]bool{o.Completion, o.Assistant}]
			template := smolTemplate
			if r.Template == "training" {
				template = f.Template
			}
			e := encoder(t, template, loss)
			length := Length{Max: o.Max, Cut: Cut(o.Truncation)}
			if o.Packing {
				length = Length{}
			}
			var rows []Example
			var err error
			if texts != nil {
				rows, _, err = e.Texts(texts, length)
			} else {
				rows, _, err = e.Demonstrations(ds, length)
			}
			if (err != nil) != (len(r.Rows) == 0) { // a data set of which nothing is left is an error here
				t.Errorf("%s: %v, want %d rows", name, err, len(r.Rows))
				continue
			}
			bins := make([][]Piece, len(rows))
			for k, x := range rows {
				bins[k] = []Piece{{k, 0, len(x.IDs)}}
			}
			if o.Packing {
				lengths := make([]int, len(rows))
				for k, x := range rows {
					lengths[k] = len(x.IDs)
				}
				if bins, err = Pack(lengths, o.Max, o.Strategy); err != nil {
					t.Fatal(err)
				}
			}
			got := Fill(rows, bins, o.Strategy == PackWrapped)
			if len(got) != len(r.Rows) {
				t.Errorf("%s: %d rows, want %d", name, len(got), len(r.Rows))
				continue
			}
			for k, want := range r.Rows {
				for _, s := range got[k].Starts[:len(got[k].Starts)-1] { // nothing predicts a first id; TRL drops it later
					want.Labels[s] = -100
				}
				if !slices.Equal(got[k].IDs, want.IDs) || !slices.Equal(labels(got[k].IDs, got[k].Weights), want.Labels) {
					t.Errorf("%s, row %d:\n got %v\n     %v\nwant %v\n     %v", name, k, got[k].IDs, labels(got[k].IDs, got[k].Weights), want.IDs, want.Labels)
				}
				for s, n := range want.Seqs {
					if int(got[k].Starts[s+1]-got[k].Starts[s]) != n {
						t.Errorf("%s, row %d: sequences start at %v, want lengths %v", name, k, got[k].Starts, want.Seqs)
						break
					}
				}
			}
			if pf := r.PaddingFree; pf != nil {
				one := Fill(rows, [][]Piece{slices.Concat(bins...)}, false)[0]
				if !slices.Equal(one.IDs, pf.IDs[0]) || !slices.Equal(labels(one.IDs, one.Weights), pf.Labels[0]) || !slices.Equal(one.Starts, pf.Starts) {
					t.Errorf("%s: as one padding-free row:\n got %v %v\nwant %v %v", name, one.IDs, one.Starts, pf.IDs[0], pf.Starts)
				}
			}
			runs++
		}
	}
	t.Logf("%d runs", runs)
}

// TestAssistantTurnsLikeTRL finds the assistant's tokens in two ways: by the blocks of the training template, and
// by what the plain template's text grows by. Both are the tokens that TRL finds with the former.
func TestAssistantTurnsLikeTRL(t *testing.T) {
	f := loadSFT(t)
	marked, grown := encoder(t, f.Template, LossAssistant), encoder(t, smolTemplate, LossAssistant)
	rows := 0
	for i, c := range f.Cases {
		if c.Kind == "sharegpt" { // its roles are human and gpt: no assistant
			continue
		}
		ds, _ := f.demonstrations(t, i)
		for k, want := range c.Masks {
			for name, e := range map[string]*Encoder{"marked": marked, "grown": grown} {
				x, err := e.Demonstration(ds[k])
				if err != nil {
					t.Errorf("%s %d, %s: %v", c.Kind, k, name, err)
					continue
				}
				mask := make([]int, len(x.Weights))
				for j, w := range x.Weights {
					mask[j] = int(w)
				}
				if !slices.Equal(x.IDs, want.IDs) || !slices.Equal(mask, want.Mask) {
					t.Errorf("%s %d, %s: %v %v\nwant %v %v", c.Kind, k, name, x.IDs, mask, want.IDs, want.Mask)
				}
				if e.UntrainedStop(x) {
					t.Errorf("%s %d, %s: no stop token is learned", c.Kind, k, name)
				}
				rows++
			}
		}
	}
	if rows == 0 {
		t.Error("no rows with masks")
	}
}

func TestPackingLikeTRL(t *testing.T) {
	var f struct {
		Cases []struct {
			Lengths  []int    `json:"lengths"`
			Size     int      `json:"seq_length"`
			Strategy Strategy `json:"strategy"`
			IDs      [][]int  `json:"packed_ids_are_running_numbers"`
			Seqs     [][]int  `json:"seq_lengths"`
		} `json:"cases"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "packing.json"), &f)
	for _, c := range f.Cases {
		first := make([]int, len(c.Lengths)+1)
		for i, n := range c.Lengths {
			first[i+1] = first[i] + n
		}
		bins, err := Pack(c.Lengths, c.Size, c.Strategy)
		if err != nil {
			t.Fatal(err)
		}
		ids, seqs := [][]int{}, [][]int{}
		for _, bin := range bins {
			var row, lengths []int
			for _, p := range bin {
				lengths = append(lengths, p.To-p.From)
				for k := p.From; k < p.To; k++ {
					row = append(row, first[p.Row]+k)
				}
			}
			ids, seqs = append(ids, row), append(seqs, lengths)
		}
		if !reflect.DeepEqual(ids, c.IDs) || c.Seqs != nil && !reflect.DeepEqual(seqs, c.Seqs) {
			t.Errorf("%s of %v into %d:\n got %v\nwant %v", c.Strategy, c.Lengths, c.Size, seqs, c.Seqs)
		}
	}
}

// TestPairsLikeTRL: reward rows, pairs over the limit dropped, and DPO rows with their common prompt.
func TestPairsLikeTRL(t *testing.T) {
	type ids struct {
		Chosen   []int32 `json:"chosen_ids"`
		Rejected []int32 `json:"rejected_ids"`
		Prompt   []int32 `json:"prompt_ids"`
		Margin   float64 `json:"margin"`
	}
	var f struct {
		Sets []struct {
			Set      string                       `json:"set"`
			Examples []map[string]json.RawMessage `json:"examples"`
			All      []ids                        `json:"reward_max_length_None"`
			Short    []ids                        `json:"reward_max_length_30"`
			DPO      struct {
				Rows []ids `json:"rows"`
			} `json:"dpo_max_length_None_keep_start"`
			KTO struct {
				Rows []struct {
					Prompt     []int32 `json:"prompt_ids"`
					Completion []int32 `json:"completion_ids"`
					Label      bool    `json:"label"`
				} `json:"rows"`
			} `json:"kto_batch_size_4"`
		} `json:"sets"`
		Extracted []struct {
			Example, Result map[string]json.RawMessage
		} `json:"extract_prompt"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "preference.json"), &f)
	e := encoder(t, smolTemplate, "")
	split := map[string]map[string]json.RawMessage{} // implicit prompts as TRL splits them, by chosen
	for _, x := range f.Extracted {
		split[string(x.Example["chosen"])] = x.Result
	}
	for _, set := range f.Sets {
		var cs []Comparison
		for i, ex := range set.Examples {
			if ex["prompt"] == nil {
				ex = split[string(ex["chosen"])]
			}
			cs = append(cs, Comparison{
				Prompt: goldenPassage(t, ex["prompt"]), Chosen: goldenPassage(t, ex["chosen"]),
				Rejected: goldenPassage(t, ex["rejected"]), Better: 1, Margin: float64(i),
			})
		}
		for limit, want := range map[int][]ids{0: set.All, 30: set.Short} {
			pairs, counts, err := e.Comparisons(cs, limit)
			if (err != nil) != (len(want) == 0) {
				t.Errorf("%s, limit %d: %v", set.Set, limit, err)
			}
			if len(pairs) != len(want) || counts.Kept != len(want) || counts.Read != len(cs) {
				t.Errorf("%s, limit %d: %d pairs, %s, want %d", set.Set, limit, len(pairs), counts, len(want))
				continue
			}
			for i, w := range want {
				p := pairs[i]
				if !slices.Equal(p.Chosen.IDs, w.Chosen) || !slices.Equal(p.Rejected.IDs, w.Rejected) || p.Margin != w.Margin {
					t.Errorf("%s, limit %d, pair %d: %+v, want %+v", set.Set, limit, i, p, w)
				}
				if limit > 0 {
					continue
				}
				d, n := set.DPO.Rows[i], p.Chosen.Prompt
				if p.Rejected.Prompt != n || !slices.Equal(p.Chosen.IDs[:n], d.Prompt) || !slices.Equal(p.Chosen.IDs[n:], d.Chosen) ||
					!slices.Equal(p.Rejected.IDs[n:], d.Rejected) || p.Chosen.Learnable() != len(d.Chosen)-btoi(n == 0) {
					t.Errorf("%s, pair %d: prompt of %d ids, want %+v", set.Set, i, n, d)
				}
			}
		}
		for i, w := range set.KTO.Rows {
			c := cs[i%len(cs)]
			j := Judgement{Prompt: c.Prompt, Completion: c.Chosen, Good: true}
			if !w.Label {
				j.Completion, j.Good = c.Rejected, false
			}
			x, err := e.Judgement(j)
			if err != nil || !slices.Equal(x.IDs[:x.Prompt], w.Prompt) || !slices.Equal(x.IDs[x.Prompt:], w.Completion) {
				t.Errorf("%s, judgement %d: %v %v, want %+v", set.Set, i, x, err, w)
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
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
