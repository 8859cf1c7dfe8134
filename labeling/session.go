package labeling

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"plumb/internal/rng"
)

// Session is one person at work on a store. Its methods may be called from one goroutine at a time.
type Session struct {
	s         *Store
	ref       Ref // id, and the number of the last event written
	annotator string
	seed      uint64
	origin    string
	queue     Queue
	review    bool
	now       func() time.Time

	unsure   bool  // the last write failed: where only the answer to it was lost, it is in the log all the same
	until    int64 // end of the lease as this session last set it
	hasGold  bool
	plan     *plan   // made at the first item, where the queue needs one
	disputes []int64 // of a reviewer, found at the first item
}

// SessionConfig says who is at work.
type SessionConfig struct {
	Annotator string           // who; required
	Seed      uint64           // draws the sides
	Queue     Queue            // which items, in what order
	Review    bool             // asks for the items that others disagree on; choices are adjudications
	Origin    string           // tui, plain, import, api; "" means api
	Now       func() time.Time // clock; nil means time.Now
}

// NewSession starts a session. It appears in the log with its first event.
func (s *Store) NewSession(c SessionConfig) (*Session, error) {
	if c.Annotator == "" {
		return nil, errors.New("labeling: a session needs the annotator's name")
	}
	if err := c.Queue.check(); err != nil {
		return nil, fmt.Errorf("labeling: queue: %w", err)
	}
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("labeling: session id: %w", err)
	}
	ss := &Session{s: s, ref: Ref{Session: hex.EncodeToString(id[:])}, annotator: c.Annotator, seed: c.Seed, origin: c.Origin, queue: c.Queue, review: c.Review, now: c.Now}
	if ss.origin == "" {
		ss.origin = "api"
	}
	if ss.now == nil {
		ss.now = time.Now
	}
	return ss, nil
}

// Annotator is whose session it is.
func (ss *Session) Annotator() string { return ss.annotator }

// Task is an item as one person sees it.
type Task struct {
	Item   Item
	Shown  []int  // answer indexes in the order to show: left (or upper) first
	Judged *Event // the person's judgement in force, if there is one; the adjudication in force, for a reviewer
	Draft  *Event // a ranking or ratings under way: the draft in force, when it is newer than the judgement
	Note   string // the person's note in force
	Tags   []string
	Typing string // a comment that was being typed
	Pick   string // why the item is asked: "random", "gold", the order of the queue, or ""
	Again  bool   // a second time, unsaid: what was chosen the first time is hidden

	Opinions []Opinion     // what others said, for a reviewer
	Scores   []ModelScores // hidden until the choice
}

// Answer is the answer shown at a position, 0 being left or upper.
func (t *Task) Answer(position int) Answer { return t.Item.Answers[t.Shown[position]] }

// Decide is the decision for the answer shown at position.
func (t *Task) Decide(position, strength int) Decision {
	return Prefer(t.Shown[position], strength)
}

// reasons are the kinds of event that a note and tags on t are: those given the second time say nothing of the first.
func (t *Task) reasons() (note, tag Kind) {
	if t.Again {
		return RepeatNote, RepeatTag
	}
	return Note, Tag
}

// pad is where the comment that is being typed on t lies among a person's.
func (t *Task) pad() int64 { return padOf(t.Item.Seq, t.Again) }

func padOf(seq int64, again bool) int64 {
	if again {
		return -seq
	}
	return seq
}

// order draws the order shown of an item for a person: the same whenever asked, unrelated between items, people and the
// first and the second time.
func (ss *Session) order(hash string, answers int, again bool) []int {
	if again {
		hash += " again"
	}
	sum := sha256.Sum256([]byte(ss.annotator))
	item := sha256.Sum256([]byte(hash))
	return rng.New(ss.seed, binary.LittleEndian.Uint64(item[:]), binary.LittleEndian.Uint64(sum[:])).Perm(answers)
}

// judging is the kind of event that a choice on t is.
func (ss *Session) judging(t *Task) Kind {
	if t.Again {
		return Repeat
	}
	return ss.kind()
}

// kind is the kind of event that decides an item in this session.
func (ss *Session) kind() Kind {
	if ss.review {
		return Adjudicate
	}
	return Judge
}

// Task reads one item with what the person did to it. An item once judged keeps the order it was shown in then.
func (ss *Session) Task(ctx context.Context, seq int64) (*Task, error) {
	return ss.task(ctx, seq, false)
}

// taskAgain is an item as it is shown the second time: as if it were new.
func (ss *Session) taskAgain(ctx context.Context, seq int64) (*Task, error) {
	return ss.task(ctx, seq, true)
}

// taskOf is the item of an act as it was when the act was done.
func (ss *Session) taskOf(ctx context.Context, e Event) (*Task, error) {
	return ss.task(ctx, e.Item, e.Kind.again())
}

