package kernels

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestPool: every item runs exactly once, whatever the number of threads, callers and items, also when items dawdle so
// that workers and caller park.
func TestPool(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, threads := range []int{1, 2, 3, 8} {
		p := NewPool(threads)
		if p.Threads() != threads {
			t.Errorf("Threads() = %d, want %d", p.Threads(), threads)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for n := range 60 {
					counts := make([]atomic.Int32, n)
					p.Do(n, func(i int) {
						if n%20 == 7 && i%2 == 0 {
							time.Sleep(100 * time.Microsecond)
						}
						counts[i].Add(1)
					})
					for i := range counts {
						if c := counts[i].Load(); c != 1 {
							t.Errorf("%d threads: item %d of %d ran %d times", threads, i, n, c)
						}
					}
				}
			})
		}
		wg.Wait()
		p.Close()
		p.Close()
	}
}

func TestClosedPool(t *testing.T) {
	p := NewPool(2)
	p.Close()
	defer func() {
		if recover() == nil {
			t.Error("a closed pool was used")
		}
	}()
	p.Do(3, func(int) {})
}
