package reward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/rng"
	"plumb/internal/run"
	"plumb/internal/stats"
)

// CurveInputs is what a learning curve is drawn from. Fresh makes the adapter that a training starts from, its head drawn from
// the seed.
type CurveInputs struct {
	Model       *model.Model
	Fresh       func(seed uint64) (*peft.Adapter, error)
	Train, Held []Pair
	Seed        uint64
	Room        func(coming int) int           // as in Inputs
	Progress    func(training string) Progress // of each training; nil: nobody is told
}

// Size is one size of a curve: a share 1/Part of the training prompts, by Trainings trainings.
type Size struct {
	Part, Trainings int
}

// Sizes are those of a curve, ascending. The small ones, which differ most from draw to draw and cost least, are trained most
// often; together they cost as much as three and a half trainings on everything.
var sizes = [...]Size{{8, 4}, {4, 4}, {2, 2}, {1, 1}}

// Point is one training of a curve.
type Point struct {
	Part     int            `json:"part"`    // trained on 1/Part of the training prompts
	Chain    int            `json:"chain"`   // whose subset: those of one chain lie in each other; 0 trains with the recipe's own seed
	Prompts  int            `json:"prompts"` // trained on
	Pairs    int            `json:"pairs"`   // trained on, ties included
	Accuracy float64        `json:"accuracy"`
	Interval stats.Interval `json:"interval"` // Wilson, 95 %, of this model on the held-out pairs
	Loss     float64        `json:"loss"`     // on the held-out pairs
}

// outcome is a point with what its model said of each held-out pair: 1 right, ½ undecided, 0 wrong, -1 of a tie, which does
// not count.
type outcome struct {
	Point
	Right []float64 `json:"right"`
}

// Least is what a curve needs, below which its points say nothing.
const (
	leastHeld    = 20 // held-out prompts with a preference: ±22 points of accuracy (Wilson, at 50 %)
	curveStream  = 0xC0A5E
	curveDraws   = 1000
	curveState   = "curve.json"
	trainingsDir = "trainings"
)

// DrawCurve trains on nested shares of the training prompts, measures each model on the same held-out pairs and fits a
// learning curve to their accuracies. The caller has begun st and finishes it. Each training that is done is kept in a
// checkpoint, and one that is cut off goes on from its own: the same call ends in the same curve.
//
//  1. Each chain permutes the training prompts; its share 1/k are the first ones, so that the smaller lie in the larger.
//  2. Train as the stage does, with its configuration: of one chain with the recipe's seed, of the others with derived ones.
//     The point of all prompts is therefore the stage's own model.
//  3. Measure, keep.
//  4. Fit and extrapolate.
func DrawCurve(ctx context.Context, c Config, in CurveInputs, st *run.Stage) (*Curve, error) {
	if err := enough(c, in); err != nil {
		return nil, err
	}
	st.Keep(1)
	var done []outcome
	if _, dir, ok := st.Latest(); ok {
		if err := run.ReadState(dir, curveState, &done); err != nil {
			return nil, err
		}
	}
	for i, p := range pointsToDo() {
		if i < len(done) {
			continue
		}
		// 1. and 2.
		seed := in.Seed
		if p.Chain > 0 {
			seed = rng.Derive(in.Seed, curveStream, uint64(p.Chain))
		}
		pairs := subset(in.Train, p.Part, in.Seed, p.Chain)
		held, err := trainPoint(ctx, c, in, st, p, pairs, seed)
		if err != nil {
			return nil, fmt.Errorf("1/%d of the prompts, training %d: %w", p.Part, p.Chain+1, err)
		}
		// 3.
		p.Prompts, p.Pairs = countPrompts(pairs), len(pairs)
		p.Accuracy, p.Interval, p.Loss = held.Accuracy, held.Interval, held.Loss
		done = append(done, outcome{p, rightOf(in.Held, held)})
		if err := st.Checkpoint(len(done), func(dir string) error { return run.WriteState(dir, curveState, done) }); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(st.Path(trainingsDir)); err != nil {
			return nil, fmt.Errorf("remove what a training left: %w", err)
		}
	}
	if err := os.RemoveAll(st.Path(trainingsDir)); err != nil { // of one that was killed in between
		return nil, fmt.Errorf("remove what a training left: %w", err)
	}
	// 4.
	return newCurve(done, in.Held, in.Seed), nil
}

