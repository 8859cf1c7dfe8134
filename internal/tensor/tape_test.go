package tensor

import (
	"runtime"
	"slices"
	"testing"

	"plumb/internal/kernels"
	"plumb/internal/rng"
)

// block is x + W2 silu(W1 norm(x)) (W3 norm(x)).
type block struct {
	w1, w2, w3 *Matrix
	gain       *Vector
}

func (b *block) Forward(t *Tape, x *Tensor) *Tensor {
	n := t.RMSNorm(x, b.gain, 1e-5)
	return t.Residual(x, t.Linear(t.SwiGLU(t.Linear(n, b.w1, nil, nil), t.Linear(n, b.w3, nil, nil)), b.w2, nil, nil))
}

// stack is three blocks of width 24.
func stack(trained ...int) []*block {
	draw := rng.New(3)
	fill := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(0.3 * draw.Norm())
		}
		return v
	}
	var out []*block
	for l := range 3 {
		grad := func(n int) []float32 {
			if !slices.Contains(trained, l) {
				return nil
			}
			return make([]float32, n)
		}
		out = append(out, &block{
			w1:   &Matrix{kernels.PackF32(fill(40*24), 40, 24), grad(40 * 24)},
			w2:   &Matrix{kernels.PackF32(fill(24*40), 24, 40), grad(40 * 24)},
			w3:   &Matrix{kernels.PackF32(fill(40*24), 40, 24), grad(40 * 24)},
			gain: &Vector{fill(24), grad(24)},
		})
	}
	return out
}

func (b *block) grads() []float32 { return slices.Concat(b.w1.Grad, b.w2.Grad, b.w3.Grad, b.gain.Grad) }

// step runs the stack forwards and backwards on rows of x and returns the output.
func step(tape *Tape, blocks []*block, in *Tensor) *Tensor {
	x := in
	for i, b := range blocks {
		x = tape.Checkpoint(x, b, len(blocks)-i-1)
	}
	if x.needs {
		seed := make([]float64, len(x.Data))
		for i := range seed {
			seed[i] = float64(i%7) - 3
		}
		x.Seed(seed)
		tape.Backward()
	}
	return x
}

func rows(n int) []float32 {
	draw, v := rng.New(4), make([]float32, n*24)
	for i := range v {
		v[i] = float32(draw.Norm())
	}
	return v
}

// Recomputing in the backward pass changes no bit, neither of the output nor of any gradient.
func TestCheckpointGivesTheSameBits(t *testing.T) {
	p := pool(t)
	in := rows(9)
	var want [][]float32
	for _, recompute := range []bool{false, true} {
		tape := NewTape(p)
		tape.Recompute(recompute)
		blocks := stack(0, 1, 2)
		x := tape.Leaf(in, 9, 24, true)
		y := step(tape, blocks, x)
		got := [][]float32{slices.Clone(y.Data), slices.Clone(x.Grad)}
		for _, b := range blocks {
			got = append(got, b.grads())
		}
		if want == nil {
			want = got
			continue
		}
		for i := range got {
			if len(got[i]) == 0 || !slices.Equal(got[i], want[i]) {
				t.Errorf("result %d differs", i)
			}
		}
	}
}

