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
	overlap   int
	now       func() time.Time
}

// SessionConfig says who is at work.
type SessionConfig struct {
	Annotator string           // who; required
	Seed      uint64           // draws the sides
	Overlap   int              // how many people are to judge each item; 0 means 1
	Origin    string           // tui, plain, import, api; "" means api
	Now       func() time.Time // clock; nil means time.Now
}

// NewSession starts a session. It appears in the log with its first event.
func (s *Store) NewSession(c SessionConfig) (*Session, error) {
	if c.Annotator == "" {
		return nil, errors.New("labeling: a session needs the annotator's name")
	}
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("labeling: session id: %w", err)
	}
	ss := &Session{s: s, ref: Ref{Session: hex.EncodeToString(id[:])}, annotator: c.Annotator, seed: c.Seed, origin: c.Origin, overlap: c.Overlap, now: c.Now}
	if ss.origin == "" {
		ss.origin = "api"
	}
	if ss.overlap < 1 {
		ss.overlap = 1
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
	Judged *Event // the person's judgement in force, if there is one
	Note   string // the person's note in force
	Tags   []string
}

// Answer is the answer shown at a position, 0 being left or upper.
func (t *Task) Answer(position int) Answer { return t.Item.Answers[t.Shown[position]] }

// Decide is the decision for the answer shown at position.
func (t *Task) Decide(position, strength int) Decision {
	return Prefer(t.Shown[position], strength)
}

// order draws the order shown of an item for a person: the same whenever asked, unrelated between items and people.
func (ss *Session) order(hash string, answers int) []int {
	sum := sha256.Sum256([]byte(ss.annotator))
	item := sha256.Sum256([]byte(hash))
	return rng.New(ss.seed, binary.LittleEndian.Uint64(item[:]), binary.LittleEndian.Uint64(sum[:])).Perm(answers)
}

// Task reads one item with what the person did to it. An item once judged keeps the order it was shown in then.
func (ss *Session) Task(ctx context.Context, seq int64) (*Task, error) {
	it, err := ss.s.Item(ctx, seq)
	if err != nil {
		return nil, err
	}
	t := &Task{Item: it, Shown: ss.order(it.Hash, len(it.Answers))}
	last, err := scanEvent(ss.s.db.QueryRowContext(ctx, `SELECT `+eventColumns+` FROM events e
		WHERE e.item = ? AND e.annotator = ? AND e.kind = 'judge' ORDER BY e.at DESC, e.id DESC LIMIT 1`, seq, ss.annotator))
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return nil, err
	case len(last.Shown) == len(it.Answers):
		t.Shown = last.Shown
	}
	for _, k := range []Kind{Judge, Note, Tag} {
		e, err := ss.inForce(ctx, seq, k)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		switch k {
		case Judge:
			t.Judged = e
		case Note:
			t.Note = e.Data.Note
		case Tag:
			t.Tags = e.Data.Tags
		}
	}
	return t, nil
}

func (ss *Session) inForce(ctx context.Context, seq int64, k Kind) (*Event, error) {
	e, err := scanEvent(ss.s.db.QueryRowContext(ctx, `SELECT `+eventColumns+` FROM actions a JOIN events e ON e.id = a.event
		WHERE a.item = ? AND a.kind = ? AND a.undone = 0 AND a.annotator = ? ORDER BY a.at DESC, a.event DESC LIMIT 1`, seq, string(k), ss.annotator))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// A queue says which items are still this person's to judge: with an overlap of one those that nobody has, else those that
// they have not and fewer than overlap others have. i is the item; the first is a look-up (CROSS JOIN
// keeps SQLite from starting at the items), the second looks at each item.
const (
	firstOpinion = `undecided u CROSS JOIN items i ON i.seq = u.item WHERE i.mode = 'compare'`
	moreOpinions = `items i WHERE i.mode = 'compare'
		AND NOT EXISTS (SELECT 1 FROM actions a WHERE a.item = i.seq AND a.kind = 'judge' AND a.undone = 0 AND a.annotator = :who)
		AND (SELECT count(DISTINCT a.annotator) FROM actions a WHERE a.item = i.seq AND a.kind = 'judge' AND a.undone = 0) < :overlap`
	putOff = `(SELECT max(a.at) FROM actions a WHERE a.item = i.seq AND a.kind = 'later' AND a.undone = 0 AND a.annotator = :who)`
)

// Next is the first item to judge after place `after`, going round to the start of the queue, then the items put off, oldest
// first. It is nil when there is none.
func (ss *Session) Next(ctx context.Context, after int64) (*Task, error) {
	queue, place := firstOpinion, "u.item"
	if ss.overlap > 1 {
		queue, place = moreOpinions, "i.seq"
	}
	args := []any{sql.Named("who", ss.annotator), sql.Named("overlap", ss.overlap), sql.Named("after", after)}
	var seq int64
	for _, q := range []string{
		queue + ` AND ` + place + ` > :after AND ` + putOff + ` IS NULL ORDER BY ` + place,
		queue + ` AND ` + place + ` <= :after AND ` + putOff + ` IS NULL ORDER BY ` + place,
		queue + ` AND ` + putOff + ` IS NOT NULL ORDER BY ` + putOff,
	} {
		err := ss.s.db.QueryRowContext(ctx, `SELECT i.seq FROM `+q+` LIMIT 1`, args...).Scan(&seq)
		if err == nil {
			return ss.Task(ctx, seq)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("next item: %w", err)
		}
	}
	return nil, nil
}

// Resume is the item to begin with: the first to judge after the one this person judged last.
func (ss *Session) Resume(ctx context.Context) (*Task, error) {
	var last int64
	err := ss.s.db.QueryRowContext(ctx, `SELECT item FROM actions WHERE annotator = ? AND undone = 0 ORDER BY at DESC LIMIT 1`, ss.annotator).Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("resume: %w", err)
	}
	return ss.Next(ctx, last)
}

