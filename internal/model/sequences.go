package model

import (
	"context"
	"slices"

	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// Continuation is some context, at least one token, and what follows it.
type Continuation struct {
	Context, IDs []int32
}

// LogProbsOf computes log p of each id of each continuation given everything before it, in nats, of softmax(logits/temperature),
// and the entropy there. t must be an inference tape; it is reset. At most about microTokens tokens (a longer sequence alone)
// go through the model at once: that is memory only, a sequence's results do not depend on what else is in the batch.
func (m *Model) LogProbsOf(ctx context.Context, t *tensor.Tape, a *peft.Adapter, cs []Continuation, temperature float32, microTokens int) (logps, entropies [][]float32, err error) {
	logps, entropies = make([][]float32, len(cs)), make([][]float32, len(cs))
	length := func(i int) int { return len(cs[i].Context) + len(cs[i].IDs) }
	err = m.inParts(ctx, t, len(cs), length, microTokens, func(lo, hi int) {
		var sequences [][]int32
		for _, c := range cs[lo:hi] {
			if len(c.Context) == 0 {
				panic("model: LogProbsOf: a continuation without context")
			}
			sequences = append(sequences, slices.Concat(c.Context, c.IDs))
		}
		b := PackTree(MinShared, sequences...)
		var rows, targets []int32
		for s, c := range cs[lo:hi] {
			for i, id := range c.IDs {
				rows, targets = append(rows, b.Row(s, len(c.Context)+i-1)), append(targets, id)
			}
		}
		if len(rows) == 0 {
			return
		}
		logp, entropy := m.LogProbs(t, a, m.Hidden(t, a, b.Batch), rows, targets, temperature)
		at := 0
		for i := lo; i < hi; i++ {
			n := len(cs[i].IDs)
			logps[i] = append([]float32(nil), logp.Data[at:at+n]...)
			entropies[i] = append([]float32(nil), entropy.Data[at:at+n]...)
			at += n
		}
	})
	return logps, entropies, err
}

// ScoresOf computes the scalar head at the last token of each sequence; see LogProbsOf.
func (m *Model) ScoresOf(ctx context.Context, t *tensor.Tape, a *peft.Adapter, sequences [][]int32, microTokens int) ([]float32, error) {
	out := make([]float32, len(sequences))
	length := func(i int) int { return len(sequences[i]) }
	err := m.inParts(ctx, t, len(sequences), length, microTokens, func(lo, hi int) {
		b := PackTree(MinShared, sequences[lo:hi]...)
		last := make([]int32, hi-lo)
		for i, s := range sequences[lo:hi] {
			if len(s) == 0 {
				panic("model: ScoresOf: an empty sequence")
			}
			last[i] = b.Row(i, len(s)-1)
		}
		copy(out[lo:hi], m.Scores(t, a, m.Hidden(t, a, b.Batch), last).Data)
	})
	return out, err
}

// inParts calls do for consecutive parts of n sequences, of about microTokens tokens each, with a fresh tape.
func (m *Model) inParts(ctx context.Context, t *tensor.Tape, n int, length func(int) int, microTokens int, do func(lo, hi int)) error {
	if t.Recording() {
		panic("model: the tape records; use tensor.NewInferenceTape")
	}
	for lo := 0; lo < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi, tokens := lo, 0
		for hi < n && (hi == lo || tokens+length(hi) <= microTokens) {
			tokens += length(hi)
			hi++
		}
		t.Reset()
		do(lo, hi)
		lo = hi
	}
	t.Reset()
	return nil
}

// LargestMicro is the most rows that a pass over n of the sequences can have where they are cut into micro-batches of about
// microTokens tokens.
func LargestMicro(lengths []int, n, microTokens int) int {
	longest := slices.Clone(lengths)
	slices.SortFunc(longest, func(a, b int) int { return b - a })
	sum := 0
	for _, l := range longest[:min(n, len(longest))] {
		sum += l
	}
	if len(longest) == 0 {
		return 0
	}
	return max(longest[0], min(microTokens, sum))
}
