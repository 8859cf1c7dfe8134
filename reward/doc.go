// Package reward trains a reward model from comparisons.
//
// In: pairs of sequences, the better one first, with a margin and the probability that the order is right; an adapter that
// starts as a copy of the SFT adapter, with a scalar head. Out: the adapter with its head, and a gain and a bias that bring
// the scores of the SFT policy's own answers to mean 0 and standard deviation 1.
//
// The score of a sequence is the head applied to the hidden state of its last token, found by length, never by token id. The
// loss is Bradley and Terry's (Stiennon et al. 2020, section 3.4; the margin is Llama 2's, Touvron et al. 2023, eq. 2).
//
// Steps, with the same numbers in the loop:
//
//  1. Take the next pairs: prompts in a seeded order, a prompt's pairs together (Ouyang et al. 2022, 3.5).
//  2. Score both sides of each pair in micro-batches of packed sequences.
//  3. Loss -p log σ(z) - (1-p) log σ(-z), z = chosen - rejected - margin, plus centring; its gradients go back.
//  4. Clip the global norm. What is not finite is dumped, skipped and counted; three in a row end the run.
//  5. AdamW at the schedule's rate.
//  6. Log, under TRL's names: loss, accuracy, margin, min_reward, mean_reward, max_reward, num_tokens, grad_norm.
//  7. Every eval_every steps, and at the end, measure the held-out pairs, none of whose prompts was trained on.
//  8. Checkpoint.
//  9. Normalise: gain and bias from scores of the SFT policy's answers.
//
// 10. Save, load again, and compare scores bit for bit: a head that was not saved is found here and not in PPO.
package reward