// Neighbour is the nearest item before (step < 0) or after place seq, judged or not; nil at the ends.
func (ss *Session) Neighbour(ctx context.Context, seq int64, step int) (*Task, error) {
	q := `SELECT seq FROM items WHERE mode = 'compare' AND seq > ? ORDER BY seq LIMIT 1`
	if step < 0 {
		q = `SELECT seq FROM items WHERE mode = 'compare' AND seq < ? ORDER BY seq DESC LIMIT 1`
	}
	var to int64
	err := ss.s.db.QueryRowContext(ctx, q, seq).Scan(&to)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ss.Task(ctx, to)
}

// Judge records a decision on the item of t.
func (ss *Session) Judge(ctx context.Context, t *Task, d Decision, elapsed time.Duration, data Data) (Event, error) {
	if err := d.check(len(t.Item.Answers)); err != nil {
		return Event{}, fmt.Errorf("item %d: %w", t.Item.Seq, err)
	}
	return ss.write(ctx, Event{Kind: Judge, Item: t.Item.Seq, Shown: t.Shown, Decision: d, Elapsed: elapsed, Data: data})
}

// Later puts the item of t behind all others.
func (ss *Session) Later(ctx context.Context, t *Task, elapsed time.Duration) (Event, error) {
	return ss.write(ctx, Event{Kind: Later, Item: t.Item.Seq, Shown: t.Shown, Elapsed: elapsed})
}

// Note records a reason in words; an empty one takes the last one away.
func (ss *Session) Note(ctx context.Context, t *Task, text string) (Event, error) {
	return ss.write(ctx, Event{Kind: Note, Item: t.Item.Seq, Shown: t.Shown, Data: Data{Note: text}})
}

// Tag records the item's tags by this person, as a whole.
func (ss *Session) Tag(ctx context.Context, t *Task, tags []string) (Event, error) {
	return ss.write(ctx, Event{Kind: Tag, Item: t.Item.Seq, Shown: t.Shown, Data: Data{Tags: tags}})
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
		n, _, err = ss.insert(ctx, tx, Event{Kind: kind, Item: e.Item, Target: e.Ref})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	ss.ref.N = n
	return act, nil
}

func (ss *Session) write(ctx context.Context, e Event) (Event, error) {
	n := ss.ref.N
	err := ss.s.tx(ctx, func(tx *batch) (err error) {
		n, e.At, err = ss.insert(ctx, tx, e)
		return err
	})
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
	if ss.ref.N == 0 {
		_, err := tx.exec(ctx, `INSERT OR IGNORE INTO sessions (id, annotator, seed, origin, started) VALUES (?, ?, ?, ?, ?)`,
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
	_, err := tx.exec(ctx, `INSERT INTO events (session, n, at, annotator, kind, item, shown, choice, ranking, strength, margin, ms, data, target_session, target_n)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Session, e.N, e.At.UnixMicro(), e.Annotator, string(e.Kind), e.Item, text[0], string(e.Choice), text[1], e.Strength, e.Margin,
		e.Elapsed.Milliseconds(), text[2], e.Target.Session, e.Target.N)
	return err
}
