package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"plumb/internal/dataset"
	"plumb/internal/tensor"
	"plumb/labeling"
)

func (a *app) labelScoreCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "score MODEL ... --store FILE",
		Short: "Write reward models' scores into a label store, to choose what to label",
		Long: `Scores every answer of the store with each reward model, as the model was trained to read
it. Several models are an ensemble: plumb label --order uncertain then begins where they
differ most, --order close where they see the smallest difference. People see the scores
after their choice only. Scoring again replaces a model's scores.`,
		Example: "  plumb label score runs/a/reward runs/b/reward --store labels.db\n  plumb label --store labels.db --order uncertain --random 0.2",
		Args:    args("one or more reward models", 1, -1),
		RunE: func(cmd *cobra.Command, models []string) error {
			ctx := cmd.Context()
			return withStore(ctx, path, false, func(store *labeling.Store) error {
				for _, ref := range models {
					n, added, err := a.scoreStore(ctx, store, ref)
					if err != nil {
						return err
					}
					fmt.Fprintf(a.out, "%s: %d items scored, %d of them new or changed\n", ref, n, added)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store: a file, or postgres://USER@HOST/DATABASE")
	return cmd
}

// scoreBatch is how many items are scored and written at once.
const scoreBatch = 64

// scoreStore scores all items with one model. What is too long for the model is left out, counted and said.
func (a *app) scoreStore(ctx context.Context, store *labeling.Store, ref string) (scored, added int, err error) {
	l, err := a.load(ctx, ref, "")
	if err != nil {
		return 0, 0, err
	}
	if !l.isReward() {
		return 0, 0, fmt.Errorf("%s is no reward model: it has no scalar head", ref)
	}
	enc, err := l.encoder()
	if err != nil {
		return 0, 0, err
	}
	items, _, err := store.Count(ctx)
	if err != nil {
		return 0, 0, err
	}
	tape := tensor.NewInferenceTape(a.pool())
	a.progress.Start("score "+ref, "items", 0, items)
	defer a.progress.Done()
	left := 0
	for from := 1; from <= items; from += scoreBatch {
		var batch []labeling.Scored
		var texts []span
		for seq := from; seq < from+scoreBatch && seq <= items; seq++ {
			it, err := store.Item(ctx, int64(seq))
			if err != nil {
				return scored, added, err
			}
			spans, err := l.answerSpans(enc, it)
			if err != nil {
				if left++; left == 1 {
					a.warn("item %d is left out: %v", seq, err)
				}
				continue
			}
			batch = append(batch, labeling.Scored{Item: it.Seq, Scores: make([]float64, len(spans))})
			texts = append(texts, spans...)
		}
		got, err := l.rewards(ctx, tape, texts)
		if err != nil {
			return scored, added, err
		}
		for i := range batch {
			n := copy(batch[i].Scores, got)
			got = got[n:]
		}
		n, err := store.AddScores(ctx, ref, batch)
		if err != nil {
			return scored, added, err
		}
		scored, added = scored+len(batch), added+n
		a.progress.Set(min(from+scoreBatch-1, items), "")
	}
	if left > 0 {
		a.warn("%d items are left out", left)
	}
	return scored, added, nil
}

// answerSpans are the ids of each answer behind its prompt, as the reward model reads them in training.
func (l *loaded) answerSpans(enc *dataset.Encoder, it labeling.Item) ([]span, error) {
	var out []span
	for _, x := range it.Answers {
		prompt, isChat := passageOf(it.Prompt)
		answer := dataset.Passage{Text: x.Text}
		if isChat {
			turns := x.Turns
			if len(turns) == 0 {
				turns = []labeling.Message{{Role: "assistant", Content: x.Text}}
			}
			answer, _ = passageOf(labeling.Prompt{Messages: turns})
		}
		row, err := enc.Judgement(dataset.Judgement{Prompt: prompt, Completion: answer})
		if err == nil {
			err = l.Model.Check(row.IDs)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, whole(row.IDs))
	}
	return out, nil
}
