package model

import (
	"math"
	"slices"

	"plumb/internal/peft"
)

// MinShared is the shortest beginning, in tokens, that is worth computing once: below it the copies of keys and values cost
// what they save. NoSharing shares none.
const (
	MinShared = 8
	NoSharing = math.MaxInt
)

// MinSharedInTraining is the minShared of PackTree for a training pass with an adapter: NoSharing where it has dropout, since
// each sequence then drops elements of its own.
func MinSharedInTraining(a *peft.Adapter) int {
	if a.Config().Dropout > 0 {
		return NoSharing
	}
	return MinShared
}

// Tree is a packed batch in which what several sequences begin with is there once: the prompt of two answers, the system
// message of a conversation. The sequences of its Batch are the branches of the tree.
type Tree struct {
	Batch
	paths  [][]piece // by sequence, from its first token on
	nodes  []branch  // the root, then the others; as many as there can be, so that none moves
	leaves []*branch // by sequence, where it ends
}

// piece says that tokens up to end of a sequence, from where the piece before ended, lie one after another, so that token i is
// in row shift + i.
type piece struct{ end, shift int }

// Row is the row of token i of sequence s. Sequences that begin with the same tokens may have rows in common.
func (t *Tree) Row(s, i int) int32 {
	for _, p := range t.paths[s] {
		if i < p.end {
			return int32(p.shift + i)
		}
	}
	panic("model: Tree: Row: out of range")
}

// branch is a run of tokens below another.
type branch struct {
	ids    []int32
	parent *branch
	below  []*branch
	depth  int // tokens before it
	number int // in the batch, -1 before it is there
}

// PackTree lays sequences one after another, common beginnings of at least minShared tokens once. Results of a sequence are those
// of Pack, to the bit; gradients are to rounding.
func PackTree(minShared int, sequences ...[]int32) Tree {
	var t Tree
	t.Pack(minShared, sequences...)
	return t
}

// Pack makes t what PackTree returns, in the memory t has: a training step after another leaves nothing behind.
func (t *Tree) Pack(minShared int, sequences ...[]int32) {
	// A sequence adds a branch, and may split another.
	t.nodes = slices.Grow(t.nodes[:0], 2*len(sequences)+1)
	root := t.node(branch{})
	t.leaves = t.leaves[:0]
	for _, s := range sequences {
		t.leaves = append(t.leaves, t.insert(root, s, minShared))
	}
	t.IDs, t.Starts, t.Parents = t.IDs[:0], append(t.Starts[:0], 0), t.Parents[:0]
	t.paths = slices.Grow(t.paths[:0], len(sequences))[:len(sequences)]
	for i, s := range sequences {
		t.paths[i] = t.lay(t.leaves[i], len(s), t.paths[i][:0])
	}
}

// node keeps a branch, with the list below it that was in its place before.
func (t *Tree) node(b branch) *branch {
	n := len(t.nodes)
	t.nodes = t.nodes[:n+1]
	b.below = t.nodes[n].below[:0]
	t.nodes[n] = b
	return &t.nodes[n]
}

// insert finds room for ids below b and returns the branch in which they end.
func (t *Tree) insert(b *branch, ids []int32, minShared int) *branch {
	var best *branch
	common := 0
	for _, c := range b.below {
		if n := commonLength(c.ids, ids); n > common {
			best, common = c, n
		}
	}
	switch {
	case common >= minShared && common == len(ids):
		return best
	case common >= minShared && common == len(best.ids):
		return t.insert(best, ids[common:], minShared)
	case common >= minShared:
		t.split(best, common)
		b = best.parent
		ids = ids[common:]
	}
	c := t.node(branch{ids: ids, parent: b, depth: b.depth + len(b.ids), number: -1})
	b.below = append(b.below, c)
	return c
}

// split puts the first n tokens of b into a new branch above it. Sequences that end in b still do, or above it.
func (t *Tree) split(b *branch, n int) {
	p := b.parent
	above := t.node(branch{ids: b.ids[:n], parent: p, depth: b.depth, number: -1})
	above.below = append(above.below, b)
	for i, c := range p.below {
		if c == b {
			p.below[i] = above
		}
	}
	b.ids, b.parent, b.depth = b.ids[n:], above, b.depth+n
}

// lay puts a branch and those above it into the batch, where they are not there yet, and adds to path where the first n tokens
// from the root lie.
func (t *Tree) lay(b *branch, n int, path []piece) []piece {
	if b.parent == nil {
		return path
	}
	path = t.lay(b.parent, min(n, b.depth), path)
	if b.number < 0 {
		b.number = len(t.Starts) - 1
		t.IDs = append(t.IDs, b.ids...)
		t.Starts = append(t.Starts, int32(len(t.IDs)))
		parent := int32(-1)
		if b.parent.parent != nil {
			parent = int32(b.parent.number)
		}
		t.Parents = append(t.Parents, parent)
	}
	if n > b.depth {
		path = append(path, piece{min(n, b.depth+len(b.ids)), int(t.Starts[b.number]) - b.depth})
	}
	return path
}

func commonLength(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
