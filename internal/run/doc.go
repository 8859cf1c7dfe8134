// Package run keeps what a run writes: the folder, its lock, the manifest
// run.json, metrics, checkpoints and outputs, so that a process killed at any
// moment and started again ends with the bytes of an undisturbed run.
//
// In: a run folder's place and name, each stage's inputs with their hashes.
// Out: runs/<name>/<stage>/ with
//
//	run.json       state, seed, hashes of everything that went in, resolved
//	               configuration, machine, outputs with their sha256, results
//	metrics.jsonl  one flat object a step; never a NaN (null, and counted)
//	events.out.*   the same for TensorBoard, the step as wall time
//	timing.jsonl   clock readings; the only file besides run.json's timing
//	               object that differs from one run to the next
//	state/step-*   checkpoints, each with a manifest of sums: valid or absent
//	inputs/        the chat template the stage used, for a readable diff
//
// The rules that make it crash-safe:
//
//  1. Whole files are written to a temporary name in the same folder, synced,
//     renamed, and the folder is synced (WriteFile, WriteDir).
//  2. Appended files grow by whole records. Their lengths are recorded in each
//     checkpoint, after a sync; starting again cuts them to those lengths.
//  3. A checkpoint is a folder renamed into place once everything in it is
//     synced; a damaged one is noticed by its sums and the one before is used.
//  4. One process owns a run folder (flock); a second is told whose it is.
//  5. A stage is done when run.json says so, the hashes of its inputs equal the
//     present ones, and its outputs still have the recorded sums.
//
// A Dir and its Stages belong to one goroutine. Unix only: flock.
package run
