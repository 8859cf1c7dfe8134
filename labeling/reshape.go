package labeling

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxRanked is the number of answers that one item can have: there are keys for nine.
const maxRanked = 9

// Reshape makes items of another mode out of answers: for single and rate an item of each answer, for rank one of all the
// different answers to a prompt, for compare one of each pair of them in the order of the list. What was said of the items
// they come of does not carry over, except that a single answer judged good or bad stays so. Dropped counts prompts with
// fewer than two different answers, and answers past the ninth.
func Reshape(list []Labelled, mode Mode) (out []Labelled, droppedBy map[string]int, err error) {
	droppedBy = map[string]int{}
	type group struct {
		first   Labelled
		answers []Answer
	}
	var groups []*group
	at := map[string]*group{}
	for _, l := range list {
		if l.Item.mode() == mode {
			out = append(out, l)
			continue
		}
		key, err := marshal(l.Item.Prompt)
		if err != nil {
			return nil, nil, err
		}
		g := at[string(key)]
		if g == nil {
			g = &group{first: l}
			at[string(key)] = g
			groups = append(groups, g)
		}
		for _, a := range l.Item.Answers {
			if !slices.ContainsFunc(g.answers, func(b Answer) bool { return a.String() == b.String() }) {
				g.answers = append(g.answers, a)
			}
		}
	}
	for _, g := range groups {
		made := func(as ...Answer) {
			it := g.first.Item
			it.Mode, it.Answers = mode, as
			out = append(out, Labelled{Item: it})
		}
		switch mode {
		case Single, Rate:
			for _, a := range g.answers {
				made(a)
			}
		case Rank:
			if len(g.answers) < 2 {
				droppedBy["a prompt with fewer than two different answers"]++
				continue
			}
			if n := len(g.answers) - maxRanked; n > 0 {
				droppedBy[fmt.Sprintf("an answer past the %dth to one prompt", maxRanked)] += n
			}
			made(g.answers[:min(maxRanked, len(g.answers))]...)
		case Compare:
			for i := range g.answers {
				for _, b := range g.answers[i+1:] {
					made(g.answers[i], b)
				}
			}
		default:
			return nil, nil, fmt.Errorf("unknown mode %q (compare, rank, single, rate)", mode)
		}
	}
	return out, droppedBy, nil
}

// reshaped gives the records of a file in another mode: it reads them all first, since answers to one prompt may be
// anywhere.
func (im *importer) reshaped() func() (Labelled, error) {
	var list []Labelled
	read := false
	return func() (Labelled, error) {
		if !read {
			var all []Labelled
			for {
				l, err := im.next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return Labelled{}, err
				}
				all = append(all, l)
			}
			var drop map[string]int
			var err error
			if list, drop, err = Reshape(all, im.opt.Mode); err != nil {
				return Labelled{}, err
			}
			for reason, n := range drop {
				im.out.Dropped[reason] += n
			}
			read = true
		}
		if len(list) == 0 {
			return Labelled{}, io.EOF
		}
		l := list[0]
		list = list[1:]
		return l, nil
	}
}