func (ss *Session) task(ctx context.Context, seq int64, again bool) (*Task, error) {
	it, err := ss.s.Item(ctx, seq)
	if err != nil {
		return nil, err
	}
	t := &Task{Item: it, Shown: ss.order(it.Hash, len(it.Answers), again), Again: again}
	last, err := scanEvent(ss.s.row(ctx, `SELECT `+eventColumns+` FROM events e
		WHERE e.item = ? AND e.annotator = ? AND e.kind = ? ORDER BY e.at DESC, e.id DESC LIMIT 1`, seq, ss.annotator, ss.judging(t)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return nil, err
	case len(last.Shown) == len(it.Answers):
		t.Shown = last.Shown
	}
	note, tag := t.reasons()
	for _, k := range []Kind{ss.judging(t), Draft, note, tag} {
		e, err := ss.inForce(ctx, seq, k)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		switch k {
		case Draft:
			if (t.Judged == nil || t.Judged.before(*e)) && !(again && t.Judged == nil && ss.oldDraft(ctx, *e)) {
				t.Draft = e
			}
		case note:
			t.Note = e.Data.Note
		case tag:
			t.Tags = e.Data.Tags
		default:
			t.Judged = e
		}
	}
	return t, ss.around(ctx, t)
}

// oldDraft says whether a draft belongs to the first time that an item was judged.
func (ss *Session) oldDraft(ctx context.Context, draft Event) bool {
	first, err := ss.inForce(ctx, draft.Item, Judge)
	return err == nil && first != nil && draft.before(*first)
}

// around reads what else is known of a task: an unfinished comment, what others said, what models gave.
func (ss *Session) around(ctx context.Context, t *Task) error {
	err := ss.s.row(ctx, `SELECT text FROM typing WHERE annotator = ? AND item = ?`, ss.annotator, t.pad()).Scan(&t.Typing)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("item %d: %w", t.Item.Seq, err)
	}
	if ss.review {
		if t.Opinions, err = ss.s.opinions(ctx, t.Item.Seq); err != nil {
			return err
		}
	}
	t.Scores, err = ss.s.Scores(ctx, t.Item.Seq)
	return err
}

