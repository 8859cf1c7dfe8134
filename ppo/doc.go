// Package ppo aligns a policy with a score under a KL penalty, by proximal policy optimization with a separate critic.
//
// In: a frozen base model, the adapter of the policy (as a rule a copy of the SFT adapter), the reference (the frozen SFT
// adapter, or none for the bare base), the adapter of the critic (a copy of the reward model), a Scorer, prompts as ids.
// Out: the policy's adapter, the critic's, metrics under TRL's names, and every response that was learned from.
//
// Papers: Schulman et al. 2017 (PPO, arXiv 1707.06347) and 2016 (GAE, 1506.02438); Ziegler et al. 2019 (KL-penalised
// rewards, adaptive coefficient, 1909.08593); Stiennon et al. 2020 (critic from the reward model, 2009.01325); Huang et al.
// 2023 and 2024 (the details, 2403.17031).
//
// One update, numbered as in Train:
//
//  1. Roll out: sample a response to each prompt of the batch; cut it at the stop token, which belongs to it.
//  2. Recompute the policy's log-probabilities with the training forward. They equal the sampler's to the bit; the largest
//     difference is a metric, and anything but 0 means that sampler and trainer are not the same distribution.
//  3. Log-probabilities of the same ids by the reference, at the same temperature, and the KL estimate per token.
//  4. Values of every state by the critic.
//  5. Scores of the whole texts, ids and all, up to the stop token: scaled, clipped, then the missing-stop rule. A reward model that
//     is the critic below the critic's lowest trained block gives them in pass 4.
//  6. Rewards: -beta*KL on every token, plus the score on the last one; whitened without shifting the mean if asked for.
//  7. Advantages and returns (GAE) from the last token backwards, nothing bootstrapped; advantages whitened over the batch.
//  8. Learn: epochs of minibatches of micro-batches, clipped policy and value losses, each model's gradient clipped and moved
//     by its own AdamW. A minibatch with a non-finite loss or gradient is dumped, skipped and counted; three in a row end the
//     run with an error. One with too large a mean ratio is skipped; target_kl ends the update's learning.
//  9. Adapt beta to the KL of the batch, in nats per sequence.
//  10. Record: metrics, and the responses as one zstd frame of rollouts/.
//  11. Checkpoint everything that the next update depends on. A run that is cut off resumes from there, to the bit.
//
// Vectors hold the tokens of responses and nothing else (see Trajectories): there is no padding, and no mask to forget.
// Dropout acts nowhere. Every draw is keyed by the seed and the number of its episode or update.
package ppo
