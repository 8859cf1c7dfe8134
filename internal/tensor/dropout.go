package tensor

// Drop makes the pairs of LoRA that have a Dropout drop elements of their inputs until the next Reset (Hu et al. 2021, as
// in PEFT: the input of the pair only, the kept elements divided by 1-Dropout). The draws are a function of the seed, the
// step, the pair and the element's place in the step: row is how many of the step's rows came before this tape's, so a step
// cut into other micro-batches drops the same elements. Without it nothing is dropped.
//
// Deviation from PEFT: a pair that is not trained does not drop. What lies below the trained blocks is a fixed function.
func (t *Tape) Drop(seed, step, row uint64) {
	if t.off {
		panic("tensor: Drop: the tape does not record")
	}
	t.dropping, t.dropKey, t.dropRow = true, mix(seed+mix(step)), row
}

func (t *Tape) drops(l *LoRA) bool { return t.dropping && l.Dropout > 0 && l.trained() }

// kept is x as the pair sees it; scratch, if not nil, is to be given back.
func (t *Tape) kept(x *Tensor, l *LoRA) (data, scratch []float32) {
	if !t.drops(l) {
		return x.Data, nil
	}
	b := t.grads.get(len(x.Data))
	t.drop(b, x.Data, l)
	return b, b
}

// dropBlock is the number of elements that one thread takes at once.
const dropBlock = 1 << 14

// drop sets dst to src without the dropped elements. dst may be src.
func (t *Tape) drop(dst, src []float32, l *LoRA) {
	key, scale := t.dropKey+l.Key, 1/(1-l.Dropout)
	first := t.dropRow * uint64(l.A.W.In)
	below := uint64(float64(l.Dropout) * (1 << 32))
	t.pool.Do((len(src)+dropBlock-1)/dropBlock, func(b int) {
		for i := b * dropBlock; i < min((b+1)*dropBlock, len(src)); i++ {
			if mix(key+(first+uint64(i))*0x9e3779b97f4a7c15)>>32 < below {
				dst[i] = 0
			} else {
				dst[i] = src[i] * scale
			}
		}
	})
}

// mix is the finaliser of SplitMix64 (Steele et al. 2014): equal bits out for equal bits in, unrelated ones else.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
