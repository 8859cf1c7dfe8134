package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"plumb/labeling"
)

func (a *app) labelImportCmd() *cobra.Command {
	var opt labeling.ImportOptions
	var path, format, mode string
	cmd := &cobra.Command{
		Use:   "import FILE ... --store FILE",
		Short: "Put comparisons from files into a label store",
		Long: `Reads comparisons of other programs and those of the stage pairs (pairs.jsonl), with or
without judgements, plain, .gz or .zst. A file goes in whole or not at all; reading it
twice adds nothing. The store is made where there is none.

--mode makes other items of the answers: rank, one item of all answers to a prompt;
single and rate, an item of each answer; compare, each two answers to a prompt. With
--gold the file says what is right, to measure people by: such items are mixed into
everyone's queue, and what the file says is no judgement.`,
		Args: args("one or more files", 1, -1),
		RunE: func(cmd *cobra.Command, names []string) error {
			opt.Format, opt.Mode = labeling.Format(format), labeling.Mode(mode)
			if opt.Gold && (opt.Unlabeled || mode != "") {
				return usagef("--gold takes what the files say: it goes with neither --unlabeled nor --mode")
			}
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
	f.StringVar(&path, "store", "", "the label store: a file, or postgres://USER@HOST/DATABASE")
	f.StringVar(&format, "format", "", "format of the files; by default told from the first record")
	f.BoolVar(&opt.Unlabeled, "unlabeled", false, "take the pairs, not what the file says of them")
	f.StringVar(&opt.Annotator, "annotator", "", "whose judgements they are where the file names nobody")
	f.StringVar(&mode, "mode", "", "compare, rank, single or rate; by default as the files have it")
	f.BoolVar(&opt.Gold, "gold", false, "what the files say is known, not a judgement")
	f.StringSliceVar(&opt.Tags, "tag", nil, "tag of every item; may be repeated")
	return cmd
}

func (a *app) importInto(ctx context.Context, store *labeling.Store, name string, opt labeling.ImportOptions) error {
	if own, err := isPairsFile(name); err != nil {
		return err
	} else if own && opt.Format == "" {
		return a.importPairs(ctx, store, name, opt)
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
	if opt.Gold {
		fmt.Fprintf(a.out, "%s: %d items are gold now\n", name, got.Gold)
	}
	if got.Same > 0 {
		a.warn("%s: %d pairs of equal answers left out", name, got.Same)
	}
	for _, reason := range sortedKeys(got.Dropped) {
		a.warn("%s: %d left out: %s", name, got.Dropped[reason], reason)
	}
	return nil
}

// importPairs puts the pairs of a stage into a store.
func (a *app) importPairs(ctx context.Context, store *labeling.Store, name string, opt labeling.ImportOptions) error {
	if opt.Gold {
		return usagef("%s says of no pair which answer is right: it cannot be gold", name)
	}
	items, err := readPairs(name)
	if err != nil {
		return err
	}
	records := len(items)
	if opt.Mode != "" {
		var left map[string]int
		if items, left, err = labeling.Reshape(items, opt.Mode); err != nil {
			return err
		}
		for _, reason := range sortedKeys(left) {
			a.warn("%s: %d left out: %s", name, left[reason], reason)
		}
	}
	for i := range items {
		items[i].Item.Tags = append(items[i].Item.Tags, opt.Tags...)
	}
	got, err := store.AddLabelled(ctx, items)
	if err == nil {
		fmt.Fprintf(a.out, "%s: pairs, %d records: %d new items, %d known\n", name, records, got.New, got.Existing)
	}
	return err
}

func (a *app) labelExportCmd() *cobra.Command {
	var path, format string
	cmd := &cobra.Command{
		Use:   "export --store FILE > OUT",
		Short: "Write the judgements of a label store as training data",
		Long: `Formats: trl (preferences as {prompt, chosen, rejected, margin}), kto ({prompt,
completion, label}), demos ({prompt, completion} of edited answers), argilla,
label-studio, and log (every item and event, a line each). A ranking of k answers is
k(k-1)/2 rows of trl. Items of every mode go to argilla, label-studio and log. Where a
reviewer has ruled, that is what is written. Ties, both bad and can't say have no place
in some formats; how many were left out is printed.`,
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
				for _, axis := range sortedKeys(got.Unnamed) {
					a.warn("%d ratings of %q left out: the format has no name for that axis, or has given it to another", got.Unnamed[axis], axis)
				}
				if got.Text > 0 && got.Conversations > 0 {
					a.warn("%d rows are texts and %d conversations: not every program loads a file with both", got.Text, got.Conversations)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store: a file, or postgres://USER@HOST/DATABASE")
	cmd.Flags().StringVar(&format, "format", string(labeling.TRL), "trl, kto, demos, argilla, label-studio or log")
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
