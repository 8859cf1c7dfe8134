package optim

import (
	"fmt"
	"math"
)

// Schedule is a learning rate as a function of the step. The three are those of transformers' get_scheduler.
type Schedule struct {
	Kind   string  // constant | linear | cosine
	Peak   float64 // the learning rate after warm-up
	Warmup int     // steps of linear rise from 0: step k < Warmup has Peak*k/Warmup
	Total  int     // the step at which linear and cosine end; unused by constant
	Floor  float64 // where linear and cosine end, as a share of Peak
}

// Validate names the first field out of range.
func (s Schedule) Validate() error {
	switch {
	case s.Kind != "constant" && s.Kind != "linear" && s.Kind != "cosine":
		return fmt.Errorf("schedule %q: want constant, linear or cosine", s.Kind)
	case !(s.Peak >= 0) || math.IsInf(s.Peak, 0):
		return fmt.Errorf("learning rate %v: want a number of at least 0", s.Peak)
	case s.Warmup < 0:
		return fmt.Errorf("warm-up of %d steps: want at least 0", s.Warmup)
	case s.Kind != "constant" && s.Total < s.Warmup:
		return fmt.Errorf("warm-up of %d steps is longer than the training of %d", s.Warmup, s.Total)
	case !(s.Floor >= 0 && s.Floor <= 1):
		return fmt.Errorf("final share of the learning rate %v: want 0 to 1", s.Floor)
	}
	return nil
}

// LR is the rate that step (counted from 0) uses. Past Total it stays at the floor; transformers' cosine would rise again.
func (s Schedule) LR(step int) float64 {
	if step < s.Warmup {
		return s.Peak * float64(step) / float64(s.Warmup)
	}
	if s.Kind == "constant" {
		return s.Peak
	}
	done := 1.0
	if step < s.Total {
		done = float64(step-s.Warmup) / float64(s.Total-s.Warmup)
	}
	left := 1 - done
	if s.Kind == "cosine" {
		left = 0.5 * (1 + math.Cos(math.Pi*done))
	}
	return s.Peak * (s.Floor + (1-s.Floor)*left)
}
