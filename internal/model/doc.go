// Package model holds decoders of the Llama family: token ids in, hidden states, log-probabilities, entropies, scores and
// logits out, on a tape of package tensor. One frozen Model serves any number of adapters (package peft).
//
// Sequences are packed one after another; there is no padding anywhere. What a sequence gives does not depend, to the bit,
// on the other sequences of the batch, on threads, or on whether it was computed at once or token by token with a cache.
//
// Papers: Touvron et al. 2023 (Llama, arXiv 2302.13971), Ainslie et al. 2023 (grouped queries, arXiv 2305.13245).
package model
