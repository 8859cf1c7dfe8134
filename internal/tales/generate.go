package tales

import (
	"fmt"
	"strings"

	"plumb/internal/rng"
)

// habits are the chances with which a writer keeps to what makes a story good.
type habits struct {
	asked, mended, consistent float64
}

// author writes stories for requests with one stream of random choices.
type author struct {
	r *rng.Source
	habits
}

func pick(r *rng.Source, list []string, not ...string) string {
	for {
		w := list[r.IntN(len(list))]
		taken := false
		for _, n := range not {
			taken = taken || n == w
		}
		if !taken {
			return w
		}
	}
}

// newRequest invents two heroes and something one of them must do.
func newRequest(r *rng.Source) Request {
	q := Request{Hero: pick(r, names), HeroSpecies: pick(r, species)}
	q.Friend, q.FriendSpecies = pick(r, names, q.Hero), pick(r, species, q.HeroSpecies)
	who := q.Hero
	if r.IntN(3) == 0 {
		who = q.Friend
	}
	switch r.IntN(3) {
	case 0:
		q.Event = event(discover, who, "", "", pick(r, items), "")
	case 1:
		q.Event = event(travel, who, "", "", "", pick(r, places))
	default:
		q.Event = event(meet, who, "", pick(r, species, q.HeroSpecies, q.FriendSpecies), "", "")
	}
	return q
}

// deed says the requested event in the present tense.
func (q Request) deed() string {
	switch e := q.Event; e.kind {
	case discover:
		return fmt.Sprintf("%s finds a %s", e.a(), e.item())
	case travel:
		return fmt.Sprintf("%s goes to the %s", e.a(), e.place())
	default:
		return fmt.Sprintf("%s meets a %s", e.a(), e.species())
	}
}

var askings = []string{
	"Tell a tale about %s the %s and %s the %s in which %s.",
	"Write a story with %s the %s and %s the %s where %s.",
	"I want a tale of %s the %s and %s the %s in which %s.",
}

// ask words a request as a person would.
func (q Request) ask(r *rng.Source) string {
	return fmt.Sprintf(askings[r.IntN(len(askings))], q.Hero, q.HeroSpecies, q.Friend, q.FriendSpecies, q.deed())
}

// ParseRequest reads a prompt that ask wrote.
func ParseRequest(prompt string) (Request, error) {
	words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(prompt), "."))
	for _, form := range askings {
		shape := strings.Fields(strings.TrimSuffix(form, "."))
		n := len(shape) - 1 // the last word of the form is the deed
		if len(words) < n+4 {
			continue
		}
		var got []string
		ok := true
		for i, s := range shape[:n] {
			if s == "%s" {
				got = append(got, words[i])
			} else {
				ok = ok && s == words[i]
			}
		}
		if !ok || len(got) != 4 {
			continue
		}
		q := Request{Hero: got[0], HeroSpecies: got[1], Friend: got[2], FriendSpecies: got[3]}
		deed, last := words[n:], words[len(words)-1]
		switch deed[1] {
		case "finds":
			q.Event = event(discover, deed[0], "", "", last, "")
		case "goes":
			q.Event = event(travel, deed[0], "", "", "", last)
		case "meets":
			q.Event = event(meet, deed[0], "", last, "", "")
		default:
			continue
		}
		return q, nil
	}
	return Request{}, fmt.Errorf("tales: %q is no request for a tale", prompt)
}

// instead is an event of the requested kind that is not the one asked for: another actor or another object (not the
// item the trouble is about).
func (w *author) instead(q Request, item string) Event {
	e := q.Event
	if w.r.IntN(2) == 0 {
		e.slot[0] = map[bool]string{true: q.Friend, false: q.Hero}[e.a() == q.Hero]
		return e
	}
	switch e.kind {
	case discover:
		e.slot[3] = pick(w.r, items, e.item(), item)
	case travel:
		e.slot[4] = pick(w.r, places, e.place())
	default:
		e.slot[2] = pick(w.r, species, e.species())
	}
	return e
}

