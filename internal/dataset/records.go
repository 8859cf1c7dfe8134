package dataset

import (
	"fmt"

	"plumb/internal/chat"
)

// Origin says where a record was read.
type Origin struct {
	File string // as the caller named it
	Line int    // line of a text file, from 1; row of a .json array or a .parquet file, from 1
}

// String returns "file:line".
func (o Origin) String() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// Passage is a text, or a conversation that a chat template makes a text of.
type Passage struct {
	Text     string
	Messages []chat.Message // nil: Text is the passage, taken as it stands
}

// IsChat reports whether the passage is a conversation.
func (p Passage) IsChat() bool { return p.Messages != nil }

// Empty reports whether there is nothing in the passage.
func (p Passage) Empty() bool { return p.Text == "" && len(p.Messages) == 0 }

// Demonstration is an example to imitate. It is either a conversation, whose assistant turns are learned
// (Conversation set), or a prompt and the completion that is learned (both texts or both conversations).
type Demonstration struct {
	Origin
	Conversation       []chat.Message // nil: Prompt and Completion
	Tools              []any          // of the record's "tools" field, for the template; nil: none
	Prompt, Completion Passage
}

// Comparison is a prompt with a better and a worse continuation.
type Comparison struct {
	Origin
	Prompt           Passage // empty when whole texts are compared
	Chosen, Rejected Passage // continuations only, without the prompt; all three texts, or all conversations

	// Better is the probability that Chosen is the better one: 1, or ½ for a tie.
	Better float64
	// Margin is the least difference of rewards asked for (reward units, Touvron et al. 2023, eq. 2), 0 if none is given.
	Margin float64
	// Scores are the record's own scores of Chosen and Rejected, if HasScores. Nothing is learned from them.
	Scores    [2]float64
	HasScores bool
	// Across says that two unrelated texts were put together: what both happen to begin with is no prompt.
	Across bool
}

// Judgement is a continuation that was judged by itself: good or bad (KTO's unpaired data). JudgedPairs makes comparisons.
type Judgement struct {
	Origin
	Prompt, Completion Passage
	Good               bool
}

// Labelled is a text with a scalar label (a sentiment, a rating). Pairs makes comparisons across labels.
type Labelled struct {
	Origin
	Text  string
	Label float64
}

// Prompt is something to answer.
type Prompt struct {
	Origin
	Prompt Passage
	Tools  []any
	Fields chat.Object // the record's other fields, in order
}

// Text is plain text to pretrain on.
type Text struct {
	Origin
	Text string
}
