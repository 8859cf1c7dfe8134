package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/chat"
	"plumb/internal/dataset"
	"plumb/internal/run"
	"plumb/internal/tales"
	"plumb/labeling"
)

// labelConfig is the recipe's section label.
type labelConfig struct {
	// Store is the label store, an SQLite file. A relative name lies in the run folder, unless it is there as written.
	// Default labels.db.
	Store string
	// Min is how many items must be decided before the next stage, >= 0; 0 = all that are in the queue. Default 0.
	Min int
	// By is who judges: empty for a person at the terminal, embedded:tales for the simulated labeler. Default empty.
	By string
	// Annotator is the person's name. Default: the login name.
	Annotator string
	// Overlap is how many people are to judge each item, >= 1. Default 1.
	Overlap int
	// Tags are reasons that can be ticked, at most nine. Default none.
	Tags []string
	// Guidelines is a Markdown file that g shows. Default none.
	Guidelines string
}

func defaultLabel() labelConfig { return labelConfig{Store: "labels.db", Overlap: 1} }

// Validate names every value out of range.
func (c *labelConfig) Validate() error {
	var errs []error
	if c.Store == "" {
		errs = append(errs, errors.New("store: name a file"))
	}
	if c.Min < 0 {
		errs = append(errs, fmt.Errorf("min: %d, want 0 or more", c.Min))
	}
	if c.Overlap < 1 {
		errs = append(errs, fmt.Errorf("overlap: %d, want 1 or more", c.Overlap))
	}
	if len(c.Tags) > 9 {
		errs = append(errs, fmt.Errorf("tags: %d; there are keys for nine", len(c.Tags)))
	}
	if c.By != "" && c.By != talesLabeler {
		errs = append(errs, fmt.Errorf("by: %q, want nothing (a person) or %s", c.By, talesLabeler))
	}
	return errors.Join(errs...)
}

// talesLabeler names the simulated labeler of the embedded world.
const talesLabeler = embeddedPrefix + "tales"

