package labeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// leaseTime is how long an item is kept for who looks at it without a key. Each key that is written begins it anew.
const leaseTime = 10 * time.Minute

// held is the number of other people who are at an item and have not judged it.
const held = `(SELECT count(*) FROM leases l WHERE l.item = i.seq AND l.annotator <> :who AND l.until > :now AND NOT EXISTS (
	SELECT 1 FROM actions a WHERE a.item = l.item AND a.annotator = l.annotator AND a.kind = 'judge' AND a.undone = 0))`

// claim takes the lease of an item, where the condition on it still holds; another may have been quicker.
func (ss *Session) claim(ctx context.Context, seq int64, condition string) (ok bool, err error) {
	err = ss.s.tx(ctx, func(tx *batch) error {
		ok = false
		var yes int
		err := tx.row(ctx, `SELECT 1 FROM items i WHERE i.seq = :seq AND `+condition, ss.args(sql.Named("seq", seq))...).Scan(&yes)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		err = ss.lease(ctx, tx, seq)
		ok = err == nil
		return err
	})
	if err != nil {
		return false, fmt.Errorf("keep item %d for %s: %w", seq, ss.annotator, err)
	}
	return ok, nil
}

// lease keeps an item for the person of the session, instead of the one they had.
func (ss *Session) lease(ctx context.Context, tx *batch, seq int64) error {
	ss.until = ss.now().Add(leaseTime).UnixMicro()
	return tx.exec(ctx, `INSERT INTO leases (annotator, item, until) VALUES (?1, ?2, ?3) ON CONFLICT (annotator) DO UPDATE SET item = ?2, until = ?3`,
		ss.annotator, seq, ss.until)
}

// renew begins the lease anew, whatever item it is of.
func (ss *Session) renew(ctx context.Context, tx *batch) error {
	ss.until = ss.now().Add(leaseTime).UnixMicro()
	return tx.exec(ctx, `UPDATE leases SET until = ? WHERE annotator = ?`, ss.until, ss.annotator)
}

// release gives the lease back. It is called at the end of a sitting, whose context may have ended. A lease that another
// sitting of the person has begun anew stays: a connection that was lost may end long after its owner has come back.
func (ss *Session) release(ctx context.Context) error {
	return ss.s.tx(ctx, func(tx *batch) error {
		return tx.exec(ctx, `DELETE FROM leases WHERE annotator = ? AND until = ?`, ss.annotator, ss.until)
	})
}

// Presence is what one person does.
type Presence struct {
	Annotator string    `json:"annotator"`
	Judged    int       `json:"judged"` // judgements in force
	Today     int       `json:"today"`  // of them in the last 24 hours
	Last      time.Time `json:"last"`   // last event
	Item      int64     `json:"item"`   // at this item now; 0: not at work
}

// Presences are what everyone does at a time, by name.
func (s *Store) Presences(ctx context.Context, now time.Time) ([]Presence, error) {
	rows, err := s.rows(ctx, `SELECT w.annotator,
			(SELECT count(DISTINCT item) FROM actions a WHERE a.annotator = w.annotator AND a.kind = 'judge' AND a.undone = 0),
			(SELECT count(DISTINCT item) FROM actions a WHERE a.annotator = w.annotator AND a.kind = 'judge' AND a.undone = 0 AND a.at > ?1 - 86400000000),
			coalesce((SELECT max(at) FROM actions a WHERE a.annotator = w.annotator), 0),
			coalesce((SELECT item FROM leases l WHERE l.annotator = w.annotator AND l.until > ?1), 0)
		FROM (SELECT annotator FROM sessions UNION SELECT annotator FROM leases) w ORDER BY w.annotator`, now.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("who is at %s: %w", s.path, err)
	}
	defer rows.Close()
	var out []Presence
	for rows.Next() {
		var p Presence
		var last int64
		if err := rows.Scan(&p.Annotator, &p.Judged, &p.Today, &last, &p.Item); err != nil {
			return nil, err
		}
		if last > 0 {
			p.Last = time.UnixMicro(last).UTC()
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
