// Package pairs samples answers and pairs them for judging.
//
// In: prompts as ids, one or two policies, and how to sample. Out: for each prompt the answers worth comparing, with the
// seed, the temperature and the log-probability of every token, and pairs of them, in the order of the prompts.
//
// Steps, for a chunk of prompts:
//
//  1. Sample per_prompt answers: answer j comes from policy j mod P at temperature (j div P) mod T, where P and T are the
//     numbers of policies and temperatures. Draws are keyed by (seed, number of the prompt, j), so an answer does not
//     depend on chunks, batches or threads.
//  2. Drop an answer that is near-identical to an earlier one of its prompt (Near).
//  3. Pair what is left: all with all, or each with the next.
//
// Two answers hardly different teach a reward model little and cost a person as much as others; pairs of equal texts
// teach nothing.
package pairs
