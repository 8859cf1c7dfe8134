package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"plumb/internal/chat"
	"plumb/internal/dataset"
	"plumb/internal/pgurl"
	"plumb/internal/run"
	"plumb/internal/tales"
	"plumb/labeling"
)

// labelConfig is the recipe's section label.
type labelConfig struct {
	labeling.Config
	// By is who judges: empty for a person at a terminal, embedded:tales for the simulated labeler of the embedded world.
	// Default empty.
	By string
}

func defaultLabel() labelConfig { return labelConfig{Config: labeling.Default()} }

// talesLabeler names the simulated labeler, in the recipe and in the store.
const talesLabeler = embeddedPrefix + "tales"

// Validate names every value out of range.
func (c *labelConfig) Validate() error {
	var errs []error
	if err := c.Config.Validate(); err != nil {
		errs = append(errs, errors.New(strings.TrimPrefix(err.Error(), "label.")))
	}
	if c.By != "" && c.By != talesLabeler {
		errs = append(errs, fmt.Errorf("by: %q, want nothing (a person judges) or %s", c.By, talesLabeler))
	}
	return errors.Join(errs...)
}

// need is how many judgements training waits for: nothing can be learned from none.
func (c *labelConfig) need() int { return max(c.Min, 1) }

// labelsFile is the store as it was when the stage ended, in order and without times.
const labelsFile = "labels.jsonl"

// labelStage waits until there are enough judgements. It needs no model: the
// screen is to open at once.
func (p *pipeline) labelStage(ctx context.Context) (stageJob, error) {
	job := stageJob{work: p.label}
	if p.recipe.Pairs != nil {
		job.manifest.Parents = []run.Parent{{Role: "pairs", Path: p.dir.Path("pairs")}}
	}
	state, err := p.labelState(ctx)
	job.manifest.Data = []run.Source{{Name: p.recipe.Label.Store, SHA256: state}}
	return job, err
}

// labelState stands for the store among the stage's inputs. The stage changes
// the store itself, so its content cannot be an input while it works; but once it
// is done, a store that is not as the stage left it makes it run again. So this is
// what was recorded before, unless the store has changed since the stage finished.
func (p *pipeline) labelState(ctx context.Context) (string, error) {
	old, err := run.ReadManifest(p.dir.Path("label"))
	if err != nil || len(old.Data) != 1 {
		return "", nil //nolint:nilerr // not run yet, or not to be understood: Begin says which
	}
	i := slices.IndexFunc(old.Outputs, func(f run.File) bool { return f.Path == labelsFile })
	if old.State != run.Finished || i < 0 {
		return old.Data[0].SHA256, nil
	}
	now, err := storeHash(ctx, p.storePath(p.storeName()))
	if err != nil || now != old.Outputs[i].SHA256 {
		return now, err
	}
	return old.Data[0].SHA256, nil
}

