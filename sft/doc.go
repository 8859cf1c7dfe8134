// Package sft tunes a model on demonstrations, or pretrains it on plain text.
//
// In: rows of token ids with a weight per target (dataset makes them: the answer's tokens and the stop token weigh one, the
// prompt's nothing). Out: an adapter, or the whole model, trained to minimise the weighted mean of -log p (Ouyang et al. 2022,
// step 1; LoRA: Hu et al. 2021).
//
// Steps, with the same numbers in the loop:
//
//  1. Take the next rows of the epoch's seeded order. A step whose rows have nothing to learn is refused.
//  2. Forward in micro-batches of packed rows, nothing padded; the loss is weighted by the sum of the weights of the whole
//     step, so that micro-batches do not change it.
//  3. Backward; the gradients add up.
//  4. Clip the global norm. A loss or norm that is not finite is dumped, skipped and counted; three in a row end the run.
//  5. AdamW at the schedule's rate.
//  6. Log, under TRL's names: loss, grad_norm, learning_rate, epoch, num_tokens, entropy,
//     mean_token_accuracy.
//  7. Every eval_every steps, and at the end, measure eval_loss on the held-out rows; remember the best; stop early after
//     patience evaluations without improvement.
//  8. Checkpoint: parameters, optimizer, cursor, best parameters. A killed run goes on from there to the same bytes.
//  9. At the end, the best parameters (by eval_loss, where there are held-out rows) become the result.
package sft
