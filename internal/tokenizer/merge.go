package tokenizer

import "math"

// fewSymbols is how many symbols are merged by going over them again and again; more of them go through a heap.
const fewSymbols = 32

// mergeAll merges word in place and returns how many symbols are left.
func (m *bpe) mergeAll(word []symbol) int {
	if len(word) <= fewSymbols {
		return m.mergeFew(word)
	}
	return m.mergeMany(word)
}

// mergeFew costs O(n²) steps and no memory.
func (m *bpe) mergeFew(word []symbol) int {
	var pairs [fewSymbols]merge // of each symbol with the next
	n := len(word)
	none := merge{rank: math.MaxInt32}
	look := func(i int) merge {
		if p, ok := m.pairs[pairKey(word[i].id, word[i+1].id)]; ok {
			return p
		}
		return none
	}
	for i := range n - 1 {
		pairs[i] = look(i)
	}
	for n > 1 {
		best := 0
		for i := 1; i < n-1; i++ {
			if pairs[i].rank < pairs[best].rank {
				best = i
			}
		}
		if pairs[best] == none {
			break
		}
		word[best] = symbol{pairs[best].id, word[best].start, word[best+1].end}
		copy(word[best+1:n-1], word[best+2:n])
		copy(pairs[best:n-2], pairs[best+1:n-1])
		n--
		if best > 0 {
			pairs[best-1] = look(best - 1)
		}
		if best < n-1 {
			pairs[best] = look(best)
		}
	}
	return n
}

// candidate is a pair that may be merged: the symbol at pos with the one after it.
type candidate struct{ rank, pos, id int32 }

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.pos < b.pos
}

// mergeMany costs O(n log n) whatever the word is.
func (m *bpe) mergeMany(word []symbol) int {
	n := int32(len(word))
	next, prev := make([]int32, n), make([]int32, n)
	heap := make([]candidate, 0, n)
	offer := func(i int32) {
		j := next[i]
		if j >= n {
			return
		}
		if p, ok := m.pairs[pairKey(word[i].id, word[j].id)]; ok {
			heap = pushCandidate(heap, candidate{p.rank, i, p.id})
		}
	}
	for i := range n {
		next[i], prev[i] = i+1, i-1
	}
	for i := range n {
		offer(i)
	}
	const gone = -2 // -1 is a byte without a token
	for len(heap) > 0 {
		var top candidate
		top, heap = popCandidate(heap)
		i := top.pos
		if word[i].id == gone || next[i] >= n {
			continue
		}
		j := next[i]
		if p, ok := m.pairs[pairKey(word[i].id, word[j].id)]; !ok || p.id != top.id {
			continue // one of the two has been merged with something else meanwhile
		}
		word[i] = symbol{top.id, word[i].start, word[j].end}
		word[j].id = gone
		next[i] = next[j]
		if next[i] < n {
			prev[next[i]] = i
		}
		if prev[i] >= 0 {
			offer(prev[i])
		}
		offer(i)
	}
	kept := 0
	for i := int32(0); i < n; i = next[i] {
		word[kept] = word[i]
		kept++
	}
	return kept
}

func pushCandidate(h []candidate, c candidate) []candidate {
	h = append(h, c)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !c.before(h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = c
	return h
}

func popCandidate(h []candidate) (candidate, []candidate) {
	top := h[0]
	c := h[len(h)-1]
	h = h[:len(h)-1]
	if len(h) == 0 {
		return top, h
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(h[down]) {
			down++
		}
		if !h[down].before(c) {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = c
	return top, h
}
