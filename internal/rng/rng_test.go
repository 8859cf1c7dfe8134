package rng

import (
	"math"
	"testing"
)

// Streams of one seed, and seeds of one stream, have seeds of their own.
func TestDerive(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(30) {
		for stream := range uint64(30) {
			seen[Derive(seed, stream)] = true
		}
		seen[Derive(seed)] = true
	}
	if len(seen) != 30*31 {
		t.Errorf("%d different seeds of %d", len(seen), 30*31)
	}
	if Derive(1, 2) != New(1, 2).Uint64() || Derive(1, 2) == 1 {
		t.Error("a stream's seed is not its first draw")
	}
}

// The known-answer vectors of Random123 (kat_vectors, philox4x32 10 rounds).
func TestPhiloxKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		ctr  [4]uint32
		key  [2]uint32
		want [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
			[2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		if got := philox(c.ctr, c.key); got != c.want {
			t.Errorf("philox(%08x, %08x) = %08x, want %08x", c.ctr, c.key, got, c.want)
		}
	}
}

func TestSeekContinuesTheStream(t *testing.T) {
	a := New(7, 1, 2)
	var all []uint32
	for range 23 {
		all = append(all, a.Uint32())
	}
	for n := range all {
		b := New(7, 1, 2)
		b.Seek(uint64(n))
		if got := b.Uint32(); got != all[n] {
			t.Fatalf("word %d after Seek is %08x, want %08x", n, got, all[n])
		}
		if b.Pos() != uint64(n+1) {
			t.Fatalf("Pos after word %d is %d", n, b.Pos())
		}
	}
}

func TestStreamsDiffer(t *testing.T) {
	seen := map[uint64]bool{}
	for _, s := range []*Source{New(1), New(2), New(1, 0), New(1, 1), New(1, 0, 1), New(1, 1, 0), New(0, 1)} {
		v := s.Uint64()
		if seen[v] {
			t.Fatalf("two streams start with the same word %016x", v)
		}
		seen[v] = true
	}
	if At(1, 2, 3, 4) == At(1, 2, 3, 5) || At(1, 2, 3, 4) == At(1, 2, 4, 4) || At(1, 2, 3, 4) == At(1, 3, 3, 4) || At(1, 2, 3, 4) == At(2, 2, 3, 4) {
		t.Fatal("At ignores one of its keys")
	}
}

// Means, variances and bin counts stay within five standard errors of what the distributions say.
func TestDistributions(t *testing.T) {
	const n = 200_000
	s := New(3)
	var sum, sq float64
	for range n {
		x := s.Norm()
		sum += x
		sq += x * x
	}
	if m := sum / n; math.Abs(m) > 5/math.Sqrt(n) {
		t.Errorf("mean of Norm is %g", m)
	}
	if v := sq / n; math.Abs(v-1) > 5*math.Sqrt(2.0/n) {
		t.Errorf("variance of Norm is %g", v)
	}
	var bins [7]int
	for range n {
		bins[s.IntN(7)]++
	}
	for i, b := range bins {
		if d := math.Abs(float64(b) - n/7.0); d > 5*math.Sqrt(n*(1/7.0)*(6/7.0)) {
			t.Errorf("IntN(7) gave %d %d times of %d", i, b, n)
		}
	}
	sum = 0
	for i := range n {
		u := At(9, uint64(i), 0, 0)
		if u < 0 || u >= 1 {
			t.Fatalf("At = %g", u)
		}
		sum += u
	}
	if m := sum / n; math.Abs(m-0.5) > 5/math.Sqrt(12*n) {
		t.Errorf("mean of At is %g", m)
	}
}

func TestPermIsAPermutation(t *testing.T) {
	p := New(4).Perm(100)
	seen := make([]bool, 100)
	for _, i := range p {
		seen[i] = true
	}
	for i, ok := range seen {
		if !ok {
			t.Fatalf("%d is missing", i)
		}
	}
}
