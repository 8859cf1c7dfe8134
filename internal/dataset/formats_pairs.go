package dataset

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"plumb/internal/chat"
)

// errSame marks pairs that say nothing; they are always left out and counted.
var errSame = errors.New("chosen and rejected are the same")

// comparison checks a pair and takes the prompt off where it stands in front of both answers.
func (r fields) comparison(prompt, chosen, rejected Passage) (Comparison, error) {
	c := Comparison{Origin: r.Origin, Prompt: prompt, Chosen: chosen, Rejected: rejected, Better: 1}
	if chosen.IsChat() != rejected.IsChat() {
		return c, errors.New("of chosen and rejected, one is a text and the other a conversation")
	}
	var err error
	switch {
	case chosen.IsChat() && chosen.Messages[0].Role != assistant && rejected.Messages[0].Role != assistant:
		// The prompt stands in both (UltraFeedback gives it as a text besides).
		if c.Prompt, c.Chosen, c.Rejected, err = splitConversations(chosen.Messages, rejected.Messages); err != nil {
			return c, err
		}
		if prompt.IsChat() && !startsWith(c.Prompt.Messages, prompt.Messages) {
			return c, errors.New("the prompt is not what chosen and rejected begin with")
		}
	case prompt.Empty() && chosen.IsChat():
		return c, errors.New("a conversation that begins with the assistant needs a prompt")
	case prompt.Empty():
		c.Prompt, c.Chosen, c.Rejected = splitTexts(chosen.Text, rejected.Text)
	default:
		if c.Prompt, c.Chosen, err = alike(prompt, chosen); err != nil {
			return c, fmt.Errorf("chosen: %w", err)
		}
		if c.Prompt, c.Rejected, err = alike(prompt, rejected); err != nil {
			return c, fmt.Errorf("rejected: %w", err)
		}
	}
	if reflect.DeepEqual(c.Chosen, c.Rejected) {
		return c, errSame
	}
	return c, nil
}

func startsWith(messages, prefix []chat.Message) bool {
	return len(messages) >= len(prefix) && reflect.DeepEqual(messages[:len(prefix)], prefix)
}

// extras reads the fields that tell how much better the better answer is.
func (r fields) extras(c *Comparison) error {
	number := func(name string) (float64, bool, error) {
		v, ok := r.get(name)
		if !ok || v == "" {
			return 0, false, nil
		}
		x, ok := numberOf(v)
		if !ok {
			return 0, false, fmt.Errorf("field %s is %v, not a number", name, v)
		}
		return x, true, nil
	}
	margin, _, err := number("margin")
	if err != nil {
		return err
	}
	if margin < 0 {
		return fmt.Errorf("field margin is %g, less than 0", margin)
	}
	c.Margin = margin
	chosen, ok1, err := number("score_chosen|chosen_score")
	if err != nil {
		return err
	}
	rejected, ok2, err := number("score_rejected|rejected_score")
	if err != nil {
		return err
	}
	c.Scores, c.HasScores = [2]float64{chosen, rejected}, ok1 && ok2
	return nil
}

// pair reads the fields chosen and rejected behind a prompt, empty if it stands in both.
func (r fields) pair(prompt Passage) (any, error) {
	chosen, err := r.passage("chosen")
	if err != nil {
		return nil, err
	}
	rejected, err := r.passage("rejected")
	if err != nil {
		return nil, err
	}
	c, err := r.comparison(prompt, chosen, rejected)
	if err != nil {
		return nil, err
	}
	if err := r.extras(&c); err != nil {
		return nil, err
	}
	return []Comparison{c}, nil
}

func readPreference(r fields) (any, error) {
	var prompt Passage
	if _, ok := r.get("prompt"); ok {
		var err error
		if prompt, err = r.passage("prompt"); err != nil {
			return nil, err
		}
	}
	return r.pair(prompt)
}

func readAlpacaPair(r fields) (any, error) {
	m, err := r.alpacaPrompt()
	if err != nil {
		return nil, err
	}
	return r.pair(Passage{Messages: m})
}

