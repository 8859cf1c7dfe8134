package dataset

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"plumb/internal/chat"
)

// Options says how a file is read.
type Options struct {
	// Format is the format of the records; "" lets it be detected from the first.
	Format Format
	// Columns maps names of the formats' fields (prompt, completion, chosen, text …) to names in the file.
	Columns map[string]string
	// Limit is the number of records read at most, of the part; 0: all.
	Limit int
	// Part is which records are read; the zero Part is all. See Reading.
	Part Part
	// SkipBad leaves out records that cannot be read and counts them; otherwise the first is an error.
	SkipBad bool
	// Separator stands between the documents of a .txt file; "" is <|endoftext|> if the file has it in its first
	// MiB, else the file is one document.
	Separator string
	// Opening is the number of words of a plain or labelled text that make a prompt of it, or the prompt of a
	// demonstration; 0: texts have no prompt.
	Opening int
	// Words is how many words of a plain or labelled text are read at most, cut behind a sentence; 0: all. See Reading.
	Words int
	// Pairs is how many pairs are made of labelled texts, or of judged answers, at most; 0: as many as can be.
	Pairs int
	// Seed draws those pairs.
	Seed uint64
	// MaxRecord bounds the bytes of one record; 0 is 64 MiB.
	MaxRecord int
	// Told, if not nil, hears after each record how many bytes of the file have been read, of how many.
	Told func(done, total int64)
}

// Summary tells what was found in a file.
type Summary struct {
	File      string
	Container string // jsonl, json, csv, tsv, parquet, txt
	Format    Format
	Detected  bool // the format was not given
	Kind      Kind // of the file's records
	First     Row  // the first record as it stands there
	Read      int  // records read
	Kept      int  // records the caller got (pairs, where those are made)
	Dropped   []Drop
	Notes     []string
}

// String is one line for a person.
func (s Summary) String() string {
	how := ""
	if s.Detected {
		how = " (detected)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s%s", s.File, s.Kind, s.Format, how)
	if s.Read > 0 {
		fmt.Fprintf(&b, ": %d read, %d kept", s.Read, s.Kept)
	}
	for _, d := range s.Dropped {
		fmt.Fprintf(&b, "; %d dropped: %s (first %s)", d.Count, d.Reason, d.First)
	}
	for _, n := range s.Notes {
		b.WriteString("; " + n)
	}
	return b.String()
}

func (s *Summary) drop(reason string, o Origin) {
	c := Counts{Dropped: s.Dropped}
	c.drop(reason, o)
	s.Dropped = c.Dropped
}

// Detect reads the first record of a file and tells what it is.
func Detect(path string, o Options) (Summary, error) {
	o.Limit, o.SkipBad = 1, false
	return scan(path, o, func(any, *Summary) error { return nil })
}

// Each reads a file's rows one after the other, as they stand there, until f returns false.
func Each(path string, o Options, f func(Row) bool) error {
	file, err := open(path, o)
	if err != nil {
		return err
	}
	defer file.close()
	for n := 0; o.Limit == 0 || n < o.Limit; n++ {
		row, err := file.rows.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", row.Origin, err)
		}
		if !f(row) {
			return nil
		}
	}
	return nil
}

// errUnfit marks records that are left out and counted because of what they are, not because they are damaged.
type errUnfit struct{ reason string }

func (e errUnfit) Error() string { return e.reason }

