package labeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// plan is the order of a session's items, made once at its start: ranking all items anew at every key would not be done
// within a frame. Items added and scores given meanwhile are seen by the next session.
type plan struct {
	seqs   []int64
	random map[int64]bool // picked by chance
	at     int            // every item before it is done with
}

// nextPlanned is the first item of the plan that is still to judge.
func (ss *Session) nextPlanned(ctx context.Context, after int64) (*Task, error) {
	if ss.plan == nil {
		p, err := ss.makePlan(ctx)
		if err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
		ss.plan = p
	}
	open, free := notMine+` AND `+notDone, notFull
	if ss.queue.Order == Disagreement { // one more opinion is what is asked for
		open, free = notMine, held+` = 0`
	}
	var off, again int64 // put off; just seen and not judged
	p := ss.plan
	for i := p.at; i < len(p.seqs); i++ {
		seq := p.seqs[i]
		var put sql.NullInt64
		var isFree bool
		err := ss.s.row(ctx, `SELECT `+putOff+`, `+free+` FROM items i WHERE i.seq = :seq AND `+open, ss.args(sql.Named("seq", seq))...).Scan(&put, &isFree)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			if i == p.at {
				p.at++
			}
		case err != nil:
			return nil, fmt.Errorf("next item: %w", err)
		case !isFree: // others are at it; it may become free again
		case put.Valid && off == 0:
			off = seq
		case put.Valid:
		case seq == after:
			again = seq
		default:
			if t, err := ss.planned(ctx, seq, free); err != nil || t != nil {
				return t, err
			}
		}
	}
	for _, seq := range []int64{again, off} {
		if seq == 0 {
			continue
		}
		if t, err := ss.planned(ctx, seq, free); err != nil || t != nil {
			return t, err
		}
	}
	return nil, nil
}

// planned is an item of the plan, unless another person has just taken it.
func (ss *Session) planned(ctx context.Context, seq int64, free string) (*Task, error) {
	if ok, err := ss.claim(ctx, seq, free); err != nil || !ok {
		return nil, err
	}
	t, err := ss.Task(ctx, seq)
	if err != nil {
		return nil, err
	}
	switch {
	case ss.plan.random[seq]:
		t.Pick = "random"
	case ss.queue.Order != InOrder:
		t.Pick = string(ss.queue.Order)
	}
	return t, nil
}

// rewind makes an item whose judgement was taken back the plan's to ask again.
func (ss *Session) rewind(seq int64) {
	if ss.plan == nil {
		return
	}
	if i := slices.Index(ss.plan.seqs, seq); i >= 0 && i < ss.plan.at {
		ss.plan.at = i
	}
}

func (ss *Session) makePlan(ctx context.Context) (*plan, error) {
	q := ss.queue
	where, args := notGold, ss.args()
	if q.Order == Disagreement {
		where += ` AND ` + notMine
	} else {
		where += ` AND ` + notMine + ` AND ` + notDone
	}
	if q.Tag != "" {
		where += ` AND EXISTS (SELECT 1 FROM ` + ss.s.d.tagRows + ` WHERE t.value = :tag)`
		args = append(args, sql.Named("tag", q.Tag))
	}
	if q.Source != "" {
		where += ` AND EXISTS (SELECT 1 FROM ` + ss.s.d.answerRows + ` WHERE t.value ->> 'source' = :source OR t.value ->> 'model' = :source)`
		args = append(args, sql.Named("source", q.Source))
	}
	rank, err := ss.ranks(ctx)
	if err != nil {
		return nil, err
	}
	args = append(args, sql.Named("random", threshold(q.Random)))
	rows, err := ss.s.rows(ctx, `SELECT i.seq, `+randomDraw+`, `+randomDraw+` < :random FROM items i WHERE `+where+` ORDER BY i.seq`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	p := &plan{random: map[int64]bool{}}
	var chosen, chance []int64
	draw := map[int64]string{}
	for rows.Next() {
		var seq int64
		var d string
		var random bool
		if err := rows.Scan(&seq, &d, &random); err != nil {
			return nil, err
		}
		switch _, ranked := rank[seq]; {
		case random:
			chance, p.random[seq], draw[seq] = append(chance, seq), true, d
		case ranked || rank == nil:
			chosen = append(chosen, seq)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if rank != nil {
		sort.SliceStable(chosen, func(i, j int) bool { return rank[chosen[i]] < rank[chosen[j]] })
	}
	sort.SliceStable(chance, func(i, j int) bool { return draw[chance[i]] < draw[chance[j]] })
	p.seqs = interleave(chosen, chance, q.Random)
	return p, nil
}

// interleave takes a share of its items from chance and the rest from chosen, each in its order.
func interleave(chosen, chance []int64, share float64) []int64 {
	out := make([]int64, 0, len(chosen)+len(chance))
	for n := 1.0; len(chosen)+len(chance) > 0; n++ {
		due := math.Floor(n*share+1e-9) > math.Floor((n-1)*share+1e-9)
		if len(chosen) == 0 || due && len(chance) > 0 {
			out, chance = append(out, chance[0]), chance[1:]
		} else {
			out, chosen = append(out, chosen[0]), chosen[1:]
		}
	}
	return out
}

// ranks gives the items of the order a number, lowest first; nil where the order is that of the queue. Items that have none
// are not asked, but by chance.
func (ss *Session) ranks(ctx context.Context) (map[int64]float64, error) {
	switch ss.queue.Order {
	case InOrder:
		return nil, nil
	case Disagreement:
		seqs, err := ss.s.Disputes(ctx)
		if err != nil {
			return nil, err
		}
		out := map[int64]float64{}
		for i, seq := range seqs {
			out[seq] = float64(i)
		}
		return out, nil
	}
	deltas, err := ss.s.deltas(ctx)
	if err != nil {
		return nil, err
	}
	if len(deltas) == 0 {
		return nil, fmt.Errorf("the store has no scores to order by: plumb label score MODEL --store %s gives them", ss.s.path)
	}
	out := map[int64]float64{}
	most := 0
	for seq, ds := range deltas {
		mean, sd := meanStd(ds)
		most = max(most, len(ds))
		if ss.queue.Order == Uncertain {
			out[seq] = -sd
		} else {
			out[seq] = math.Abs(mean)
		}
	}
	if ss.queue.Order == Uncertain && most < 2 {
		return nil, errors.New("one model alone does not differ with itself: score with a second one, or order by close")
	}
	return out, nil
}

// meanStd is the mean and the standard deviation (n-1) of some numbers; 0 for one.
func meanStd(xs []float64) (mean, sd float64) {
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	if len(xs) < 2 {
		return mean, 0
	}
	for _, x := range xs {
		sd += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(sd / float64(len(xs)-1))
}
