package eval

import (
	"context"
	"math"
	"slices"
	"testing"

	"plumb/internal/model"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// logProbsAlone are log p of each of ids after what comes before it: one text at a time, by a softmax in float64 over the logits. Those
// are float32 of size below 10, so that each is good to 1e-5.
func logProbsAlone(m *model.Model, a *peft.Adapter, context, ids []int32) []float64 {
	text := slices.Concat(context, ids)
	tape := tensor.NewInferenceTape(m.Pool())
	logits := m.Logits(tape, a, m.Hidden(tape, a, model.Pack(text)), rowsOf(len(text)))
	var out []float64
	for i := len(context); i < len(text); i++ {
		row := logits.Data[(i-1)*logits.Cols : i*logits.Cols]
		sum := 0.0
		for _, z := range row {
			sum += math.Exp(float64(z))
		}
		out = append(out, float64(row[text[i]])-math.Log(sum))
	}
	return out
}

func about(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// The divergence of four prompts with two answers each, from log-probabilities computed apart: k1 and k3 by their formulas, the error
// over prompts and not over answers. Up to twelve tokens, each good to 1e-5 on both sides.
func TestKLIsThatOfTheAnswers(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	c.Limit, c.Samples = 4, 2
	r, err := Run(context.Background(), c, in, newStage(t))
	if err != nil {
		t.Fatal(err)
	}
	var perPrompt [4]float64
	k1, k3, tokens := 0.0, 0.0, 0.0
	for i, a := range r.after {
		after, before := logProbsAlone(m, in.After.Adapter, a.PromptIDs, a.IDs), logProbsAlone(m, nil, a.PromptIDs, a.IDs)
		for k := range after {
			d := after[k] - before[k]
			perPrompt[i/2] += d / 2
			k1, k3, tokens = k1+d, k3+math.Exp(-d)-1+d, tokens+1
		}
	}
	mean, squares := (perPrompt[0]+perPrompt[1]+perPrompt[2]+perPrompt[3])/4, 0.0
	for _, x := range perPrompt {
		squares += (x - mean) * (x - mean)
	}
	const tolerance = 12 * 2e-5
	about(t, "KL", r.KL, mean, tolerance)
	about(t, "its standard error", float64(r.KLSE), math.Sqrt(squares/3)/2, tolerance)
	about(t, "KL by k3", float64(r.KLK3), k3/8, 4*tolerance) // e^-d is below 4 where d is above -1.4
	about(t, "KL per token", r.KLPerToken, k1/tokens, 2e-5)
	if len(r.after) != 8 || mean < 100*tolerance || squares < 100*tolerance || math.Abs(k1/8-mean) > 1e-12 {
		t.Errorf("%d answers, KL %g, squares %g: nothing is tested", len(r.after), mean, squares)
	}
}

// The perplexity on demonstrations, whose targets weigh 0, ½, 1 and 2, from log-probabilities computed apart.
func TestPerplexityIsThatOfTheTargets(t *testing.T) {
	m := openModel(t)
	c, in := testInputs(t, m)
	in.Held = []Held{
		{IDs: []int32{4, 9, 6, 11, 30}, Weight: []float32{0, 0, 0.5, 1, 2}},
		{IDs: []int32{7, 8}, Weight: []float32{0, 1}},
		{IDs: []int32{12, 5, 5, 40}, Weight: []float32{1, 0, 0, 2}}, // the first id is predicted from nothing
	}
	r, err := Run(context.Background(), c, in, newStage(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.PerplexityN != 5 {
		t.Errorf("%d targets, want 5", r.PerplexityN)
	}
	for side, got := range map[*peft.Adapter]float64{nil: float64(*r.PerplexityB), in.After.Adapter: float64(*r.PerplexityA)} {
		p := [3][]float64{}
		for i, h := range in.Held {
			p[i] = logProbsAlone(m, side, h.IDs[:1], h.IDs[1:])
		}
		nll := -(0.5*p[0][1] + p[0][2] + 2*p[0][3] + p[1][0] + 2*p[2][2])
		want := math.Exp(nll / 6.5)
		about(t, "perplexity", got, want, 2e-5*want)
	}
}

// By hand. Lengths 7, 5, 1, 8; four-grams that came before: 2 of 4, none of 2, none of none, 3 of 5; 21 tokens of which 6 differ; 17
// pairs of tokens of which 7 differ: 77 72 12 23 34 45 21.
func TestDescribe(t *testing.T) {
	answers := []Answer{
		{IDs: []int32{7, 7, 7, 7, 7, 7, 2}, Text: "x", Stop: "eos"},
		{IDs: []int32{1, 2, 3, 4, 5}, Text: "y", Stop: "length"},
		{IDs: []int32{2}, Stop: "stop_id"},
		{IDs: []int32{1, 2, 1, 2, 1, 2, 1, 2}, Text: "z", Stop: "stop_string"},
	}
	other := []Answer{{Text: "x"}, {Text: "another"}, {Text: ""}, {Text: "w"}}
	got := describe(answers, other)
	if got.N != 4 {
		t.Errorf("%d answers", got.N)
	}
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"mean length", got.LengthMean, 5.25},
		{"95th percentile of length", got.LengthP95, 7 + 0.85}, // of 1 5 7 8, position 0.95*3
		{"longest", got.LengthMax, 8},
		{"stop share", got.StopShare, 0.75},
		{"empty share", got.EmptyShare, 0.25},
		{"repeated four-grams", got.Repeated4, (0.5 + 0.6) / 4},
		{"distinct-1", got.Distinct1, 6.0 / 21},
		{"distinct-2", got.Distinct2, 7.0 / 17},
		{"identical to the other side", got.IdenticalTo, 0.5},
	} {
		about(t, c.what, c.got, c.want, 1e-12)
	}
}
