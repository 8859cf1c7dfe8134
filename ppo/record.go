package ppo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"

	"plumb/internal/run"
)

// rolloutsFile grows by one zstd frame an update; zstd tools read it as one stream of JSON lines.
const rolloutsFile = "rollouts/rollouts.jsonl.zst"

// record is one line: everything about one response. Vectors have one element per response token.
type record struct {
	Update       int      `json:"update"`
	Episode      uint64   `json:"episode"`
	Prompt       string   `json:"prompt"`
	Completion   string   `json:"completion"`
	PromptIDs    []int32  `json:"prompt_ids"`
	IDs          []int32  `json:"completion_ids"`
	Ended        bool     `json:"ended"`
	RawScore     number   `json:"score_raw"`
	Score        number   `json:"score"`
	KL           number   `json:"kl"` // nats over the response
	KLCoef       number   `json:"kl_coef"`
	Logps        []number `json:"logprobs"`
	RefLogps     []number `json:"ref_logprobs"`
	Values       []number `json:"values"`
	Advantages   []number `json:"advantages"`
	PolicyLogps  []number `json:"policy_logprobs,omitempty"` // in a dump: by the model as it was then
	PolicyValues []number `json:"policy_values,omitempty"`
}

// number is null where it is not finite.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if x := float64(n); math.IsNaN(x) || math.IsInf(x, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

func numbers(x []float64) []number {
	out := make([]number, len(x))
	for i, v := range x {
		out[i] = number(v)
	}
	return out
}

// line is the record of trajectory i.
func (tr *Trajectories) line(i, update int, text func(prompt, response []int32) string) record {
	a, b := tr.Starts.Row(i)
	kl := 0.0
	for _, x := range tr.KL[a:b] {
		kl += x
	}
	return record{
		Update: update, Episode: tr.Episodes[i], Prompt: tr.texts[i], Completion: text(tr.Prompts[i], tr.Responses[i]),
		PromptIDs: tr.Prompts[i], IDs: tr.Responses[i], Ended: tr.Ended[i],
		RawScore: number(tr.RawScores[i]), Score: number(tr.Scores[i]), KL: number(kl), KLCoef: number(tr.KLCoef),
		Logps: numbers(tr.OldLogp[a:b]), RefLogps: numbers(tr.RefLogp[a:b]), Values: numbers(tr.OldValues[a:b]), Advantages: numbers(tr.Advantages[a:b]),
	}
}

// appendRollouts adds an update's responses to rollouts/ as one frame. The bytes depend on nothing but the responses.
func appendRollouts(s *run.Stage, tr *Trajectories, update int, text func(prompt, response []int32) string) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	enc.SetEscapeHTML(false)
	for i := range tr.Responses {
		if err := enc.Encode(tr.line(i, update, text)); err != nil {
			return err
		}
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	f, err := s.Append(rolloutsFile)
	if err != nil {
		return err
	}
	_, err = f.Write(z.EncodeAll(lines.Bytes(), nil))
	return err
}

// dumpStep writes what a skipped minibatch was made of, to be looked at.
func dumpStep(s *run.Stage, st *step, update int, seed uint64, text func(prompt, response []int32) string) error {
	dump := struct {
		Update     int      `json:"update"`
		Epoch      int      `json:"epoch"`
		Minibatch  int      `json:"minibatch"`
		Seed       uint64   `json:"seed"`
		PolicyLoss number   `json:"policy_loss"`
		ValueLoss  number   `json:"value_loss"`
		PolicyNorm number   `json:"policy_grad_norm"`
		CriticNorm number   `json:"critic_grad_norm"`
		Responses  []record `json:"responses"`
	}{
		update, st.epoch, st.minibatch, seed, number(st.stats.policyLoss), number(st.stats.valueLoss),
		number(st.stats.policyNorm), number(st.stats.criticNorm), nil,
	}
	at := 0
	for _, i := range st.which {
		r := st.tr.line(i, update, text)
		n := len(r.IDs)
		if st.stats.trainedPolicy {
			r.PolicyLogps = numbers(st.policyLogp[at : at+n])
		}
		r.PolicyValues = numbers(st.values[at : at+n])
		at += n
		dump.Responses = append(dump.Responses, r)
	}
	return s.Dump(fmt.Sprintf("update-%06d-epoch-%02d-minibatch-%02d.json", update, st.epoch, st.minibatch), dump)
}
