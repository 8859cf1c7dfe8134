package objective

// Clipping is the trust region of PPO's policy loss.
type Clipping struct {
	Low, High float64 // the ratio is clipped to [1-Low, 1+High]; Schulman et al. 2017 use 0.2 for both
	Dual      float64 // dual clip c > 1 of Ye et al. 2020, "dual-clip PPO" (usually 3); 0 = off
}

// Policy is PPO's clipped surrogate (Schulman et al. 2017, eq. 7, negated to be minimised) with the entropy bonus of eq. 9.
// With ratio = exp(policyLogp - oldLogp), per token:
//
//	surrogate = max(-A*ratio, -A*clip(ratio, 1-Low, 1+High))
//	surrogate = min(surrogate, Dual*|A|)      if Dual > 0; it binds where A < 0 only, since else surrogate <= 0
//	element   = surrogate - entropyCoef*entropy
//
// Learned "policyLogp" and "entropy" (nats), given "oldLogp" and "advantages"; shows "surrogate" and "ratio".
func Policy(c Clipping, entropyCoef float64) *Loss {
	return New(func(v *Vars) Expr {
		ratio := v.Show("ratio", Exp(Sub(v.Learned("policyLogp"), v.Given("oldLogp"))))
		advantages := v.Given("advantages")
		cost := Neg(advantages)
		surrogate := Max(Mul(cost, ratio), Mul(cost, Clip(ratio, v.Const(1-c.Low), v.Const(1+c.High))))
		if c.Dual > 0 {
			surrogate = Min(surrogate, Scale(c.Dual, Abs(advantages)))
		}
		v.Show("surrogate", surrogate)
		return Sub(surrogate, Scale(entropyCoef, v.Learned("entropy")))
	})
}

// Value is the clipped value loss of the PPO implementations (Ziegler et al. 2019's code; not in the PPO paper):
//
//	element = 1/2 * max((V-R)^2, (clip(V, Vold-eps, Vold+eps) - R)^2)
//
// Learned "values", given "oldValues" and "returns".
func Value(eps float64) *Loss {
	return New(func(v *Vars) Expr {
		values, old, returns := v.Learned("values"), v.Given("oldValues"), v.Given("returns")
		clipped := Clip(values, Shift(old, -eps), Shift(old, eps))
		return Scale(0.5, Max(Square(Sub(values, returns)), Square(Sub(clipped, returns))))
	})
}
