package labeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Order is the order in which a queue asks.
type Order string

// The orders. Uncertain and Close need scores in the store (AddScores).
const (
	InOrder      Order = ""             // as the items were added
	Uncertain    Order = "uncertain"    // where the models of an ensemble differ most about r(a) - r(b)
	Close        Order = "close"        // where |r(a) - r(b)|, averaged over the models, is smallest
	Disagreement Order = "disagreement" // where others disagree
)

// Orders are the names of all orders but the first.
func Orders() []Order { return []Order{Uncertain, Close, Disagreement} }

// Queue says which items a session asks for, and in what order. The zero value asks for all, in the order they were added.
type Queue struct {
	Order  Order
	Tag    string  // only items with this tag
	Source string  // only items with an answer of this source or model
	Random float64 // share of all items, drawn by their content, that are asked in random order and never because of a score

	Overlap      int     // how many people are to judge an item; 0 means 1
	OverlapShare float64 // share of the items, drawn by their content, for which Overlap holds; 0 means all. The others need one
	Repeat       float64 // share of a person's items that come a second time, unsaid, to see whether they say the same
	GoldEvery    int     // every so manieth item is one whose answer is known; 0 means 10
}

// Repeats come back after at least repeatAfter other judgements, and are looked for among the repeatWindow before those.
const (
	repeatAfter  = 20
	repeatWindow = 60
)

// check refuses what a queue could not do.
func (q Queue) check() error {
	if q.Order != InOrder && !slices.Contains(Orders(), q.Order) {
		return fmt.Errorf("order %q (one of %v)", q.Order, Orders())
	}
	for _, s := range []struct {
		name string
		v    float64
	}{{"random", q.Random}, {"overlap share", q.OverlapShare}, {"repeat", q.Repeat}} {
		if !(s.v >= 0 && s.v <= 1) {
			return fmt.Errorf("%s: %v is not a share from 0 to 1", s.name, s.v)
		}
	}
	if q.Overlap < 0 || q.GoldEvery < 0 {
		return fmt.Errorf("overlap %d, gold every %d: less than nothing", q.Overlap, q.GoldEvery)
	}
	return nil
}

// planned says whether the queue needs a plan made at the start, instead of looking for the next item in the store.
func (q Queue) planned() bool {
	return q.Order != InOrder || q.Tag != "" || q.Source != "" || q.Random > 0
}

// A content hash is uniform, so eight of its digits are a draw that every store and every session makes alike: an item is
// in a share p of all when they are below threshold(p). Overlap, random items and repeats use different digits.
const (
	overlapDraw = `substr(i.hash, 1, 8)`
	randomDraw  = `substr(i.hash, 9, 8)`
	repeatDraw  = `substr(i.hash, 17, 8)`
)

func threshold(share float64) string {
	if share >= 1 {
		return "g" // after every hexadecimal digit
	}
	return fmt.Sprintf("%08x", uint32(math.Floor(share*(1<<32))))
}

// What an item lacks to be asked: a judgement of this person, and enough of others. An item of gold is asked of everyone.
const (
	notMine = `NOT EXISTS (SELECT 1 FROM actions a WHERE a.item = i.seq AND a.kind = 'judge' AND a.undone = 0 AND a.annotator = :who)`
	judges  = `(SELECT count(DISTINCT a.annotator) FROM actions a WHERE a.item = i.seq AND a.kind = 'judge' AND a.undone = 0)`
	quota   = `CASE WHEN ` + overlapDraw + ` < :share THEN :overlap ELSE 1 END`
	notDone = judges + ` < ` + quota                // people are still wanted
	notFull = judges + ` + ` + held + ` < ` + quota // and not all of them are at it
	notGold = `NOT EXISTS (SELECT 1 FROM gold g WHERE g.item = i.seq)`
	putOff  = `(SELECT max(a.at) FROM actions a WHERE a.item = i.seq AND a.kind = 'later' AND a.undone = 0 AND a.annotator = :who)`
)