// enough says what is missing for a curve.
func enough(c Config, in CurveInputs) error {
	prompts := map[string]bool{}
	for _, p := range in.Held {
		if p.Better != 0.5 {
			prompts[p.Prompt] = true
		}
	}
	if len(prompts) < leastHeld {
		return fmt.Errorf("%d held-out prompts have a pair that is no tie, a curve needs %d: judge more pairs, or hold out a larger share (reward.eval is %g)", len(prompts), leastHeld, c.Eval)
	}
	part := sizes[0].Part
	if n := countPrompts(in.Train); n < 2*part {
		return fmt.Errorf("%d prompts to train on, a curve needs %d: pairs of one prompt stay together", n, 2*part)
	}
	for chain := range sizes[0].Trainings {
		if n := len(subset(in.Train, part, in.Seed, chain)); n < c.Batch {
			return fmt.Errorf("%d pairs to train on, and 1/%d of them are less than one step (reward.batch is %d): judge more pairs, about %d in all, or lower it", len(in.Train), part, c.Batch, part*c.Batch)
		}
	}
	return nil
}

// pointsToDo are the trainings in their order: the cheap ones first.
func pointsToDo() []Point {
	var out []Point
	for _, s := range sizes {
		for chain := range s.Trainings {
			out = append(out, Point{Part: s.Part, Chain: chain})
		}
	}
	return out
}

// subset are the pairs of the first 1/part of a chain's prompts, in the order of pairs.
func subset(pairs []Pair, part int, seed uint64, chain int) []Pair {
	var prompts []string
	seen := map[string]bool{}
	for _, p := range pairs {
		if !seen[p.Prompt] {
			seen[p.Prompt] = true
			prompts = append(prompts, p.Prompt)
		}
	}
	keep := map[string]bool{}
	for _, i := range rng.New(seed, curveStream, uint64(chain)).Perm(len(prompts))[:(len(prompts)+part-1)/part] {
		keep[prompts[i]] = true
	}
	var out []Pair
	for _, p := range pairs {
		if keep[p.Prompt] {
			out = append(out, p)
		}
	}
	return out
}

func countPrompts(pairs []Pair) int {
	seen := map[string]bool{}
	for _, p := range pairs {
		seen[p.Prompt] = true
	}
	return len(seen)
}

// trainPoint is one training, in a run folder of its own inside the stage's.
func trainPoint(ctx context.Context, c Config, in CurveInputs, st *run.Stage, p Point, pairs []Pair, seed uint64) (held Accuracy, err error) {
	adapter, err := in.Fresh(seed)
	if err != nil {
		return held, err
	}
	dir, err := run.Open(st.Path(trainingsDir), fmt.Sprintf("%d-%d", p.Part, p.Chain))
	if err != nil {
		return held, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	own := dir.Stage("reward")
	if _, err := own.Begin(run.Manifest{Seed: seed}); err != nil {
		return held, err
	}
	inputs := Inputs{Model: in.Model, Adapter: adapter, Train: pairs, Held: in.Held, Seed: seed, Room: in.Room}
	if in.Progress != nil {
		inputs.Progress = in.Progress("curve, 1/" + strconv.Itoa(p.Part) + " of the prompts")
	}
	done, err := Train(ctx, c, inputs, own)
	if err != nil {
		return held, errors.Join(err, own.Fail(run.Interrupted, nil))
	}
	return done.Held, own.Finish(done.Steps, nil)
}

// rightOf is what a model says of each held-out pair.
func rightOf(pairs []Pair, a Accuracy) []float64 {
	out := make([]float64, len(pairs))
	for i, p := range pairs {
		out[i] = prefers(a.Chosen[i], a.Rejected[i])
		if p.Better == 0.5 {
			out[i] = -1
		}
	}
	return out
}

// mean is the mean of what counts; NaN where nothing does.
func mean(right []float64, of []int) float64 {
	sum, n := 0.0, 0
	for _, i := range of {
		if right[i] >= 0 {
			sum += right[i]
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}
