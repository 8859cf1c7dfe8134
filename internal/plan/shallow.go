package plan

import (
	"strconv"
	"strings"

	"plumb/internal/kernels"
	"plumb/internal/model"
)

// shallow is a checkpoint without its blocks from number layers on.
type shallow struct {
	model.Weights
	layers int
}

// FewBits passes on what the checkpoint holds, or is to be held, in few bits.
func (s shallow) FewBits(name string, layer bool) (*kernels.Quantised, error) {
	if w, ok := s.Weights.(model.FewBitsWeights); ok {
		return w.FewBits(name, layer)
	}
	return nil, nil
}

// Names leaves out what belongs to deeper blocks.
func (s shallow) Names() []string {
	var out []string
	for _, n := range s.Weights.Names() {
		if blockOf(n) < s.layers {
			out = append(out, n)
		}
	}
	return out
}

// blockOf is the number of the block that a tensor belongs to, -1 where it belongs to none.
func blockOf(name string) int {
	_, rest, ok := strings.Cut(name, "layers.")
	if !ok {
		return -1
	}
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}
