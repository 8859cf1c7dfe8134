package tensor

// Block is a part of a model that can be run twice with the same result.
type Block interface {
	Forward(t *Tape, x *Tensor) *Tensor
}

type checkpointOp struct {
	x, y  *Tensor
	block Block
}

func (o *checkpointOp) out() *Tensor { return o.y }

// Checkpoint runs the block, after which so many more of its kind are to come. On a tape that recomputes, or does not record, and
// where the memory set by Within does not suffice, everything but the output is given back at once; Backward then runs the block
// again (Chen et al. 2016, arXiv 1604.06174). Same bits either way.
func (t *Tape) Checkpoint(x *Tensor, b Block, more int) *Tensor {
	if t.quiet {
		return b.Forward(t, x)
	}
	if !t.off && !t.recompute && t.room.keeps(t.acts.handed(), x, more) {
		before := t.acts.handed()
		y := b.Forward(t, x)
		t.room.block.see(t.acts.handed()-before, x.Rows)
		t.behind, t.rows = t.acts.handed(), x.Rows
		return y
	}
	t.room.again = true
	y := t.New(x.Rows, x.Cols)
	m, before := t.acts.mark(), t.acts.handed()
	t.quiet = true
	inner := b.Forward(t, x)
	t.quiet = false
	if len(inner.Data) != len(y.Data) {
		panic("tensor: Checkpoint: a block must keep its shape")
	}
	copy(y.Data, inner.Data)
	y.needs = inner.needs
	t.room.block.see(t.acts.handed()-before, x.Rows)
	t.acts.release(m)
	t.behind, t.rows = t.acts.handed(), x.Rows
	if t.records(y) {
		o := t.slabs.checkpoint.next()
		o.x, o.y, o.block = x, y, b
		t.push(o)
	}
	return y
}

func (o *checkpointOp) backward(t *Tape) {
	m, from, before := t.acts.mark(), len(t.ops), t.acts.handed()
	leaf := t.Leaf(o.x.Data, o.x.Rows, o.x.Cols, o.x.needs)
	leaf.Grad, leaf.borrowed = o.x.Grad, o.x.borrowed
	t.pool.Recomputing(true)
	inner := o.block.Forward(t, leaf)
	t.pool.Recomputing(false)
	t.room.block.see(t.acts.handed()-before, o.x.Rows)
	inner.Grad, inner.borrowed, o.y.Grad = o.y.Grad, o.y.borrowed, nil
	t.back(from)
	o.x.Grad, o.x.borrowed = leaf.Grad, leaf.borrowed
	clear(t.ops[from:])
	t.ops = t.ops[:from]
	t.acts.release(m)
}

// room is the memory that a pass may take and what its parts take, in floats.
type room struct {
	limit  int  // 0: no bound
	rows   int  // of the largest pass
	blocks int  // of a pass
	again  bool // a block of this pass is run again

	// Of a block its output and its activations; the activations behind the last one; gradients and scratch.
	output, block, tail, back perRow
}

// perRow is the most that something took of the arena for each row, as far as it was seen.
type perRow struct{ floats, rows int }

func (p *perRow) see(floats, rows int) {
	if rows > 0 && floats*max(p.rows, 1) > p.floats*rows {
		p.floats, p.rows = floats, rows
	}
}

// of is what it takes for so many rows.
func (p perRow) of(rows int) int {
	if p.rows == 0 {
		return 0
	}
	return (p.floats*rows + p.rows - 1) / p.rows
}

// keeps says whether the activations of the next block can stay, with so many floats handed out and more blocks to come. The
// first block of all is run again, to see what one takes.
func (r *room) keeps(handed int, x *Tensor, more int) bool {
	if r.limit == 0 {
		return true
	}
	r.blocks = max(r.blocks, more+1)
	r.output.see(len(x.Data), x.Rows)
	block := r.block.of(x.Rows)
	if block == 0 {
		return false
	}
	left := r.limit - handed - r.beside(max(r.rows, x.Rows)) - r.tail.of(x.Rows)
	if !r.again && (more+1)*block <= left {
		return true
	}
	return 2*block+more*r.output.of(x.Rows) <= left // it stays, of the others the outputs, and one of them at a time is run again
}

// beside is what a pass of so many rows takes besides its activations: gradients, which have memory of their own, and a block's
// activations on a tape that does not record. Before the first way back gradients are taken to be as large as those.
func (r *room) beside(rows int) int {
	back := r.back.of(rows)
	if back == 0 {
		back = r.block.of(rows)
	}
	return back + r.block.of(rows)
}

// least is what the largest pass takes with every block run again.
func (r *room) least() int {
	return r.blocks*r.output.of(r.rows) + r.block.of(r.rows) + r.tail.of(r.rows) + r.beside(r.rows)
}
