package dataset

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"plumb/internal/chat"
)

// Split divides records into two parts so that no key is in both: share of the records, give or take a key's, are
// held out. Keys are ordered by a hash of seed and key, so a key's place does not depend on the order of the
// records, and adding records moves few keys. The indexes of both parts are ascending.
//
// keys[i] names what record i must share a part with: its prompt (PromptKey).
func Split(keys []string, share float64, seed uint64) (train, held []int, err error) {
	if !(share >= 0 && share < 1) {
		return nil, nil, fmt.Errorf("split: a share of %v is not from 0 to below 1", share)
	}
	groups := map[string][]int{}
	for i, k := range keys {
		groups[k] = append(groups[k], i)
	}
	if share > 0 && len(groups) < 2 {
		return nil, nil, fmt.Errorf("split: %d records with one prompt cannot be divided by prompt", len(keys))
	}
	type group struct {
		place uint64
		key   string
	}
	order := make([]group, 0, len(groups))
	for k := range groups {
		order = append(order, group{keyPlace(seed, k), k})
	}
	slices.SortFunc(order, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.place, b.place), strings.Compare(a.key, b.key))
	})
	want := share * float64(len(keys))
	for i, g := range order {
		n := len(groups[g.key])
		// The key is held out if that brings the number nearer to what is wanted; at least one is, and one is not.
		nearer := float64(len(held))+float64(n)/2 <= want
		if share > 0 && i < len(order)-1 && (nearer || len(held) == 0) {
			held = append(held, groups[g.key]...)
		} else {
			train = append(train, groups[g.key]...)
		}
	}
	slices.Sort(train)
	slices.Sort(held)
	return train, held, nil
}

func keyPlace(seed uint64, key string) uint64 {
	sum := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, seed), key...))
	return binary.LittleEndian.Uint64(sum[:])
}

// PromptKey is what Split keeps together: the prompt, or a conversation up to the assistant's first turn. White
// space at the ends and case do not tell keys apart.
func (d Demonstration) PromptKey() string {
	if d.Conversation != nil {
		return messagesKey(opening(d.Conversation))
	}
	if d.Prompt.Empty() {
		return passageKey(d.Completion)
	}
	return passageKey(d.Prompt)
}

// PromptKey is the prompt's, or, where whole texts are compared, that of what both begin with; of unrelated texts the chosen
// one.
func (c Comparison) PromptKey() string {
	if c.Across {
		return passageKey(c.Chosen)
	}
	if !c.Prompt.Empty() {
		return passageKey(c.Prompt)
	}
	if c.Chosen.IsChat() {
		return messagesKey(opening(c.Chosen.Messages))
	}
	n := 0
	for a, b := c.Chosen.Text, c.Rejected.Text; n < min(len(a), len(b)) && a[n] == b[n]; n++ {
	}
	if same := textKey(c.Chosen.Text[:n]); same != "" {
		return same
	}
	return passageKey(c.Chosen)
}

// PromptKey is the judged prompt's.
func (j Judgement) PromptKey() string {
	if j.Prompt.Empty() {
		return passageKey(j.Completion)
	}
	return passageKey(j.Prompt)
}

// PromptKey is the prompt's own.
func (p Prompt) PromptKey() string { return passageKey(p.Prompt) }

func passageKey(p Passage) string {
	if p.IsChat() {
		return messagesKey(p.Messages)
	}
	return textKey(p.Text)
}

func textKey(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func messagesKey(messages []chat.Message) string {
	var b strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&b, "%s\x00%s\x00", m.Role, textKey(m.Content))
	}
	return b.String()
}

// opening is what stands before the assistant's first turn; all if there is none or it comes first.
func opening(messages []chat.Message) []chat.Message {
	i := slices.IndexFunc(messages, func(m chat.Message) bool { return m.Role == assistant })
	if i <= 0 {
		return messages
	}
	return messages[:i]
}
