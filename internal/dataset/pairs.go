package dataset

import (
	"container/heap"
	"errors"
	"fmt"

	"plumb/internal/rng"
)

// pairStream tells the draws of Pairs and JudgedPairs from those of others with the same seed.
const pairStream = 0x7061697273 // "pairs"

// Pairs makes comparisons of labelled texts: each text is in at most one pair, with a text of another label, and the one
// with the higher label is the better one. As many pairs are made as that allows; who meets whom is drawn by seed.
// left is the number of texts without a partner.
func Pairs(texts []Labelled, seed uint64) (pairs []Comparison, left int, err error) {
	src := rng.New(seed, pairStream)
	groups := map[float64][]Labelled{}
	for _, i := range src.Perm(len(texts)) {
		t := texts[i]
		groups[t.Label] = append(groups[t.Label], t)
	}
	if len(groups) < 2 {
		return nil, 0, errors.New("all texts have the same label: there is nothing to compare")
	}
	queue := make(labelGroups, 0, len(groups))
	for _, g := range groups {
		queue = append(queue, g)
	}
	heap.Init(&queue)
	// Taking from the two largest groups leaves the fewest texts over.
	for len(queue) > 1 {
		g, h := heap.Pop(&queue).([]Labelled), heap.Pop(&queue).([]Labelled)
		a, b := g[len(g)-1], h[len(h)-1]
		for _, rest := range [][]Labelled{g[:len(g)-1], h[:len(h)-1]} {
			if len(rest) > 0 {
				heap.Push(&queue, rest)
			}
		}
		if a.Label < b.Label {
			a, b = b, a
		}
		pairs = append(pairs, Comparison{
			Origin: a.Origin, Chosen: Passage{Text: a.Text}, Rejected: Passage{Text: b.Text}, Better: 1,
			Scores: [2]float64{a.Label, b.Label}, HasScores: true, Across: true,
		})
	}
	for _, g := range queue {
		left += len(g)
	}
	// The order of the pairs says nothing about their labels.
	return shuffled(pairs, src), left, nil
}

func shuffled(pairs []Comparison, src *rng.Source) []Comparison {
	out := make([]Comparison, len(pairs))
	for i, k := range src.Perm(len(pairs)) {
		out[i] = pairs[k]
	}
	return out
}

// JudgedPairs makes comparisons of answers that were judged one by one: each is in at most one pair, a good and a bad answer
// to the very same prompt. As many pairs are made as that allows; who meets whom is drawn by seed. left is the number of
// answers without a counterpart. Where nothing was asked, whole texts are compared, as Pairs does.
func JudgedPairs(judged []Judgement, seed uint64) (pairs []Comparison, left int, err error) {
	src := rng.New(seed, pairStream)
	type sides struct{ good, bad []Judgement }
	prompts := map[string]*sides{}
	var order []*sides // of their first answer among the shuffled: a map has no order that a seed could tell
	for _, i := range src.Perm(len(judged)) {
		j := judged[i]
		// A text and a conversation behind one empty prompt cannot be compared.
		key := fmt.Sprintf("%t %#v", j.Completion.IsChat(), j.Prompt)
		s := prompts[key]
		if s == nil {
			s = &sides{}
			prompts[key], order = s, append(order, s)
		}
		if j.Good {
			s.good = append(s.good, j)
		} else {
			s.bad = append(s.bad, j)
		}
	}
	for _, s := range order {
		n := min(len(s.good), len(s.bad))
		for k, good := range s.good[:n] {
			pairs = append(pairs, Comparison{
				Origin: good.Origin, Prompt: good.Prompt, Chosen: good.Completion, Rejected: s.bad[k].Completion, Better: 1,
				Across: good.Prompt.Empty(),
			})
		}
		left += len(s.good) + len(s.bad) - 2*n
	}
	if pairs == nil {
		return nil, left, errors.New("no prompt has both a good and a bad answer: there is nothing to compare")
	}
	return shuffled(pairs, src), left, nil
}

// labelGroups is a heap of texts by label, the largest group on top, of equal ones that with the higher label.
type labelGroups [][]Labelled

func (q labelGroups) Len() int { return len(q) }
func (q labelGroups) Less(i, j int) bool {
	return len(q[i]) > len(q[j]) || len(q[i]) == len(q[j]) && q[i][0].Label > q[j][0].Label
}
func (q labelGroups) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *labelGroups) Push(x any)   { *q = append(*q, x.([]Labelled)) }
func (q *labelGroups) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
