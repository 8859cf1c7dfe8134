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

	order []int // of epoch, once it was asked for
	epoch int
	step  []Row // of the step asked for last
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
func (p *plan) rows(k int) []Row {
	if epoch := k / p.perEpoch; p.order == nil || epoch != p.epoch {
		p.order, p.epoch = rng.New(p.seed, orderStream, uint64(epoch)).Perm(len(p.train)), epoch
	}
	lo := k % p.perEpoch * p.batch
	p.step = p.step[:0]
	for _, i := range p.order[lo:min(lo+p.batch, len(p.order))] {
		p.step = append(p.step, p.train[i])
	}
	return p.step
}

// epochs is how many k steps are.
func (p *plan) epochs(k int) float64 { return float64(k) / float64(p.perEpoch) }
