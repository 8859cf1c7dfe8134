// Package plan says what a stage will take before it starts: seconds and bytes of its passes over the model, measured on a few
// of the model's own blocks and carried to all of them.
//
// In: a model's shape and weights, and the lengths of the sequences that a stage will feed it. Out: for a pass over them, seconds
// and bytes as a line over depth, fixed part and part of each block, since cost is linear in layers and in tokens (the exponents
// are tested in internal/model). Nothing is written; the rehearsal's adapters never leave it.
//
//  1. shallow.go cuts the checkpoint down to a few blocks, so that no more of it is read than is measured.
//  2. rehearsal.go times training, forward and sampling passes at two depths and draws the line.
//  3. queue.go counts the steps of continuous batching for responses of given lengths.
package plan
