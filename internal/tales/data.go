package tales

import (
	"fmt"
	"math"

	"plumb/internal/rng"
)

// Streams of the generator, so that no two sets share a draw.
const (
	streamCorpus = 1 + iota
	streamDemonstrations
	streamPrompts
	streamPairs
	streamLabels
)

// How writers write: those of the demonstrations tell good and bad stories alike, so that there is something to align; those
// of the corpus are more careful, or nobody would learn who is who from them.
var (
	corpusHabits        = habits{asked: 0.7, mended: 0.5, consistent: 0.8}
	demonstrationHabits = habits{asked: 0.5, mended: 0.5, consistent: 0.5}
)

// Demonstration is a prompt and a story told for it.
type Demonstration struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

// Corpus is n documents of plain text for pretraining, as they might be found in the wild: tales alone, tales under a title
// or a request, and now and then one already in the form of a conversation.
func Corpus(n int, seed uint64) []string {
	out := make([]string, n)
	for i := range out {
		r := rng.New(seed, streamCorpus, uint64(i))
		q := newRequest(r)
		w := author{r, corpusHabits}
		tale := w.write(q)
		switch form := r.IntN(10); {
		case form < 3:
			out[i] = tale
		case form < 6:
			out[i] = fmt.Sprintf("%s the %s and %s the %s, or how %s\n%s", q.Hero, q.HeroSpecies, q.Friend, q.FriendSpecies, q.deed(), tale)
		case form < 9:
			out[i] = q.ask(r) + "\n" + tale
		default:
			out[i] = UserToken + q.ask(r) + EndToken + AssistantToken + tale + EndToken
		}
	}
	return out
}

// Demonstrations is n prompts with a story each, for instruction tuning.
func Demonstrations(n int, seed uint64) []Demonstration {
	out := make([]Demonstration, n)
	for i := range out {
		r := rng.New(seed, streamDemonstrations, uint64(i))
		q := newRequest(r)
		w := author{r, demonstrationHabits}
		out[i] = Demonstration{q.ask(r), w.write(q)}
	}
	return out
}

// Prompts is n prompts from position start on: sets that do not overlap share no prompt by number.
func Prompts(start, n int, seed uint64) []string {
	out := make([]string, n)
	for i := range out {
		r := rng.New(seed, streamPrompts, uint64(start+i))
		out[i] = newRequest(r).ask(r)
	}
	return out
}

// Pair is two stories for one prompt.
type Pair struct {
	Prompt, A, B string
}

// Pairs is n prompts with two stories each, written by the authors of the demonstrations.
func Pairs(n int, seed uint64) []Pair {
	out := make([]Pair, n)
	for i := range out {
		r := rng.New(seed, streamPairs, uint64(i))
		q := newRequest(r)
		w := author{r, demonstrationHabits}
		out[i] = Pair{q.ask(r), w.write(q), w.write(q)}
	}
	return out
}

// LabelNoise is the scale, in gold units, of the logistic noise in a simulated label.
const LabelNoise = 1.1

// Label is how a simulated labeler judges a pair: a choice of strength 1 (slightly) to 4 (much better), positive when A is
// better, 0 for a tie.
type Label int

// LabelPair judges two stories as a noisy labeler would: gold(A) - gold(B) plus logistic noise of scale LabelNoise, so that
// P(A preferred) is the Bradley-Terry probability of the gold difference over LabelNoise. A difference smaller than half a
// noise unit is a tie. The draw belongs to (seed, item).
func LabelPair(q Request, a, b string, seed, item uint64) Label {
	u := rng.At(seed, streamLabels, item, 0)
	u = min(max(u, 1e-12), 1-1e-12)
	d := (Gold(q, a)-Gold(q, b))/LabelNoise + math.Log(u/(1-u))
	strength := Label(4)
	for i, edge := range []float64{0.5, 1.5, 3, 5} {
		if math.Abs(d) < edge {
			strength = Label(i)
			break
		}
	}
	if d < 0 {
		return -strength
	}
	return strength
}
