// Package rollout samples completions of many prompts at once. In go prompts as ids, a model with adapters, and how to
// sample; out come ids and the log-probability of each under the very distribution it was drawn from.
//
// Generate keeps up to MaxBatch sequences going, each with its cache of keys and values, in pages that sequences which begin alike
// share (after Kwon et al. 2023, arXiv 2309.06180) and that hold fp32, bf16 or int8:
//
//  1. Admit: fill free places with the next requests. A prompt, or the beginning that all prompts of an adapter share, is computed
//     once, however many samples are drawn from it.
//  2. Step: the new prompts and the last token of every running sequence go through the model together, packed, without
//     padding.
//  3. Draw: one token for each sequence from its logits, by a uniform that depends on (seed, episode, sample, position)
//     alone.
//  4. Retire: what ended by a stop id, a stop string or its length gives its place to the next request.
//
// A sequence's logits are the same bits whatever else is in the batch and however it was cut into steps (package kernels,
// the bit rule), and draws are keyed, so neither the order of requests, nor MaxBatch, nor the number of threads changes an
// id or a log-probability. Without filters and with keys and values in fp32 the log-probabilities are those that Model.LogProbs
// gives for the same ids, to the bit.
package rollout
