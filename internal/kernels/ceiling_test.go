package kernels

import (
	"testing"
	"time"
)

// TestShare: 2 GFLOP at 10 GFLOP/s is 0.2 s, 1 GB at 4 GB/s 0.25 s; of half a second the larger is one half.
func TestShare(t *testing.T) {
	c := Ceiling{GFLOPS: 10, Read: 4, Copy: 3}
	for _, x := range []struct{ flops, bytes, seconds, want float64 }{
		{2e9, 1e9, 0.5, 0.5}, {4e9, 1e9, 0.5, 0.8}, {0, 1e9, 1, 0.25}, {1, 1, 0, 0},
	} {
		if got := c.Share(x.flops, x.bytes, x.seconds); got < x.want-1e-12 || got > x.want+1e-12 {
			t.Errorf("Share(%g, %g, %g) = %g, want %g", x.flops, x.bytes, x.seconds, got, x.want)
		}
	}
}

// TestMeasureCeiling: the rates are those of a machine that runs Go, in the units they claim: between 0.01 and 100,000 GFLOP/s,
// 0.05 and 10,000 GB/s.
func TestMeasureCeiling(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	c := p.MeasureCeiling(20*time.Millisecond, 4)
	if c.Threads != 1 || c.GFLOPS < 0.01 || c.GFLOPS > 1e5 || c.Read < 0.05 || c.Read > 1e4 || c.Copy < 0.05 || c.Copy > 1e4 {
		t.Errorf("ceiling %+v", c)
	}
}

// BenchmarkCeiling is what make bench-ceiling reports, at one thread and at all.
func BenchmarkCeiling(b *testing.B) {
	for b.Loop() {
		for _, n := range []int{1, 0} {
			p := NewPool(n)
			c := p.MeasureCeiling(2*time.Second, 512)
			b.Logf("%+v", c)
			p.Close()
		}
	}
}
