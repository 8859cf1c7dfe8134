package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"plumb/labeling"
)

func (a *app) labelStatsCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "stats --store FILE",
		Short: "What a label store holds, and how good its labels are",
		Long: `Counts, then for each person: pace, sides (position bias), lengths (length bias), runs of
one side, unusual times, consistency on hidden repeats, gold items, and how all of that
changes within a sitting; for all together: Cohen's kappa of each two, Krippendorff's
alpha, and the accuracy that no reward model can be measured above with these labels.
Intervals are 95 %; p is exact and two-sided, under the assumption that what it tests
makes no difference. A length or a side that is preferred may also be better.`,
		Args: args("no argument", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), path, false, func(store *labeling.Store) error {
				q, err := store.Quality(cmd.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(q)
				}
				a.printQuality(q)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store: a file, or postgres://USER@HOST/DATABASE")
	return cmd
}

// printQuality says in words how good the labels are.
func (a *app) printQuality(q labeling.Quality) {
	fmt.Fprintf(a.out, "%d items, %d decided; %d comparisons to learn from\n", q.Items, q.Decided, q.Trainable)
	for _, c := range sortedKeys(q.Choices) {
		fmt.Fprintf(a.out, "  %-14s %d\n", strings.ReplaceAll(c, "_", " "), q.Choices[c])
	}
	if q.Choices["win"]+q.Choices["tie"] > 0 {
		fmt.Fprintf(a.out, "  %-14s %.0f %% of preferences and ties\n", "share of ties", 100*q.Ties)
	}
	if q.Edited > 0 {
		fmt.Fprintf(a.out, "  %-14s %d\n", "edited answers", q.Edited)
	}
	for _, p := range q.People {
		fmt.Fprintf(a.out, "\n%s\n%s\n", p.Name, strings.Join(p.Lines(), "\n"))
	}
	if len(q.Pairs) > 0 {
		fmt.Fprintln(a.out, "\nagreement")
	}
	for _, p := range q.Pairs {
		fmt.Fprintf(a.out, "  %s and %s: the same %.0f %%, Cohen's κ %s\n", p.A, p.B, 100*float64(p.Same), p.Kappa)
	}
	for _, x := range q.Alphas {
		fmt.Fprintf(a.out, "  %s: Krippendorff's α %s\n", x.Of, x.Estimate)
	}
	if q.Disputed > 0 {
		fmt.Fprintf(a.out, "  %d items are disputed, %d adjudicated (plumb label review)\n", q.Disputed, q.Adjudicated)
	}
	if s := q.Sentence(); s != "" {
		fmt.Fprintf(a.out, "\n%s\n", s)
	}
}