// scan reads a file and gives every record, converted, to take. A record take returns an errUnfit for is counted as
// dropped.
func scan(path string, o Options, take func(record any, s *Summary) error) (Summary, error) {
	s := Summary{File: path, Format: o.Format, Detected: o.Format == ""}
	file, err := open(path, o)
	if err != nil {
		return s, err
	}
	defer file.close()
	s.Container, s.Notes = file.container, file.notes
	var f *format
	elsewhere := 0
	for o.Limit == 0 || s.Read-elsewhere < o.Limit {
		row, err := file.rows.next()
		if err == io.EOF {
			break
		}
		var bad *rowError
		if err != nil && (!o.SkipBad || !errors.As(err, &bad)) {
			return s, fmt.Errorf("%s: %w", row.Origin, err)
		}
		s.Read++
		if o.Told != nil {
			o.Told(file.at())
		}
		if err != nil {
			s.drop("unreadable", row.Origin)
			continue
		}
		r := fields{row, o.Columns}
		if f == nil {
			if f, err = s.begin(r, o); err != nil {
				return s, err
			}
		}
		record, err := f.convert(r)
		if err == nil && !o.Part.holds(partKey(record)) {
			elsewhere++
			continue
		}
		if err == nil {
			err = take(shortened(record, o.Words), &s)
		}
		var unfit errUnfit
		switch {
		case err == nil:
		case errors.Is(err, errSame):
			s.drop(errSame.Error(), row.Origin)
		case errors.As(err, &unfit):
			s.drop(unfit.reason, row.Origin)
		case o.SkipBad:
			s.drop("unreadable", row.Origin)
		default:
			return s, fmt.Errorf("%s: %w", row.Origin, err)
		}
	}
	if s.Read == 0 {
		return s, fmt.Errorf("%s: there are no records in it", path)
	}
	if o.Part != (Part{}) {
		s.Notes = append(s.Notes, fmt.Sprintf("%d records are not in part %s", elsewhere, o.Part))
	}
	return s, nil
}

// begin settles the format by the first record.
func (s *Summary) begin(r fields, o Options) (*format, error) {
	for name, column := range o.Columns {
		if _, ok := r.Fields.Get(column); !ok {
			return nil, fmt.Errorf("%s: there is no column %q, which columns.%s names; there are %s", r.Origin, column, name, fieldNames(r.Fields))
		}
	}
	var f format
	var err error
	if o.Format == "" {
		f, err = detect(r)
	} else {
		f, err = named(o.Format, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Origin, err)
	}
	s.Format, s.Kind, s.First = f.name, f.kind, r.Row
	return &f, nil
}

func fieldNames(o chat.Object) string {
	names := make([]string, len(o))
	for i, f := range o {
		names[i] = f.Key
	}
	return strings.Join(names, ", ")
}

// ReadDemonstrations reads examples to imitate. Of comparisons the better answers are taken, of judgements the good
// ones; texts become completions.
func ReadDemonstrations(path string, o Options) ([]Demonstration, Summary, error) {
	var out []Demonstration
	s, err := scan(path, o, func(record any, s *Summary) error {
		d, err := demonstrationOf(record, o.Opening)
		if err == nil {
			out = append(out, d)
		}
		return err
	})
	return finish(out, s, err)
}

// finish completes a reader's results; nothing kept is an error.
func finish[T any](out []T, s Summary, err error) ([]T, Summary, error) {
	s.Kept = len(out)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: none of its %d records is kept: %s", s.File, s.Read, s)
	}
	if err != nil {
		return nil, s, err
	}
	return out, s, nil
}

func demonstrationOf(record any, words int) (Demonstration, error) {
	text := func(o Origin, s string) (Demonstration, error) {
		d := Demonstration{Origin: o, Completion: Passage{Text: s}}
		if words == 0 {
			return d, nil
		}
		n := openingWords(s, words)
		if n == len(s) {
			return d, errUnfit{"not longer than its opening"}
		}
		d.Prompt.Text, d.Completion.Text = s[:n], s[n:]
		return d, nil
	}
	switch r := record.(type) {
	case Demonstration:
		return r, nil
	case []Comparison:
		return Demonstration{Origin: r[0].Origin, Prompt: r[0].Prompt, Completion: r[0].Chosen}, nil
	case Judgement:
		if !r.Good {
			return Demonstration{}, errUnfit{"judged bad"}
		}
		return Demonstration{Origin: r.Origin, Prompt: r.Prompt, Completion: r.Completion}, nil
	case Text:
		return text(r.Origin, r.Text)
	case Labelled:
		return text(r.Origin, r.Text)
	case Prompt:
		return Demonstration{}, errUnfit{"a prompt without an answer"}
	}
	panic("dataset: demonstrationOf: unknown record")
}

