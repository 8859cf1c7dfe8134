package labeling

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Kind is what an event of the log says.
type Kind string

// Kinds of events. All but the last two are acts that can be undone; undo and redo point at the act they concern.
const (
	Judge      Kind = "judge"       // a choice was made
	Draft      Kind = "draft"       // part of a ranking or of ratings, as far as they were given
	Later      Kind = "later"       // the item was put behind the others
	Note       Kind = "note"        // a reason in words
	Tag        Kind = "tags"        // the item's reasons from a list, as a whole
	Edit       Kind = "edit"        // an answer was written better
	Repeat     Kind = "repeat"      // a choice on an item shown a second time, unsaid
	RepeatNote Kind = "repeat_note" // a reason in words, given then
	RepeatTag  Kind = "repeat_tags" // reasons from the list, given then
	Adjudicate Kind = "adjudicate"  // a reviewer's choice where others differ
	Undo       Kind = "undo"
	Redo       Kind = "redo"
)

// again says whether an act is of an item shown a second time.
func (k Kind) again() bool { return k == Repeat || k == RepeatNote || k == RepeatTag }

// Choice is what a judgement says of the answers.
type Choice string

// Choices. Win names winner and loser in Event.Ranking; Good and Bad are of a single answer, Rated has its numbers in
// Data.Ratings.
const (
	Win     Choice = "win"
	Tie     Choice = "tie"
	BothBad Choice = "both_bad"
	CantSay Choice = "cant_say"
	Good    Choice = "good"
	Bad     Choice = "bad"
	Rated   Choice = "rated"
)

// MaxRating is the best value of a rating; 1 is the worst.
const MaxRating = 5

// Strengths of a preference; 0 is "not said".
const (
	Slightly = 1
	Somewhat = 2
	Clearly  = 3
	Much     = 4
)

// Margin is the margin of the Bradley-Terry loss that a strength stands for: much 1, clearly 2/3, somewhat 1/3, slightly
// and not said 0 (nats of reward difference asked for on top).
func Margin(strength int) float64 {
	if strength <= Slightly {
		return 0
	}
	return float64(strength-1) / 3
}

// Decision is the content of a judgement, in terms of the stored answers (not of left and right).
type Decision struct {
	Choice   Choice
	Ranking  []int    // best first; for Win {winner, loser}
	Strength int      // 1..4, 0 not said
	Margin   *float64 // only from imports that carry their own
}

// Prefer is the decision that answer i of two is better.
func Prefer(i, strength int) Decision {
	return Decision{Choice: Win, Ranking: []int{i, 1 - i}, Strength: strength}
}

// check refuses what the log could not mean of an item.
func (d Decision) check(it Item, data Data) error {
	if !slices.Contains(choicesOf(it.mode()), d.Choice) {
		return fmt.Errorf("choice %q has no place in mode %s", d.Choice, it.mode())
	}
	if d.Strength < 0 || d.Strength > Much {
		return fmt.Errorf("strength %d is not in 0..4", d.Strength)
	}
	if d.Choice != Win && (len(d.Ranking) > 0 || d.Strength != 0) {
		return fmt.Errorf("choice %s takes neither ranking nor strength", d.Choice)
	}
	if (d.Choice == Rated) != (len(data.Ratings) > 0) {
		return fmt.Errorf("choice %s with %d ratings", d.Choice, len(data.Ratings))
	}
	for axis, v := range data.Ratings {
		if v < 1 || v > MaxRating {
			return fmt.Errorf("rating %d of %s is not in 1..%d", v, axis, MaxRating)
		}
	}
	if d.Choice != Win {
		return nil
	}
	if len(d.Ranking) != len(it.Answers) {
		return fmt.Errorf("a choice among %d answers needs them all ranked, got %v", len(it.Answers), d.Ranking)
	}
	return distinct(d.Ranking, len(it.Answers))
}

// distinct refuses answer indexes that are out of range or there twice.
func distinct(ranking []int, answers int) error {
	seen := make([]bool, answers)
	for _, i := range ranking {
		if i < 0 || i >= answers || seen[i] {
			return fmt.Errorf("ranking %v is not a permutation of %d answers", ranking, answers)
		}
		seen[i] = true
	}
	return nil
}

// choicesOf are the choices that a mode has.
func choicesOf(m Mode) []Choice {
	switch m {
	case Single:
		return []Choice{Good, Bad, CantSay}
	case Rate:
		return []Choice{Rated, CantSay}
	}
	return []Choice{Win, Tie, BothBad, CantSay}
}

// Ref names an event in every store that holds it.
type Ref struct {
	Session string `json:"session"`
	N       int    `json:"n"`
}

// Data is what an event carries besides its columns.
type Data struct {
	Note   string            `json:"note,omitempty"`
	Tags   []string          `json:"tags,omitempty"`
	Screen string            `json:"screen,omitempty"` // how it was shown: "side 100x30", "stacked 80x24", "plain"
	Extra  map[string]string `json:"extra,omitempty"`  // what an import knew besides

	Ratings map[string]int `json:"ratings,omitempty"` // of Rated and its drafts: axis to 1..5
	Edit    *Edited        `json:"edit,omitempty"`    // of Edit
	Pick    string         `json:"pick,omitempty"`    // why the item was asked: "random", "gold", or the order of the queue
}

// Edited is an answer written better.
type Edited struct {
	Answer int    `json:"answer"` // index of the answer it was made of
	Text   string `json:"text"`
}

func (d Data) empty() bool {
	return d.Note == "" && d.Tags == nil && d.Screen == "" && d.Extra == nil && d.Ratings == nil && d.Edit == nil && d.Pick == ""
}