// Whatever memory a tape may take, the bits are those of one that may take any; it takes no more, runs no more blocks again than it
// must, and says when even running all again does not suffice.
func TestWithinABoundOfMemory(t *testing.T) {
	p := pool(t)
	var blocks []*block
	for range 4 {
		blocks = append(blocks, stack(0, 1, 2)...)
	}
	sizes := []int{700, 300, 1100, 1100} // rows of one step after another
	run := func(limit int) (tape *Tape, bits [][]float32, again []int) {
		tape = NewTape(p)
		tape.Within(limit, slices.Max(sizes), 0)
		for _, n := range sizes {
			for _, b := range blocks {
				clear(b.w1.Grad)
				clear(b.w2.Grad)
				clear(b.w3.Grad)
				clear(b.gain.Grad)
			}
			tape.Reset()
			x := tape.Leaf(rows(n), n, 24, true)
			y := step(tape, blocks, x)
			bits = append(bits, slices.Clone(y.Data), slices.Clone(x.Grad))
			for _, b := range blocks {
				bits = append(bits, b.grads())
			}
			again = append(again, tape.slabs.checkpoint.n)
		}
		return tape, bits, again
	}
	free, want, _ := run(0)
	most, before := free.Touched(), len(blocks)+1
	partly := false
	for _, share := range []int{10, 40, 55, 70, 85, 130} {
		limit := most * share / 100
		tape, got, again := run(limit)
		for i := range got {
			if !slices.Equal(got[i], want[i]) {
				t.Fatalf("within %d %%: result %d differs", share, i)
			}
		}
		last, over := again[len(again)-1], tape.Over()
		t.Logf("within %d %%: %d of %d blocks again, %d %% touched, %d bytes over", share, last, len(blocks), 100*tape.Touched()/most, over)
		if (over > 0) != (share == 10) || tape.Over() != 0 {
			t.Errorf("within %d %%: %d bytes over", share, over)
		}
		if share > 10 && tape.Touched() > limit {
			t.Errorf("within %d %%: %d bytes of %d", share, tape.Touched(), limit)
		}
		if last > before || share == 130 && last != 0 {
			t.Errorf("within %d %%: %d blocks again, with less memory %d", share, last, before)
		}
		partly = partly || last > 0 && last < len(blocks)
		before = last
	}
	if !partly {
		t.Error("all blocks or none were run again")
	}
}

// What lies below the lowest trained block keeps nothing, and takes no room from those that are trained.
func TestFrozenBlocksKeepNothing(t *testing.T) {
	p := pool(t)
	frozen := stack()
	all := slices.Concat(frozen, frozen, frozen, stack(1, 2)) // 10 frozen, 2 trained
	touched := func(limit int, blocks []*block) (bytes, again int) {
		tape := NewTape(p)
		tape.Within(limit, 1000, 0)
		for range 3 {
			tape.Reset()
			step(tape, blocks, tape.Leaf(rows(1000), 1000, 24, false))
			again = tape.slabs.checkpoint.n
		}
		return tape.Touched(), again
	}
	few, _ := touched(0, all[len(all)-3:])
	outputs := 4 * 24 * 1000 * len(frozen) * 3
	if many, _ := touched(0, all); many > few+outputs+few/20 {
		t.Errorf("3 blocks of which 2 are trained take %d bytes, with 9 frozen ones below %d", few, many)
	}
	if _, again := touched(few*5/4+outputs, all); again != 0 {
		t.Errorf("%d trained blocks are run again although there is room for them", again)
	}
}

// With room left for a tape that does not record, the two together stay within the bound.
func TestRoomBesideAnInferenceTape(t *testing.T) {
	p := pool(t)
	blocks := slices.Concat(stack(0, 1, 2), stack(0, 1, 2), stack(0, 1, 2))
	pass := func(tape *Tape) {
		tape.Reset()
		step(tape, blocks, tape.Leaf(rows(900), 900, 24, true))
	}
	free := NewTape(p)
	pass(free)
	limit := free.Touched() * 3 / 4
	tape, infer := NewTape(p), NewInferenceTape(p)
	tape.Within(limit, 900, 900)
	for range 3 {
		pass(tape)
		pass(infer)
	}
	if n := tape.Touched() + infer.Touched(); n > limit || tape.slabs.checkpoint.n == len(blocks) {
		t.Errorf("%d bytes of %d, %d blocks again", n, limit, tape.slabs.checkpoint.n)
	}
}

