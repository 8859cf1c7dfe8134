package kernels

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Pool carries the threads that run kernels, and their scratch memory. Every method may be called from several
// goroutines; they then take turns. A call returns when its result is complete. Nothing an operation returns depends
// on the number of threads.
type Pool struct {
	mu      sync.Mutex // held during an operation; guards the job fields below
	workers []*worker  // workers[0] is the calling goroutine
	closed  bool

	// The current operation. next hands out items; pending counts helpers that have not finished, the last of which
	// sends on done if the caller parked.
	task    task
	items   int64
	next    atomic.Int64
	pending atomic.Int32
	parked  atomic.Bool
	done    chan struct{}

	meter meter

	jobs jobs // arguments of the operation that runs, kept here so that a call leaves no garbage
}

// task is one operation cut into independent items.
type task interface{ item(w *worker, i int) }

// jobs holds one argument struct for each kind of operation.
type jobs struct {
	fn     funcJob
	gemm   gemmJob
	attn   attnJob
	flat   flatJob
	rows   rowJob
	sum    sumJob
	adamw  adamwJob
	adamw8 adamw8Job
}

type worker struct {
	start chan struct{} // one token starts one operation; closed by Close
	state atomic.Int32  // idle, called or asleep
	mem   []float32
	dmem  []float64
	pages []uintptr // addresses of an item's pages, for C
}

const (
	idle   = iota // spinning or about to
	called        // an operation waits for this worker
	asleep        // parked on start
)

// spins is how often an idle worker looks for work before it parks: long enough for the moments between the operations of a step in
// which one thread has work alone, since waking a thread of a virtual machine is slow. A fifth of it made sampling 64 side by side
// a sixth slower; four times as much gained nothing.
const spins = 20000

// NewPool returns a pool of the given number of threads; 0 means one for each core the process may use. The caller's
// goroutine is one of them. Close releases the others.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{done: make(chan struct{}, 1)}
	for i := range threads {
		w := &worker{start: make(chan struct{}, 1)}
		p.workers = append(p.workers, w)
		if i > 0 {
			go p.serve(w)
		}
	}
	return p
}

// Threads returns the number of threads.
func (p *Pool) Threads() int { return len(p.workers) }

// Close ends the pool's goroutines. The pool must not be used afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, w := range p.workers[1:] {
		close(w.start)
	}
}

type funcJob struct{ f func(i int) }

func (j *funcJob) item(_ *worker, i int) { j.f(i) }

// Do calls f(i) once for every i in [0,n), on all threads, in no particular order. f must not use the pool.
func (p *Pool) Do(n int, f func(i int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs.fn.f = f
	p.meter.note(opKey{name: "function"}, n, 0, 0, 0)
	p.run(n, &p.jobs.fn, false)
	p.jobs.fn.f = nil
}

// run executes items 0..n-1 of t, on the calling goroutine alone if serial: waking a thread costs microseconds.
// The caller holds p.mu.
func (p *Pool) run(n int, t task, serial bool) {
	if p.closed {
		panic("kernels: Pool: used after Close")
	}
	if p.meter.profile == nil {
		p.spread(n, t, serial)
		return
	}
	began := time.Now()
	p.spread(n, t, serial)
	p.meter.took(time.Since(began))
}

func (p *Pool) spread(n int, t task, serial bool) {
	if serial || n <= 1 || len(p.workers) == 1 {
		for i := range n {
			t.item(p.workers[0], i)
		}
		return
	}
	helpers := p.workers[1:min(n, len(p.workers))]
	p.task, p.items = t, int64(n)
	p.next.Store(0)
	p.pending.Store(int32(len(helpers)))
	for _, w := range helpers {
		if w.state.Swap(called) == asleep {
			w.start <- struct{}{}
		}
	}
	p.work(p.workers[0])
	p.wait()
	p.task = nil
}

// wait returns when no helper is at work: it spins for a moment, then parks.
func (p *Pool) wait() {
	for range spins {
		if p.pending.Load() == 0 {
			return
		}
	}
	p.parked.Store(true)
	if p.pending.Load() != 0 || !p.parked.CompareAndSwap(true, false) {
		<-p.done
	}
}

func (p *Pool) work(w *worker) {
	for {
		i := p.next.Add(1) - 1
		if i >= p.items {
			return
		}
		p.task.item(w, int(i))
	}
}

// serve is the life of a helper: spin for a moment, then park, until called.
func (p *Pool) serve(w *worker) {
	for {
		got := false
		for i := 0; i < spins && !got; i++ {
			got = w.state.Load() == called
			if i%256 == 255 {
				runtime.Gosched()
			}
		}
		if !got && w.state.CompareAndSwap(idle, asleep) {
			if _, ok := <-w.start; !ok {
				return
			}
		}
		w.state.Store(idle)
		p.work(w)
		if p.pending.Add(-1) == 0 && p.parked.CompareAndSwap(true, false) {
			p.done <- struct{}{}
		}
	}
}

// floats returns n float32 of the worker's scratch, aligned to 64 bytes, with any content.
func (w *worker) floats(n int) []float32 {
	if len(w.mem) < n {
		w.mem = alignedFloats(n)
	}
	return w.mem[:n]
}

// doubles is floats in float64, not aligned.
func (w *worker) doubles(n int) []float64 {
	if len(w.dmem) < n {
		w.dmem = make([]float64, n)
	}
	return w.dmem[:n]
}

// alignedFloats returns n zero float32 at an address that is a multiple of 64 bytes.
func alignedFloats(n int) []float32 {
	b := make([]float32, n+15)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b)))%64) / 4
	return b[off : off+n : off+n]
}

// FloatsOf views zero bytes, such as Paged returns, as float32; their number must be a multiple of 4 and their address one
// too.
func FloatsOf(b []byte) []float32 {
	if len(b) == 0 {
		return nil
	}
	if len(b)%4 != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%4 != 0 {
		panic("kernels: FloatsOf: not whole or not aligned")
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
