package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb/internal/tales"
	"plumb/labeling"
)

// talesStore is a label store with n unjudged pairs of the embedded world, conversations as the stage pairs makes them.
func talesStore(t *testing.T, n int) (*labeling.Store, []tales.Pair) {
	t.Helper()
	store, err := labeling.Open(context.Background(), filepath.Join(t.TempDir(), "labels.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	pairs := tales.Pairs(n, 5)
	var items []labeling.Labelled
	for _, p := range pairs {
		items = append(items, labeling.Labelled{Item: labeling.Item{
			Prompt:  labeling.Prompt{Messages: []labeling.Message{{Role: "user", Content: p.Prompt}}},
			Answers: []labeling.Answer{{Text: p.A}, {Text: p.B}},
		}})
	}
	if _, err := store.AddLabelled(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	return store, pairs
}

func judgements(t *testing.T, store *labeling.Store) []labeling.Judgement {
	t.Helper()
	js, err := store.Judgements(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// The simulated labeler prefers the better story as often as a Bradley-Terry judge of the hidden rule would: the mean of
// sigma(|gold difference| / noise) over its preferences, within four standard errors.
func TestSimulatedLabelsFollowTheHiddenRule(t *testing.T) {
	store, _ := talesStore(t, 400)
	if err := judgeTales(context.Background(), store, 3); err != nil {
		t.Fatal(err)
	}
	var expected, variance float64
	right, clear, ties := 0, 0, 0
	js := judgements(t, store)
	if len(js) < 350 {
		t.Fatalf("%d judgements of 400 pairs", len(js))
	}
	for _, j := range js {
		if j.Event.Annotator != "embedded:tales" {
			t.Fatalf("judged by %q", j.Event.Annotator)
		}
		q, err := tales.ParseRequest(j.Item.Prompt.Messages[0].Content)
		if err != nil {
			t.Fatal(err)
		}
		chosen, rejected, ok := j.Pair()
		if !ok {
			t.Fatalf("choice %s", j.Event.Choice)
		}
		if j.Event.Choice == labeling.Tie {
			ties++
			continue
		}
		d := tales.Gold(q, j.Item.Answers[chosen].Text) - tales.Gold(q, j.Item.Answers[rejected].Text)
		if d == 0 {
			continue
		}
		clear++
		if d > 0 {
			right++
		}
		// A tie band of half a noise unit either side is cut out of the logistic; by how much that moves the ratio follows from
		// the two tails: P(right) = σ(x - 1/2) / (σ(x - 1/2) + σ(-x - 1/2)), x = |d|/noise.
		x := math.Abs(d) / tales.LabelNoise
		up, down := 1/(1+math.Exp(0.5-x)), 1/(1+math.Exp(0.5+x))
		p := up / (up + down)
		expected += p
		variance += p * (1 - p)
	}
	if off := math.Abs(float64(right) - expected); clear < 200 || off > 4*math.Sqrt(variance) {
		t.Errorf("%d of %d preferences agree with the hidden rule, want %.1f ± %.1f", right, clear, expected, 4*math.Sqrt(variance))
	}
	if ties == 0 || ties > len(js)/2 {
		t.Errorf("%d of %d are ties", ties, len(js))
	}
}

// The same seed judges alike, whenever and however often; another seed does not.
func TestSimulatedLabelsAreOfTheSeed(t *testing.T) {
	ctx := context.Background()
	hash := func(seed uint64, times int) string {
		store, _ := talesStore(t, 40)
		for range times {
			if err := judgeTales(ctx, store, seed); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := store.Hash(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	once := hash(1, 1)
	if hash(1, 3) != once {
		t.Error("judging again changes the store")
	}
	if hash(2, 1) == once {
		t.Error("two seeds judge alike")
	}
}

// What a person said of an item is not overwritten.
func TestSimulatedLabelerLeavesPeopleAlone(t *testing.T) {
	ctx := context.Background()
	store, _ := talesStore(t, 3)
	it, err := store.Item(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	d := labeling.Prefer(1, labeling.Much)
	if _, err := store.AddLabelled(ctx, []labeling.Labelled{{Item: it, Annotator: "ada", Decision: &d}}); err != nil {
		t.Fatal(err)
	}
	if err := judgeTales(ctx, store, 1); err != nil {
		t.Fatal(err)
	}
	by := map[string]int{}
	for _, j := range judgements(t, store) {
		by[j.Event.Annotator]++
		if j.Event.Annotator == "ada" && (j.Event.Ranking[0] != 1 || j.Event.Strength != labeling.Much) {
			t.Errorf("ada's judgement is now %+v", j.Event.Decision)
		}
	}
	if by["ada"] != 1 || by["embedded:tales"] != 3 {
		t.Errorf("judgements by %v", by)
	}
}

// A stage label killed at any moment, and started again, leaves the same store and stage folder as an undisturbed one.
func TestKilledLabelingEndsInTheSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the program many times")
	}
	work := t.TempDir()
	var lines bytes.Buffer
	for _, p := range tales.Pairs(120, 5) {
		fmt.Fprintf(&lines, "{\"prompt\":[{\"role\":\"user\",\"content\":%s}],\"answers\":[{\"text\":%s},{\"text\":%s}]}\n",
			encodeString(p.Prompt), encodeString(p.A), encodeString(p.B))
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("pairs.jsonl", lines.String())
	write("r.yaml", "base: nothing\nlabel: {by: embedded:tales, min: 50, store: labels.db}\n")
	start := func(name string) *exec.Cmd {
		t.Helper()
		cmd, _ := program(t, work, "label", "r.yaml", "--run", name, "-q")
		return cmd
	}
	// result is the store without times, and the stage folder without timing.
	result := func(name string) string {
		t.Helper()
		dir := filepath.Join(work, "runs", name)
		sum, err := storeHash(context.Background(), filepath.Join(dir, "labels.db"))
		if err != nil {
			t.Fatal(err)
		}
		labels, err := os.ReadFile(filepath.Join(dir, "label", labelsFile))
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := os.ReadFile(filepath.Join(dir, "label", "run.json"))
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(manifest), `"timing"`)
		if _, err := os.Stat(filepath.Join(dir, "label.previous")); err == nil {
			t.Errorf("%s: the stage was moved aside", name)
		}
		return sum + "\n" + string(labels) + strings.ReplaceAll(text, `"`+name+`"`, `"NAME"`)
	}
	queue := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(work, "runs", name), 0o755); err != nil {
			t.Fatal(err)
		}
		args := []string{"label", "import", filepath.Join(work, "pairs.jsonl"), "--store", filepath.Join(work, "runs", name, "labels.db")}
		var errOut bytes.Buffer
		if code := plumb(context.Background(), args, strings.NewReader(""), &bytes.Buffer{}, &errOut); code != exitOK {
			t.Fatalf("import: exit %d: %s", code, errOut.String())
		}
	}
	queue("whole")
	began := time.Now()
	if err := start("whole").Wait(); err != nil {
		t.Fatalf("undisturbed: %v", err)
	}
	took := time.Since(began)
	want := result("whole")
	// Killed after the judgements were committed and before the stage was finished: the moment is too short to be hit.
	queue("between")
	if err := start("between").Wait(); err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(work, "runs", "between", "label")
	var manifest map[string]any
	if err := readJSON(filepath.Join(stage, "run.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	manifest["state"], manifest["outputs"], manifest["results"] = "running", []any{}, map[string]any{}
	if err := errors.Join(writeJSON(filepath.Join(stage, "run.json"), manifest), os.Remove(filepath.Join(stage, labelsFile))); err != nil {
		t.Fatal(err)
	}
	if err := start("between").Wait(); err != nil {
		t.Fatal(err)
	}
	if result("between") != want {
		t.Errorf("killed between judging and the end: differs from the undisturbed run:\n%.2000s\nwant\n%.2000s", result("between"), want)
	}
	killed := 0
	for i := range 8 {
		name := fmt.Sprintf("killed%d", i)
		queue(name)
		cmd := start(name)
		time.Sleep(took * time.Duration(i+1) / 9)
		if cmd.Process.Kill() == nil {
			killed++
		}
		if err := cmd.Wait(); err == nil {
			killed--
		}
		if err := start(name).Wait(); err != nil {
			t.Fatalf("%s: after the kill: %v", name, err)
		}
		if got := result(name); got != want {
			t.Errorf("%s differs from the undisturbed run:\n%.2000s\nwant\n%.2000s", name, got, want)
		}
	}
	if killed == 0 {
		t.Error("no run was killed before its end")
	}
}
