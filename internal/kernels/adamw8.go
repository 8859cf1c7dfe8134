package kernels

import "math"

// MomentBlock is the number of moments that share a scale in AdamW8 (Dettmers et al. 2022, as bitsandbytes' AdamW8bit has it
// today).
const MomentBlock = 256

// Moments8 are AdamW's moments in 8 bits by the dynamic maps, m's with signs and v's without: moment i of a block is
// table[code]·scale. Zero codes and scales are zero moments.
type Moments8 struct {
	M, V           []byte    // [n] codes
	MScale, VScale []float32 // [n/256, rounded up] largest magnitude of each block
}

// Maps8 are the two tables of AdamW8, with what it takes to find a value's nearest entry.
type Maps8 struct{ m, v codebook }

// NewMaps8 makes the tables.
func NewMaps8() *Maps8 {
	return &Maps8{newCodebook(DynamicMap(true)), newCodebook(DynamicMap(false))}
}

// codebook is an ascending table. start is, by the upper 16 bits of a float32, the nearest entry to the least number that
// begins with them.
type codebook struct {
	table, mid []float32
	start      []byte
}

func newCodebook(table []float32) codebook {
	c := codebook{table, midpoints(table), make([]byte, 1<<16)}
	for i := range c.start {
		least := math.Float32frombits(uint32(i) << 16)
		if i >= 1<<15 { // of negative numbers the one with all other bits set
			least = math.Float32frombits(uint32(i)<<16 | 0xffff)
		}
		if least == least {
			c.start[i] = nearest(c.mid, least)
		}
	}
	return c
}

// nearest is the function of that name: 7 bits of mantissa leave at most one entry to go over.
func (c *codebook) nearest(x float32) byte {
	i := c.start[math.Float32bits(x)>>16]
	for int(i) < len(c.mid) && c.mid[i] < x {
		i++
	}
	return i
}

// pack writes the codes of x and returns their scale.
func (c *codebook) pack(codes []byte, x []float32) float32 {
	scale := largest(x)
	if !(scale > 0) {
		clear(codes)
		return 0
	}
	for i, v := range x {
		codes[i] = c.nearest(v / scale)
	}
	return scale
}

func (c *codebook) unpack(x []float32, codes []byte, scale float32) {
	for i, q := range codes {
		x[i] = c.table[q] * scale
	}
}

// AdamW8 is AdamW with moments in 8 bits: block by block they become float32, AdamW moves the parameters with the new ones,
// and those are rounded to 8 bits again.
func (p *Pool) AdamW8(x, g []float32, s Moments8, maps *Maps8, c AdamW) {
	n := len(x)
	blocks := (n + MomentBlock - 1) / MomentBlock
	if len(g) != n || len(s.M) != n || len(s.V) != n || len(s.MScale) != blocks || len(s.VScale) != blocks {
		panic("kernels: AdamW8: lengths differ")
	}
	k := c.consts()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs.adamw8 = adamw8Job{x: x, g: g, s: s, maps: maps, k: k}
	p.meter.note(opKey{name: "adamw8", bits: 8}, 1, 0, 0, 16*float64(n))
	p.run((blocks+blocksAtOnce-1)/blocksAtOnce, &p.jobs.adamw8, blocks <= blocksAtOnce)
	p.jobs.adamw8 = adamw8Job{}
}

// blocksAtOnce is how many blocks one item of AdamW8 takes.
const blocksAtOnce = 32

type adamw8Job struct {
	x, g []float32
	s    Moments8
	maps *Maps8
	k    adamwConsts
}

func (j *adamw8Job) item(w *worker, i int) {
	both := w.floats(2 * MomentBlock)
	for b := i * blocksAtOnce; b < min((i+1)*blocksAtOnce, len(j.s.MScale)); b++ {
		lo, hi := b*MomentBlock, min((b+1)*MomentBlock, len(j.x))
		m, v := both[:hi-lo], both[MomentBlock:][:hi-lo]
		j.maps.m.unpack(m, j.s.M[lo:hi], j.s.MScale[b])
		j.maps.v.unpack(v, j.s.V[lo:hi], j.s.VScale[b])
		active.adamw(j.x[lo:hi], j.g[lo:hi], m, v, &j.k)
		j.s.MScale[b] = j.maps.m.pack(j.s.M[lo:hi], m)
		j.s.VScale[b] = j.maps.v.pack(j.s.V[lo:hi], v)
	}
}
