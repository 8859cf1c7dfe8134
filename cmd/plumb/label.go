package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plumb/labeling"
)

// labelFlags are the choices of a sitting without a recipe.
type labelFlags struct {
	path, guidelines, record string
	opt                      labeling.Options
}

func (f *labelFlags) register(cmd *cobra.Command) {
	o, fs := &f.opt, cmd.Flags()
	fs.StringVar(&f.path, "store", "", "label store to open, instead of a recipe's: a file, or postgres://USER@HOST/DATABASE")
	fs.StringVar(&o.Annotator, "annotator", "", "your name, with --store; by default the login name")
	fs.BoolVar(&o.Plain, "plain", false, "question by question in lines of text, with --store")
	fs.BoolVar(&o.Mouse, "mouse", false, "the wheel scrolls; selecting text then needs the shift key")
	fs.BoolVar(&o.Opinion, "opinion", false, "say after each choice what the models in the store think (plumb label score)")
	fs.IntVar(&o.Sitting, "goal", 0, "judgements that this sitting aims at")
	fs.StringVar(&f.record, "record", "", "write a recording of the screen, as asciinema plays it")
	fs.StringVar(&f.guidelines, "guidelines", "", "markdown file shown by g")
	fs.StringSliceVar(&o.Tags, "reasons", nil, "reasons that t ticks, at most nine")
	fs.StringSliceVar(&o.Axes, "axes", nil, "what answers are rated on; by default helpful, harmless, honest")
	q := &o.Queue
	fs.StringVar((*string)(&q.Order), "order", "", "uncertain, close (by the scores in the store) or disagreement; by default as added")
	fs.StringVar(&q.Tag, "tag", "", "only items with this tag")
	fs.StringVar(&q.Source, "source", "", "only items with an answer of this source or model")
	fs.Float64Var(&q.Random, "random", 0, "share of the items that come in random order whatever the order")
	fs.IntVar(&q.Overlap, "overlap", 1, "how many people are to judge an item")
	fs.Float64Var(&q.OverlapShare, "overlap-share", 0, "share of the items for which --overlap holds; 0: all")
	fs.Float64Var(&q.Repeat, "repeat", 0, "share of your items that come a second time, unsaid")
	fs.IntVar(&q.GoldEvery, "gold-every", 10, "after how many items one comes whose answer is known, if the store has such")
}

// options completes what the flags say.
func (f *labelFlags) options(a *app) (labeling.Options, error) {
	o := f.opt
	o.Annotator, o.Seed, o.In, o.Out = annotatorName(o.Annotator), labelSeed, a.in, a.out
	if f.guidelines != "" {
		text, err := os.ReadFile(f.guidelines)
		if err != nil {
			return o, fmt.Errorf("guidelines: %w", err)
		}
		o.Guidelines = string(text)
	}
	return o, nil
}

// label opens the screen on the store of the flags.
func (a *app) label(ctx context.Context, f labelFlags) error {
	if !f.opt.Plain && !a.atTerminal() {
		return usagef("the labeling screen needs a terminal; --plain asks in lines of text")
	}
	opt, err := f.options(a)
	if err != nil {
		return err
	}
	return withStore(ctx, f.path, false, func(store *labeling.Store) error {
		if f.record == "" {
			return labeling.Run(ctx, store, opt)
		}
		file, err := os.Create(f.record)
		if err != nil {
			return err
		}
		opt.Record = file
		return errors.Join(labeling.Run(ctx, store, opt), file.Close())
	})
}

func (a *app) labelCmd() *cobra.Command {
	var o recipeFlags
	var lf labelFlags
	cmd := &cobra.Command{
		Use:   "label RECIPE | label --store FILE",
		Short: "Judge answers in the terminal",
		Long: `Opens the labeling screen over the label store of a recipe's run, or over any store.
A judgement is kept the moment its key is pressed; ? shows the keys.

With a recipe and enough judgements (label.min) the stage is done and the run can
go on. Where there is no terminal, or too few were made, the exit code is 3.
With a recipe its section label says what the flags say otherwise.

A store is a file, or a PostgreSQL database for teams on several machines: all verbs take
--store postgres://USER@HOST/DATABASE. The password is best given in PGPASSWORD or
~/.pgpass; in the URL, others on this machine can see it.`,
		Example: "  plumb label recipe.yaml\n  plumb label --store runs/imdb/labels.db --annotator ada --goal 50\n  plumb label import pairs.jsonl --store team.db",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			ctx := cmd.Context()
			switch {
			case len(given) == 1 && lf.path == "":
				return a.labelRecipe(ctx, given[0], o)
			case len(given) > 0:
				return usagef("plumb label wants one RECIPE or --store FILE; verbs below it: %s", strings.Join(verbs(cmd), ", "))
			case lf.path == "":
				return usagef("plumb label wants a RECIPE or --store FILE")
			}
			return a.label(ctx, lf)
		},
	}
	o.register(cmd)
	lf.register(cmd)
	cmd.AddCommand(a.labelImportCmd(), a.labelExportCmd(), a.labelMergeCmd(), a.labelStatsCmd(), a.labelScoreCmd(), a.labelReviewCmd(),
		a.labelServeCmd(), a.labelWhoCmd())
	return cmd
}

func (a *app) labelReviewCmd() *cobra.Command {
	var lf labelFlags
	cmd := &cobra.Command{
		Use:   "review --store FILE",
		Short: "Say which is right where people disagree",
		Long: `Shows the items that people judged differently, with what each of them said and why.
Your choice wins in exports and in training; theirs stay in the store.`,
		Args: args("no argument", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			lf.opt.Review = true
			return a.label(cmd.Context(), lf)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&lf.path, "store", "", "the label store: a file, or postgres://USER@HOST/DATABASE")
	fs.StringVar(&lf.opt.Annotator, "annotator", "", "your name; by default the login name")
	fs.BoolVar(&lf.opt.Plain, "plain", false, "question by question in lines of text")
	fs.StringVar(&lf.guidelines, "guidelines", "", "markdown file shown by g")
	return cmd
}

// withStore opens a label store and closes it after use; unless create is set it has to be there.
func withStore(ctx context.Context, path string, create bool, use func(*labeling.Store) error) error {
	if path == "" {
		return usagef("name the label store with --store FILE")
	}
	open := labeling.OpenExisting
	if create {
		open = labeling.Open
	}
	store, err := open(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(use(store), store.Close())
}

// storeCounts are the numbers of a label store.
type storeCounts struct{ items, decided, trainable int }

func countStore(ctx context.Context, store *labeling.Store) (n storeCounts, err error) {
	if n.items, n.decided, err = store.Count(ctx); err != nil {
		return n, err
	}
	n.trainable, err = store.Trainable(ctx)
	return n, err
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
