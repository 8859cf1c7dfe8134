// Package objective holds the losses. What flows in: vectors that a model produced (log-probabilities, entropies, values,
// scores), vectors that are given (advantages, returns, margins), and one weight per element. What flows out: the loss, its
// gradient with respect to every vector the model produced, and the element-wise values that metrics are made of. The
// gradients seed the tape. All arithmetic is float64.
//
// A loss is a [Formula]: it is written as in its paper, over named vectors, and Gorgonia differentiates it. This is all of
// the clipped surrogate of Schulman et al. 2017, eq. 7:
//
//	surrogate := objective.New(func(v *objective.Vars) objective.Expr {
//		ratio := Exp(Sub(v.Learned("policyLogp"), v.Given("oldLogp")))
//		gain := Neg(v.Given("advantages"))
//		return Max(Mul(gain, ratio), Mul(gain, Clip(ratio, v.Const(0.8), v.Const(1.2))))
//	})
//	r := surrogate.Eval(weights, map[string][]float64{"policyLogp": lp, "oldLogp": old, "advantages": adv})
//	// r.Loss = sum of weights[i]*element[i]; r.Grad["policyLogp"] seeds the tape.
//
// # Aggregation
//
// How elements become one number is a vector of weights, made once for a whole optimizer step ([Aggregation.Weights]). A
// micro-batch takes its slice of that vector, so any split of a step adds up to the same loss and the same gradient.
//
// # Masks
//
// Vectors hold real elements only: what a mask excludes is never gathered into them, so no loss and no mean can see it.
package objective