// A tape that does not record computes the same bits, keeps no operation and refuses to go back.
func TestInferenceGivesTheSameBits(t *testing.T) {
	p := pool(t)
	train, infer := NewTape(p), NewInferenceTape(p)
	y := step(train, stack(0, 1, 2), train.Leaf(rows(9), 9, 24, false))
	x := infer.Leaf(rows(9), 9, 24, true)
	for _, b := range stack(0, 1, 2) {
		x = infer.Checkpoint(x, b, 0)
	}
	if !slices.Equal(x.Data, y.Data) {
		t.Error("outputs differ")
	}
	if x.NeedsGrad() || len(infer.ops) != 0 {
		t.Error("the inference tape recorded")
	}
	defer func() {
		if recover() == nil {
			t.Error("Backward on an inference tape did not panic")
		}
	}()
	infer.Backward()
}

// The backward pass stops below the lowest trained block.
func TestBackwardStopsBelowTheLowestTrained(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		tape := NewTape(pool(t))
		tape.Recompute(recompute)
		all, top := stack(0, 1, 2), stack(2)
		full := NewTape(tape.pool)
		step(full, all, full.Leaf(rows(5), 5, 24, true))
		x := tape.Leaf(rows(5), 5, 24, false)
		y := x
		for i, b := range top {
			y = tape.Checkpoint(y, b, len(top)-i-1)
			if y.needs != (i == 2) {
				t.Errorf("after block %d: needs a gradient: %v", i, y.needs)
			}
		}
		tape.Reset()
		step(tape, top, tape.Leaf(rows(5), 5, 24, false))
		if !slices.Equal(top[2].grads(), all[2].grads()) {
			t.Error("gradients of the trained block differ")
		}
	}
}

// Gradients are added to what is there, whatever was left from another step; Reset forgets seeds.
func TestStepsDoNotLeakIntoEachOther(t *testing.T) {
	tape := NewTape(pool(t))
	once := stack(0, 1, 2)
	step(tape, once, tape.Leaf(rows(9), 9, 24, false))
	tape.Reset()
	again := stack(0, 1, 2)
	step(tape, stack(0, 2), tape.Leaf(rows(30), 30, 24, true))
	tape.Reset()
	step(tape, again, tape.Leaf(rows(9), 9, 24, false))
	for i := range once {
		if !slices.Equal(once[i].grads(), again[i].grads()) {
			t.Errorf("gradients of block %d depend on earlier steps", i)
		}
	}
}

// A steady state allocates nothing: neither memory for activations nor records of operations.
func TestStepsLeaveNoGarbage(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		tape := NewTape(pool(t))
		tape.Recompute(recompute)
		blocks, in, seed := stack(0, 1, 2), rows(50), make([]float64, 50*24)
		for i := range seed {
			seed[i] = 1
		}
		run := func() {
			tape.Reset()
			x := tape.Leaf(in, 50, 24, false)
			for i, b := range blocks {
				x = tape.Checkpoint(x, b, len(blocks)-i-1)
			}
			x.Seed(seed)
			tape.Backward()
		}
		for range 20 {
			run()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 300 { // enough to fill further chunks of records if they were not taken back
			run()
		}
		runtime.ReadMemStats(&after)
		if n := after.Mallocs - before.Mallocs; n > 4 { // the runtime's own
			t.Errorf("recompute %v: %d allocations in 300 steps", recompute, n)
		}
	}
}

// The number of threads changes no bit.
func TestThreadsChangeNothing(t *testing.T) {
	var want []float32
	for _, threads := range []int{1, 2, 3} {
		p := kernels.NewPool(threads)
		tape, blocks := NewTape(p), stack(0, 1, 2)
		y := step(tape, blocks, tape.Leaf(rows(333), 333, 24, true))
		got := slices.Concat(y.Data, blocks[0].grads(), blocks[1].grads(), blocks[2].grads())
		p.Close()
		if want == nil {
			want = got
		} else if !slices.Equal(got, want) {
			t.Errorf("%d threads give other bits", threads)
		}
	}
}