func readShareGPTPair(r fields) (any, error) {
	m, err := r.shareGPT()
	if err != nil {
		return nil, err
	}
	return r.pair(Passage{Messages: m})
}

// The marks of Anthropic's HH-RLHF texts.
const (
	hhHuman     = "\n\nHuman:"
	hhAssistant = "\n\nAssistant:"
)

func looksLikeHH(r fields) bool {
	if _, ok := r.get("prompt"); ok {
		return false
	}
	for _, name := range []string{"chosen", "rejected"} {
		v, _ := r.get(name)
		if s, ok := v.(string); !ok || !strings.HasPrefix(s, hhHuman) || !strings.Contains(s, hhAssistant) {
			return false
		}
	}
	return true
}

// hhMessages reads an HH-RLHF text. Turns of one side that follow each other become one.
func hhMessages(s string) ([]chat.Message, error) {
	if !strings.HasPrefix(s, hhHuman) && !strings.HasPrefix(s, hhAssistant) {
		return nil, fmt.Errorf("the text does not begin with %q", hhHuman)
	}
	var out []chat.Message
	for s != "" {
		role, mark := "user", hhHuman
		if strings.HasPrefix(s, hhAssistant) {
			role, mark = assistant, hhAssistant
		}
		s = s[len(mark):]
		end := len(s)
		for _, m := range []string{hhHuman, hhAssistant} {
			if i := strings.Index(s, m); i >= 0 {
				end = min(end, i)
			}
		}
		content := strings.TrimSpace(s[:end])
		s = s[end:]
		if n := len(out); n > 0 && out[n-1].Role == role {
			out[n-1].Content = strings.TrimSpace(out[n-1].Content + "\n\n" + content)
			continue
		}
		out = append(out, chat.Message{Role: role, Content: content})
	}
	return out, nil
}

func readHH(r fields) (any, error) {
	var sides [2]Passage
	for i, name := range []string{"chosen", "rejected"} {
		s, err := r.text(name)
		if err != nil {
			return nil, err
		}
		m, err := hhMessages(s)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		sides[i].Messages = m
	}
	c, err := r.comparison(Passage{}, sides[0], sides[1])
	return []Comparison{c}, err
}

// readSummarize reads OpenAI's comparisons of summaries; the prompt is laid out as in Stiennon et al. (2020), table 10.
func readSummarize(r fields) (any, error) {
	info, _ := r.get("info")
	about, ok := info.(chat.Object)
	if !ok {
		return nil, fmt.Errorf("field info is %s, not an object", jsonName(info))
	}
	var prompt strings.Builder
	part := func(label, name string) {
		if v, _ := about.Get(name); v != nil {
			if s, ok := v.(string); ok && s != "" {
				fmt.Fprintf(&prompt, "%s: %s\n\n", label, s)
			}
		}
	}
	if v, _ := about.Get("subreddit"); v != nil {
		fmt.Fprintf(&prompt, "SUBREDDIT: r/%v\n\n", v)
	}
	part("TITLE", "title")
	part("POST", "post")
	part("ARTICLE", "article")
	if prompt.Len() == 0 {
		return nil, errors.New("field info has neither post nor article")
	}
	prompt.WriteString("TL;DR:")
	v, _ := r.get("summaries")
	list, _ := v.([]any)
	if len(list) != 2 {
		return nil, fmt.Errorf("field summaries has %d entries, not two", len(list))
	}
	var texts [2]Passage
	for i, x := range list {
		o, _ := x.(chat.Object)
		t, _ := o.Get("text")
		s, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("summary %d has no text", i+1)
		}
		texts[i].Text = " " + strings.TrimSpace(s)
	}
	choice, _ := r.get("choice")
	n, ok := numberOf(choice)
	if !ok || n != 0 && n != 1 {
		return nil, fmt.Errorf("field choice is %v, not 0 or 1", choice)
	}
	c, err := r.comparison(Passage{Text: prompt.String()}, texts[int(n)], texts[1-int(n)])
	return []Comparison{c}, err
}

