package kernels

// KeyTile is the number of keys that attention visits together. Tiles start at absolute positions 0, 64, 128, ...
const KeyTile = 64

// AttnShape is what the sequences of one attention share.
type AttnShape struct {
	H, KV, D int     // query heads, key/value heads (H a multiple of KV), head size
	Scale    float32 // multiplies q·k; usually 1/√D
	Window   int     // a query sees itself and the Window-1 keys before it; 0 means all before it
}

// AttnSeq is one sequence of a packed batch. Its queries are rows QRow .. QRow+QLen-1 of q and have positions
// Past .. Past+QLen-1; K and V [Past+QLen, KV·D] hold its keys and values from position 0 on: a slice of the packed
// tensors when Past is 0, else a copy of what comes before and its own rows. DK and DV, like K and V, are where
// AttentionBackward writes their gradients; the forward pass does not look at them.
//
// With NewK and NewV [QLen, KV·D], the keys and values of the queries' own positions, those before lie in block Block of Pages, page
// i that of the positions from i·KeyTile on, and Attention puts the new ones there first. There is no backward pass for it.
type AttnSeq struct {
	QRow, QLen int
	K, V       []float32
	DK, DV     []float32
	Past       int
	NewK, NewV []float32
	Pages      []*KVPage
	Block      int
}

func (s *AttnSeq) cached() bool { return s.NewK != nil }

// putsItself: few new keys, which one item reads, and puts.
func (s *AttnSeq) putsItself() bool { return s.cached() && s.QLen <= attnRows }

// put writes the new keys and values of head kv into their pages.
func (s *AttnSeq) put(kv int, shape *AttnShape) {
	width := shape.KV * shape.D
	for i, n := 0, 0; i < s.QLen; i += n { // the rest of one page after the other
		at := s.Past + i
		n = min(s.QLen-i, KeyTile-at%KeyTile)
		from := i*width + kv*shape.D
		s.Pages[at/KeyTile].put(s.Block, kv, at%KeyTile, n, s.NewK[from:], s.NewV[from:], width)
	}
}

