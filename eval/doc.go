// Package eval compares a policy before and after alignment and says how sure it is.
//
// In: two policies on one frozen base (the one before, A, also serves as reference), prompts that no stage trained on, and
// judges: the one that the recipe names decides, others are shown beside it. Out: report.json and report.html.
//
// The design is paired (the same prompts, the same random draws for both sides), so that differences are tested prompt by
// prompt. A scorer that PPO optimised is a proxy, not a judge: it is shown, and refused as judge.
//
// Steps, with the same numbers in the code:
//
//  1. Check the judge against what PPO optimised.
//  2. Sample one answer (or several) per prompt from each side, with the same draws.
//  3. Score all answers with every judge.
//  4. Compare, prompt by prompt: mean and standard error of each side, paired bootstrap interval and p of the difference,
//     win rate with interval and sign test, ties counted ½.
//  5. KL(B‖A): the mean over B's answers of the sum of log B - log A, in nats per answer, without temperature filtering.
//  6. Texts: length, stop share, repeated 4-grams, distinct-1 and -2, empty answers, perplexity of the answers under the
//     bare model (fluency).
//  7. Perplexity of both sides on held-out demonstrations, if given (the alignment tax).
//  8. Write the report.
package eval
