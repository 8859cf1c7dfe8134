package tales

import "strings"

// kind is what a sentence says; see patterns for the words.
type kind int

const (
	introduce kind = iota // A is a species
	have                  // A has item
	lose                  // A loses item at place
	seize                 // A takes item from B
	fall                  // A falls into a hole at place
	search                // A looks for item
	call                  // A calls for help
	travel                // A goes to place
	discover              // A finds another item
	meet                  // A meets a species
	hand                  // A gives item to B
	restore               // A finds item and gives it back to B
	repent                // A is sorry and gives item back to B
	rescue                // A pulls B out of the hole
	gone                  // item stays lost
	keep                  // A keeps item for good
	abandon               // nobody helps A
	smile                 // the species smiles at B
	happy                 // A ends happy
	sad                   // A ends sad
	remark                // weather, birds: nothing happens
	close                 // The end.
)

// Slots of a pattern: A and B are names, S a species, I an item, P a place.
const slots = "ABSIP"

// pattern is one way to say a kind. Words in braces are slots.
type pattern struct {
	kind  kind
	words []string
}

var names = strings.Fields("Mia Tom Ana Ben Lily Max Zoe Sam Eva Leo Nora Otto Rosa Hugo Vera Paul")

var species = strings.Fields("fox crow bear cat dog goat wolf deer")

var items = strings.Fields("kite lamp ball drum book coat boat cake bell ring key hat")

var places = strings.Fields("river forest market mill lake barn bridge hill")

var patterns = compile(map[kind][]string{
	introduce: {"Once there was a {S} named {A} .", "{A} was a little {S} .", "Near by lived {A} the {S} .", "There also was a {S} named {A} ."},
	have:      {"{A} had a {I} .", "{A} loved to play with a {I} .", "{A} owned a fine {I} ."},
	lose:      {"One day {A} lost the {I} at the {P} .", "One day the wind took the {I} from {A} to the {P} ."},
	seize:     {"One day {A} took the {I} from {B} .", "One day {A} stole the {I} of {B} ."},
	fall:      {"One day {A} fell into a hole at the {P} .", "One day {A} got stuck in a hole at the {P} ."},
	search:    {"{A} looked for the {I} .", "{A} asked all friends about the {I} ."},
	call:      {"{A} called for help .", "{A} shouted as loud as can be ."},
	travel:    {"{A} went to the {P} .", "Then {A} walked to the {P} .", "{A} ran all the way to the {P} ."},
	discover:  {"{A} found a {I} .", "Then {A} saw a {I} and picked it up .", "Behind a stone {A} found a {I} ."},
	meet:      {"{A} met a {S} on the way .", "Then {A} met a {S} .", "{A} talked to a {S} ."},
	hand:      {"{A} gave the {I} to {B} .", "Then {A} handed the {I} to {B} .", "{B} got the {I} from {A} ."},
	restore:   {"{A} found the {I} and gave it back to {B} .", "At last {A} brought the {I} back to {B} .", "{A} saw the {I} in a tree and got it down for {B} ."},
	repent:    {"{A} was sorry and gave the {I} back to {B} .", "At last {A} returned the {I} to {B} ."},
	rescue:    {"{A} came with a long stick and pulled {B} out .", "At last {A} helped {B} to climb out ."},
	gone:      {"They looked all day but the {I} was gone .", "Nobody ever saw the {I} again ."},
	keep:      {"But {A} kept the {I} .", "{A} never gave the {I} back ."},
	abandon:   {"Nobody came to help {A} .", "{A} sat there all night and nobody came ."},
	smile:     {"The {S} smiled at {B} .", "The {S} waved to {B} ."},
	happy:     {"{A} was happy and sang a song .", "In the evening {A} danced with joy ."},
	sad:       {"{A} was sad and went home .", "In the evening {A} cried for a long time ."},
	remark:    {"It was a cold day .", "The sun was warm .", "The birds sang in the trees .", "The wind was soft ."},
	close:     {"The end ."},
})

func compile(say map[kind][]string) []pattern {
	var out []pattern
	for k := introduce; k <= close; k++ {
		for _, s := range say[k] {
			out = append(out, pattern{k, strings.Fields(s)})
		}
	}
	return out
}

// Event is one sentence understood. Slots that its pattern lacks are empty.
type Event struct {
	kind kind
	slot [len(slots)]string
}

func (e Event) a() string       { return e.slot[0] }
func (e Event) b() string       { return e.slot[1] }
func (e Event) species() string { return e.slot[2] }
func (e Event) item() string    { return e.slot[3] }
func (e Event) place() string   { return e.slot[4] }

func event(k kind, a, b, s, i, p string) Event { return Event{k, [len(slots)]string{a, b, s, i, p}} }

// slotOf returns the slot index a pattern word names, or -1.
func slotOf(word string) int {
	if len(word) == 3 && word[0] == '{' && word[2] == '}' {
		return strings.IndexByte(slots, word[1])
	}
	return -1
}

// legal says whether a word may stand in a slot.
func legal(slot int, word string) bool {
	list := [][]string{names, names, species, items, places}[slot]
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// Parse reads a story sentence by sentence. bad counts sentences that are no instance of any pattern, a trailing piece
// without a period included.
func Parse(text string) (events []Event, bad int) {
	text = strings.TrimSpace(text)
	for text != "" {
		cut := strings.IndexByte(text, '.')
		sentence := text
		if cut < 0 {
			text = ""
		} else {
			sentence, text = text[:cut], strings.TrimSpace(text[cut+1:])
		}
		e, ok := match(strings.Fields(sentence))
		if !ok || cut < 0 {
			bad++
			continue
		}
		events = append(events, e)
	}
	return events, bad
}

func match(words []string) (Event, bool) {
	for _, p := range patterns {
		if len(words) != len(p.words)-1 { // the period stands in the pattern only
			continue
		}
		e, ok := Event{kind: p.kind}, true
		for i, w := range words {
			if s := slotOf(p.words[i]); s >= 0 {
				e.slot[s], ok = w, legal(s, w)
			} else {
				ok = w == p.words[i]
			}
			if !ok {
				break
			}
		}
		if ok {
			return e, true
		}
	}
	return Event{}, false
}

// say renders an event with the pattern number given (modulo the number of its patterns).
func (e Event) say(choice int) string {
	var fit []pattern
	for _, p := range patterns {
		if p.kind == e.kind {
			fit = append(fit, p)
		}
	}
	words := append([]string{}, fit[choice%len(fit)].words...)
	for i, w := range words {
		if s := slotOf(w); s >= 0 {
			words[i] = e.slot[s]
		}
	}
	return strings.TrimSuffix(strings.Join(words, " "), " .") + "."
}