// Attention computes causal scaled-dot-product attention with grouped queries (Vaswani et al. 2017, eq. 1; tiles and
// running maximum after Dao 2023, "FlashAttention-2", algorithm 1): for the query at position t of head h, whose key
// head is h/(H/KV),
//
//	out = Σ_j softmax_j(Scale · q·k_j) v_j,   j ≤ t (and j > t-Window);   lse = log Σ_j exp(Scale · q·k_j)
//
// q and out are [rows, H·D]; lse [rows, H], in nats, may be nil. Rows of no sequence are left as they are.
func (p *Pool) Attention(out, lse, q []float32, seqs []AttnSeq, s AttnShape) {
	checkAttn(s, seqs, q)
	for i := range seqs {
		if end := seqs[i].QRow + seqs[i].QLen; len(out) < end*s.H*s.D || lse != nil && len(lse) < end*s.H {
			panic("kernels: Attention: out or lse too short")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.jobs.attn
	*j = attnJob{AttnShape: s, seqs: seqs, q: q, out: out, lse: lse, blocks: j.blocks[:0], threads: len(p.workers)}
	work := 0
	for i := range seqs {
		for h := range s.KV {
			if seqs[i].cached() && !seqs[i].putsItself() { // several items read them
				j.blocks = append(j.blocks, attnBlock{seq: i, kv: h})
			}
		}
	}
	p.meter.noteAttention(seqs, s, 0)
	j.phase = attnPut
	p.run(len(j.blocks), j, false)
	j.phase, j.blocks = attnForward, j.blocks[:0]
	for i := range seqs {
		for h := range s.KV {
			for r := 0; r < seqs[i].QLen; r += attnRows {
				j.blocks = append(j.blocks, attnBlock{seq: i, kv: h, r0: r, r1: min(r+attnRows, seqs[i].QLen)})
			}
		}
		work += seqs[i].QLen * (seqs[i].Past + seqs[i].QLen) * s.H * s.D
	}
	p.run(len(j.blocks), j, work < 20_000)
	*j = attnJob{blocks: j.blocks}
}

// AttentionBackward computes the gradients of Attention: given dOut it writes dq [rows, H·D] for the rows of seqs and each
// sequence's DK and DV: what its own queries give to every key they see, those before Past too. out and lse are what
// Attention returned. With P the softmax and δ = Σ_d dOut·out of a query (Dao 2023, algorithm 2):
//
//	dv_j = Σ P_j dOut;   dS_j = P_j (dOut·v_j − δ) Scale;   dq = Σ_j dS_j k_j;   dk_j = Σ dS_j q
func (p *Pool) AttentionBackward(dq, dOut, q, out, lse []float32, seqs []AttnSeq, s AttnShape) {
	checkAttn(s, seqs, q)
	rows, work := 0, 0
	for i := range seqs {
		x := &seqs[i]
		if x.cached() {
			panic("kernels: AttentionBackward: keys in a cache")
		}
		rows = max(rows, x.QRow+x.QLen)
		work += x.QLen * (x.Past + x.QLen) * s.H * s.D
		if narrow := (x.Past + x.QLen) * s.KV * s.D; len(x.DK) < narrow || len(x.DV) < narrow {
			panic("kernels: AttentionBackward: DK or DV too short")
		}
	}
	wide := rows * s.H * s.D
	if len(dq) < wide || len(dOut) < wide || len(out) < wide || len(lse) < rows*s.H {
		panic("kernels: AttentionBackward: slice too short")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.jobs.attn
	*j = attnJob{AttnShape: s, seqs: seqs, q: q, out: out, lse: lse, dOut: dOut, dq: dq, blocks: j.blocks[:0]}
	if len(seqs)*s.KV >= 4*len(p.workers) || len(p.workers) == 1 {
		// One item per sequence and key head: scores are recomputed once.
		j.phase = attnBackAll
		p.meter.noteAttention(seqs, s, 1)
		for i := range seqs {
			for h := range s.KV {
				j.blocks = append(j.blocks, attnBlock{seq: i, kv: h, r1: seqs[i].Past + seqs[i].QLen})
			}
		}
		p.run(len(j.blocks), j, work < 20_000)
	} else {
		// Few sequences: finer items, in two passes that each recompute the scores. The chains are the same.
		p.meter.noteAttention(seqs, s, 2)
		for _, j.phase = range [...]attnPhase{attnBackQ, attnBackKV} {
			j.blocks = j.blocks[:0]
			for i := range seqs {
				n := seqs[i].QLen
				if j.phase == attnBackKV {
					n += seqs[i].Past
				}
				for h := range s.KV {
					for r := 0; r < n; r += KeyTile {
						j.blocks = append(j.blocks, attnBlock{seq: i, kv: h, r0: r, r1: min(r+KeyTile, n)})
					}
				}
			}
			p.run(len(j.blocks), j, work < 20_000)
		}
	}
	*j = attnJob{blocks: j.blocks}
}

// attnRows is the number of query positions in one item of the forward pass.
const attnRows = 64

type attnPhase int

const (
	attnForward attnPhase = iota
	attnPut               // new keys and values of one key head into the cache of one sequence
	attnBackAll           // dq, dk, dv of all rows and keys
	attnBackQ             // dq of query rows [r0,r1)
	attnBackKV            // dk, dv of keys [r0,r1)
)

// attnBlock is one item: the query heads of one key head, rows or keys [r0,r1) of one sequence.
type attnBlock struct{ seq, kv, r0, r1 int }

type attnJob struct {
	AttnShape
	seqs                  []AttnSeq
	q, out, lse, dOut, dq []float32
	phase                 attnPhase
	blocks                []attnBlock
	threads               int
}

// pages are those that an item reads: page first and those behind it, as far as head.
func (j *attnJob) pages(b attnBlock) (pages []*KVPage, first int) {
	s := &j.seqs[b.seq]
	lo, _ := j.keyRange(s.Past + b.r0)
	first = lo / KeyTile
	return s.Pages[first : (s.Past+b.r1-1)/KeyTile+1], first
}

func (j *attnJob) item(w *worker, i int) {
	b := j.blocks[i]
	switch s := &j.seqs[b.seq]; j.phase {
	case attnPut:
		s.put(b.kv, &j.AttnShape)
	case attnForward:
		active.attention(j, w, i)
	default:
		active.attentionBackward(j, w, b)
	}
}

func checkAttn(s AttnShape, seqs []AttnSeq, q []float32) {
	if s.H <= 0 || s.KV <= 0 || s.D <= 0 || s.H%s.KV != 0 || s.Window < 0 {
		panic("kernels: Attention: bad shape")
	}
	for i := range seqs {
		t := seqs[i].Past + seqs[i].QLen
		keys := t * s.KV * s.D
		if seqs[i].cached() {
			seqs[i].check(s)
			keys = 0
		}
		if seqs[i].QRow < 0 || seqs[i].QLen < 0 || seqs[i].Past < 0 || len(q) < (seqs[i].QRow+seqs[i].QLen)*s.H*s.D ||
			len(seqs[i].K) < keys || len(seqs[i].V) < keys {
			panic("kernels: Attention: q, K or V too short")
		}
	}
}

// check panics where a sequence's pages do not fit.
func (s *AttnSeq) check(shape AttnShape) {
	if own := s.QLen * shape.KV * shape.D; len(s.NewK) < own || len(s.NewV) < own {
		panic("kernels: Attention: NewK or NewV too short")
	}
	if len(s.Pages)*KeyTile < s.Past+s.QLen {
		panic("kernels: Attention: too few pages")
	}
	for _, p := range s.Pages {
		if p.KV != shape.KV || p.D != shape.D || p.Type != s.Pages[0].Type || s.Block < 0 || s.Block >= p.Blocks {
			panic("kernels: Attention: a page of another layout")
		}
	}
}
