// Package rng is the project's one source of randomness: the counter-based generator Philox4x32-10 of Salmon et al.,
// "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). A draw is a pure function of a key and a counter, so a result
// keyed by (seed, episode, sample, position) does not depend on batch order, number of workers or what was drawn before.
package rng

import (
	"math"
	"math/bits"
)

const (
	philoxM0 = 0xD2511F53
	philoxM1 = 0xCD9E8D57
	philoxW0 = 0x9E3779B9
	philoxW1 = 0xBB67AE85
)

// philox is ten rounds of Philox4x32 over one counter block.
func philox(ctr [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		hi0, lo0 := bits.Mul32(philoxM0, ctr[0])
		hi1, lo1 := bits.Mul32(philoxM1, ctr[2])
		ctr = [4]uint32{hi1 ^ ctr[1] ^ key[0], lo1, hi0 ^ ctr[3] ^ key[1], lo0}
		key[0] += philoxW0
		key[1] += philoxW1
	}
	return ctr
}

// mix folds one 64-bit word into a key (the finaliser of SplitMix64), so that nearby seeds and streams give unrelated keys.
func mix(h, x uint64) uint64 {
	z := h + 0x9E3779B97F4A7C15 + x
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func fold(seed uint64, stream []uint64) uint64 {
	h := mix(0, seed)
	for _, s := range stream {
		h = mix(h, s)
	}
	return h
}

// Source is a stream of draws: the counter is its only state, so Pos and Seek make it resumable. Not for concurrent use.
type Source struct {
	key   [2]uint32
	pos   uint64 // 32-bit words drawn
	block [4]uint32
	have  uint64 // index+1 of the block in block; 0 when empty
}

// New returns the stream named by a seed and any further words (stage, epoch, item ...). Different words, unrelated streams.
func New(seed uint64, stream ...uint64) *Source {
	k := fold(seed, stream)
	return &Source{key: [2]uint32{uint32(k), uint32(k >> 32)}}
}

// Derive returns the seed of a stream: for draws that are keyed by a seed alone (At), kept apart from those of other streams.
func Derive(seed uint64, stream ...uint64) uint64 { return New(seed, stream...).Uint64() }

// At returns the one uniform in [0,1) that belongs to (seed, a, b, c), with 53 bits.
func At(seed, a, b, c uint64) float64 {
	k := mix(0, seed)
	out := philox([4]uint32{uint32(c), uint32(c >> 32), uint32(b), uint32(b >> 32)}, [2]uint32{uint32(mix(k, a)), uint32(mix(k, a) >> 32)})
	return float64((uint64(out[0])<<32|uint64(out[1]))>>11) / (1 << 53)
}

// Pos is the number of 32-bit words drawn so far.
func (s *Source) Pos() uint64 { return s.pos }

// Seek continues the stream as if n 32-bit words had been drawn.
func (s *Source) Seek(n uint64) { s.pos = n }

// Uint32 returns 32 random bits.
func (s *Source) Uint32() uint32 {
	b := s.pos / 4
	if s.have != b+1 {
		s.block = philox([4]uint32{uint32(b), uint32(b >> 32)}, s.key)
		s.have = b + 1
	}
	v := s.block[s.pos%4]
	s.pos++
	return v
}

// Uint64 returns 64 random bits.
func (s *Source) Uint64() uint64 { return uint64(s.Uint32())<<32 | uint64(s.Uint32()) }

// Float64 returns a uniform in [0,1) with 53 bits.
func (s *Source) Float64() float64 { return float64(s.Uint64()>>11) / (1 << 53) }

// Float32 returns a uniform in [0,1) with 24 bits.
func (s *Source) Float32() float32 { return float32(s.Uint32()>>8) / (1 << 24) }

// IntN returns a uniform integer in [0,n), without bias (Lemire's rejection). It panics when n <= 0.
func (s *Source) IntN(n int) int {
	if n <= 0 {
		panic("rng: IntN: n must be positive")
	}
	m := uint64(n)
	for {
		hi, lo := bits.Mul64(s.Uint64(), m)
		if lo >= m || lo >= -m%m {
			return int(hi)
		}
	}
}

// Norm returns a standard normal (Box-Muller, one of the pair, so that the number of words drawn is fixed at four).
func (s *Source) Norm() float64 {
	u, v := s.Float64(), s.Float64()
	return math.Sqrt(-2*math.Log(1-u)) * math.Cos(2*math.Pi*v)
}

// Perm returns a random permutation of 0..n-1 (Fisher-Yates).
func (s *Source) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := s.IntN(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}
