package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb/internal/dataset"
	"plumb/internal/peft"
	"plumb/internal/report"
	"plumb/internal/rng"
	"plumb/internal/rollout"
	"plumb/internal/run"
	"plumb/internal/tensor"
	"plumb/internal/ui"
)

// everyStage is a recipe of every stage on the embedded base, as short as can be; with dropout where it acts.
const everyStage = `name: t
base: embedded:tales
seed: 5
sft: {data: [{path: "embedded:tales/demonstrations", limit: 22}], eval: 0.1, max_length: 160, batch: 4, lr: 1e-3, eval_every: 3, peft: {r: 4, alpha: 8, dropout: 0.1}}
pairs: {prompts: "embedded:tales/prompts", limit: 24, max_new: 24}
label: {by: "embedded:tales"}
reward: {data: [{path: labels.db}], eval: 0.3, max_length: 192, batch: 4, layers: 2, lr: 1e-3, normalise: {prompts: asked.jsonl, samples: 12, max_new: 16, temperature: 0.8}}
ppo: {prompts: "embedded:tales/prompts", episodes: 12, batch: 8, minibatches: 2, epochs: 2, entropy_coef: 0.01, sampling: {max_new: 24}, critic: {layers: 2}}
eval: {prompts: "embedded:tales/held", limit: 8, max_new: 24, bootstrap: 200, judge: {gold: "embedded:tales"}}
`

// TestEveryStage runs the chain once on one thread and once on three, and looks at what the stages left.
func TestEveryStage(t *testing.T) {
	dir := t.TempDir()
	held, err := embeddedRecords("embedded:tales/held")
	if err != nil {
		t.Fatal(err)
	}
	asked := bytes.Join(bytes.SplitAfterN(held, []byte("\n"), 6)[:5], nil)
	for name, text := range map[string]string{"recipe.yaml": everyStage, "asked.jsonl": string(asked)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]map[string]string{}
	for _, threads := range []string{"1", "3"} {
		cmd, out := program(t, dir, "run", "recipe.yaml", "-q", "--runs", threads, "--threads", threads)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files[threads] = sums(t, filepath.Join(dir, threads, "t"))
		for _, stage := range []string{"sft", "pairs", "label", "reward", "ppo", "eval"} {
			m, err := run.ReadManifest(filepath.Join(dir, threads, "t", stage))
			if err != nil || string('0'+rune(m.Timing.Threads)) != threads || m.State != run.Finished {
				t.Errorf("%s is %s on %d threads, %v; want %s", stage, m.State, m.Timing.Threads, err, threads)
			}
		}
	}
	if len(files["1"]) < 30 {
		t.Fatalf("only %d files", len(files["1"]))
	}
	t.Run("another number of threads changes no byte", func(t *testing.T) { sameFiles(t, files["1"], files["3"]) })
	root := filepath.Join(dir, "1", "t")
	t.Run("layers below reward.layers stay those of sft", func(t *testing.T) { frozenBelow(t, root) })
	t.Run("rewards of the SFT policy have mean 0 and deviation 1", func(t *testing.T) { normalised(t, root, filepath.Join(dir, "asked.jsonl")) })
	t.Run("accuracy and histogram are those of the held-out pairs", func(t *testing.T) { heldOut(t, root) })
	t.Run("the page of ppo shows score against KL", func(t *testing.T) {
		if page, err := os.ReadFile(filepath.Join(root, "ppo", reportFile)); err != nil || !bytes.Contains(page, []byte("<h2>Score against KL</h2>")) {
			t.Errorf("it does not: %v", err)
		}
	})
}

// onTales is the embedded base, and the adapter of a stage on it.
func onTales(t *testing.T, dir string) (*loaded, *peft.Adapter) {
	t.Helper()
	ours := &app{threads: 1, quiet: true, out: io.Discard, err: io.Discard, progress: ui.NewProgress(io.Discard, ui.Theme{}, true, time.Now)}
	ours.pool = sync.OnceValue(ours.newPool)
	l, err := ours.load(context.Background(), "embedded:tales", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Model.Pool().Close)
	a, err := peft.Load(filepath.Join(dir, adapterDir), l.Model.Modules())
	if err != nil {
		t.Fatal(err)
	}
	return l, a
}

// frozenBelow: with layers 2 the reward model is the SFT adapter in all blocks but the top two, in which every parameter moved.
func frozenBelow(t *testing.T, root string) {
	l, sft := onTales(t, filepath.Join(root, "sft"))
	_, reward := onTales(t, filepath.Join(root, "reward"))
	depth := l.Model.Layers
	for layers, want := range map[int]int{0: -1, 1: depth - 1, depth: -1, depth + 1: -1} { // -1 trains what lies below the blocks too
		if got := below(l, layers); got != want {
			t.Errorf("with layers %d the lowest block trained is %d, want %d", layers, got, want)
		}
	}
	was, moved, stayed := map[string][]float32{}, 0, 0
	for _, p := range sft.Params() {
		was[p.Name] = sft.Values[p.Off : p.Off+p.Len()]
	}
	for _, p := range reward.Params() {
		before, ok := was[p.Name]
		if !ok {
			if !strings.HasSuffix(p.Name, "score.weight") {
				t.Errorf("%s is not in the SFT adapter", p.Name)
			}
			continue
		}
		switch same := slices.Equal(before, reward.Values[p.Off:p.Off+p.Len()]); {
		case p.Layer < depth-2 && !same:
			t.Errorf("%s of block %d moved", p.Name, p.Layer)
		case p.Layer >= depth-2 && same:
			t.Errorf("%s of block %d did not move", p.Name, p.Layer)
		case same:
			stayed++
		default:
			moved++
		}
	}
	// Seven pairs of matrices a block.
	if moved != 2*7*2 || stayed != (depth-2)*7*2 {
		t.Errorf("%d parameters moved and %d stayed, in %d blocks", moved, stayed, depth)
	}
}

