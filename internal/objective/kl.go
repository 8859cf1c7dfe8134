package objective

import "fmt"

// Estimator names an estimate of KL(policy || reference) at one token, from d = policyLogp - refLogp of the sampled token
// (Schulman, "Approximating KL Divergence", 2020).
type Estimator string

// The estimators, all in nats.
const (
	K1      Estimator = "k1"   // d: unbiased, may be negative
	K2      Estimator = "k2"   // d^2/2: biased, low variance
	K3      Estimator = "k3"   // e^-d - 1 + d: unbiased, never negative
	AbsKL   Estimator = "abs"  // |d|
	ExactKL Estimator = "full" // sum over the vocabulary of p (log p - log q): no estimate, see [FullKL]
)

// Validate reports an unknown name.
func (e Estimator) Validate() error {
	switch e {
	case K1, K2, K3, AbsKL, ExactKL:
		return nil
	}
	return fmt.Errorf("KL estimator %q: want %s, %s, %s, %s or %s", string(e), K1, K2, K3, AbsKL, ExactKL)
}

// KL is a sampled estimate per token. Learned "policyLogp", given "refLogp". ExactKL is not one: it panics.
func KL(e Estimator) *Loss {
	return New(func(v *Vars) Expr {
		d := Sub(v.Learned("policyLogp"), v.Given("refLogp"))
		switch e {
		case K1:
			return d
		case K2:
			return Scale(0.5, Square(d))
		case K3:
			return Add(Shift(Exp(Neg(d)), -1), d)
		case AbsKL:
			return Abs(d)
		}
		panic("objective: KL: not an estimate from sampled tokens")
	})
}

// FullKL is the divergence itself, per token, over vocab logits (already divided by the temperature). Learned "policyLogits",
// given "refLogits", both [N,vocab]. Evaluate few rows at a time: a graph holds several [N,vocab] matrices.
func FullKL(vocab int) *Loss {
	return New(func(v *Vars) Expr {
		logp := RowLogSoftmax(v.LearnedRows("policyLogits", vocab))
		logq := RowLogSoftmax(v.GivenRows("refLogits", vocab))
		return RowSum(Mul(Exp(logp), Sub(logp, logq)))
	})
}
