package rollout

import (
	"cmp"
	"math"
	"slices"

	"plumb/internal/kernels"
)

// sampler draws tokens of one sequence; it holds scratch memory.
type sampler struct {
	tiles []kernels.LSE
	cand  []candidate
	z     []float64
}

// candidate is a token that may be drawn: id and scaled logit.
type candidate struct {
	id int32
	z  float64
}

// draw takes a token from logits with the uniform u in [0,1). Tokens of banned cannot be drawn. ok is false if the logits
// are not numbers.
func (s *sampler) draw(logits []float32, o *Options, banned []int32, u float64) (id int32, logp float32, ok bool) {
	scale := float32(1)
	if o.Temperature > 0 {
		scale = 1 / o.Temperature
	}
	if len(banned) == 0 && (o.Greedy || !o.filtered()) {
		if n := (len(logits) + kernels.VocabTile - 1) / kernels.VocabTile; len(s.tiles) != n {
			s.tiles = make([]kernels.LSE, n)
		}
		all := kernels.LogSumExp(logits, scale, s.tiles)
		if !(all.Sum > 0) || math.IsInf(all.Sum, 1) {
			return 0, 0, false
		}
		if o.Greedy {
			id = likeliest(logits)
		} else {
			id = s.fromTiles(logits, scale, all, u)
		}
		return id, float32(all.LogProb(logits[id] * scale)), true
	}
	s.collect(logits, scale, banned)
	if len(s.cand) == 0 {
		return 0, 0, false
	}
	if !o.Greedy {
		s.keep(o.TopK, o.TopP, o.MinP)
	}
	return s.fromCandidates(o.Greedy, u)
}

// likeliest returns the first of the largest logits.
func likeliest(logits []float32) int32 {
	best := 0
	for i, z := range logits {
		if z > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// fromTiles inverts the cumulative distribution at u: first by the tiles' sums, then inside a tile.
func (s *sampler) fromTiles(logits []float32, scale float32, all kernels.LSE, u float64) int32 {
	rest, last := u*all.Sum, 0
	for i, t := range s.tiles {
		c := math.Exp(float64(t.Max) - float64(all.Max))
		if c*t.Sum == 0 {
			continue
		}
		last = i
		if rest < c*t.Sum {
			break
		}
		rest -= c * t.Sum
	}
	t, at := s.tiles[last], last*kernels.VocabTile
	rest /= math.Exp(float64(t.Max) - float64(all.Max))
	id := -1
	for i, z := range logits[at:min(at+kernels.VocabTile, len(logits))] {
		w := math.Exp(float64(z*scale) - float64(t.Max))
		if w == 0 {
			continue
		}
		id = at + i
		if rest < w {
			break
		}
		rest -= w
	}
	return int32(id)
}

// collect makes every possible token a candidate, in the order of ids.
func (s *sampler) collect(logits []float32, scale float32, banned []int32) {
	s.cand = s.cand[:0]
	for i, z := range logits {
		if z != z || math.IsInf(float64(z), 1) {
			s.cand = s.cand[:0]
			return
		}
		if !math.IsInf(float64(z), -1) && !slices.Contains(banned, int32(i)) {
			s.cand = append(s.cand, candidate{int32(i), float64(z * scale)})
		}
	}
}

// keep drops candidates by top-k, top-p and min-p, in this order; at least one stays. Ties are resolved as transformers
// does: top-k keeps all that equal the k-th, top-p drops the lower id first, min-p treats equals alike.
func (s *sampler) keep(topK int, topP, minP float64) {
	if topK > 0 && topK < len(s.cand) {
		s.z = s.z[:0]
		for _, c := range s.cand {
			s.z = append(s.z, c.z)
		}
		kth := largest(s.z, topK)
		s.cand = slices.DeleteFunc(s.cand, func(c candidate) bool { return c.z < kth })
	}
	if topP > 0 && topP < 1 {
		s.nucleus(topP)
	}
	if minP > 0 {
		top := s.top()
		s.cand = slices.DeleteFunc(s.cand, func(c candidate) bool { return math.Exp(c.z-top) < minP })
	}
}

func (s *sampler) top() float64 {
	top := math.Inf(-1)
	for _, c := range s.cand {
		top = max(top, c.z)
	}
	return top
}

// nucleus drops the least likely candidates as long as their probabilities, added up from the least, are at most 1-p.
// Only those near the limit are sorted: the others are dropped by the bucket, half a nat wide.
func (s *sampler) nucleus(p float64) {
	const buckets = 128
	var mass [buckets]float64
	top, total := s.top(), 0.0
	bucket := func(z float64) int { return int(min(2*(top-z), buckets-1)) }
	for _, c := range s.cand {
		w := math.Exp(c.z - top)
		mass[bucket(c.z)] += w
		total += w
	}
	limit, dropped, b := (1-p)*total, 0.0, buckets-1
	for ; b > 0 && dropped+mass[b] <= limit; b-- {
		dropped += mass[b]
	}
	s.cand = slices.DeleteFunc(s.cand, func(c candidate) bool { return bucket(c.z) > b })
	// Of bucket b some go: the least likely, of equals the lower ids.
	edge := make([]candidate, 0, 64)
	for _, c := range s.cand {
		if bucket(c.z) == b {
			edge = append(edge, c)
		}
	}
	slices.SortStableFunc(edge, func(x, y candidate) int { return cmp.Compare(x.z, y.z) })
	n := 0
	for ; n < len(edge); n++ {
		if dropped += math.Exp(edge[n].z - top); dropped > limit {
			break
		}
	}
	if n == len(s.cand) {
		n--
	}
	if n > 0 {
		last := edge[n-1]
		s.cand = slices.DeleteFunc(s.cand, func(c candidate) bool {
			return bucket(c.z) == b && (c.z < last.z || c.z == last.z && c.id <= last.id)
		})
	}
}

// fromCandidates draws one of what was kept, or takes the likeliest, with its log-probability among them.
func (s *sampler) fromCandidates(greedy bool, u float64) (id int32, logp float32, ok bool) {
	top, sum := s.top(), 0.0
	for _, c := range s.cand {
		sum += math.Exp(c.z - top)
	}
	rest := u * sum
	var drawn candidate
	for _, c := range s.cand {
		w := math.Exp(c.z - top)
		if greedy {
			if c.z == top {
				drawn = c
				break
			}
			continue
		}
		if w == 0 {
			continue
		}
		drawn = c
		if rest < w {
			break
		}
		rest -= w
	}
	return drawn.id, float32(drawn.z - top - math.Log(sum)), true
}

// largest returns the k-th largest of z, 1 ≤ k ≤ len(z), and reorders z (Hoare's quickselect, median of three).
func largest(z []float64, k int) float64 {
	lo, hi := 0, len(z)-1
	for lo < hi {
		a, b, c := z[lo], z[(lo+hi)/2], z[hi]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := lo, hi
		for i <= j {
			for z[i] > pivot {
				i++
			}
			for z[j] < pivot {
				j--
			}
			if i <= j {
				z[i], z[j] = z[j], z[i]
				i++
				j--
			}
		}
		switch {
		case k-1 <= j:
			hi = j
		case k-1 >= i:
			lo = i
		default:
			return z[k-1]
		}
	}
	return z[k-1]
}
