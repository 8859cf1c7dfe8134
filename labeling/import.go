package labeling

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Format is a file format of comparisons.
type Format string

// Formats that Import reads.
const (
	TRL         Format = "trl"           // {prompt, chosen, rejected} or {chosen, rejected}, strings or messages; margin kept
	HH          Format = "hh-rlhf"       // {chosen, rejected}, each a "\n\nHuman: ... \n\nAssistant: ..." transcript
	Summarize   Format = "summarize"     // OpenAI's comparisons: {info, summaries, choice, worker}
	Ultra       Format = "ultrafeedback" // {instruction, completions: [{model, response, overall_score}]}
	LlamaFac    Format = "llamafactory"  // {conversations, chosen, rejected} or {instruction, input, output: [chosen, rejected]}
	Argilla     Format = "argilla"       // records of a dataset: {fields, responses}
	LabelStudio Format = "label-studio"  // tasks: {data, annotations} with a Pairwise, Ranker, Rating or Choices control
)

// ImportOptions are the choices of an import.
type ImportOptions struct {
	Format    Format   // "" means: told from the first record
	Unlabeled bool     // take the items, not what the file says of them
	Annotator string   // whose judgements they are where the file names nobody; "" means the format's name
	Tags      []string // added to every item
	Mode      Mode     // "" means as the file has it; else the answers are regrouped, see Reshape
	Gold      bool     // what the file says is what is known, not a judgement
}

// Imported says what an import found.
type Imported struct {
	Ingested
	Format  Format
	Records int            // records read
	Dropped map[string]int // records of which something could not be taken, by reason
}

// Import reads comparisons into the store: JSON lines or a JSON array, plain, gzip or zstd. name is what errors call the
// file. The whole file goes in or, on an error, nothing of it; reading a file twice adds nothing.
func (s *Store) Import(ctx context.Context, r io.Reader, name string, opt ImportOptions) (Imported, error) {
	records, closeRecords, err := openRecords(r)
	if err != nil {
		return Imported{}, fmt.Errorf("%s: %w", name, err)
	}
	defer closeRecords()
	im := importer{opt: opt, records: records, name: name, out: Imported{Format: opt.Format, Dropped: map[string]int{}}}
	if opt.Format != "" && converters[opt.Format] == nil {
		return Imported{}, fmt.Errorf("%s: unknown format %q (one of %s)", name, opt.Format, formatNames())
	}
	next := im.next
	if opt.Mode != "" {
		next = im.reshaped()
	}
	im.out.Ingested, err = s.ingest(ctx, next)
	if err != nil {
		return Imported{}, err
	}
	if im.out.Records == 0 {
		return Imported{}, fmt.Errorf("%s: no records", name)
	}
	return im.out, nil
}

func formatNames() string {
	var names []string
	for f := range converters {
		names = append(names, string(f))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// importer turns records into labelled items, several from one record where that ranks more than two answers.
type importer struct {
	opt     ImportOptions
	records *recordReader
	name    string
	ready   []Labelled
	out     Imported
}

func (im *importer) next() (Labelled, error) {
	for len(im.ready) == 0 {
		raw, err := im.records.next()
		if errors.Is(err, io.EOF) {
			return Labelled{}, io.EOF
		}
		if err != nil {
			return Labelled{}, fmt.Errorf("%s: %s: %w", im.name, im.records.where(), err)
		}
		im.out.Records++
		var rec record
		if err := json.Unmarshal(raw, &rec); err != nil {
			return Labelled{}, fmt.Errorf("%s: %s: not a JSON object: %w", im.name, im.records.where(), err)
		}
		if rec.has("annotation_id", "annotator", "lead_time") {
			return Labelled{}, fmt.Errorf("%s: %s: this is Label Studio's JSON-MIN, which does not say what its values are: export as JSON there",
				im.name, im.records.where())
		}
		if im.out.Format == "" {
			if im.out.Format = detect(rec); im.out.Format == "" {
				return Labelled{}, fmt.Errorf("%s: %s: no known format of comparisons has the keys %s; known: %s",
					im.name, im.records.where(), strings.Join(rec.keys(), ", "), formatNames())
			}
		}
		list, err := converters[im.out.Format](rec)
		var drop dropped
		switch {
		case errors.As(err, &drop):
			im.out.Dropped[string(drop)]++
		case err != nil:
			return Labelled{}, fmt.Errorf("%s: %s: as %s: %w", im.name, im.records.where(), im.out.Format, err)
		}
		im.ready = list
	}
	l := im.ready[0]
	im.ready = im.ready[1:]
	l.Item.Tags = append(l.Item.Tags, im.opt.Tags...)
	l.Gold = im.opt.Gold && !im.opt.Unlabeled
	if im.opt.Unlabeled {
		l.Decision = nil
	}
	if l.Annotator == "" {
		if l.Annotator = im.opt.Annotator; l.Annotator == "" {
			l.Annotator = string(im.out.Format)
		}
	}
	return l, nil
}

// dropped is the reason why a sound record gives no comparison.
type dropped string

func (d dropped) Error() string { return string(d) }

// recordReader reads JSON lines or the elements of one JSON array.
type recordReader struct {
	lines *bufio.Reader
	array *json.Decoder
	n     int // line, or element
}

// maxRecord bounds the memory one line may ask for.
const maxRecord = 64 << 20

func openRecords(r io.Reader) (*recordReader, func(), error) {
	br := bufio.NewReaderSize(r, 1<<16)
	stop := func() {}
	magic, _ := br.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		br = bufio.NewReaderSize(z, 1<<16)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(1<<28))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		br, stop = bufio.NewReaderSize(z, 1<<16), z.Close
	}
	if bom, _ := br.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		br.Discard(3)
	}
	for {
		c, err := br.Peek(1)
		if err != nil {
			break
		}
		if !bytes.Contains([]byte(" \t\r\n"), c) {
			if c[0] == '[' {
				dec := json.NewDecoder(br)
				_, err := dec.Token()
				return &recordReader{array: dec}, stop, err
			}
			break
		}
		br.Discard(1)
	}
	return &recordReader{lines: br}, stop, nil
}

func (r *recordReader) where() string {
	if r.array != nil {
		return fmt.Sprintf("element %d", r.n)
	}
	return fmt.Sprintf("line %d", r.n)
}

func (r *recordReader) next() (json.RawMessage, error) {
	if r.array != nil {
		r.n++
		var raw json.RawMessage
		if !r.array.More() {
			if _, err := r.array.Token(); err != nil {
				return nil, fmt.Errorf("the array does not end: %w", noEOF(err))
			}
			return nil, io.EOF
		}
		return raw, noEOF(r.array.Decode(&raw))
	}
	for {
		r.n++
		var line []byte
		for {
			part, err := r.lines.ReadSlice('\n')
			line = append(line, part...)
			if len(line) > maxRecord {
				return nil, fmt.Errorf("longer than %d MiB", maxRecord>>20)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return nil, io.EOF
			}
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// noEOF keeps a truncated file from looking like a finished one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
