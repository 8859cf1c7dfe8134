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

// Checkpoint runs the block, after which so many more of its kind are to come. On a tape that recomputes, and where the memory set by
// Within does not suffice, everything but the output is given back at once, and Backward runs the block again (Chen et al. 2016, arXiv
// 1604.06174). It is given back, too, where no gradient will come through the block. Same bits either way.
func (t *Tape) Checkpoint(x *Tensor, b Block, more int) *Tensor {
	if t.quiet {
		return b.Forward(t, x)
	}
	before := t.acts.handed()
	keep := t.room.keeps(before, x, more) && !t.off && !t.recompute
	if keep && x.needs {
		y := b.Forward(t, x)
		t.room.ran(t.acts.handed()-before, x.Rows, true)
		t.behind = t.acts.handed()
		return y
	}
	y := t.New(x.Rows, x.Cols)
	m := t.acts.mark()
	t.quiet = !keep
	inner := b.Forward(t, x)
	t.quiet = false
	if len(inner.Data) != len(y.Data) {
		panic("tensor: Checkpoint: a block must keep its shape")
	}
	kept := keep && inner.needs // the lowest block that is trained
	t.room.ran(t.acts.handed()-before, x.Rows, kept)
	if kept {
		t.behind = t.acts.handed()
		return inner
	}
	copy(y.Data, inner.Data)
	y.needs = inner.needs
	t.acts.release(m)
	t.behind = t.acts.handed()
	if t.records(y) {
		o := t.slabs.checkpoint.next()
		o.x, o.y, o.block = x, y, b
		t.push(o)
		t.room.again = true
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

// room is the memory that passes may take and what their parts take, in floats.
type room struct {
	limit  int // 0: no bound
	rows   int // no pass has more
	beside int // rows of passes on a tape that does not record
	over   int // the most that passes with every block run again took beyond the limit

	seen        int  // rows of the largest pass so far
	blocks      int  // of a pass
	again, kept bool // in this pass: a block is run again, a block keeps what it needs
	passRows    int

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

// ran notes a block's run.
func (r *room) ran(floats, rows int, kept bool) {
	r.block.see(floats, rows)
	r.kept = r.kept || kept
	r.passRows = rows
}

// keeps says whether the activations of the next block can stay, with so many floats handed out and more blocks to come. The
// first block that is trained is run again, to see what one takes.
func (r *room) keeps(handed int, x *Tensor, more int) bool {
	r.blocks, r.seen = max(r.blocks, more+1), max(r.seen, x.Rows)
	r.output.see(len(x.Data), x.Rows)
	block := r.block.of(x.Rows)
	switch {
	case r.limit == 0:
		return true
	case block == 0:
		return false
	}
	left := r.limit - handed - r.besides() - r.tail.of(x.Rows)
	if !r.again && (more+1)*block <= left {
		return true
	}
	return 2*block+more*r.output.of(x.Rows) <= left // it stays, of the others the outputs, and one of them at a time is run again
}

// besides is what passes take besides their activations: gradients, which have memory of their own that stays theirs, and what is
// on a tape that does not record. Later passes may have half as many rows again as those so far, up to the bound. Before the first
// way back gradients are taken to be as large as a block's activations.
func (r *room) besides() int {
	rows := max(r.seen, min(r.rows, 3*r.seen/2))
	n := r.back.of(rows)
	if n == 0 {
		n = r.block.of(rows)
	}
	if r.beside > 0 {
		n += r.block.of(r.beside) + r.tail.of(r.beside) + r.blocks*r.output.of(r.beside)
	}
	return n
}
