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

func (a *app) labelCmd() *cobra.Command {
	var o recipeFlags
	var path, who string
	var plain bool
	cmd := &cobra.Command{
		Use:   "label RECIPE | label --store FILE",
		Short: "Judge pairs of answers in the terminal",
		Long: `Opens the labeling screen over the label store of a recipe's run, or over any store.
A judgement is kept the moment its key is pressed; ? shows the keys.

With a recipe and enough judgements (label.min) the stage is done and the run can
go on. Where there is no terminal, or too few were made, the exit code is 3.`,
		Example: "  plumb label recipe.yaml\n  plumb label --store runs/imdb/labels.db --annotator ada\n  plumb label import pairs.jsonl --store team.db",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			ctx := cmd.Context()
			switch {
			case len(given) == 1 && path == "":
				return a.labelRecipe(ctx, given[0], o)
			case len(given) > 0:
				return usagef("plumb label wants one RECIPE or --store FILE; verbs below it: %s", strings.Join(verbs(cmd), ", "))
			case path == "":
				return usagef("plumb label wants a RECIPE or --store FILE")
			case !plain && !a.atTerminal():
				return usagef("the labeling screen needs a terminal; --plain asks in lines of text")
			}
			return withStore(ctx, path, false, func(store *labeling.Store) error {
				return labeling.Run(ctx, store, labeling.Options{Annotator: annotatorName(who), Seed: labelSeed, Plain: plain, In: a.in, Out: a.out})
			})
		},
	}
	o.register(cmd)
	f := cmd.Flags()
	f.StringVar(&path, "store", "", "label store to open, instead of a recipe's")
	f.StringVar(&who, "annotator", "", "your name, with --store; by default the login name")
	f.BoolVar(&plain, "plain", false, "question by question in lines of text, with --store")
	cmd.AddCommand(a.labelImportCmd(), a.labelExportCmd(), a.labelMergeCmd(), a.labelStatsCmd())
	return cmd
}

