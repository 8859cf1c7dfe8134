package tales

import (
	"fmt"
	"strings"
)

// Request is what a prompt asks to happen: who does what, with or to whom.
type Request struct {
	Event Event
	// The two heroes and what they are.
	Hero, Friend               string
	HeroSpecies, FriendSpecies string
}

// Gold weights. A perfect story scores goldAsked+goldEnding+goldConsistency. How it ends weighs most: a reward model of the
// base's size learns from some thousand noisy labels to tell a mended ending (it is right about 99 of 100), but neither what
// was asked for nor contradictions, not even from labels without noise.
const (
	goldAsked       = 0.25 // what was asked for happens
	goldEnding      = 1.75 // what went wrong is mended by the end
	goldConsistency = 0.25 // nobody does what they cannot do, or is what they are not
	goldFault       = 0.05 // lost per contradiction, at most goldConsistency
	goldBad         = 0.5  // lost per sentence that is none
	goldRepeat      = 0.3  // lost per sentence said before
	goldUnclosed    = 0.5  // lost when the story does not close, or goes on after it closed
)

// Verdict is Gold with its parts, for reports.
type Verdict struct {
	Asked, Mended        bool
	Faults, Bad, Repeats int
	Closed               bool
	Sentences            int
}

// Score is the gold score of a verdict, at most 2.25.
func (v Verdict) Score() float64 {
	s := 0.0
	if v.Asked {
		s += goldAsked
	}
	if v.Mended {
		s += goldEnding
	}
	s += max(0, goldConsistency-goldFault*float64(v.Faults))
	s -= goldBad*float64(v.Bad) + goldRepeat*float64(v.Repeats)
	if !v.Closed {
		s -= goldUnclosed
	}
	return max(s, -3)
}

// Judge reads a story written for a request and says what holds of it. It depends on the whole story: how it ends, whether
// what was asked for happens, and whether everyone does what they can and is what they were said to be.
func Judge(r Request, story string) Verdict {
	events, bad := Parse(story)
	w := world{species: map[string]string{}, holder: map[string]string{}, seen: map[Event]bool{}}
	v := Verdict{Bad: bad, Sentences: len(events) + bad}
	right := false // what was asked for is done by the one it was asked of
	for i, e := range events {
		if w.seen[e] && e.kind != remark {
			v.Repeats++
		}
		w.seen[e] = true
		if e.kind == close {
			v.Closed = i == len(events)-1 && bad == 0 || i == len(events)-1 && strings.HasSuffix(strings.TrimSpace(story), "The end.")
		}
		v.Faults += w.step(r, e)
		if did, by := r.matches(e); did {
			v.Asked = true
			if by {
				right = true
			}
		}
	}
	v.Mended = w.broken && w.mended
	v.Faults += fault(v.Asked && !right)
	return v
}

// matches says whether an event is what was asked for, and whether it is done by the one it was asked of.
func (r Request) matches(e Event) (did, by bool) {
	want := r.Event
	by = e.a() == want.a()
	e.slot[0] = want.slot[0]
	return e == want, by
}

// Gold is the hidden rule's score of a story for a request, in [-3, 2.25].
func Gold(r Request, story string) float64 { return Judge(r, story).Score() }

// world is what a reader knows after some sentences.
type world struct {
	species map[string]string // name -> species
	holder  map[string]string // item -> name, "" when lost
	seen    map[Event]bool

	broken, mended bool
	trouble        Event  // the sentence in which things went wrong
	owner          string // whose trouble it is
}

// known counts a fault for each name that nobody introduced.
func (w *world) known(names ...string) (faults int) {
	for _, n := range names {
		if n != "" && w.species[n] == "" {
			faults++
		}
	}
	return faults
}

func fault(wrong bool) int {
	if wrong {
		return 1
	}
	return 0
}

// step follows one sentence and counts the contradictions in it.
func (w *world) step(r Request, e Event) (faults int) {
	if e.kind == introduce {
		was := w.species[e.a()]
		w.species[e.a()] = e.species()
		asked := map[string]string{r.Hero: r.HeroSpecies, r.Friend: r.FriendSpecies}[e.a()]
		return fault(was != "" && was != e.species() || asked != "" && asked != e.species())
	}
	faults = w.known(e.a(), e.b())
	faults += fault(e.a() != "" && e.a() == e.b())
	holds := func(name string) bool { return w.holder[e.item()] == name && name != "" }
	switch e.kind {
	case have, discover:
		_, exists := w.holder[e.item()]
		faults += fault(exists)
		w.holder[e.item()] = e.a()
	case lose:
		faults += fault(!holds(e.a())) + w.breaks(e, e.a())
		w.holder[e.item()] = ""
	case seize:
		faults += fault(!holds(e.b())) + w.breaks(e, e.b())
		w.holder[e.item()] = e.a()
	case fall:
		faults += w.breaks(e, e.a())
	case hand:
		faults += fault(!holds(e.a()))
		w.holder[e.item()] = e.b()
	case search:
		faults += fault(!w.missing(e.item()))
	case call:
		faults += fault(!w.broken || w.mended || w.trouble.kind != fall || e.a() != w.owner)
	case restore, repent, rescue:
		faults += w.mend(e)
	case gone:
		faults += fault(!w.missing(e.item()) || w.trouble.kind != lose)
	case keep:
		faults += fault(w.trouble.kind != seize || w.mended || w.trouble.a() != e.a() || w.trouble.item() != e.item())
	case abandon:
		faults += fault(w.trouble.kind != fall || w.mended || e.a() != w.owner)
	case smile:
		found := false
		for n, s := range w.species {
			found = found || s == e.species() && n != e.b()
		}
		faults += fault(!found)
	case happy:
		faults += fault(w.broken && !w.mended && e.a() == w.owner)
	case sad:
		faults += fault(w.broken && w.mended && e.a() == w.owner)
	}
	return faults
}

// breaks notes that something went wrong for owner; a second trouble counts as a fault.
func (w *world) breaks(e Event, owner string) int {
	again := w.broken
	w.broken, w.mended, w.trouble, w.owner = true, false, e, owner
	return fault(again)
}

func (w *world) missing(item string) bool {
	return w.broken && !w.mended && w.trouble.item() == item && item != ""
}

// mend takes a sentence that mends: where it fits the trouble, the trouble is over. Another than the right one may do it, or
// have it done to them: that is a fault, but mended is mended.
func (w *world) mend(e Event) int {
	fits := w.broken && !w.mended
	right := e.b() == w.owner
	switch e.kind {
	case restore:
		fits = fits && w.trouble.kind == lose && e.item() == w.trouble.item()
	case repent:
		fits = fits && w.trouble.kind == seize && e.item() == w.trouble.item()
		right = right && e.a() == w.trouble.a()
	case rescue:
		fits = fits && w.trouble.kind == fall
	}
	if !fits {
		return 1
	}
	w.mended = true
	if e.item() != "" {
		w.holder[e.item()] = e.b()
	}
	return fault(!right)
}

// String names the parts of a verdict, for tables.
func (v Verdict) String() string {
	return fmt.Sprintf("asked %v, mended %v, faults %d, repeats %d, unreadable %d, closed %v", v.Asked, v.Mended, v.Faults, v.Repeats, v.Bad, v.Closed)
}