// storeHash stands for what a label store says, whenever it was said; the hash of nothing where there is no store.
func storeHash(ctx context.Context, path string) (sum string, err error) {
	err = withStore(ctx, path, false, func(store *labeling.Store) error {
		sum, err = store.Hash(ctx)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return run.HashBytes(nil), nil
	}
	return sum, err
}

func (p *pipeline) label(ctx context.Context, s *run.Stage) (stageResult, error) {
	c := *p.recipe.Label
	if p.recipe.Pairs != nil { // The store may be another than it was when the pairs were made.
		if err := p.fillQueue(ctx, p.dir.Path("pairs", pairsFile)); err != nil {
			return stageResult{}, err
		}
	}
	var n storeCounts
	err := withStore(ctx, p.storePath(p.storeName()), true, func(store *labeling.Store) (err error) {
		if c.By == talesLabeler {
			if err := judgeTales(ctx, store, p.recipe.Seed); err != nil {
				return err
			}
		}
		if n, err = p.enough(ctx, store, c); err != nil {
			return err
		}
		return s.WriteFile(labelsFile, func(w io.Writer) error { return store.Dump(ctx, w) })
	})
	if err != nil {
		return stageResult{}, err
	}
	p.note("label: %d of %d pairs judged, %d judgements to learn from", n.decided, n.items, n.trainable)
	return stageResult{step: n.trainable, outputs: []string{labelsFile}, results: []run.KV{
		{Key: "items", Value: float64(n.items)}, {Key: "decided", Value: float64(n.decided)}, {Key: "trainable", Value: float64(n.trainable)},
	}}, nil
}

// enough counts the judgements; where they are too few, a person at this
// terminal makes more. Elsewhere, and when they quit too early, the run waits.
func (p *pipeline) enough(ctx context.Context, store *labeling.Store, c labelConfig) (storeCounts, error) {
	n, err := countStore(ctx, store)
	if err != nil || n.trainable >= c.need() {
		return n, err
	}
	if n.items == 0 {
		return n, fmt.Errorf("%s holds nothing to judge: give the recipe a section pairs, or type: plumb label import FILE --store %s", store.Path(), store.Path())
	}
	if n.decided < n.items && c.By == "" && p.atTerminal() {
		if err := p.judge(ctx, store, c); err != nil {
			return n, err
		}
		if n, err = countStore(ctx, store); err != nil || n.trainable >= c.need() {
			return n, err
		}
	}
	if n.decided >= n.items {
		return n, fmt.Errorf("all %d pairs of %s are judged, and %d judgements say which is better, or a tie; min wants %d: sample more pairs, or lower it",
			n.items, store.Path(), n.trainable, c.need())
	}
	fmt.Fprintf(p.out, "plumb label %s%s\n", p.dir.Path("recipe.yaml"), p.runsFlag())
	return n, fmt.Errorf("%w: %d of %d are there, %d pairs wait in %s; type the command above in a terminal, then this one again",
		errWaiting, n.trainable, c.need(), n.items-n.decided, store.Path())
}

// runsFlag is what has to be typed for another command to find the same run.
func (p *pipeline) runsFlag() string {
	if p.runs == "runs" {
		return ""
	}
	return " --runs " + p.runs
}

// judge opens the labeling screen.
func (a *app) judge(ctx context.Context, store *labeling.Store, c labelConfig) error {
	a.judged = true
	return labeling.Run(ctx, store, labeling.Options{
		Annotator: annotatorName(c.Annotator), Seed: labelSeed, Goal: c.Min, Sitting: c.Goal, Queue: c.Queue(), Tags: c.Tags, Axes: c.Axes,
		Guidelines: c.Guidelines, Keys: c.Keys, In: a.in, Out: a.out,
	})
}

// labelRecipe runs the stage label. Who types this at a terminal wants to judge,
// also where enough is judged already.
func (a *app) labelRecipe(ctx context.Context, path string, o recipeFlags) error {
	if err := a.pipe(ctx, path, o, "label"); err != nil || a.judged || !a.atTerminal() {
		return err
	}
	rec, _, err := a.loadRecipe(path, o)
	if err != nil || rec.Label.By != "" {
		return err
	}
	store := inRun(rec.Label.Store, filepath.Join(a.runs, rec.Name))
	err = withStore(ctx, store, false, func(store *labeling.Store) error { return a.judge(ctx, store, *rec.Label) })
	if err != nil {
		return err
	}
	return a.pipe(ctx, path, o, "label")
}

// labelSeed draws the sides on which answers are shown. It is not the recipe's
// seed: one store may be labelled from several recipes, and by hand.
const labelSeed = 1

// annotatorName is the given name, else the login name.
func annotatorName(given string) string {
	if given != "" {
		return given
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "anonymous"
}

// atTerminal reports whether a person sits at both ends of the program.
func (a *app) atTerminal() bool {
	out, ok := a.out.(*os.File)
	return ok && isTerminal(a.in) && isTerminal(out)
}

// judgeTales judges every comparison of the store as the embedded world's labeler
// does, in one transaction. A draw belongs to the seed and the item's place.
func judgeTales(ctx context.Context, store *labeling.Store, seed uint64) error {
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
		q, err := tales.ParseRequest(lastText(it.Prompt))
		if err != nil {
			return fmt.Errorf("item %d is no prompt of the embedded world: %w", seq, err)
		}
		d := labeling.Decision{Choice: labeling.Tie}
		switch l := tales.LabelPair(q, it.Answers[0].Text, it.Answers[1].Text, seed, uint64(seq)); {
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

// lastText is what a prompt says last: the text, or the last message of a conversation.
func lastText(p labeling.Prompt) string {
	if n := len(p.Messages); n > 0 {
		return p.Messages[n-1].Content
	}
	return p.Text
}

// storeName is the label store as the recipe writes it.
func (p *pipeline) storeName() string {
	if p.recipe.Label != nil {
		return p.recipe.Label.Store
	}
	return labeling.Default().Store
}

// storePath is where a label store of that name lies.
func (p *pipeline) storePath(name string) string { return inRun(name, p.dir.Path()) }

// inRun is a file as written where it is there or its name is absolute or a URL, else the one in the run folder.
func inRun(name, runDir string) string {
	if pgurl.Is(name) {
		return name
	}
	name = expandHome(name)
	if filepath.IsAbs(name) {
		return name
	}
	if _, err := os.Stat(name); err == nil {
		return name
	}
	return filepath.Join(runDir, name)
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
