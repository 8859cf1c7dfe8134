// Package checkpoint reads and writes model files: safetensors (whole and sharded), GGUF, Hugging Face folders,
// PEFT adapter folders, and brings them from the hub or an https address.
//
// What flows in: a path, or a name on the hub (Fetch turns it into a path). What flows out: a Source, which
// holds config.json (synthesised for GGUF), the tokenizer's files, the chat template, and every weight under
// its Hugging Face name, converted to float32 or bfloat16 when it is asked for.
//
// A file is never trusted. Sizes, offsets, shapes and counts are checked against the length of the file before
// anything is allocated, so that the memory a damaged or hostile file can claim is a small multiple of its own
// length. Weights are read with pread, not mapped: each read lands in the slice the caller keeps, which is one
// copy either way, and a file that shrinks while it is open is an error instead of a SIGBUS.
//
// Formats: https://github.com/huggingface/safetensors (format section of the README) and
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md with the block layouts of ggml-common.h.
package checkpoint
