package sft

import (
	"errors"
	"math"

	"plumb/internal/rng"
)

// Streams of the stage's random draws.
const orderStream = 0x5F7

// plan says which rows each step takes: the rows in a seeded order, a new one each epoch, cut into steps that do not cross
// epochs. It is a function of the seed alone, so a step's number is all a resumed run needs.
type plan struct {
	train    []Row
	seed     uint64
	batch    int
	perEpoch int // steps
	steps    int // in all
}

func newPlan(c Config, train []Row, seed uint64) (plan, error) {
	if len(train) == 0 {
		return plan{}, errors.New("sft.data: no rows to train on")
	}
	p := plan{train: train, seed: seed, batch: c.Batch, perEpoch: (len(train) + c.Batch - 1) / c.Batch}
	p.steps = max(1, int(math.Ceil(c.Epochs*float64(p.perEpoch))))
	if c.MaxSteps > 0 {
		p.steps = min(p.steps, c.MaxSteps)
	}
	return p, nil
}

// rows are those of step k, counted from 0.
func (p plan) rows(k int) []Row {
	epoch, at := k/p.perEpoch, k%p.perEpoch
	order := rng.New(p.seed, orderStream, uint64(epoch)).Perm(len(p.train))
	lo, hi := at*p.batch, min((at+1)*p.batch, len(order))
	out := make([]Row, 0, hi-lo)
	for _, i := range order[lo:hi] {
		out = append(out, p.train[i])
	}
	return out
}

// epoch is how many epochs k steps are.
func (p plan) epoch(k int) float64 { return float64(k) / float64(p.perEpoch) }