// A queue says which items are still this person's to judge: with an overlap of one those that nobody has, else those that
// they have not and fewer than overlap others have. i is the item; the first is a look-up (CROSS JOIN keeps SQLite from
// starting at the items), the second looks at each item.
const (
	firstOpinion = `undecided u CROSS JOIN items i WHERE i.seq = u.item AND ` + notGold + ` AND ` + held + ` = 0`
	moreOpinions = `items i WHERE ` + notGold + ` AND ` + notMine + ` AND ` + notFull
)

// args are what the conditions above are asked with.
func (ss *Session) args(more ...any) []any {
	share := ss.queue.OverlapShare
	if share == 0 {
		share = 1
	}
	return append([]any{
		sql.Named("who", ss.annotator), sql.Named("overlap", max(1, ss.queue.Overlap)), sql.Named("share", threshold(share)),
		sql.Named("now", ss.now().UnixMicro()),
	}, more...)
}

// Next is the item to judge after the one at place `after`: a repeat or an item of gold where one is due, else the next of
// the queue, going round to its start, then the items put off, oldest first. It is nil when there is none.
func (ss *Session) Next(ctx context.Context, after int64) (*Task, error) {
	if ss.review {
		return ss.nextDispute(ctx, after)
	}
	for _, due := range []func(context.Context) (*Task, error){ss.dueRepeat, ss.dueGold} {
		if t, err := due(ctx); err != nil || t != nil {
			return t, err
		}
	}
	var t *Task
	var err error
	if ss.queue.planned() {
		t, err = ss.nextPlanned(ctx, after)
	} else {
		t, err = ss.nextInOrder(ctx, after)
	}
	if err != nil || t != nil {
		return t, err
	}
	return ss.gold(ctx)
}

// first runs the queries in turn and returns the first item found; 0 for none.
func (ss *Session) first(ctx context.Context, args []any, queries ...string) (int64, error) {
	for _, q := range queries {
		var seq int64
		err := ss.s.row(ctx, `SELECT i.seq FROM `+q+` LIMIT 1`, args...).Scan(&seq)
		if err == nil {
			return seq, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return 0, fmt.Errorf("next item: %w", err)
		}
	}
	return 0, nil
}

func (ss *Session) nextInOrder(ctx context.Context, after int64) (*Task, error) {
	queue, place := firstOpinion, "u.item"
	if ss.queue.Overlap > 1 {
		queue, place = moreOpinions, "i.seq"
	}
	for {
		seq, err := ss.first(ctx, ss.args(sql.Named("after", after)),
			queue+` AND `+place+` > :after AND `+putOff+` IS NULL ORDER BY `+place,
			queue+` AND `+place+` <= :after AND `+putOff+` IS NULL ORDER BY `+place,
			queue+` AND `+putOff+` IS NOT NULL ORDER BY `+putOff)
		if err != nil || seq == 0 {
			return nil, err
		}
		if ok, err := ss.claim(ctx, seq, notFull); err != nil {
			return nil, err
		} else if ok {
			return ss.Task(ctx, seq)
		} // another person has just taken it: the next one
	}
}

// dueRepeat is an item that this person judged a while ago and is to judge once more.
func (ss *Session) dueRepeat(ctx context.Context) (*Task, error) {
	if ss.queue.Repeat == 0 {
		return nil, nil
	}
	seq, err := ss.first(ctx, ss.args(sql.Named("draw", threshold(ss.queue.Repeat))),
		`(SELECT item, at FROM actions WHERE annotator = :who AND undone = 0 AND kind = 'judge' ORDER BY at DESC
			LIMIT `+fmt.Sprint(repeatWindow)+` OFFSET `+fmt.Sprint(repeatAfter)+`) l JOIN items i ON i.seq = l.item
		WHERE `+repeatDraw+` < :draw AND NOT EXISTS (SELECT 1 FROM actions a WHERE a.item = i.seq AND a.annotator = :who
			AND a.undone = 0 AND (a.kind = 'repeat' OR a.kind = 'later' AND a.at > l.at)) ORDER BY l.at`)
	if err != nil || seq == 0 {
		return nil, err
	}
	return ss.taskAgain(ctx, seq)
}

