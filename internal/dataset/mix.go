package dataset

import (
	"fmt"
	"math"

	"plumb/internal/rng"
)

// Source is one data set of a mixture.
type Source struct {
	Name   string
	Size   int     // number of rows
	Weight float64 // how often an epoch goes through the source: 1 once, 0.5 half of it, 2 twice
}

// Ref names a row of a source.
type Ref struct{ Source, Row int }

// Mixture is the order in which rows of several sources are visited. Each epoch takes weight·size rows of each
// source, shuffled together. A source is gone through in shuffled passes that go on from epoch to epoch: no row
// comes again before all the others had their turn. The order is a function of seed, sources and epoch alone.
type Mixture struct {
	seed    uint64
	sources []Source
}

// Streams of the mixture's random numbers.
const (
	streamMix  = 0x6d6978   // the shuffle of an epoch
	streamPass = 0x70617373 // the shuffle of a pass through a source
)

// NewMixture checks the sources.
func NewMixture(seed uint64, sources []Source) (*Mixture, error) {
	total := 0.0
	for _, s := range sources {
		switch {
		case !(s.Weight >= 0) || math.IsInf(s.Weight, 0):
			return nil, fmt.Errorf("mix: source %s has a weight of %v, not a number from 0 on", s.Name, s.Weight)
		case s.Size == 0 && s.Weight > 0:
			return nil, fmt.Errorf("mix: source %s has no rows", s.Name)
		}
		total += s.Weight * float64(s.Size)
	}
	if total < 1 {
		return nil, fmt.Errorf("mix: an epoch of %d sources has no rows: the weights are too small", len(sources))
	}
	if total > 1<<40 {
		return nil, fmt.Errorf("mix: an epoch of %g rows: the weights are too large", total)
	}
	return &Mixture{seed, sources}, nil
}

// window is the range of rows, counted over all passes, that an epoch takes from a source.
func (m *Mixture) window(source, epoch int) (from, to int) {
	perEpoch := m.sources[source].Weight * float64(m.sources[source].Size)
	return int(math.Floor(float64(epoch)*perEpoch + 0.5)), int(math.Floor(float64(epoch+1)*perEpoch + 0.5))
}

// Epoch is the order of an epoch, from 0. The numbers of rows of successive epochs may differ by one per source.
func (m *Mixture) Epoch(epoch int) []Ref {
	var rows []Ref
	for s, src := range m.sources {
		from, to := m.window(s, epoch)
		var perm []int
		for at := from; at < to; at++ {
			if perm == nil || at%src.Size == 0 {
				perm = rng.New(m.seed, streamPass, uint64(s), uint64(at/src.Size)).Perm(src.Size)
			}
			rows = append(rows, Ref{s, perm[at%src.Size]})
		}
	}
	order := make([]Ref, len(rows))
	for i, k := range rng.New(m.seed, streamMix, uint64(epoch)).Perm(len(rows)) {
		order[i] = rows[k]
	}
	return order
}

// Share is what an epoch holds of a source.
type Share struct {
	Source
	Rows, Tokens         int
	RowShare, TokenShare float64 // of the epoch's rows and tokens
}

// Shares reports the proportions of an epoch; length gives the number of tokens of a row.
func (m *Mixture) Shares(epoch int, length func(Ref) int) []Share {
	shares := make([]Share, len(m.sources))
	rows, tokens := 0, 0
	for i, s := range m.sources {
		shares[i].Source = s
	}
	for _, r := range m.Epoch(epoch) {
		n := length(r)
		shares[r.Source].Rows++
		shares[r.Source].Tokens += n
		rows++
		tokens += n
	}
	for i := range shares {
		shares[i].RowShare = float64(shares[i].Rows) / float64(max(rows, 1))
		shares[i].TokenShare = float64(shares[i].Tokens) / float64(max(tokens, 1))
	}
	return shares
}

// Cursor is a place in the endless sequence of epochs. It is all there is to save of one.
type Cursor struct {
	Epoch int `json:"epoch"`
	Pos   int `json:"pos"` // rows of the epoch already visited
}

// Walk visits a mixture from a cursor on.
type Walk struct {
	m     *Mixture
	at    Cursor
	order []Ref
}

// Walk starts at a cursor that Cursor returned, or at the zero one.
func (m *Mixture) Walk(at Cursor) (*Walk, error) {
	if at.Epoch < 0 || at.Pos < 0 {
		return nil, fmt.Errorf("mix: cursor at epoch %d, row %d", at.Epoch, at.Pos)
	}
	w := &Walk{m: m, at: at, order: m.Epoch(at.Epoch)}
	if at.Pos > len(w.order) {
		return nil, fmt.Errorf("mix: cursor at row %d of an epoch of %d: the data set has changed", at.Pos, len(w.order))
	}
	return w, nil
}

// Cursor is the place behind the rows visited so far.
func (w *Walk) Cursor() Cursor { return w.at }

// Next is the next row, of the next epoch when one is through.
func (w *Walk) Next() Ref {
	for w.at.Pos == len(w.order) {
		w.at = Cursor{Epoch: w.at.Epoch + 1}
		w.order = w.m.Epoch(w.at.Epoch)
	}
	r := w.order[w.at.Pos]
	w.at.Pos++
	return r
}