// normalised samples the twelve answers again, to the five prompts in turn, by the SFT policy and not by the base or the reward model,
// and scores each alone.
func normalised(t *testing.T, root, asked string) {
	l, sft := onTales(t, filepath.Join(root, "sft"))
	_, reward := onTales(t, filepath.Join(root, "reward"))
	text, err := os.ReadFile(filepath.Join(root, "reward", adapterDir, "plumb.json"))
	if err != nil {
		t.Fatal(err)
	}
	var scale struct{ Gain, Bias float64 }
	if err := json.Unmarshal(text, &scale); err != nil {
		t.Fatal(err)
	}
	prompts, _, err := dataset.ReadPrompts(asked, dataset.Options{})
	if err != nil || len(prompts) != 5 {
		t.Fatalf("%d prompts, %v", len(prompts), err)
	}
	enc, err := l.encoder()
	if err != nil {
		t.Fatal(err)
	}
	var reqs []rollout.Request
	for i := range 12 {
		ids, err := enc.Prompt(prompts[i%5])
		if err != nil {
			t.Fatal(err)
		}
		reqs = append(reqs, rollout.Request{Prompt: ids, Episode: uint64(i)})
	}
	const stream = 'n'<<24 | 'o'<<16 | 'r'<<8 | 'm'
	opt := rollout.Options{Temperature: 0.8, TopP: 1, MaxNew: 16, Seed: rng.Derive(5, stream), StopIDs: enc.StopIDs()}
	moments := func(policy *peft.Adapter) (mean, deviation float64) {
		done, err := rollout.Generate(context.Background(), l.Model, []*peft.Adapter{policy}, reqs, opt)
		if err != nil {
			t.Fatal(err)
		}
		var rewards []float64
		for i, d := range done {
			one := [][]int32{slices.Concat(reqs[i].Prompt, d.IDs)}
			raw, err := l.Model.ScoresOf(context.Background(), tensor.NewInferenceTape(l.Model.Pool()), reward, one, 1000)
			if err != nil {
				t.Fatal(err)
			}
			rewards = append(rewards, scale.Gain*float64(raw[0])+scale.Bias)
			mean += rewards[i] / 12
		}
		for _, r := range rewards {
			deviation += (r - mean) * (r - mean) / 12
		}
		return mean, math.Sqrt(deviation)
	}
	if mean, deviation := moments(sft); math.Abs(mean) > 1e-9 || math.Abs(deviation-1) > 1e-9 {
		t.Errorf("mean %g, deviation %g", mean, deviation)
	}
	if mean, _ := moments(nil); math.Abs(mean) < 1e-3 {
		t.Error("the base's answers give the same: the test does not tell them apart")
	}
}

// heldOut reckons the results of the reward stage from its held-out pairs, and draws their scores.
func heldOut(t *testing.T, root string) {
	text, err := os.ReadFile(filepath.Join(root, "reward", "held.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var chosen, rejected []float64
	right, n := 0.0, 0.0
	for line := range bytes.Lines(text) {
		var h struct {
			Better float64
			Scores [2]float64
		}
		if err := json.Unmarshal(line, &h); err != nil {
			t.Fatal(err)
		}
		chosen, rejected = append(chosen, h.Scores[0]), append(rejected, h.Scores[1])
		if h.Better == 0.5 {
			continue
		}
		n++
		if h.Scores[0] > h.Scores[1] {
			right++
		}
	}
	m, err := run.ReadManifest(filepath.Join(root, "reward"))
	if err != nil {
		t.Fatal(err)
	}
	// Wilson 1927: the shares that are 1.96 of their own standard errors from the one seen.
	const z = 1.959963984540054
	p, of := right/n, 1+z*z/n
	middle, half := (p+z*z/(2*n))/of, z/of*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	for key, want := range map[string]float64{"pairs": n, "eval_accuracy": p, "eval_accuracy_low": middle - half, "eval_accuracy_high": middle + half} {
		if got, ok := m.Results.Lookup(key); !ok || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, want %v of %v pairs", key, got, want, n)
		}
	}
	var drawn report.Page
	if err := drawn.Histogram("", "score", 24, report.Series{Name: "chosen", Y: chosen}, report.Series{Name: "rejected", Y: rejected}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "reward", reportFile))
	if err != nil || !bytes.Contains(page, []byte(drawn.Blocks[0].Figure.SVG)) || !bytes.Contains(page, []byte("<h2>Scores of held-out pairs</h2>")) {
		t.Errorf("the page does not draw the scores of the %d pairs: %v", len(chosen), err)
	}
}
