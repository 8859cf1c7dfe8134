package labeling

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// record is one decoded JSON object of a foreign file.
type record map[string]any

func (r record) keys() []string {
	out := make([]string, 0, len(r))
	for k := range r {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func (r record) has(keys ...string) bool {
	for _, k := range keys {
		if _, ok := r[k]; !ok {
			return false
		}
	}
	return true
}

func (r record) text(key string) string {
	s, _ := r[key].(string)
	return s
}

func (r record) object(key string) record {
	m, _ := r[key].(map[string]any)
	return m
}

// converters turn a record of each format into labelled items. It is only read.
var converters = map[Format]func(record) ([]Labelled, error){
	TRL: fromTRL, HH: fromHH, Summarize: fromSummarize, Ultra: fromUltra, LlamaFac: fromLlamaFactory, Argilla: fromArgilla, LabelStudio: fromLabelStudio,
	KTO: fromKTO,
}

// detect tells the format by the keys of the first record.
func detect(r record) Format {
	switch {
	case r.has("info", "summaries", "choice"):
		return Summarize
	case r.has("instruction", "completions"):
		return Ultra
	case r.has("conversations", "chosen", "rejected"), r.has("instruction", "output") && isList(r["output"]):
		return LlamaFac
	case r.has("data", "annotations"), r.has("data", "completions"):
		return LabelStudio
	case r.has("fields") && (r.has("responses") || r.has("suggestions")):
		return Argilla
	case r.has("prompt", "completion", "label"):
		return KTO
	case r.has("chosen", "rejected"):
		if !r.has("prompt") && strings.HasPrefix(strings.TrimLeft(r.text("chosen"), "\n "), "Human:") {
			return HH
		}
		return TRL
	}
	return ""
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

// messages reads [{role, content}] or [{from, value}], or one such object.
func messages(v any) ([]Message, error) {
	if m, ok := v.(map[string]any); ok {
		v = []any{m}
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("neither text nor a list of messages: %T", v)
	}
	roles := map[string]string{"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
	var out []Message
	for i, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("message %d is not an object", i)
		}
		role, content := record(m).text("role"), m["content"]
		if role == "" {
			role, content = record(m).text("from"), m["value"]
		}
		text, ok := content.(string)
		if role == "" || !ok {
			return nil, fmt.Errorf("message %d has no role and text content", i)
		}
		if r, ok := roles[role]; ok {
			role = r
		}
		out = append(out, Message{role, text})
	}
	return out, nil
}

// answer makes an answer of the messages after the prompt.
func answer(ms []Message, source string) Answer {
	if len(ms) == 1 && ms[0].Role == "assistant" {
		return Answer{Text: ms[0].Content, Source: source}
	}
	return Answer{Turns: ms, Source: source}
}

// won is the labelled item of a chosen and a rejected answer.
func won(p Prompt, chosen, rejected Answer, margin any) []Labelled {
	d := Prefer(0, 0)
	if m, ok := margin.(float64); ok {
		d.Margin = &m
	}
	return []Labelled{{Item: Item{Prompt: p, Answers: []Answer{chosen, rejected}}, Decision: &d}}
}

func fromTRL(r record) ([]Labelled, error) {
	for _, k := range []string{"chosen", "rejected"} {
		if !r.has(k) {
			return nil, fmt.Errorf("no key %q", k)
		}
	}
	margin := r["margin"]
	chosen, isText := r["chosen"].(string)
	if isText {
		rejected, ok := r["rejected"].(string)
		if !ok {
			return nil, errors.New("chosen is text and rejected is not")
		}
		prompt := r.text("prompt")
		if !r.has("prompt") {
			prompt = commonText(chosen, rejected)
			chosen, rejected = chosen[len(prompt):], rejected[len(prompt):]
		}
		return won(Prompt{Text: prompt}, Answer{Text: chosen, Source: "chosen"}, Answer{Text: rejected, Source: "rejected"}, margin), nil
	}
	c, err := messages(r["chosen"])
	if err != nil {
		return nil, fmt.Errorf("chosen: %w", err)
	}
	j, err := messages(r["rejected"])
	if err != nil {
		return nil, fmt.Errorf("rejected: %w", err)
	}
	if isList(r["prompt"]) {
		p, err := messages(r["prompt"])
		if err != nil {
			return nil, fmt.Errorf("prompt: %w", err)
		}
		return won(Prompt{Messages: p}, answer(c, "chosen"), answer(j, "rejected"), margin), nil
	}
	return fromTranscripts(c, j, margin)
}

// fromKTO reads one answer judged by itself.
func fromKTO(r record) ([]Labelled, error) {
	good, ok := r["label"].(bool)
	if !ok {
		return nil, fmt.Errorf("label %v is not true or false", r["label"])
	}
	var l Labelled
	l.Item.Mode = Single
	switch prompt := r["prompt"].(type) {
	case string:
		l.Item.Prompt.Text = prompt
	default:
		ms, err := messages(prompt)
		if err != nil {
			return nil, fmt.Errorf("prompt: %w", err)
		}
		l.Item.Prompt.Messages = ms
	}
	if text, ok := r["completion"].(string); ok {
		l.Item.Answers = []Answer{{Text: text, Source: "completion"}}
	} else {
		ms, err := messages(r["completion"])
		if err != nil {
			return nil, fmt.Errorf("completion: %w", err)
		}
		l.Item.Answers = []Answer{answer(ms, "completion")}
	}
	l.Decision = &Decision{Choice: Bad}
	if good {
		l.Decision.Choice = Good
	}
	return []Labelled{l}, nil
}

// commonText is the longest common prefix of two texts that ends at a word's end.
func commonText(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 {
		r, size := utf8.DecodeLastRuneInString(a[:n])
		if unicode.IsSpace(r) {
			break
		}
		n -= size
	}
	return a[:n]
}

// fromTranscripts splits two conversations where they part.
func fromTranscripts(chosen, rejected []Message, margin any) ([]Labelled, error) {
	n := 0
	for n < len(chosen) && n < len(rejected) && chosen[n] == rejected[n] {
		n++
	}
	switch {
	case n == len(chosen) && n == len(rejected):
		return nil, dropped("both answers are the same")
	case n == len(chosen) || n == len(rejected):
		return nil, dropped("one conversation is the beginning of the other")
	case n == 0:
		return nil, dropped("the two conversations have no prompt in common")
	}
	return won(Prompt{Messages: chosen[:n]}, answer(chosen[n:], "chosen"), answer(rejected[n:], "rejected"), margin), nil
}

func fromHH(r record) ([]Labelled, error) {
	c, err := transcript(r.text("chosen"))
	if err != nil {
		return nil, fmt.Errorf("chosen: %w", err)
	}
	j, err := transcript(r.text("rejected"))
	if err != nil {
		return nil, fmt.Errorf("rejected: %w", err)
	}
	return fromTranscripts(c, j, nil)
}

// transcript splits "\n\nHuman: ...\n\nAssistant: ..." into messages. Spaces around a turn are not part of it.
func transcript(s string) ([]Message, error) {
	const human, assistant = "\n\nHuman:", "\n\nAssistant:"
	s = "\n\n" + strings.TrimLeft(s, "\n ")
	var out []Message
	for len(s) > 0 {
		role, mark := "user", human
		if strings.HasPrefix(s, assistant) {
			role, mark = "assistant", assistant
		} else if !strings.HasPrefix(s, human) {
			return nil, errors.New(`does not begin with "Human:" or "Assistant:"`)
		}
		s = s[len(mark):]
		end := len(s)
		for _, m := range []string{human, assistant} {
			if i := strings.Index(s, m); i >= 0 && i < end {
				end = i
			}
		}
		out = append(out, Message{role, strings.TrimSpace(s[:end])})
		s = s[end:]
	}
	if len(out) == 0 {
		return nil, errors.New("is empty")
	}
	return out, nil
}

func fromSummarize(r record) ([]Labelled, error) {
	list, _ := r["summaries"].([]any)
	if len(list) != 2 {
		return nil, fmt.Errorf("%d summaries, want 2", len(list))
	}
	choice, ok := r["choice"].(float64)
	if !ok || choice != 0 && choice != 1 {
		return nil, fmt.Errorf("choice %v is not 0 or 1", r["choice"])
	}
	info := r.object("info")
	var prompt string
	switch {
	case info.text("post") != "":
		prompt = fmt.Sprintf("SUBREDDIT: r/%s\n\nTITLE: %s\n\nPOST: %s\n\nTL;DR:", info.text("subreddit"), info.text("title"), info.text("post"))
	case info.text("article") != "":
		prompt = fmt.Sprintf("Article: %s\n\nTL;DR:", info.text("article"))
	default:
		return nil, errors.New("info has neither post nor article")
	}
	var as []Answer
	for _, e := range list {
		m, _ := e.(map[string]any)
		as = append(as, Answer{Text: strings.TrimSpace(record(m).text("text")), Source: "summary", Model: record(m).text("policy")})
	}
	d := Prefer(int(choice), 0)
	l := Labelled{Item: Item{Prompt: Prompt{Text: prompt}, Answers: as}, Annotator: r.text("worker"), Decision: &d}
	if c, ok := r.object("extra")["confidence"].(float64); ok {
		l.Data.Extra = map[string]string{"confidence": fmt.Sprint(c)}
	}
	return []Labelled{l}, nil
}

// fromUltra expands k scored completions into all their pairs, under one group.
func fromUltra(r record) ([]Labelled, error) {
	list, _ := r["completions"].([]any)
	type scored struct {
		a Answer
		s float64
	}
	var all []scored
	for i, e := range list {
		m, _ := e.(map[string]any)
		c := record(m)
		score, ok := c["overall_score"].(float64)
		if !ok {
			return nil, fmt.Errorf("completion %d has no number overall_score", i)
		}
		all = append(all, scored{Answer{Text: c.text("response"), Source: "completion", Model: c.text("model")}, score})
	}
	if len(all) < 2 {
		return nil, dropped("fewer than two completions")
	}
	p := Prompt{Messages: []Message{{"user", r.text("instruction")}}}
	group := Item{Mode: Single, Prompt: p, Answers: []Answer{{}}}.ContentHash()[:16]
	var out []Labelled
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			a, b := all[i], all[j]
			d := Decision{Choice: Tie}
			if a.s > b.s {
				d = Prefer(0, 0)
			} else if b.s > a.s {
				d = Prefer(1, 0)
			}
			out = append(out, Labelled{Item: Item{Group: group, Prompt: p, Answers: []Answer{a.a, b.a}}, Decision: &d})
		}
	}
	return out, nil
}

