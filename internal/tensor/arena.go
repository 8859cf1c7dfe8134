package tensor

// Sizes of arena chunks in floats: the first is 4 MB, each further one twice the last up to 64 MB.
const (
	firstChunk = 1 << 20
	lastChunk  = 1 << 24
)

// arena hands out slices one after another and takes them back all at once, or down to a mark.
type arena struct {
	chunks [][]float32
	most   []int // floats of each chunk that were ever handed out
	chunk  int   // the one in use
	used   int   // floats of it handed out
	top    mark  // the furthest since rewind
}

type mark struct{ chunk, used int }

// alloc returns n floats of any content, aligned to 64 bytes within the chunk.
func (a *arena) alloc(n int) []float32 {
	need := (n + 15) &^ 15
	for a.chunk < len(a.chunks) {
		if c := a.chunks[a.chunk]; a.used+need <= len(c) {
			s := c[a.used : a.used+n : a.used+n]
			a.used += need
			a.most[a.chunk] = max(a.most[a.chunk], a.used)
			a.reached()
			return s
		}
		a.chunk++
		a.used = 0
	}
	size := firstChunk
	if len(a.chunks) > 0 {
		size = min(2*len(a.chunks[len(a.chunks)-1]), lastChunk)
	}
	a.chunks = append(a.chunks, make([]float32, max(size, need)))
	a.used = need
	a.most = append(a.most, need)
	a.reached()
	return a.chunks[a.chunk][:n:n]
}

func (a *arena) mark() mark     { return mark{a.chunk, a.used} }
func (a *arena) release(m mark) { a.chunk, a.used = m.chunk, m.used }

func (a *arena) reached() {
	if a.chunk > a.top.chunk || a.chunk == a.top.chunk && a.used > a.top.used {
		a.top = a.mark()
	}
}

// rewind takes everything back.
func (a *arena) rewind() {
	a.release(mark{})
	a.top = mark{}
}

// handed is how many floats are handed out, and peak the most that were since rewind.
func (a *arena) handed() int { return a.upTo(a.mark()) }
func (a *arena) peak() int   { return a.upTo(a.top) }

func (a *arena) upTo(m mark) int {
	n := m.used
	for i := range min(m.chunk, len(a.chunks)) {
		n += a.most[i]
	}
	return n
}

// bytes is the memory held.
func (a *arena) bytes() int {
	n := 0
	for _, c := range a.chunks {
		n += 4 * len(c)
	}
	return n
}

// touched is the part of it that was ever used: the system gives memory when it is first written.
func (a *arena) touched() int {
	n := 0
	for _, m := range a.most {
		n += 4 * m
	}
	return n
}

// slab hands out zeroed records of one type and takes them back all at once.
type slab[T any] struct {
	chunks [][]T
	n      int
}

const slabChunk = 128

func (s *slab[T]) next() *T {
	i, j := s.n/slabChunk, s.n%slabChunk
	if i == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, slabChunk))
	}
	s.n++
	var zero T
	s.chunks[i][j] = zero
	return &s.chunks[i][j]
}

// recycler lends buffers for the length of a backward step: gradients and scratch of a few sizes, used again and again.
type recycler struct {
	arena
	free [][]float32
}

// get returns n floats of any content.
func (r *recycler) get(n int) []float32 {
	for i := len(r.free) - 1; i >= 0; i-- {
		if b := r.free[i]; len(b) == n {
			last := len(r.free) - 1
			r.free[i] = r.free[last]
			r.free = r.free[:last]
			return b
		}
	}
	return r.alloc(n)
}

func (r *recycler) put(b []float32) {
	if b != nil {
		r.free = append(r.free, b)
	}
}

func (r *recycler) reset() {
	r.free = r.free[:0]
	r.rewind()
}
