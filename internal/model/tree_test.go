package model

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"plumb/internal/rng"
	"plumb/internal/tensor"
)

// family is sequences of which several begin alike: twice the same, one that is the beginning of others, branches below branches,
// and strangers, of which two share less than is worth it.
func family(vocab int) [][]int32 {
	s := sequences(vocab, 40, 75, 9, 20, 66, 30, 3)
	trunk, long := s[0], slices.Concat(s[0], s[1])
	return [][]int32{
		slices.Concat(trunk, s[2]),
		s[3],
		slices.Concat(long, s[4]),
		long,
		slices.Concat(long, s[5]),
		slices.Concat(trunk, s[2]),
		slices.Concat(s[3][:5], s[5]),
		trunk[:25],
		slices.Concat(trunk[:25], s[6]),
	}
}

func TestPackTree(t *testing.T) {
	seqs := family(1000)
	tree := PackTree(8, seqs...)
	// By hand: the beginning of 25, the trunk's other 15, s2's 9; s3's 20; long's 75, 66 and 30 below it; 5+30; 3.
	if want := []int32{0, 25, 40, 49, 69, 144, 210, 240, 275, 278}; !slices.Equal(tree.Starts, want) {
		t.Errorf("branches start at %v, want %v", tree.Starts, want)
	}
	if want := []int32{-1, 0, 1, -1, 1, 4, 4, -1, 0}; !slices.Equal(tree.Parents, want) {
		t.Errorf("parents %v, want %v", tree.Parents, want)
	}
	for s, ids := range seqs {
		for i, id := range ids {
			if got := tree.IDs[tree.Row(s, i)]; got != id {
				t.Fatalf("sequence %d, token %d is %d, want %d", s, i, got, id)
			}
		}
	}
	alone := PackTree(NoSharing, seqs...)
	if b := Pack(seqs...); !slices.Equal(alone.IDs, b.IDs) || !slices.Equal(alone.Starts, b.Starts) {
		t.Error("without sharing the batch is not Pack's")
	}
}

// Any set of sequences over few ids comes back token by token, and no branch begins like a neighbour for long enough.
func TestPackTreeOfAnything(t *testing.T) {
	draw := rng.New(3)
	for range 300 {
		var seqs [][]int32
		for range 1 + draw.IntN(12) {
			var s []int32
			for range draw.IntN(30) {
				s = append(s, int32(draw.IntN(2)*draw.IntN(2)))
			}
			seqs = append(seqs, s)
		}
		minShared := 1 + draw.IntN(6)
		tree := PackTree(minShared, seqs...)
		for s, ids := range seqs {
			for i, id := range ids {
				if got := tree.IDs[tree.Row(s, i)]; got != id {
					t.Fatalf("%v: sequence %d, token %d is %d, want %d", seqs, s, i, got, id)
				}
			}
			// The rows of a sequence are the whole of its ancestors and then a part of its own branch, in order.
			if len(ids) > 0 {
				b := 0
				for tree.Starts[b+1] <= tree.Row(s, len(ids)-1) {
					b++
				}
				before := 0
				for p := tree.Parents[b]; p >= 0; p = tree.Parents[p] {
					before += int(tree.Starts[p+1] - tree.Starts[p])
				}
				if want := before + int(tree.Row(s, len(ids)-1)-tree.Starts[b]); want != len(ids)-1 {
					t.Fatalf("%v: the last token of sequence %d has position %d", seqs, s, want)
				}
			}
		}
		for a := range tree.Parents {
			for b := range a {
				x, y := tree.IDs[tree.Starts[a]:tree.Starts[a+1]], tree.IDs[tree.Starts[b]:tree.Starts[b+1]]
				if tree.Parents[a] == tree.Parents[b] && commonLength(x, y) >= max(minShared, 1) {
					t.Fatalf("%v, at least %d: branches %d and %d both begin with %v", seqs, minShared, b, a, x[:commonLength(x, y)])
				}
			}
		}
	}
}

// What sequences give keeps its bits when their beginnings are computed once, whatever the number of threads; gradients agree
// to rounding. The gradient of a value is a sum of at most n = 10⁴ terms (tokens × fan-out), taken in another order: two such
// sums in float32 are at most 2nu of the sum of magnitudes apart, in practice √n u; 256 u of the largest gradient is between.
func TestSharedBeginningsChangeNothing(t *testing.T) {
	for _, threads := range []int{1, 3} {
		for _, recompute := range []bool{false, true} {
			m := small(t, newPool(t, threads))
			a := shaken(t, everywhere(), m)
			a.AddScoreHead(m.Config.Hidden, 1, 0.1)
			shake(a)
			seqs := family(m.Vocab)
			run := func(minShared int) (out []float32, grads []float32) {
				tree := PackTree(minShared, seqs...)
				var rows, targets, all []int32
				for s, ids := range seqs {
					for i := range ids {
						all = append(all, tree.Row(s, i))
						if i > 0 {
							rows, targets = append(rows, tree.Row(s, i-1)), append(targets, ids[i])
						}
					}
				}
				a.ZeroGrads()
				tape := tensor.NewTape(m.Pool())
				tape.Recompute(recompute)
				h := m.Hidden(tape, a, tree.Batch)
				logp, entropy := m.LogProbs(tape, a, h, rows, targets, 0.7)
				scores := m.Scores(tape, a, h, all)
				draw := rng.New(8)
				for _, x := range []*tensor.Tensor{logp, entropy, scores} {
					out = append(out, x.Data...)
					d := make([]float64, len(x.Data))
					for i := range d {
						d[i] = draw.Norm()
					}
					x.Seed(d)
				}
				tape.Backward()
				return out, slices.Clone(a.Grads)
			}
			want, wantGrads := run(NoSharing)
			got, grads := run(8)
			what := fmt.Sprintf("%d threads, recompute %v: ", threads, recompute)
			if !slices.Equal(got, want) {
				t.Error(what + "other bits")
			}
			largest, worst := 0.0, 0.0
			for i := range grads {
				largest = max(largest, math.Abs(float64(wantGrads[i])))
				worst = max(worst, math.Abs(float64(grads[i]-wantGrads[i])))
			}
			if !(worst <= 256*0x1p-24*largest) {
				t.Errorf("%sgradients differ by %g, the largest is %g", what, worst, largest)
			}
		}
	}
}
