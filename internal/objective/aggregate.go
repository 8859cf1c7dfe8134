package objective

import "fmt"

// Aggregation says how the elements of one whole optimizer step become one number.
type Aggregation string

// The aggregations. Rows are responses, elements their real tokens; a row without any is not counted.
const (
	// TokenMean is sum x / number of tokens: every token counts the same.
	TokenMean Aggregation = "token_mean"
	// SeqMeanTokenMean is the mean over rows of the row's token mean: every response counts the same.
	SeqMeanTokenMean Aggregation = "seq_mean_token_mean"
	// SeqMeanTokenSum is the mean over rows of the row's sum.
	SeqMeanTokenSum Aggregation = "seq_mean_token_sum"
	// SeqMeanTokenSumNorm is SeqMeanTokenSum divided by a constant length (Dr. GRPO's way to remove the length bias).
	SeqMeanTokenSumNorm Aggregation = "seq_mean_token_sum_norm"
)

// Validate reports an unknown name.
func (a Aggregation) Validate() error {
	switch a {
	case TokenMean, SeqMeanTokenMean, SeqMeanTokenSum, SeqMeanTokenSumNorm:
		return nil
	}
	return fmt.Errorf("aggregation %q: want %s, %s, %s or %s", string(a), TokenMean, SeqMeanTokenMean, SeqMeanTokenSum, SeqMeanTokenSumNorm)
}

// Weights returns one weight per element so that the aggregated loss is sum of weight*element. lengths are the rows' numbers
// of elements over the WHOLE step, in the order of the elements; norm is used by SeqMeanTokenSumNorm only (tokens). A
// micro-batch uses its slice of the result, which is why a split of the step changes nothing.
func (a Aggregation) Weights(lengths []int, norm float64) []float64 {
	return a.AppendWeights(nil, lengths, norm)
}

// AppendWeights adds those weights to w.
func (a Aggregation) AppendWeights(w []float64, lengths []int, norm float64) []float64 {
	tokens, rows := 0, 0
	for _, n := range lengths {
		tokens += n
		if n > 0 {
			rows++
		}
	}
	for _, n := range lengths {
		var x float64
		switch a {
		case TokenMean:
			x = 1 / float64(tokens)
		case SeqMeanTokenMean:
			x = 1 / (float64(rows) * float64(n))
		case SeqMeanTokenSum:
			x = 1 / float64(rows)
		case SeqMeanTokenSumNorm:
			x = 1 / (float64(rows) * norm)
		default:
			panic("objective: Weights: unknown aggregation")
		}
		for range n {
			w = append(w, x)
		}
	}
	return w
}

// Normalise returns weights divided by their sum over the whole step: the weighted mean. Weights that sum to 0 stay 0.
func Normalise(weights []float64) []float64 {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	out := make([]float64, len(weights))
	if total == 0 {
		return out
	}
	for i, w := range weights {
		out[i] = w / total
	}
	return out
}
