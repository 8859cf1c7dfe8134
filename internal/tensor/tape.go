package tensor

import "plumb/internal/kernels"

// Tensor is a matrix on a tape. It lives until the tape's next Reset.
type Tensor struct {
	Data []float32 // [Rows,Cols]
	// Grad is d loss / d Data, or nil while nothing has reached it. During Backward it is given back as soon as the
	// operation that made the tensor has used it.
	Grad       []float32 // [Rows,Cols]
	Rows, Cols int

	tape     *Tape
	needs    bool // something trained lies below
	borrowed bool // Grad belongs to another tensor
}

// NeedsGrad says whether anything trained lies below the tensor, so that a seed would reach it.
func (x *Tensor) NeedsGrad() bool { return x.needs }

// Seed adds d, d loss / d Data as an objective computes it, to the gradient. It does nothing where nothing trained lies
// below.
func (x *Tensor) Seed(d []float64) {
	if len(d) != len(x.Data) {
		panic("tensor: Seed: length mismatch")
	}
	if !x.needs || x.tape.off {
		return
	}
	g, has := x.tape.gradOf(x)
	for i, v := range d {
		if has {
			g[i] += float32(v)
		} else {
			g[i] = float32(v)
		}
	}
}

// op is what the tape keeps of an operation: enough to go back.
type op interface {
	// out is the tensor whose gradient the operation passes on; nil where it has several.
	out() *Tensor
	backward(t *Tape)
}

// Tape records operations. It is not for concurrent use; several tapes may share a pool.
type Tape struct {
	pool *kernels.Pool
	// off: nothing will be differentiated. quiet: the result will be, but by running the operations again.
	off, quiet bool
	done       bool // Backward has run
	recompute  bool
	room       room
	behind     int // floats handed out when the last block had run
	dropping   bool
	dropKey    uint64
	dropRow    uint64

	acts    arena    // activations
	grads   recycler // gradients and scratch
	tensors slab[Tensor]
	ops     []op

	// Attached is room for whoever builds on the tape to keep records between steps; Epoch says when they are free again.
	Attached any

	epoch int
	slabs slabs
	seqs  []kernels.AttnSeq // of the attention that runs
	lse   []kernels.LSE     // of the log-probabilities that run
}

// slabs holds the records of operations, by type.
type slabs struct {
	embed      slab[embedOp]
	norm       slab[normOp]
	linear     slab[linearOp]
	rope       slab[ropeOp]
	attention  slab[attentionOp]
	gated      slab[gatedOp]
	residual   slab[residualOp]
	gather     slab[gatherOp]
	head       slab[headOp]
	checkpoint slab[checkpointOp]
}

// NewTape returns an empty tape that records.
func NewTape(pool *kernels.Pool) *Tape { return &Tape{pool: pool} }

// NewInferenceTape returns a tape that never records: only arenas for values.
func NewInferenceTape(pool *kernels.Pool) *Tape { return &Tape{pool: pool, off: true} }

// Pool is the pool the operations run on.
func (t *Tape) Pool() *kernels.Pool { return t.pool }

// Recording says whether Backward is possible.
func (t *Tape) Recording() bool { return !t.off }

// Recompute sets whether Checkpoint keeps only a block's output and computes the rest again in the backward pass.
func (t *Tape) Recompute(on bool) { t.recompute = on }

// Within bounds what passes of at most so many rows take, activations and gradients together, in bytes; 0 is no bound. Of it room is
// left for passes of so many rows beside them, on a tape that does not record. Checkpoint keeps the activations of as many blocks as
// fit and runs the others again in the backward pass. See Over.
func (t *Tape) Within(bytes, rows, beside int) {
	t.room.limit, t.room.rows, t.room.beside = (bytes+3)/4, rows, beside
}

// Over is by how many bytes a pass went beyond the bound set by Within although every block was run again: the most since it was last
// asked.
func (t *Tape) Over() int {
	n := t.room.over
	t.room.over = 0
	return 4 * n
}

