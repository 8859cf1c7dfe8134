package kernels

import "math"

// VocabTile is the number of columns of logits that a log-sum-exp visits together: callers walk the vocabulary in
// tiles [0,VocabTile), [VocabTile,2·VocabTile), ... so that everybody gets the same bits.
const VocabTile = 1024

// LSE is the state of a log-sum-exp over scaled logits z, tile after tile: the maximum, Σ e^(z−Max) and
// Σ e^(z−Max)·(z−Max). NewLSE is the state before the first tile.
type LSE struct {
	Max      float32
	Sum, Dot float64
}

// NewLSE returns the state before the first tile.
func NewLSE() LSE { return LSE{Max: float32(math.Inf(-1))} }

// Log returns log Σ e^z in nats.
func (s LSE) Log() float64 { return float64(s.Max) + math.Log(s.Sum) }

// LogProb returns log softmax for the scaled logit z, in nats.
func (s LSE) LogProb(z float32) float64 { return float64(z-s.Max) - math.Log(s.Sum) }

// Entropy returns −Σ p log p in nats.
func (s LSE) Entropy() float64 { return math.Log(s.Sum) - s.Dot/s.Sum }

// merge continues s with a tile's own state.
func (s *LSE) merge(t LSE) {
	if t.Max > s.Max {
		*s, t = t, *s
	}
	if t.Sum == 0 {
		return
	}
	c, d := math.Exp(float64(t.Max)-float64(s.Max)), float64(t.Max)-float64(s.Max)
	s.Sum += float64(c * t.Sum)
	s.Dot += float64(c * (t.Dot + float64(d*t.Sum)))
}

// LogSumExpTile continues st [m] with one tile of logits z [m,n], each multiplied by scale > 0 (one over the
// temperature). n is at most VocabTile.
func (p *Pool) LogSumExpTile(st []LSE, z []float32, m, n int, scale float32) {
	if len(st) < m || len(z) < m*n || n > VocabTile || !(scale > 0) {
		panic("kernels: LogSumExpTile: bad shape or scale")
	}
	p.rows(m, n, rowJob{op: opLogSumExp, lse: st, a: z, n: n, s: scale})
}

// LogSumExp returns the state of a whole row of logits, each multiplied by scale: the bits of LogSumExpTile. tiles, one
// for each VocabTile logits begun, receive each tile's own state; nil if not wanted.
func LogSumExp(z []float32, scale float32, tiles []LSE) LSE {
	if tiles != nil && len(tiles) != (len(z)+VocabTile-1)/VocabTile {
		panic("kernels: LogSumExp: wrong number of tiles")
	}
	s := NewLSE()
	for i := 0; len(z) > 0; i++ {
		n := min(VocabTile, len(z))
		t := NewLSE()
		t.merge(active.lseTile(z[:n], scale))
		s.merge(t)
		if tiles != nil {
			tiles[i] = t
		}
		z = z[n:]
	}
	return s
}

// SoftmaxGradTile turns one tile of logits z [m,n] into gradients dz (which may be z): with log p = z·scale − lse,
//
//	dz = scale · p · (a + b·log p)
//
// for per-row lse, a, b [m]. For a loss with derivatives dlogp (of the log-probability of a target) and dH (of the
// entropy H), a = −dlogp − dH·H and b = −dH; the caller adds scale·dlogp at the target.
func (p *Pool) SoftmaxGradTile(dz, z, lse, a, b []float32, m, n int, scale float32) {
	if len(dz) < m*n || len(z) < m*n || len(lse) < m || len(a) < m || len(b) < m {
		panic("kernels: SoftmaxGradTile: slice too short")
	}
	p.rows(m, n, rowJob{op: opSoftmaxGrad, a: dz, b: z, c: lse, d: a, e: b, n: n, s: scale})
}
