// Package dataset turns files into training rows.
//
// In: files of records in the formats people publish (.jsonl, .json, .csv, .tsv, .parquet, .txt, each also .gz or
// .zst). Out: Demonstrations, Comparisons, Judgements, Labelled texts, Prompts and Texts, each with its origin, and
// from those token ids with loss weights.
//
// The type of a file is detected from the names and types of its first record's fields, and can always be said by
// the caller instead; what was detected is returned so that it can be printed. A record that does not fit is an
// error that names file and line, or, if the caller asks for that, is left out and counted. Nothing is dropped
// silently.
package dataset
