package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/chat"
	"plumb/internal/config"
	"plumb/internal/dataset"
	"plumb/internal/run"
	"plumb/sft"
)

func (a *app) dataCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Look at data sets",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usagef("unknown verb \"data %s\"%s", args[0], didYouMean(config.Nearest(args[0], verbs(cmd))))
		},
	}
	cmd.AddCommand(a.dataCheckCmd())
	return cmd
}

// dataReport is what plumb data check says of one file.
type dataReport struct {
	File      string         `json:"file"`
	Container string         `json:"container"`
	Format    string         `json:"format"`
	Kind      string         `json:"kind"`
	Read      int            `json:"read"`
	Kept      int            `json:"kept"`
	Dropped   []dataset.Drop `json:"dropped,omitempty"`
	Notes     []string       `json:"notes,omitempty"`
	Tokens    int            `json:"tokens,omitempty"`
	Learned   int            `json:"learned,omitempty"`
	Truncated int            `json:"truncated,omitempty"`
	NoStop    int            `json:"no_stop,omitempty"`
	Longest   int            `json:"longest,omitempty"`
	First     string         `json:"first"`
}

func (a *app) dataCheckCmd() *cobra.Command {
	var modelRef string
	var opt dataset.Options
	var reading dataset.Reading
	length := dataset.Length{Cut: dataset.Cut(sft.Default().Overlong)}
	cmd := &cobra.Command{
		Use:   "check FILE ... [--model MODEL]",
		Short: "Say what a data set is, read every record, show the first",
		Long: `Detects what the records are, reads them all, and names wrong lines by file and line.
With --model each record also goes through that model's tokenizer and template: how
many tokens, how many are learned, what would be cut or dropped; the first record is
shown with what is learned between « and ».`,
		Args: args("files", 1, -1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := reading.Validate(); err != nil {
				return usageError{err}
			}
			switch length.Cut {
			case dataset.DropLong, dataset.KeepStart, dataset.KeepEnd, dataset.RefuseAny:
			default:
				return usagef("--overlong %s: want drop, keep_start, keep_end or error", length.Cut)
			}
			skip := opt.SkipBad
			opt = reading.Options(opt.Limit, 0)
			opt.SkipBad = skip
			var enc *dataset.Encoder
			if modelRef != "" {
				p, err := a.locate(cmd.Context(), modelRef)
				if err != nil {
					return err
				}
				l, err := a.openSides(p, modelRef)
				if err != nil {
					return err
				}
				if enc, err = l.encoder(); err != nil {
					return err
				}
			}
			var all []dataReport
			for _, f := range files {
				r, err := a.checkFile(expandHome(f), opt, enc, length)
				if err != nil {
					return err
				}
				if all = append(all, r); !a.json {
					a.printReport(r)
				}
			}
			if a.json {
				return a.printJSON(all)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&modelRef, "model", "", "model whose tokenizer and template the records go through")
	f.StringVar(&reading.Format, "format", "", "format of the records; by default told from the first")
	f.StringToStringVar(&reading.Columns, "columns", nil, "names of our fields in the file: prompt=question,completion=answer")
	f.IntVar(&opt.Limit, "limit", 0, "read that many records, 0 for all")
	f.BoolVar(&opt.SkipBad, "skip-bad", false, "count records that cannot be read instead of stopping at the first")
	f.IntVar(&reading.Opening, "opening", 0, "words of a plain text that are its prompt")
	f.IntVar(&reading.Words, "words", 0, "cut plain texts behind a sentence, within that many words; 0: whole")
	f.StringVar(&reading.Part, "part", "", "read only that part, by a hash of the prompt: 1/2")
	f.IntVar(&length.Max, "max-length", 0, "with --model: longest row in tokens, 0 for no limit")
	f.StringVar((*string)(&length.Cut), "overlong", string(length.Cut), "what becomes of longer rows, as sft.overlong: drop, keep_start, keep_end, error; comparisons and prompts are always dropped")
	return cmd
}

// checkFile reads a whole file as what it is.
func (a *app) checkFile(path string, opt dataset.Options, enc *dataset.Encoder, length dataset.Length) (dataReport, error) {
	s, err := dataset.Detect(path, opt)
	if err != nil {
		return dataReport{}, err
	}
	first := encodeFields(s.First)
	opt = a.reading(path, opt)
	defer a.progress.Done()
	var counts dataset.Counts
	var rows []dataset.Example
	switch s.Kind {
	case dataset.LabelledTexts:
		_, s, err = dataset.ReadLabelled(path, opt)
	case dataset.Comparisons:
		var cs []dataset.Comparison
		if cs, s, err = dataset.ReadComparisons(path, opt); err == nil && enc != nil {
			var pairs []dataset.Pair
			pairs, counts, err = enc.Comparisons(cs, length.Max)
			for _, p := range pairs {
				rows = append(rows, p.Chosen, p.Rejected)
			}
		}
	case dataset.Prompts:
		var ps []dataset.Prompt
		if ps, s, err = dataset.ReadPrompts(path, opt); err == nil && enc != nil {
			var got []dataset.EncodedPrompt
			got, counts, err = enc.Prompts(ps, length.Max)
			for _, p := range got {
				rows = append(rows, dataset.Example{IDs: p.IDs})
			}
		}
	case dataset.Judgements:
		_, s, err = dataset.ReadJudgements(path, opt)
	case dataset.Texts:
		var ts []dataset.Text
		if ts, s, err = dataset.ReadTexts(path, opt); err == nil && enc != nil {
			rows, counts, err = enc.Texts(ts, length)
		}
	default:
		var ds []dataset.Demonstration
		if ds, s, err = dataset.ReadDemonstrations(path, opt); err == nil && enc != nil {
			rows, counts, err = enc.Demonstrations(ds, length)
			if err == nil {
				var segments []dataset.Segment
				segments, err = enc.Segments(ds[0])
				first = dataset.Marked(segments)
			}
		}
	}
	if err != nil {
		return dataReport{}, err
	}
	longest := 0
	for _, r := range rows {
		longest = max(longest, len(r.IDs))
	}
	return dataReport{
		File: path, Container: s.Container, Format: string(s.Format), Kind: string(s.Kind), Read: s.Read, Kept: s.Kept,
		Dropped: append(s.Dropped, counts.Dropped...), Notes: s.Notes, Tokens: counts.Tokens, Learned: counts.Learnable,
		Truncated: counts.Truncated, NoStop: counts.NoStop, Longest: longest, First: first,
	}, nil
}

func (a *app) printReport(r dataReport) {
	t := a.theme
	fmt.Fprintf(a.out, "%s\n  %s, format %s, read from %s\n  %d read, %d kept\n", t.Title.Render(r.File), r.Kind, r.Format, r.Container, r.Read, r.Kept)
	for _, d := range r.Dropped {
		fmt.Fprintf(a.out, "  %s %d dropped: %s (first %s)\n", t.Warn.Render("!"), d.Count, d.Reason, d.First)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(a.out, "  %s\n", n)
	}
	if r.Tokens > 0 {
		fmt.Fprintf(a.out, "  %d tokens, %d learned, longest row %d\n", r.Tokens, r.Learned, r.Longest)
	}
	if r.Truncated > 0 {
		fmt.Fprintf(a.out, "  %s %d rows cut\n", t.Warn.Render("!"), r.Truncated)
	}
	if r.NoStop > 0 {
		fmt.Fprintf(a.out, "  %s %d rows teach no token that ends a turn\n", t.Warn.Render("!"), r.NoStop)
	}
	fmt.Fprintf(a.out, "  first record:\n    %s\n", strings.ReplaceAll(clipText(r.First, 1200), "\n", "\n    "))
}

// clipText cuts a long text for a person, saying so.
func clipText(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return fmt.Sprintf("%s … (%d characters more)", string(r[:most]), len(r)-most)
	}
	return s
}

// The most characters of a record that is shown on one line, and of a text in it.
const (
	briefRecord = 240
	briefText   = 60
)

// brief is a row on one line, its long texts cut so that every field has a chance to be seen.
func brief(r dataset.Row) string {
	return clipText(encodeFields(dataset.Row{Fields: shortTexts(r.Fields).(chat.Object)}), briefRecord)
}

// shortTexts cuts the texts in a value of chat.DecodeJSON.
func shortTexts(v any) any {
	switch x := v.(type) {
	case chat.Object:
		out := make(chat.Object, len(x))
		for i, f := range x {
			out[i] = chat.Field{Key: f.Key, Value: shortTexts(f.Value)}
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = shortTexts(item)
		}
		return out
	case string:
		if r := []rune(x); len(r) > briefText {
			return string(r[:briefText]) + "…"
		}
	}
	return v
}

// encodeFields writes a row as one JSON object.
func encodeFields(r dataset.Row) string { return string(appendValue(nil, r.Fields)) }

// appendValue writes a value of chat.DecodeJSON.
func appendValue(b []byte, v any) []byte {
	switch x := v.(type) {
	case chat.Object:
		b = append(b, '{')
		for i, f := range x {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(append(b, encodeString(f.Key)...), ": "...)
			b = appendValue(b, f.Value)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, item := range x {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendValue(b, item)
		}
		return append(b, ']')
	case string:
		return append(b, encodeString(x)...)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Appendf(b, "%v", v)
	}
	return append(b, data...)
}

// readPrompts finds and reads the prompts that key of the recipe names.
func (p *pipeline) readPrompts(ctx context.Context, key, ref, sha256 string, limit int) ([]dataset.Prompt, run.Source, error) {
	path, src, err := p.data(ctx, ref, sha256)
	if err != nil {
		return nil, src, fmt.Errorf("%s: %w", key, err)
	}
	read, err := p.promptsOf(key, path, dataset.Options{Limit: limit, Seed: p.recipe.Seed})
	return read, src, err
}

// promptsOf reads a file of prompts.
func (p *pipeline) promptsOf(key, path string, opt dataset.Options) ([]dataset.Prompt, error) {
	read, s, err := dataset.ReadPrompts(path, p.reading(path, opt))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	p.say(s)
	return read, nil
}

// say tells what was read and shows the first record on one line.
func (p *pipeline) say(s dataset.Summary) {
	p.sayRead(s)
	p.note("first record, %s: %s", s.First.Origin, brief(s.First))
}

// sayRead tells what was read: type, counts, what was dropped.
func (p *pipeline) sayRead(s dataset.Summary) {
	p.progress.Done()
	if len(s.Dropped) > 0 {
		p.warn("%s", s)
		return
	}
	p.note("%s", s)
}

// sayCounts tells what became of records as rows.
func (p *pipeline) sayCounts(what string, c dataset.Counts) {
	if len(c.Dropped) > 0 || c.Truncated > 0 || c.NoStop > 0 {
		p.warn("%s: %s", what, c)
		return
	}
	p.note("%s: %s", what, c)
}

func writeBytes(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

func encodeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return nil
}