// withStore opens a label store and closes it after use; unless create is set it has to be there.
func withStore(ctx context.Context, path string, create bool, use func(*labeling.Store) error) error {
	if path == "" {
		return usagef("name the label store with --store FILE")
	}
	if _, err := os.Stat(path); err != nil && !create {
		return fmt.Errorf("label store: %w", err)
	}
	store, err := labeling.Open(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(use(store), store.Close())
}

func (a *app) labelImportCmd() *cobra.Command {
	var opt labeling.ImportOptions
	var path, format string
	cmd := &cobra.Command{
		Use:   "import FILE ... --store FILE",
		Short: "Put comparisons from files into a label store",
		Long: `Reads comparisons of other programs and those of the stage pairs (pairs.jsonl), with or
without judgements, plain, .gz or .zst. A file goes in whole or not at all; reading it
twice adds nothing. The store is made where there is none.`,
		Args: args("one or more files", 1, -1),
		RunE: func(cmd *cobra.Command, names []string) error {
			opt.Format = labeling.Format(format)
			return withStore(cmd.Context(), path, true, func(store *labeling.Store) error {
				for _, name := range names {
					if err := a.importInto(cmd.Context(), store, name, opt); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "store", "", "the label store")
	f.StringVar(&format, "format", "", "format of the files; by default told from the first record")
	f.BoolVar(&opt.Unlabeled, "unlabeled", false, "take the pairs, not what the file says of them")
	f.StringVar(&opt.Annotator, "annotator", "", "whose judgements they are where the file names nobody")
	f.StringSliceVar(&opt.Tags, "tag", nil, "tag of every item; may be repeated")
	return cmd
}

func (a *app) importInto(ctx context.Context, store *labeling.Store, name string, opt labeling.ImportOptions) error {
	if own, err := isPairsFile(name); err != nil {
		return err
	} else if own && opt.Format == "" {
		items, err := readPairs(name)
		if err != nil {
			return err
		}
		got, err := store.AddLabelled(ctx, items)
		if err == nil {
			fmt.Fprintf(a.out, "%s: pairs, %d records: %d new items, %d known\n", name, len(items), got.New, got.Existing)
		}
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := store.Import(ctx, f, name, opt)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s, %d records: %d new items, %d known; %d new judgements, %d known\n", name, got.Format, got.Records, got.New, got.Existing, got.Judged, got.Known)
	if got.Same > 0 {
		a.warn("%s: %d pairs of equal answers left out", name, got.Same)
	}
	for _, reason := range sortedKeys(got.Dropped) {
		a.warn("%s: %d records left out: %s", name, got.Dropped[reason], reason)
	}
	return nil
}

func (a *app) labelExportCmd() *cobra.Command {
	var path, format string
	cmd := &cobra.Command{
		Use:   "export --store FILE > OUT",
		Short: "Write the judgements of a label store as training data",
		Long: `Formats: trl (preferences as {prompt, chosen, rejected, margin}), kto, argilla,
label-studio, and log (every item, session and event, a line each). Ties, both bad and
can't say have no place in some of them; how many were left out is printed.`,
		Args: args("no argument", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), path, false, func(store *labeling.Store) error {
				got, err := store.Export(cmd.Context(), a.out, labeling.Format(format))
				if err != nil {
					return err
				}
				a.note("%d rows", got.Rows)
				for _, choice := range sortedKeys(got.LeftOut) {
					a.warn("%d judgements left out: %s", got.LeftOut[choice], choice)
				}
				if got.Text > 0 && got.Conversations > 0 {
					a.warn("%d rows are texts and %d conversations: not every program loads a file with both", got.Text, got.Conversations)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store")
	cmd.Flags().StringVar(&format, "format", string(labeling.TRL), "trl, kto, argilla, label-studio or log")
	return cmd
}

func (a *app) labelMergeCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "merge OTHER ... --store FILE",
		Short: "Bring what other label stores hold into one",
		Long: `Items are known by their content, judgements by their name: each is there once, however
often stores are merged. The other stores are not changed.`,
		Args: args("one or more stores", 1, -1),
		RunE: func(cmd *cobra.Command, others []string) error {
			ctx := cmd.Context()
			return withStore(ctx, path, true, func(store *labeling.Store) error {
				for _, name := range others {
					err := withStore(ctx, name, false, func(other *labeling.Store) error {
						got, err := store.Merge(ctx, other)
						if err == nil {
							fmt.Fprintf(a.out, "%s: %d new items, %d new events\n", name, got.Items, got.Events)
						}
						return err
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store to merge into")
	return cmd
}

func (a *app) labelStatsCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "stats --store FILE",
		Short: "Count what a label store holds",
		Args:  args("no argument", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), path, false, func(store *labeling.Store) error {
				return a.storeStats(cmd.Context(), store)
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store")
	return cmd
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

// storeStats prints the numbers of a store: items, and judgements by choice and by person.
func (a *app) storeStats(ctx context.Context, store *labeling.Store) error {
	n, err := countStore(ctx, store)
	if err != nil {
		return err
	}
	choices, people := map[string]int{}, map[string]int{}
	err = store.EachJudgement(ctx, func(j labeling.Judgement) error {
		choices[string(j.Event.Choice)]++
		people[j.Event.Annotator]++
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{
			"items": n.items, "decided": n.decided, "trainable": n.trainable, "choices": choices, "annotators": people,
		})
	}
	fmt.Fprintf(a.out, "%d pairs, %d decided; %d judgements to learn from\n", n.items, n.decided, n.trainable)
	for _, c := range sortedKeys(choices) {
		fmt.Fprintf(a.out, "  %-10s %d\n", c, choices[c])
	}
	for _, who := range sortedKeys(people) {
		fmt.Fprintf(a.out, "  by %s: %d\n", who, people[who])
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
