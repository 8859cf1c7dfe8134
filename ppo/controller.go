package ppo

import "math"

// Controller sets the coefficient beta of the KL penalty (Ziegler et al. 2019, section 2.2). Its state is the coefficient.
type Controller struct {
	Coef     float64 // beta, reward per nat
	Target   float64 // nats per sequence; 0 keeps Coef fixed
	Horizon  float64 // episodes over which a lasting error of 20 % moves beta by about 20 %
	Min, Max float64 // bounds of beta: without them a target out of reach drives it to 0 or to infinity
}

// Update adapts beta after an update of n episodes whose mean KL was kl nats per sequence:
//
//	e = clip(kl/Target - 1, -0.2, 0.2)        beta = beta*(1 + e*n/Horizon), kept within [Min,Max]
//
// A kl that is not a number changes nothing.
func (c *Controller) Update(kl float64, n int) {
	if c.Target == 0 || math.IsNaN(kl) {
		return
	}
	e := min(max(kl/c.Target-1, -0.2), 0.2)
	c.Coef = min(max(c.Coef*(1+e*float64(n)/c.Horizon), c.Min), c.Max)
}
