package dataset

// Packed is a bin as the model sees it: IDs[Starts[s]:Starts[s+1]] is sequence s, which attends to nothing outside
// itself. There is no padding.
type Packed struct {
	IDs     []int32
	Weights []float32 // [len(IDs)]; 0 at the start of every sequence, which nothing predicts
	Starts  []int32   // one more than there are sequences; the last is len(IDs)
	Rows    []int     // the row each sequence is of; of PackWrapped's joined rows, the first
}

// Fill puts the ids of rows into bins. joined makes one sequence of each bin (PackWrapped).
func Fill(rows []Example, bins [][]Piece, joined bool) []Packed {
	out := make([]Packed, len(bins))
	for i, bin := range bins {
		p := &out[i]
		for k, piece := range bin {
			if !joined || k == 0 {
				p.Starts = append(p.Starts, int32(len(p.IDs)))
				p.Rows = append(p.Rows, piece.Row)
			}
			p.IDs = append(p.IDs, rows[piece.Row].IDs[piece.From:piece.To]...)
			p.Weights = append(p.Weights, rows[piece.Row].Weights[piece.From:piece.To]...)
		}
		for _, s := range p.Starts {
			p.Weights[s] = 0
		}
		p.Starts = append(p.Starts, int32(len(p.IDs)))
	}
	return out
}

// PackExamples packs rows into bins of at most size ids. Bins without anything to learn (a prompt cut off before its
// answer) are left out; their number and the ids cut off are returned.
func PackExamples(rows []Example, size int, s Strategy) (bins []Packed, empty, lost int, err error) {
	lengths := make([]int, len(rows))
	total := 0
	for i, x := range rows {
		lengths[i] = len(x.IDs)
		total += len(x.IDs)
	}
	plan, err := Pack(lengths, size, s)
	if err != nil {
		return nil, 0, 0, err
	}
	for _, p := range Fill(rows, plan, s == PackWrapped) {
		total -= len(p.IDs)
		if p.learnable() == 0 {
			empty++
			continue
		}
		bins = append(bins, p)
	}
	return bins, empty, total, nil
}

func (p Packed) learnable() int {
	n := 0
	for _, w := range p.Weights {
		if w != 0 {
			n++
		}
	}
	return n
}