// write composes a story for a request.
func (w *author) write(q Request) string {
	asked, mended, consistent := w.r.Float64() < w.asked, w.r.Float64() < w.mended, w.r.Float64() < w.consistent
	if q.Event.kind == discover {
		// The thing to be found must not be the one that is lost.
		return w.tell(w.plot(q, pick(w.r, items, q.Event.item()), asked, mended, consistent))
	}
	return w.tell(w.plot(q, pick(w.r, items), asked, mended, consistent))
}

// plot lays out the events: heroes, trouble, the deed asked for, how it ends.
func (w *author) plot(q Request, item string, asked, mended, consistent bool) []Event {
	hero, friend, place := q.Hero, q.Friend, pick(w.r, places)
	es := []Event{event(introduce, hero, "", q.HeroSpecies, "", ""), event(introduce, friend, "", q.FriendSpecies, "", "")}
	deed := q.Event
	if !asked {
		deed = w.instead(q, item)
	}
	trouble := w.r.IntN(3)
	if trouble != 2 {
		es = append(es, event(have, hero, "", "", item, ""))
	}
	early := w.r.IntN(2) == 0
	if early {
		es = append(es, deed)
	}
	es = append(es, w.troubleAndEnd(trouble, hero, friend, item, place, mended, func() []Event {
		if early {
			return nil
		}
		return []Event{deed}
	})...)
	last := event(happy, hero, "", "", "", "")
	if !mended {
		last = event(sad, hero, "", "", "", "")
	}
	smileAt := event(smile, "", hero, q.FriendSpecies, "", "")
	if w.r.IntN(2) == 0 {
		smileAt = event(smile, "", friend, q.HeroSpecies, "", "")
	}
	at := 2 + w.r.IntN(2)
	es = append(es[:at], append([]Event{smileAt}, es[at:]...)...)
	if w.r.IntN(3) == 0 {
		es = append(es[:at], append([]Event{event(remark, "", "", "", "", "")}, es[at:]...)...)
	}
	es = append(es, last)
	if !consistent {
		w.contradict(es, q, item)
	}
	return append(es, event(close, "", "", "", "", ""))
}

// troubleAndEnd is the trouble, what comes between, and whether it is mended.
func (w *author) troubleAndEnd(trouble int, hero, friend, item, place string, mended bool, between func() []Event) []Event {
	var es []Event
	switch trouble {
	case 0:
		es = append(es, event(lose, hero, "", "", item, place), event(search, pick(w.r, []string{hero, friend}), "", "", item, ""))
		es = append(es, between()...)
		if mended {
			return append(es, event(restore, friend, hero, "", item, ""))
		}
		return append(es, event(gone, "", "", "", item, ""))
	case 1:
		es = append(append(es, event(seize, friend, hero, "", item, "")), between()...)
		if mended {
			return append(es, event(repent, friend, hero, "", item, ""))
		}
		return append(es, event(keep, friend, "", "", item, ""))
	default:
		es = append(append(es, between()...), event(fall, hero, "", "", "", place), event(call, hero, "", "", "", ""))
		if mended {
			return append(es, event(rescue, friend, hero, "", "", ""))
		}
		return append(es, event(abandon, hero, "", "", "", ""))
	}
}

// contradict spoils one or two events: the wrong hero, the wrong thing, the wrong species, the wrong mood.
func (w *author) contradict(es []Event, q Request, item string) {
	spoil := func(i int) bool {
		e := &es[i]
		switch e.kind {
		case smile:
			e.slot[2] = pick(w.r, species, q.HeroSpecies, q.FriendSpecies)
		case introduce:
			e.slot[2] = pick(w.r, species, e.species())
		case lose, search, restore, repent, gone, keep:
			e.slot[3] = pick(w.r, items, item, q.Event.item())
		case call, abandon:
			e.slot[0] = q.Friend
		case happy:
			e.kind = sad
		case sad:
			e.kind = happy
		case seize, rescue:
			e.slot[0], e.slot[1] = e.slot[1], e.slot[0]
		default:
			return false
		}
		return true
	}
	for n := 1 + w.r.IntN(2); n > 0; {
		if spoil(w.r.IntN(len(es))) {
			n--
		}
	}
}

// tell turns events into text, each sentence in one of its wordings.
func (w *author) tell(es []Event) string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = e.say(w.r.IntN(6))
	}
	return strings.Join(out, " ")
}