// openingWords returns the length of the first n words of s.
func openingWords(s string, n int) int {
	in := false
	for i, r := range s {
		space := unicode.IsSpace(r)
		if in && space {
			if n--; n == 0 {
				return i
			}
		}
		in = !space
	}
	return len(s)
}

// ReadComparisons reads pairs of a better and a worse answer. Labelled texts are paired across labels (Pairs), judged answers
// by prompt (JudgedPairs).
func ReadComparisons(path string, o Options) ([]Comparison, Summary, error) {
	var out []Comparison
	var labelled []Labelled
	var judged []Judgement
	scored := 0
	s, err := scan(path, o, func(record any, s *Summary) error {
		switch r := record.(type) {
		case []Comparison:
			if r[0].HasScores {
				scored++
			}
			out = append(out, r...)
		case Labelled:
			labelled = append(labelled, r)
		case Judgement:
			judged = append(judged, r)
		default:
			return fmt.Errorf("%s (format %s) cannot be compared; wanted are pairs of chosen and rejected, judged answers, or labelled texts", s.Kind, s.Format)
		}
		return nil
	})
	if scored > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d records score both answers, which is not used: a margin is what the field margin says", scored))
	}
	left, made := 0, ""
	switch {
	case err != nil:
		return finish(out, s, err)
	case labelled != nil:
		out, left, err = Pairs(labelled, o.Seed)
		made = fmt.Sprintf("%d pairs made across labels, seed %d; %d texts found no partner", len(out), o.Seed, left)
	case judged != nil:
		out, left, err = JudgedPairs(judged, o.Seed)
		made = fmt.Sprintf("%d pairs made of a good and a bad answer to one prompt, seed %d; %d answers had no counterpart", len(out), o.Seed, left)
	default:
		return finish(out, s, nil)
	}
	if err != nil {
		return finish(out, s, fmt.Errorf("%s: %w", path, err))
	}
	s.Notes = append(s.Notes, made)
	if o.Pairs > 0 && o.Pairs < len(out) {
		out = out[:o.Pairs]
	}
	return finish(out, s, nil)
}

// ReadJudgements reads answers judged one by one.
func ReadJudgements(path string, o Options) ([]Judgement, Summary, error) {
	var out []Judgement
	s, err := scan(path, o, func(record any, s *Summary) error {
		switch r := record.(type) {
		case Judgement:
			out = append(out, r)
		case []Comparison:
			for _, c := range r {
				out = append(out, Judgement{c.Origin, c.Prompt, c.Chosen, true}, Judgement{c.Origin, c.Prompt, c.Rejected, false})
			}
		default:
			return fmt.Errorf("%s (format %s) are not judged", s.Kind, s.Format)
		}
		return nil
	})
	return finish(out, s, err)
}

// ReadLabelled reads texts with a scalar label.
func ReadLabelled(path string, o Options) ([]Labelled, Summary, error) {
	var out []Labelled
	s, err := scan(path, o, func(record any, s *Summary) error {
		r, ok := record.(Labelled)
		if !ok {
			return fmt.Errorf("%s (format %s) have no label", s.Kind, s.Format)
		}
		out = append(out, r)
		return nil
	})
	return finish(out, s, err)
}

// ReadTexts reads plain text to pretrain on; of prompts and completions that are texts, both together.
func ReadTexts(path string, o Options) ([]Text, Summary, error) {
	var out []Text
	s, err := scan(path, o, func(record any, s *Summary) error {
		switch r := record.(type) {
		case Text:
			out = append(out, r)
			return nil
		case Labelled:
			out = append(out, Text{r.Origin, r.Text})
			return nil
		case Demonstration:
			if r.Conversation == nil && !r.Completion.IsChat() {
				out = append(out, Text{r.Origin, r.Prompt.Text + r.Completion.Text})
				return nil
			}
		}
		return fmt.Errorf("%s (format %s) are not plain text", s.Kind, s.Format)
	})
	return finish(out, s, err)
}