func (a *app) labelCmd() *cobra.Command {
	var o recipeFlags
	var annotator string
	var plain bool
	cmd := &cobra.Command{
		Use:   "label RECIPE | label STORE.db",
		Short: "Judge pairs of answers in the terminal",
		Long: `Opens the labeling screen over a recipe's label store, or over any store. Every
judgement is kept the moment its key is pressed; ? shows the keys.`,
		Args: args("one RECIPE or STORE.db", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if filepath.Ext(args[0]) != ".db" {
				return a.pipe(ctx, args[0], o, "label")
			}
			if _, err := os.Stat(args[0]); err != nil {
				return err
			}
			store, err := labeling.Open(ctx, args[0])
			if err != nil {
				return err
			}
			defer store.Close()
			return labeling.Run(ctx, store, labeling.Options{Annotator: annotatorName(annotator), Seed: 1, Plain: plain, In: a.in, Out: a.out})
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&annotator, "annotator", "", "your name, with STORE.db; by default the login name")
	cmd.Flags().BoolVar(&plain, "plain", false, "question by question in lines of text, with STORE.db")
	cmd.AddCommand(a.labelImportCmd(), a.labelExportCmd())
	return cmd
}

func (a *app) labelImportCmd() *cobra.Command {
	var opt labeling.ImportOptions
	var format string
	cmd := &cobra.Command{
		Use:   "import STORE.db FILE ...",
		Short: "Put comparisons from files into a label store",
		Args:  args("a STORE.db and files", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := labeling.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer store.Close()
			opt.Format = labeling.Format(format)
			for _, name := range args[1:] {
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				got, err := store.Import(cmd.Context(), f, name, opt)
				f.Close()
				if err != nil {
					return err
				}
				a.note("%s: %s, %d records, %d new items, %d known, %d judgements", name, got.Format, got.Records, got.New, got.Existing, got.Judged)
				for reason, n := range got.Dropped {
					a.warn("%s: %d records left out: %s", name, n, reason)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "format of the files; by default told from the first record")
	f.BoolVar(&opt.Unlabeled, "unlabeled", false, "take the pairs, not what the file says of them")
	f.StringVar(&opt.Annotator, "annotator", "", "whose judgements they are where the file names nobody")
	return cmd
}

func (a *app) labelExportCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export STORE.db > FILE",
		Short: "Write the judgements of a label store as training data",
		Args:  args("one STORE.db", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err != nil {
				return err
			}
			store, err := labeling.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer store.Close()
			got, err := store.Export(cmd.Context(), a.out, labeling.Format(format))
			if err != nil {
				return err
			}
			a.note("%d rows", got.Rows)
			for choice, n := range got.LeftOut {
				a.note("%d judgements left out: %s", n, choice)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", string(labeling.TRL), "trl, kto, argilla, label-studio or log")
	return cmd
}

func annotatorName(given string) string {
	if given != "" {
		return given
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "anonymous"
}

// storeName is the label store of the recipe.
func (p *pipeline) storeName() string {
	if p.recipe.Label != nil {
		return p.recipe.Label.Store
	}
	return defaultLabel().Store
}

// passageOf is a prompt of the queue as data.
func passageOf(q labeling.Prompt) (p dataset.Passage, isChat bool) {
	if len(q.Messages) == 0 {
		return dataset.Passage{Text: q.Text}, false
	}
	for _, m := range q.Messages {
		p.Messages = append(p.Messages, chat.Message{Role: m.Role, Content: m.Content})
	}
	return p, true
}

// storePath is where the run's label store lies.
func (p *pipeline) storePath(name string) string {
	name = expandHome(name)
	if filepath.IsAbs(name) {
		return name
	}
	if _, err := os.Stat(name); err == nil {
		return name
	}
	return p.dir.Path(name)
}

// labelStage waits until enough items are decided. It keeps no state but the
// store, so it looks there every time.
func (p *pipeline) labelStage(context.Context) (stageJob, error) {
	c := *p.recipe.Label
	var m run.Manifest
	if p.recipe.Pairs != nil {
		m.Parents = []run.Parent{{Role: "pairs", Path: p.dir.Path("pairs")}}
	}
	return stageJob{m, func(ctx context.Context, s *run.Stage) (stageResult, error) {
		path := p.storePath(c.Store)
		store, err := labeling.Open(ctx, path)
		if err != nil {
			return stageResult{}, err
		}
		defer store.Close()
		items, decided, err := p.decide(ctx, store, c)
		if err != nil {
			return stageResult{}, err
		}
		if items == 0 {
			return stageResult{}, fmt.Errorf("%s holds nothing to judge: run the stage pairs, or plumb label import %s FILE", path, path)
		}
		return stageResult{step: decided, results: []run.KV{{Key: "items", Value: float64(items)}, {Key: "decided", Value: float64(decided)}}}, nil
	}}, nil
}

// decide gets items decided: by the simulated labeler, by a person at this
// terminal, or by waiting for one elsewhere.
func (p *pipeline) decide(ctx context.Context, store *labeling.Store, c labelConfig) (items, decided int, err error) {
	if c.By == talesLabeler {
		if err := labelTales(ctx, store, p.recipe.Seed); err != nil {
			return 0, 0, err
		}
	}
	enough := func() (bool, error) {
		items, decided, err = store.Count(ctx)
		want := c.Min
		if want == 0 || want > items && items > 0 {
			want = items
		}
		return decided >= want, err
	}
	if ok, err := enough(); ok || err != nil || items == 0 {
		return items, decided, err
	}
	if _, tty := p.terminal(); tty {
		opt := labeling.Options{
			Annotator: annotatorName(c.Annotator), Seed: p.recipe.Seed, Goal: c.Min, Overlap: c.Overlap, Tags: c.Tags, In: p.in, Out: p.out,
		}
		if c.Guidelines != "" {
			text, err := os.ReadFile(expandHome(c.Guidelines))
			if err != nil {
				return 0, 0, fmt.Errorf("label.guidelines: %w", err)
			}
			opt.Guidelines = string(text)
		}
		if err := labeling.Run(ctx, store, opt); err != nil {
			return 0, 0, err
		}
		if ok, err := enough(); ok || err != nil {
			return items, decided, err
		}
	}
	fmt.Fprintf(p.out, "plumb label %s\n", store.Path())
	want := c.Min
	if want == 0 || want > items {
		want = items
	}
	return 0, 0, fmt.Errorf("%w: %d of %d items are decided; type the command above in a terminal, then run the recipe again", errWaiting, decided, want)
}

// terminal reports whether both ends of the program are a terminal.
func (p *pipeline) terminal() (columns int, ok bool) {
	if !isTerminal(p.in) {
		return 0, false
	}
	if f, isFile := p.out.(*os.File); isFile {
		return 0, isTerminal(f)
	}
	return 0, false
}

// labelTales judges every undecided item as the embedded world's labeler does.
// The draw belongs to the seed and the item's place in the queue.
func labelTales(ctx context.Context, store *labeling.Store, seed uint64) error {
	items, _, err := store.Count(ctx)
	if err != nil {
		return err
	}
	var list []labeling.Labelled
	for seq := int64(1); seq <= int64(items); seq++ {
		it, err := store.Item(ctx, seq)
		if err != nil {
			return err
		}
		text := it.Prompt.Text
		if n := len(it.Prompt.Messages); n > 0 {
			text = it.Prompt.Messages[n-1].Content
		}
		q, err := tales.ParseRequest(text)
		if err != nil {
			return fmt.Errorf("item %d: %w", seq, err)
		}
		d := labeling.Decision{Choice: labeling.Tie}
		switch l := tales.LabelPair(q, strings.TrimSpace(it.Answers[0].Text), strings.TrimSpace(it.Answers[1].Text), seed, uint64(seq)); {
		case l > 0:
			d = labeling.Prefer(0, int(l))
		case l < 0:
			d = labeling.Prefer(1, int(-l))
		}
		list = append(list, labeling.Labelled{Item: it, Annotator: talesLabeler, Decision: &d})
	}
	_, err = store.AddLabelled(ctx, list)
	return err
}
