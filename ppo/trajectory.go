package ppo

import (
	"slices"

	"plumb/internal/objective"
)

// Starts says which elements of a packed vector [N] belong to which of B rows: row r owns Starts[r]:Starts[r+1], so
// len(Starts) = B+1 and Starts[B] = N. It takes the place of a mask: what is not a response's token is in no row.
type Starts []int

// StartsOf is made from the rows' lengths.
func StartsOf(lengths []int) Starts {
	s := make(Starts, 1, len(lengths)+1)
	for _, n := range lengths {
		s = append(s, s[len(s)-1]+n)
	}
	return s
}

// Len is B.
func (s Starts) Len() int { return len(s) - 1 }

// Row is the range of row r.
func (s Starts) Row(r int) (from, to int) { return s[r], s[r+1] }

// Lengths are the rows' lengths, [B].
func (s Starts) Lengths() []int {
	out := make([]int, s.Len())
	for r := range out {
		out[r] = s[r+1] - s[r]
	}
	return out
}

// Sums are the rows' sums of x, [B] from [N].
func (s Starts) Sums(x []float64) []float64 {
	out := make([]float64, s.Len())
	for r := range out {
		for _, v := range x[s[r]:s[r+1]] {
			out[r] += v
		}
	}
	return out
}

// Mean is the mean of x, [B], over the rows that are not empty.
func (s Starts) Mean(x []float64) float64 {
	var some []float64
	for r, v := range x {
		if s[r+1] > s[r] {
			some = append(some, v)
		}
	}
	return objective.Mean(some)
}

// Trajectories are what one update learns from: B responses with N tokens between them. A response's tokens are those the
// policy chose, the stop token that ended it included, and nothing after it; every vector [N] has one element per such token,
// in the order of the responses.
type Trajectories struct {
	Episodes  []uint64  // [B] numbers of the episodes, from 0 over the whole run
	Prompts   [][]int32 // [B] ids the policy was given, never empty
	Responses [][]int32 // [B] ids it chose, never empty
	Ended     []bool    // [B] the last id is a stop token
	Starts    Starts    // [B+1]

	SampledLogp []float64 // [N] log-probability the sampler drew with, nats
	OldLogp     []float64 // [N] the same by the training forward, before the update
	RefLogp     []float64 // [N] by the reference
	KL          []float64 // [N] estimate of KL(policy || reference), nats
	OldValues   []float64 // [N] V(s_t) before the update, in units of the (shaped) score
	RawScores   []float64 // [B] as the scorer gave them
	Scores      []float64 // [B] after scaling, clipping and the missing-stop rule
	Rewards     []float64 // [N]
	Advantages  []float64 // [N] whitened if the configuration says so
	Returns     []float64 // [N]
	KLCoef      float64   // beta that Rewards were made with

	texts []string    // [B] the prompts, for the record
	trunk [][]float32 // [B][tokens,C] where the critic's training starts, if not at the bottom
}

// B is the number of responses.
func (tr *Trajectories) B() int { return len(tr.Responses) }

// N is the number of response tokens.
func (tr *Trajectories) N() int { return tr.Starts[tr.B()] }

// CutAtStop ends a response at its first stop id at position >= after (0-based), which it keeps. A stop id before that is an
// ordinary token: "the first full stop after token 16" of Ziegler et al. is stop "." with after 16. ended is false when the
// response holds no such id.
func CutAtStop(response, stop []int32, after int) (cut []int32, ended bool) {
	for i := after; i < len(response); i++ {
		if slices.Contains(stop, response[i]) {
			return response[:i+1], true
		}
	}
	return response, false
}
