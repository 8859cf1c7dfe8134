// Package tales is the embedded default: a small world of stories written by a grammar, a base model that this program
// pretrained on them, and what a person needs to align it without any download: demonstrations, prompts, and comparisons
// labelled by a hidden rule with noise.
//
// In: a seed. Out: texts, prompts with a request, and Gold, the rule. Gold reads a whole story and follows who is who, who
// holds what, what went wrong and whether it was mended; it never looks for a word. No stage that trains may see it: only
// the simulated labeler and the evaluation do.
//
// A story is a list of sentences, each an instance of one pattern; a pattern says what happens (an event). The generator
// turns a plan into events and events into sentences; Parse turns sentences back into events, whoever wrote them.
package tales