// Bytes is the memory the arenas hold.
func (t *Tape) Bytes() int { return t.acts.bytes() + t.grads.bytes() }

// Touched is the part of Bytes that a step has ever used, which is what the process has resident of it.
func (t *Tape) Touched() int { return t.acts.touched() + t.grads.touched() }

// Epoch counts the Resets.
func (t *Tape) Epoch() int { return t.epoch }

// Reset takes back every tensor. What was returned before must not be used again.
func (t *Tape) Reset() {
	t.acts.rewind()
	t.grads.reset()
	t.tensors.n = 0
	clear(t.ops)
	t.ops = t.ops[:0]
	s := &t.slabs
	s.embed.n, s.norm.n, s.linear.n, s.rope.n, s.attention.n = 0, 0, 0, 0, 0
	s.gated.n, s.residual.n, s.gather.n, s.head.n, s.checkpoint.n = 0, 0, 0, 0, 0
	t.done, t.dropping = false, false
	t.behind, t.room.passRows, t.room.again, t.room.kept = 0, 0, false, false
	t.epoch++
}

// New returns a tensor of any content that needs no gradient.
func (t *Tape) New(rows, cols int) *Tensor {
	x := t.tensors.next()
	x.Rows, x.Cols, x.tape = rows, cols, t
	x.Data = t.acts.alloc(rows * cols)
	return x
}

// Leaf returns a tensor over data [rows,cols], which it keeps. With needs, its gradient is in Grad after Backward.
func (t *Tape) Leaf(data []float32, rows, cols int, needs bool) *Tensor {
	if len(data) != rows*cols {
		panic("tensor: Leaf: length mismatch")
	}
	x := t.tensors.next()
	x.Rows, x.Cols, x.tape, x.Data, x.needs = rows, cols, t, data, needs && !t.off
	return x
}

// made returns the output of an operation.
func (t *Tape) made(rows, cols int, needs bool) *Tensor {
	x := t.New(rows, cols)
	x.needs = needs && !t.off
	return x
}

// push notes an operation that has to be gone back through.
func (t *Tape) push(o op) {
	if t.done {
		panic("tensor: operation after Backward; Reset first")
	}
	t.ops = append(t.ops, o)
}

// records says whether an operation with this output has to be noted.
func (t *Tape) records(out *Tensor) bool { return out.needs && !t.quiet }

// gradOf returns x's gradient and whether it holds something; without content the caller must write every element.
func (t *Tape) gradOf(x *Tensor) (g []float32, has bool) {
	if x.Grad != nil {
		return x.Grad, true
	}
	x.Grad = t.grads.get(len(x.Data))
	return x.Grad, false
}

// zeroedGrad returns x's gradient ready to be added to.
func (t *Tape) zeroedGrad(x *Tensor) []float32 {
	g, has := t.gradOf(x)
	if !has {
		clear(g)
	}
	return g
}

// dropGrad gives x's gradient back.
func (t *Tape) dropGrad(x *Tensor) {
	if !x.borrowed {
		t.grads.put(x.Grad)
	}
	x.Grad, x.borrowed = nil, false
}

// Backward goes back through every operation, from the seeds to the gradients of what is trained.
func (t *Tape) Backward() {
	if t.off {
		panic("tensor: Backward: the tape does not record")
	}
	if t.done {
		panic("tensor: Backward: called twice; Reset first")
	}
	r := &t.room
	r.tail.see(t.acts.handed()-t.behind, r.passRows)
	t.back(0)
	r.back.see(t.grads.handed(), r.passRows)
	if r.limit > 0 && !r.kept {
		r.over = max(r.over, t.acts.peak()+t.grads.peak()-r.limit)
	}
	t.done = true
}

// back undoes the operations from the last down to number from.
func (t *Tape) back(from int) {
	for i := len(t.ops) - 1; i >= from; i-- {
		o := t.ops[i]
		x := o.out()
		if x == nil {
			o.backward(t)
			continue
		}
		if x.Grad == nil {
			continue
		}
		o.backward(t)
		t.dropGrad(x)
	}
}
