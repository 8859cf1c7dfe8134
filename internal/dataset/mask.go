package dataset

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"plumb/internal/chat"
)

// assistant is the role whose turns are learned.
const assistant = "assistant"

// turn is a part of a rendered text that is learned, in bytes.
type turn struct {
	start, end int
	weight     float32
}

// weightFields are the names under which files say whether a message is learned (OpenAI: weight; axolotl: training,
// train). They are not shown to the template.
var weightFields = [...]string{"weight", "training", "train"}

// splitWeights takes the training fields out of messages. weights is nil when no message has one.
func splitWeights(messages []chat.Message) (bare []chat.Message, weights []float32, err error) {
	for i, m := range messages {
		w, ok, err := messageWeight(m)
		if err != nil {
			return nil, nil, fmt.Errorf("message %d (%s): %w", i+1, m.Role, err)
		}
		if !ok {
			continue
		}
		if m.Role != assistant && w != 0 {
			return nil, nil, fmt.Errorf("message %d has a weight, but its role is %q and only the assistant's turns are learned", i+1, m.Role)
		}
		if weights == nil {
			messages = slices.Clone(messages)
			weights = slices.Repeat([]float32{1}, len(messages))
		}
		weights[i] = w
		messages[i].Fields = slices.DeleteFunc(slices.Clone(m.Fields), func(f chat.Field) bool {
			return slices.Contains(weightFields[:], f.Key)
		})
	}
	return messages, weights, nil
}

func messageWeight(m chat.Message) (weight float32, ok bool, err error) {
	for _, name := range weightFields {
		v, has := m.Fields.Get(name)
		if !has || v == nil {
			continue
		}
		w := math.NaN()
		switch v := v.(type) {
		case bool:
			w = 0
			if v {
				w = 1
			}
		case int:
			w = float64(v)
		case float64:
			w = v
		}
		if !(w >= 0 && w <= 1e6) {
			return 0, false, fmt.Errorf("%s is %v, not a bool or a number from 0 on", name, v)
		}
		return float32(w), true, nil
	}
	return 0, false, nil
}

// turns finds the assistant's turns in a rendered conversation: from the template's {% generation %} blocks where
// it has them, else from what the text grows by with each turn. skip leaves out those before message from.
func (e *Encoder) turns(messages []chat.Message, tools []any, out chat.Output, weights []float32, skip bool, from int) ([]turn, error) {
	if e.template.HasGeneration() {
		return markedTurns(messages, out, weights)
	}
	var turns []turn
	for i, m := range messages {
		if m.Role != assistant || skip && i < from || weights != nil && weights[i] == 0 {
			continue
		}
		start, err := e.grown(messages[:i], tools, out.Text, true)
		if err != nil {
			return nil, err
		}
		end := len(out.Text)
		if i < len(messages)-1 {
			if end, err = e.grown(messages[:i+1], tools, out.Text, false); err != nil {
				return nil, err
			}
		}
		w := float32(1)
		if weights != nil {
			w = weights[i]
		}
		turns = append(turns, turn{start, end, w})
	}
	return turns, nil
}

// grown is the length of the text of the first messages, which has to be the beginning of the whole text.
func (e *Encoder) grown(messages []chat.Message, tools []any, whole string, prompt bool) (int, error) {
	out, err := e.render(messages, tools, prompt)
	if err != nil {
		return 0, fmt.Errorf("rendering the first %d messages, to find where the assistant's turn begins: %w", len(messages), err)
	}
	if strings.HasPrefix(whole, out.Text) {
		return len(out.Text), nil
	}
	at := 0
	for at < min(len(whole), len(out.Text)) && whole[at] == out.Text[at] {
		at++
	}
	what := "the first messages"
	if prompt {
		what = "the first messages with the generation prompt"
	}
	return 0, fmt.Errorf("the chat template is not prefix preserving: %s (%d) give %s where the whole conversation has %s, "+
		"so it cannot be told which tokens are the assistant's; use a template with {%% generation %%} blocks, "+
		"a conversation with one assistant turn, or loss: all", what, len(messages), excerpt(out.Text, at), excerpt(whole, at))
}