// readSHP reads Stanford Human Preferences: labels is 1 where answer A is the better one.
func readSHP(r fields) (any, error) {
	var texts [3]string
	for i, name := range []string{"history", "human_ref_A", "human_ref_B"} {
		var err error
		if texts[i], err = r.text(name); err != nil {
			return nil, err
		}
	}
	v, _ := r.get("labels")
	label, ok := numberOf(v)
	if !ok || label != 0 && label != 1 {
		return nil, fmt.Errorf("field labels is %v, not 0 or 1", v)
	}
	chosen, rejected := texts[1], texts[2]
	names := [2]string{"score_A", "score_B"}
	if label == 0 {
		chosen, rejected = rejected, chosen
		names[0], names[1] = names[1], names[0]
	}
	c, err := r.comparison(userSays(texts[0]), assistantSays(chosen), assistantSays(rejected))
	if err != nil {
		return nil, err
	}
	a, _ := r.get(names[0])
	b, _ := r.get(names[1])
	x, ok1 := numberOf(a)
	y, ok2 := numberOf(b)
	c.Scores, c.HasScores = [2]float64{x, y}, ok1 && ok2
	return []Comparison{c}, nil
}

func userSays(s string) Passage {
	return Passage{Messages: []chat.Message{{Role: "user", Content: s}}}
}

func assistantSays(s string) Passage {
	return Passage{Messages: []chat.Message{{Role: assistant, Content: s}}}
}

// maxRanked bounds the answers to one prompt: all pairs of them are made.
const maxRanked = 64

// readNectar makes a comparison of every two answers of different rank, the lower rank being the better.
func readNectar(r fields) (any, error) {
	text, err := r.text("prompt")
	if err != nil {
		return nil, err
	}
	prompt := userSays(text)
	if strings.HasPrefix(text, hhHuman) {
		if prompt.Messages, err = hhMessages(text); err != nil {
			return nil, err
		}
		if n := len(prompt.Messages); prompt.Messages[n-1].Role == assistant && prompt.Messages[n-1].Content == "" {
			prompt.Messages = prompt.Messages[:n-1]
		}
	}
	v, _ := r.get("answers")
	list, _ := v.([]any)
	if len(list) < 2 || len(list) > maxRanked {
		return nil, fmt.Errorf("field answers has %d entries, not 2 to %d", len(list), maxRanked)
	}
	answers, ranks := make([]string, len(list)), make([]float64, len(list))
	for i, x := range list {
		o, _ := x.(chat.Object)
		a, _ := o.Get("answer")
		rank, _ := o.Get("rank")
		var ok1, ok2 bool
		answers[i], ok1 = a.(string)
		ranks[i], ok2 = numberOf(rank)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("answer %d lacks answer or rank", i+1)
		}
	}
	var out []Comparison
	for i := range answers {
		for j := range answers {
			if ranks[i] >= ranks[j] || answers[i] == answers[j] {
				continue
			}
			c, err := r.comparison(prompt, assistantSays(answers[i]), assistantSays(answers[j]))
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	if out == nil {
		return nil, errSame
	}
	return out, nil
}

func readKTO(r fields) (any, error) {
	v, _ := r.get("label")
	good, ok := truth(v)
	if !ok {
		return nil, fmt.Errorf("field label is %v, not true or false", v)
	}
	j := Judgement{Origin: r.Origin, Good: good}
	if _, ok := r.get("messages"); ok {
		p, err := r.passage("messages")
		if err != nil {
			return nil, err
		}
		n := len(p.Messages) - 1
		if n < 1 || p.Messages[n].Role != assistant {
			return nil, errors.New("the messages do not end with an answer of the assistant")
		}
		j.Prompt.Messages, j.Completion.Messages = p.Messages[:n:n], p.Messages[n:]
		return j, nil
	}
	prompt, err := r.passage("prompt")
	if err != nil {
		return nil, err
	}
	completion, err := r.passage("completion")
	if err != nil {
		return nil, err
	}
	j.Prompt, j.Completion, err = alike(prompt, completion)
	return j, err
}
