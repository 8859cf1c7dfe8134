package objective

import "math"

// BradleyTerry is the pairwise preference loss (Bradley and Terry 1952; InstructGPT, eq. 1) with the margin of Llama 2, eq. 2,
// soft labels, and centring (Eisenstein et al. 2023). With z = chosen - rejected - margin, per pair:
//
//	nll     = p*softplus(-z) + (1-p)*softplus(z)      softplus(-z) = -log sigma(z)
//	element = nll + centre*(chosen+rejected)^2
//
// p is the probability that chosen is the better one: 1 for a hard label, 1/2 for a tie. Gaps of any size stay finite.
// Learned "chosen" and "rejected", given "margin" and "p"; shows "nll".
func BradleyTerry(centre float64) *Loss {
	return New(func(v *Vars) Expr {
		chosen, rejected, p := v.Learned("chosen"), v.Learned("rejected"), v.Given("p")
		z := Sub(Sub(chosen, rejected), v.Given("margin"))
		nll := v.Show("nll", Add(Mul(p, Softplus(Neg(z))), Mul(Sub(v.Const(1), p), Softplus(z))))
		if centre == 0 {
			return nll
		}
		return Add(nll, Scale(centre, Square(Add(chosen, rejected))))
	})
}

// PairStats are the metrics of scored pairs.
type PairStats struct {
	Accuracy         float64 // share of pairs with chosen > rejected; equal scores count as wrong, as in TRL
	AccuracyTiesHalf float64 // the same, equal scores count 1/2
	MeanGap          float64 // mean of chosen - rejected
}

// Pairs computes the metrics of chosen and rejected scores, both [N]; zero for no pairs.
func Pairs(chosen, rejected []float64) PairStats {
	if len(chosen) != len(rejected) {
		panic("objective: Pairs: length mismatch")
	}
	var wins, ties, gap float64
	for i, c := range chosen {
		switch {
		case c > rejected[i]:
			wins++
		case c == rejected[i]:
			ties++
		}
		gap += c - rejected[i]
	}
	n := math.Max(float64(len(chosen)), 1)
	return PairStats{Accuracy: wins / n, AccuracyTiesHalf: (wins + ties/2) / n, MeanGap: gap / n}
}

// Standardise returns the gain and bias that bring scores to mean 0 and (biased) standard deviation 1: gain*score + bias.
// Without unitStd the gain is 1. Equal scores, which have no scale, keep gain 1 too.
func Standardise(scores []float64, unitStd bool) (gain, bias float64) {
	mean, sd := Mean(scores), math.Sqrt(Variance(scores))
	gain = 1
	if unitStd && sd > 0 {
		gain = 1 / sd
	}
	return gain, -mean * gain
}