// excerpt shows a text around a byte.
func excerpt(s string, at int) string {
	from, to := max(0, at-20), min(len(s), at+20)
	for from > 0 && s[from]&0xc0 == 0x80 {
		from--
	}
	for to < len(s) && s[to]&0xc0 == 0x80 {
		to++
	}
	return fmt.Sprintf("%q", s[from:to])
}

// markedTurns are the spans of generation blocks. With weights, each must belong to one assistant message.
func markedTurns(messages []chat.Message, out chat.Output, weights []float32) ([]turn, error) {
	var turns []turn
	var own []float32
	for i, m := range messages {
		if m.Role == assistant && weights != nil {
			own = append(own, weights[i])
		}
	}
	if weights != nil && len(own) != len(out.Generated) {
		return nil, fmt.Errorf("messages have weights, but the template marks %d parts for %d assistant messages", len(out.Generated), len(own))
	}
	for k, s := range out.Generated {
		w := float32(1)
		if own != nil {
			w = own[k]
		}
		turns = append(turns, turn{s.Start, s.End, w})
	}
	return turns, nil
}

// mark gives the tokens that overlap a turn its weight. A turn found by growth also holds what the template puts
// behind the token that ends it (a newline), which a model never says: that is left out.
func (e *Encoder) mark(x *encoded, turns []turn) {
	i := 0
	for _, t := range turns {
		for i < len(x.ids) && x.offsets[i][1] <= t.start {
			i++
		}
		first, last := i, -1
		for i < len(x.ids) && x.offsets[i][0] < t.end {
			if slices.Contains(e.stop, x.ids[i]) {
				last = i
			}
			i++
		}
		end := i
		if last >= 0 && !e.template.HasGeneration() {
			end = last + 1
		}
		for k := first; k < end; k++ {
			x.weights[k] = t.weight
		}
	}
}

// UntrainedStop reports whether x is a whole row that learns something but not to stop: no id that ends a turn has
// a weight. A model trained on such rows alone does not end its answers.
func (e *Encoder) UntrainedStop(x Example) bool {
	if x.Truncated || len(e.stop) == 0 || x.Learnable() == 0 {
		return false
	}
	for i, id := range x.IDs {
		if i > 0 && x.Weights[i] > 0 && slices.Contains(e.stop, id) {
			return false
		}
	}
	return true
}

// Segment is a part of a row's text under one weight.
type Segment struct {
	Text   string
	Weight float32
}

// Segments shows what of a demonstration is learned: the text that is encoded, cut where the weight changes.
// Tokens without text, those a tokenizer puts around texts, are shown by their names.
func (e *Encoder) Segments(d Demonstration) ([]Segment, error) {
	x, err := e.demonstration(d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Origin, err)
	}
	var segments []Segment
	at := 0
	for i, id := range x.ids {
		text := ""
		if x.added(i) {
			text, _ = e.tok.Token(id)
		} else if end := x.offsets[i][1]; end > at { // several tokens may share a character
			text = x.text[at:end]
			at = end
		}
		if n := len(segments); text == "" || n > 0 && segments[n-1].Weight == x.weights[i] {
			if n > 0 {
				segments[n-1].Text += text
			}
			continue
		}
		segments = append(segments, Segment{text, x.weights[i]})
	}
	return segments, nil
}

// Marked writes segments as one text in which the learned parts stand between « and », with their weight where it
// is not 1.
func Marked(segments []Segment) string {
	var b strings.Builder
	for _, s := range segments {
		switch s.Weight {
		case 0:
			b.WriteString(s.Text)
		case 1:
			b.WriteString("«" + s.Text + "»")
		default:
			fmt.Fprintf(&b, "«%s»×%g", s.Text, s.Weight)
		}
	}
	return b.String()
}
