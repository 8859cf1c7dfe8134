// Package tokenizer turns text into ids and ids into text.
//
// In: a tokenizer.json as Hugging Face tokenizers writes it, with a BPE model (byte-level, or SentencePiece-style
// with byte fallback), or the vocabulary in a GGUF file's metadata. Out: the same ids, offsets and decoded texts as
// Hugging Face tokenizers 0.23 (llama.cpp for GGUF). The file is the definition: nothing is rebuilt from a
// tokenizer's class name. A component this package does not have is refused by its name.
//
// Text goes through these steps, each in a file of its own:
//
//  1. added.go: added tokens that are not subject to normalization are cut out;
//  2. normalize.go, nfc.go: each remaining segment is normalized, its bytes still pointing to the original ones;
//  3. added.go: added tokens that are subject to normalization are cut out;
//  4. pretokenize.go, split.go, scan.go: segments are cut into words;
//  5. bpe.go, merge.go: words become tokens (cache.go remembers short ones);
//  6. postprocess.go: tokens the model wants around every text are put there.
//
// decode.go and stream.go go back. train.go makes a byte-level BPE vocabulary.
//
// Deviations from Hugging Face tokenizers, all deliberate: text that is not valid UTF-8 is encoded byte by byte
// where the vocabulary can (theirs cannot receive it); truncation and padding asked for by the file are ignored and
// reported by Notes; a file whose added tokens contradict its vocabulary is refused (theirs renumbers them).
package tokenizer