func (ss *Session) inForce(ctx context.Context, seq int64, k Kind) (*Event, error) {
	e, err := scanEvent(ss.s.row(ctx, `SELECT `+eventColumns+` FROM actions a JOIN events e ON e.id = a.event
		WHERE a.item = ? AND a.kind = ? AND a.undone = 0 AND a.annotator = ? ORDER BY a.at DESC, a.event DESC LIMIT 1`, seq, string(k), ss.annotator))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// Judge records a decision on the item of t: a judgement, a repeated one, or an adjudication.
func (ss *Session) Judge(ctx context.Context, t *Task, d Decision, elapsed time.Duration, data Data) (Event, error) {
	if err := d.check(t.Item, data); err != nil {
		return Event{}, fmt.Errorf("item %d: %w", t.Item.Seq, err)
	}
	data.Pick = t.Pick
	return ss.write(ctx, Event{Kind: ss.judging(t), Item: t.Item.Seq, Shown: t.Shown, Decision: d, Elapsed: elapsed, Data: data})
}

// Draft records a ranking or ratings as far as they were given; nothing of either takes them all away.
func (ss *Session) Draft(ctx context.Context, t *Task, ranking []int, ratings map[string]int, elapsed time.Duration) (Event, error) {
	if err := distinct(ranking, len(t.Item.Answers)); err != nil {
		return Event{}, fmt.Errorf("item %d: %w", t.Item.Seq, err)
	}
	return ss.write(ctx, Event{Kind: Draft, Item: t.Item.Seq, Shown: t.Shown, Decision: Decision{Ranking: ranking}, Elapsed: elapsed, Data: Data{Ratings: ratings}})
}

// Edit records an answer written better, by its index among the stored ones.
func (ss *Session) Edit(ctx context.Context, t *Task, answer int, text string, elapsed time.Duration) (Event, error) {
	if answer < 0 || answer >= len(t.Item.Answers) {
		return Event{}, fmt.Errorf("item %d has no answer %d", t.Item.Seq, answer)
	}
	if text == t.Item.Answers[answer].String() || text == "" {
		return Event{}, fmt.Errorf("item %d: the edited answer is empty or the same", t.Item.Seq)
	}
	return ss.write(ctx, Event{Kind: Edit, Item: t.Item.Seq, Shown: t.Shown, Elapsed: elapsed, Data: Data{Edit: &Edited{answer, text}}})
}

// Type keeps a comment that is not finished yet, apart from the log.
func (ss *Session) Type(ctx context.Context, t *Task, text string) error {
	return ss.s.tx(ctx, func(tx *batch) error {
		err := tx.exec(ctx, `INSERT INTO typing (annotator, item, text) VALUES (?1, ?2, ?3) ON CONFLICT (annotator, item) DO UPDATE SET text = ?3`,
			ss.annotator, t.pad(), text)
		return err
	})
}

// Later puts the item of t behind all others.
func (ss *Session) Later(ctx context.Context, t *Task, elapsed time.Duration) (Event, error) {
	return ss.write(ctx, Event{Kind: Later, Item: t.Item.Seq, Shown: t.Shown, Elapsed: elapsed})
}

// Note records a reason in words; an empty one takes the last one away.
func (ss *Session) Note(ctx context.Context, t *Task, text string) (Event, error) {
	note, _ := t.reasons()
	return ss.write(ctx, Event{Kind: note, Item: t.Item.Seq, Shown: t.Shown, Data: Data{Note: text}})
}

// Tag records the item's tags by this person, as a whole.
func (ss *Session) Tag(ctx context.Context, t *Task, tags []string) (Event, error) {
	_, tag := t.reasons()
	return ss.write(ctx, Event{Kind: tag, Item: t.Item.Seq, Shown: t.Shown, Data: Data{Tags: tags}})
}

// Undo takes back the last act of this person that is in force, whenever and in whatever session it was done. It returns
// the act, or nil when there is nothing left to undo.
func (ss *Session) Undo(ctx context.Context) (*Event, error) {
	return ss.turn(ctx, Undo, `SELECT `+eventColumns+` FROM actions a JOIN events e ON e.id = a.event
		WHERE a.annotator = ? AND a.undone = 0 ORDER BY a.at DESC, a.event DESC LIMIT 1`)
}

// Redo puts the last undone act back in force, unless something new was done since. It returns the act, or nil.
func (ss *Session) Redo(ctx context.Context) (*Event, error) {
	return ss.turn(ctx, Redo, `SELECT `+eventColumns+` FROM actions a JOIN events e ON e.id = a.event
		WHERE a.annotator = ?1 AND a.undone > (SELECT max(at) FROM actions WHERE annotator = ?1) ORDER BY a.undone DESC LIMIT 1`)
}

func (ss *Session) turn(ctx context.Context, kind Kind, query string) (*Event, error) {
	var act *Event
	n := ss.ref.N
	err := ss.s.tx(ctx, func(tx *batch) error {
		e, err := scanEvent(tx.row(ctx, query, ss.annotator))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		act = &e
		if n, _, err = ss.insert(ctx, tx, Event{Kind: kind, Item: e.Item, Target: e.Ref}); err != nil {
			return err
		}
		return ss.lease(ctx, tx, e.Item) // it is on the screen again
	})
	ss.unsure = err != nil
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	ss.ref.N = n
	if act != nil {
		ss.rewind(act.Item)
	}
	return act, nil
}

func (ss *Session) write(ctx context.Context, e Event) (Event, error) {
	n := ss.ref.N
	err := ss.s.tx(ctx, func(tx *batch) (err error) {
		if n, e.At, err = ss.insert(ctx, tx, e); err != nil {
			return err
		}
		if err = ss.renew(ctx, tx); err == nil && (e.Kind == Note || e.Kind == RepeatNote) {
			err = tx.exec(ctx, `UPDATE typing SET text = '' WHERE annotator = ? AND item = ?`, ss.annotator, padOf(e.Item, e.Kind.again()))
		}
		return err
	})
	ss.unsure = err != nil
	if err != nil {
		return Event{}, fmt.Errorf("record %s: %w", e.Kind, err)
	}
	ss.ref.N = n
	e.Ref, e.Annotator = ss.ref, ss.annotator
	return e, nil
}

// insert appends an event of this session and returns its number and time. The caller keeps the number once the transaction
// is committed.
func (ss *Session) insert(ctx context.Context, tx *batch, e Event) (int, time.Time, error) {
	var last int64
	if err := tx.row(ctx, `SELECT coalesce(max(at), 0) FROM events`).Scan(&last); err != nil {
		return 0, time.Time{}, err
	}
	now := ss.now().UnixMicro()
	at := max(now, last+1)
	if ss.unsure {
		if err := tx.row(ctx, `SELECT coalesce(max(n), 0) FROM events WHERE session = ?`, ss.ref.Session).Scan(&ss.ref.N); err != nil {
			return 0, time.Time{}, err
		}
	}
	if ss.ref.N == 0 {
		err := tx.exec(ctx, `INSERT INTO sessions (id, annotator, seed, origin, started) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			ss.ref.Session, ss.annotator, strconv.FormatUint(ss.seed, 10), ss.origin, now)
		if err != nil {
			return 0, time.Time{}, err
		}
	}
	e.Ref, e.At, e.Annotator = Ref{ss.ref.Session, ss.ref.N + 1}, time.UnixMicro(at).UTC(), ss.annotator
	return e.N, e.At, insertEvent(ctx, tx, e)
}

func insertEvent(ctx context.Context, tx *batch, e Event) error {
	text := make([]string, 3)
	for i, v := range []any{append([]int{}, e.Shown...), append([]int{}, e.Ranking...), e.Data} {
		b, err := marshal(v)
		if err != nil {
			return err
		}
		text[i] = string(b)
	}
	err := tx.exec(ctx, `INSERT INTO events (session, n, at, annotator, kind, item, shown, choice, ranking, strength, margin, ms, data, target_session, target_n)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Session, e.N, e.At.UnixMicro(), e.Annotator, string(e.Kind), e.Item, text[0], string(e.Choice), text[1], e.Strength, e.Margin,
		e.Elapsed.Milliseconds(), text[2], e.Target.Session, e.Target.N)
	return err
}