// dueGold is an item of gold when the last GoldEvery-1 judgements of this person were of none.
func (ss *Session) dueGold(ctx context.Context) (*Task, error) {
	if !ss.hasGold {
		return nil, nil
	}
	every := ss.queue.GoldEvery
	if every == 0 {
		every = 10
	}
	var n, gold int
	err := ss.s.row(ctx, `SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM gold g WHERE g.item = l.item))
		FROM (SELECT item FROM actions WHERE annotator = ? AND undone = 0 AND kind = 'judge' ORDER BY at DESC LIMIT ?) l`, ss.annotator, every-1).Scan(&n, &gold)
	if err != nil {
		return nil, fmt.Errorf("gold: %w", err)
	}
	if n < every-1 || gold > 0 {
		return nil, nil
	}
	return ss.gold(ctx)
}

// gold is the next item of gold that this person has not judged, in the order of the content hashes.
func (ss *Session) gold(ctx context.Context) (*Task, error) {
	if !ss.hasGold {
		return nil, nil
	}
	seq, err := ss.first(ctx, ss.args(),
		`items i WHERE EXISTS (SELECT 1 FROM gold g WHERE g.item = i.seq) AND `+notMine+` AND `+putOff+` IS NULL ORDER BY i.hash`,
		`items i WHERE EXISTS (SELECT 1 FROM gold g WHERE g.item = i.seq) AND `+notMine+` ORDER BY `+putOff)
	if err != nil || seq == 0 {
		return nil, err
	}
	t, err := ss.Task(ctx, seq)
	if t != nil {
		t.Pick = "gold"
	}
	return t, err
}

// Resume is the item to begin with: the first to judge after the one this person judged last.
func (ss *Session) Resume(ctx context.Context) (*Task, error) {
	if err := ss.s.row(ctx, `SELECT EXISTS (SELECT 1 FROM gold)`).Scan(&ss.hasGold); err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	var last int64
	err := ss.s.row(ctx, `SELECT item FROM actions WHERE annotator = ? AND undone = 0
		AND kind IN ('judge', 'later', 'adjudicate') ORDER BY at DESC LIMIT 1`,
		ss.annotator).Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("resume: %w", err)
	}
	return ss.Next(ctx, last)
}

// Neighbour is the nearest item before (step < 0) or after place seq, judged or not; nil at the ends.
func (ss *Session) Neighbour(ctx context.Context, seq int64, step int) (*Task, error) {
	q := `SELECT seq FROM items WHERE seq > ? ORDER BY seq LIMIT 1`
	if step < 0 {
		q = `SELECT seq FROM items WHERE seq < ? ORDER BY seq DESC LIMIT 1`
	}
	var to int64
	err := ss.s.row(ctx, q, seq).Scan(&to)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ss.Task(ctx, to)
}

// Find is the item with a number or, of four letters and more, the only one whose name (Hash) begins so; nil where there is none.
func (ss *Session) Find(ctx context.Context, name string) (*Task, error) {
	n, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		n = 0 // no item has it
	}
	var seq int64
	err = ss.s.row(ctx, `SELECT coalesce(max(CASE WHEN seq = ?1 THEN seq END), CASE WHEN count(*) = 1 THEN min(seq) END, 0) FROM items
		WHERE seq = ?1 OR length(?2) >= 4 AND substr(hash, 1, length(?2)) = ?2`, n, strings.ToLower(name)).Scan(&seq)
	if err != nil {
		return nil, fmt.Errorf("find item %s: %w", name, err)
	}
	if seq == 0 {
		return nil, nil
	}
	return ss.Task(ctx, seq)
}