// Event is one line of the log.
type Event struct {
	Ref
	At        time.Time // as read from the clock, but always after the event before it
	Annotator string
	Kind      Kind
	Item      int64
	Shown     []int // answer indexes in the order shown: left (or upper) first
	Decision        // of Judge
	Elapsed   time.Duration
	Data      Data
	Target    Ref // of Undo, Redo
}

// before orders events of one log or of merged ones.
func (e Event) before(f Event) bool {
	if !e.At.Equal(f.At) {
		return e.At.Before(f.At)
	}
	if e.Session != f.Session {
		return e.Session < f.Session
	}
	return e.N < f.N
}

// Place is one person's view of one item.
type Place struct {
	Annotator string
	Item      int64
}

// State is what a log amounts to.
type State struct {
	Judged map[Place]Event    // judgement in force
	Notes  map[Place]Event    // note in force, of the first time
	Tags   map[Place]Event    // tags in force, of the first time
	Drafts map[Place]Event    // draft in force
	Edits  map[Place][]Event  // edits in force, in their order
	Second map[Place]Event    // repeated judgement in force
	Ruled  map[int64]Event    // adjudication in force, by item
	Undo   map[string][]Event // by person, acts that can be undone, last one last
	Redo   map[string][]Event // by person, undone acts that can be redone, next one last
}

// Fold computes the state from the events alone. It is the definition that the store's triggers and queries are tested
// against: an act is in force unless the last undo or redo that points at it is an undo; of several acts of one kind on one
// item the last in force counts; a new act forgets what could be redone.
func Fold(events []Event) State {
	evs := append([]Event(nil), events...)
	sort.SliceStable(evs, func(i, j int) bool { return evs[i].before(evs[j]) })
	st := State{
		Judged: map[Place]Event{}, Notes: map[Place]Event{}, Tags: map[Place]Event{}, Drafts: map[Place]Event{}, Edits: map[Place][]Event{},
		Second: map[Place]Event{}, Ruled: map[int64]Event{}, Undo: map[string][]Event{}, Redo: map[string][]Event{},
	}
	undone := map[Ref]int{}    // index of the undo in evs, for acts not in force
	newest := map[string]int{} // by person, index of the last act
	for i, e := range evs {
		switch e.Kind {
		case Undo:
			undone[e.Target] = i
		case Redo:
			delete(undone, e.Target)
		default:
			newest[e.Annotator] = i
		}
	}
	for _, e := range evs {
		if e.Kind == Undo || e.Kind == Redo {
			continue
		}
		if at, out := undone[e.Ref]; out {
			if at > newest[e.Annotator] {
				st.Redo[e.Annotator] = append(st.Redo[e.Annotator], e)
			}
			continue
		}
		st.Undo[e.Annotator] = append(st.Undo[e.Annotator], e)
		p := Place{e.Annotator, e.Item}
		switch e.Kind {
		case Judge:
			st.Judged[p] = e
		case Note:
			st.Notes[p] = e
		case Tag:
			st.Tags[p] = e
		case Draft:
			st.Drafts[p] = e
		case Edit:
			st.Edits[p] = append(st.Edits[p], e)
		case Repeat:
			st.Second[p] = e
		case Adjudicate:
			st.Ruled[e.Item] = e
		}
	}
	for _, acts := range st.Redo { // the act undone last is redone first
		sort.Slice(acts, func(i, j int) bool { return undone[acts[i].Ref] < undone[acts[j].Ref] })
	}
	return st
}

const eventColumns = `e.session, e.n, e.at, e.annotator, e.kind, e.item, e.shown, e.choice, e.ranking, e.strength, e.margin, e.ms, e.data, e.target_session, e.target_n`

// eventRow is what eventColumns scan into.
type eventRow struct {
	Event
	at, ms                int64
	shown, ranking, datum string
}

func (r *eventRow) columns() []any {
	return []any{
		&r.Session, &r.N, &r.at, &r.Annotator, &r.Kind, &r.Item, &r.shown, &r.Choice, &r.ranking, &r.Strength, &r.Decision.Margin, &r.ms, &r.datum,
		&r.Target.Session, &r.Target.N,
	}
}

func (r *eventRow) event() (Event, error) {
	e := r.Event
	e.At, e.Elapsed = time.UnixMicro(r.at).UTC(), time.Duration(r.ms)*time.Millisecond
	for _, f := range []struct {
		text string
		dst  any
	}{{r.shown, &e.Shown}, {r.ranking, &e.Ranking}, {r.datum, &e.Data}} {
		if err := json.Unmarshal([]byte(f.text), f.dst); err != nil {
			return Event{}, fmt.Errorf("event %s/%d of the store is damaged: %w", e.Session, e.N, err)
		}
	}
	if len(e.Ranking) == 0 {
		e.Ranking = nil
	}
	if len(e.Shown) == 0 {
		e.Shown = nil
	}
	return e, nil
}

func scanEvent(row scanner) (Event, error) {
	var r eventRow
	if err := row.Scan(r.columns()...); err != nil {
		return Event{}, err
	}
	return r.event()
}

// Events reads the whole log in its order.
func (s *Store) Events(ctx context.Context) ([]Event, error) {
	rows, err := s.rows(ctx, `SELECT `+eventColumns+` FROM events e ORDER BY e.at, e.session, e.n`)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", s.path, err)
	}
	defer rows.Close()
	var out []Event
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, fmt.Errorf("read the log of %s: %w", s.path, err)
		}
		out = append(out, e)
	}
	return out, rows.Err()
}
