package labeling

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Prompt is what the answers answer: plain text, or a conversation when Messages is not empty.
type Prompt struct {
	Text     string
	Messages []Message
}

// MarshalJSON writes a string or a list of messages, as TRL does.
func (p Prompt) MarshalJSON() ([]byte, error) {
	if len(p.Messages) > 0 {
		return marshal(p.Messages)
	}
	return marshal(p.Text)
}

// UnmarshalJSON reads a string or a list of messages.
func (p *Prompt) UnmarshalJSON(b []byte) error {
	*p = Prompt{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &p.Text)
	}
	return json.Unmarshal(b, &p.Messages)
}

// Answer is one answer to a prompt: Text, or Turns where it goes on over several messages.
type Answer struct {
	Text    string          `json:"text,omitempty"`
	Turns   []Message       `json:"turns,omitempty"`
	Source  string          `json:"source,omitempty"`  // where it came from: a file's column, a checkpoint; hidden while judging
	Model   string          `json:"model,omitempty"`   // what wrote it; hidden while judging
	Seed    *uint64         `json:"seed,omitempty"`    // seed it was sampled with
	LogProb *float64        `json:"logprob,omitempty"` // log-probability of the whole answer, nats
	Meta    json.RawMessage `json:"meta,omitempty"`    // any JSON object
}

// String is the answer as one text; several turns are joined with their roles.
func (a Answer) String() string {
	if len(a.Turns) == 0 {
		return a.Text
	}
	var b strings.Builder
	for i, m := range a.Turns {
		if i > 0 {
			b.WriteString("\n\n")
		}
		if i > 0 || m.Role != "assistant" {
			b.WriteString(m.Role + ": ")
		}
		b.WriteString(m.Content)
	}
	return b.String()
}

// Mode says how an item is judged.
type Mode string

// The modes.
const (
	Compare Mode = "compare" // which of two answers is better, and how much
	Rank    Mode = "rank"    // two to nine answers, best first
	Single  Mode = "single"  // one answer, good or bad
	Rate    Mode = "rate"    // one answer, 1 to 5 on each of some axes
)

// Item is one thing to be judged.
type Item struct {
	Seq     int64           // place in the queue, from 1; set by the store
	Hash    string          // content hash, hex; set by the store
	Mode    Mode            // "" means Compare
	Group   string          // shared by the pairs of one ranking
	Prompt  Prompt          //
	Answers []Answer        // two for Compare
	Tags    []string        //
	Meta    json.RawMessage // any JSON object
}

// ContentHash is the identity of an item: SHA-256 over mode, prompt and the answers' texts in sorted order, so that the
// same pair the other way round is the same item. Sources, seeds and tags are not part of it.
func (it Item) ContentHash() string {
	texts := make([]string, len(it.Answers))
	for i, a := range it.Answers {
		b, err := marshal(struct {
			Text  string
			Turns []Message
		}{a.Text, a.Turns})
		if err != nil {
			panic("labeling: ContentHash: " + err.Error())
		}
		texts[i] = string(b)
	}
	sort.Strings(texts)
	b, err := marshal(struct {
		Mode    Mode
		Prompt  Prompt
		Answers []string
	}{it.mode(), it.Prompt, texts})
	if err != nil {
		panic("labeling: ContentHash: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (it Item) mode() Mode {
	if it.Mode == "" {
		return Compare
	}
	return it.Mode
}

// ErrSame marks a pair whose two answers are the same text: there is nothing to choose.
var ErrSame = errors.New("both answers are the same text")

// check says why an item cannot be judged.
func (it Item) check() error {
	want := map[Mode][2]int{Compare: {2, 2}, Rank: {2, 9}, Single: {1, 1}, Rate: {1, 1}}
	lim, ok := want[it.mode()]
	switch {
	case !ok:
		return fmt.Errorf("unknown mode %q (compare, rank, single, rate)", it.Mode)
	case len(it.Answers) < lim[0] || len(it.Answers) > lim[1]:
		return fmt.Errorf("mode %s needs %d to %d answers, not %d", it.mode(), lim[0], lim[1], len(it.Answers))
	}
	if it.mode() == Compare && it.Answers[0].String() == it.Answers[1].String() {
		return ErrSame
	}
	if it.mode() == Rank {
		for i, a := range it.Answers {
			for _, b := range it.Answers[:i] {
				if a.String() == b.String() {
					return fmt.Errorf("answers to be ranked are there twice: %.40q", a.String())
				}
			}
		}
	}
	for _, raw := range append([]json.RawMessage{it.Meta}, metas(it.Answers)...) {
		if len(raw) > 0 && (!json.Valid(raw) || raw[0] != '{') {
			return errors.New("meta is not a JSON object")
		}
	}
	text := it.Prompt.Text
	for _, m := range it.Prompt.Messages {
		text += m.Role + m.Content
	}
	for _, a := range it.Answers {
		text += a.String()
	}
	if !utf8.ValidString(text) {
		return errors.New("the text is not valid UTF-8")
	}
	return nil
}

func metas(as []Answer) []json.RawMessage {
	out := make([]json.RawMessage, len(as))
	for i, a := range as {
		out[i] = a.Meta
	}
	return out
}

// marshal is json.Marshal without HTML escapes and the closing newline: people read these files.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}
