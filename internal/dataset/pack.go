package dataset

import (
	"fmt"
	"math/bits"
	"slices"
)

// Strategy is a way to pack rows into bins of a size.
type Strategy string

// The packing strategies, TRL's names.
const (
	// PackBFD is best fit decreasing: the longest row first, each into the fullest bin that takes it. Rows longer
	// than a bin are cut to its size.
	PackBFD Strategy = "bfd"
	// PackBFDSplit is the same, but rows longer than a bin are cut into pieces that are packed like rows.
	PackBFDSplit Strategy = "bfd_split"
	// PackWrapped joins all rows and cuts the whole at every multiple of the size, for pretraining: a bin is one
	// sequence, whatever rows it holds.
	PackWrapped Strategy = "wrapped"
)

// Piece is IDs[From:To] of a row.
type Piece struct{ Row, From, To int }

// Pack distributes rows of the given lengths over bins of at most size ids. Ties are broken by TRL's rules: rows of
// equal length in their order, bins of equal space in the order in which they came to have it.
func Pack(lengths []int, size int, s Strategy) ([][]Piece, error) {
	if size < 1 {
		return nil, fmt.Errorf("pack: bins of %d ids", size)
	}
	switch s {
	case PackBFD, PackBFDSplit:
		return packBFD(pieces(lengths, size, s == PackBFDSplit), size), nil
	case PackWrapped:
		return packWrapped(lengths, size), nil
	}
	return nil, fmt.Errorf("pack: %q is not one of bfd, bfd_split, wrapped", s)
}

// pieces cuts rows to the size, or into pieces of it.
func pieces(lengths []int, size int, split bool) []Piece {
	var all []Piece
	for row, n := range lengths {
		all = append(all, Piece{row, 0, min(n, size)})
		for from := size; split && from < n; from += size {
			all = append(all, Piece{row, from, min(n, from+size)})
		}
	}
	return all
}

func packWrapped(lengths []int, size int) [][]Piece {
	var bins [][]Piece
	space := 0
	for row, n := range lengths {
		for from := 0; from < n; {
			if space == 0 {
				bins = append(bins, nil)
				space = size
			}
			take := min(space, n-from)
			bins[len(bins)-1] = append(bins[len(bins)-1], Piece{row, from, from + take})
			from += take
			space -= take
		}
	}
	return bins
}

// spaces is the set of amounts of space that some bin has left, as bits.
type spaces []uint64

func (s spaces) add(n int)    { s[n/64] |= 1 << (n % 64) }
func (s spaces) remove(n int) { s[n/64] &^= 1 << (n % 64) }

// atLeast is the smallest member from n on.
func (s spaces) atLeast(n int) (int, bool) {
	for w := n / 64; w < len(s); w++ {
		word := s[w]
		if w == n/64 {
			word &= ^uint64(0) << (n % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word), true
		}
	}
	return 0, false
}

// packBFD keeps, for every amount of space left, the queue of bins that have it. Empty rows go nowhere.
func packBFD(all []Piece, size int) [][]Piece {
	slices.SortStableFunc(all, func(a, b Piece) int { return (b.To - b.From) - (a.To - a.From) })
	var bins [][]Piece
	queues := map[int][]int{} // space left -> bins
	open := make(spaces, size/64+1)
	for _, p := range all {
		n := p.To - p.From
		if n == 0 {
			break
		}
		space, ok := open.atLeast(n)
		bin := len(bins)
		if ok {
			q := queues[space]
			bin = q[0]
			if q = q[1:]; len(q) == 0 {
				open.remove(space)
				delete(queues, space)
			} else {
				queues[space] = q
			}
		} else {
			space = size
			bins = append(bins, nil)
		}
		bins[bin] = append(bins[bin], p)
		if left := space - n; left > 0 {
			queues[left] = append(queues[left], bin)
			open.add(left)
		}
	}
	return bins
}
