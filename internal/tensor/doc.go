// Package tensor is an eager tape: operations compute at once and, while the tape records, note how to go back. Each
// operation's forward and backward stand side by side in one file.
//
// In: packed weights of package kernels and rows of float32. Out: rows of float32, and after Backward the gradients of
// everything that is trained, added to the vectors the weights name.
//
// All memory of a step comes from arenas that Reset empties without freeing, so a steady state leaves no garbage. Frozen
// weights are not tensors: they only know how to multiply. A tensor needs a gradient when something trained lies below it;
// nothing is computed where nothing does, so the backward pass stops below the lowest trained layer.
//
// Deterministic: rows do not influence each other except through attention within a sequence, and the kernels give each
// element one fixed chain of operations (see package kernels).
package tensor
