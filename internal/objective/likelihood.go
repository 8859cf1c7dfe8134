package objective

// NLL is the loss of supervised training: -log p of the target token, [N] over the tokens trained on. With weights from
// [Normalise] over the whole optimizer step it is the weighted token mean, whatever the micro-batches.
//
// Learned "logp".
func NLL() *Loss {
	return New(func(v *Vars) Expr { return Neg(v.Learned("logp")) })
}