func fromLlamaFactory(r record) ([]Labelled, error) {
	if r.has("conversations") {
		p, err := messages(r["conversations"])
		if err != nil {
			return nil, fmt.Errorf("conversations: %w", err)
		}
		if s := r.text("system"); s != "" {
			p = append([]Message{{"system", s}}, p...)
		}
		c, err := messages(r["chosen"])
		if err != nil {
			return nil, fmt.Errorf("chosen: %w", err)
		}
		j, err := messages(r["rejected"])
		if err != nil {
			return nil, fmt.Errorf("rejected: %w", err)
		}
		return won(Prompt{Messages: p}, answer(c, "chosen"), answer(j, "rejected"), nil), nil
	}
	out, _ := r["output"].([]any)
	if len(out) != 2 {
		return nil, fmt.Errorf("output lists %d answers, want chosen and rejected", len(out))
	}
	chosen, ok1 := out[0].(string)
	rejected, ok2 := out[1].(string)
	if !ok1 || !ok2 {
		return nil, errors.New("output is not a list of two texts")
	}
	prompt := r.text("instruction")
	if in := r.text("input"); in != "" {
		prompt += "\n" + in
	}
	return won(Prompt{Messages: []Message{{"user", prompt}}}, Answer{Text: chosen, Source: "chosen"}, Answer{Text: rejected, Source: "rejected"}, nil), nil
}
