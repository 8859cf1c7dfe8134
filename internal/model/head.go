package model

import (
	"plumb/internal/kernels"
	"plumb/internal/peft"
	"plumb/internal/tensor"
)

// head is the language-model head under an adapter. A tied model that is trained whole has its head in the embedding.
func (m *Model) head(a *peft.Adapter) (*tensor.Matrix, *tensor.LoRA) {
	if !m.HasHead() {
		panic("model: the checkpoint has no language-model head")
	}
	if m.Tied && a.Full() && a.At(m.headModule()).Matrix == nil {
		return a.At(embedModule).Matrix, nil
	}
	return m.matrix(a, m.headModule())
}

// LogProbs gives, for each i, log p(targets[i] | row rows[i] of hidden) under softmax(logits / temperature), and that
// distribution's entropy, both [R,1] in nats. Hidden's row of a token predicts the token after it. Only the selected rows are
// computed, tile by tile over the vocabulary. The tape keeps rows and targets until its Reset.
func (m *Model) LogProbs(t *tensor.Tape, a *peft.Adapter, hidden *tensor.Tensor, rows, targets []int32, temperature float32) (logp, entropy *tensor.Tensor) {
	logp, entropy, _ = m.Predict(t, a, hidden, rows, targets, temperature)
	return logp, entropy
}

// Predict is LogProbs that also says where the target is the likeliest token: 1, else 0.
func (m *Model) Predict(t *tensor.Tape, a *peft.Adapter, hidden *tensor.Tensor, rows, targets []int32, temperature float32) (logp, entropy, best *tensor.Tensor) {
	if len(rows) != len(targets) || !(temperature > 0) {
		panic("model: LogProbs: rows and targets must be as many, the temperature positive")
	}
	w, lora := m.head(a)
	if m.Check(targets) != nil {
		panic("model: LogProbs: target outside the vocabulary; see Check")
	}
	return t.Predict(t.Gather(hidden, rows), w, lora, targets, 1/temperature)
}

// Logits computes the logits of selected rows, [R,V]: for sampling, evaluation and tests.
func (m *Model) Logits(t *tensor.Tape, a *peft.Adapter, hidden *tensor.Tensor, rows []int32) *tensor.Tensor {
	w, lora := m.head(a)
	return t.Linear(t.Gather(hidden, rows), w, nil, lora)
}

// Distribution summarises one row of Logits at a temperature: LogProb(logit/temperature) is the bits of LogProbs.
func Distribution(logits []float32, temperature float32) Softmax {
	scale := 1 / temperature
	return Softmax{kernels.LogSumExp(logits, scale, nil), scale}
}

// Softmax is the distribution of one row of logits.
type Softmax struct {
	lse   kernels.LSE
	scale float32
}

// LogProb is the log-probability, in nats, of a token given its logit.
func (s Softmax) LogProb(logit float32) float32 { return float32(s.lse.LogProb(logit * s.scale)) }

// Entropy is in nats.
func (s Softmax) Entropy() float32 { return float32(s.lse.Entropy()) }

// Scores applies the scalar head to selected rows of hidden, [R,1]. The head is the adapter's, or the checkpoint's own.
func (m *Model) Scores(t *tensor.Tape, a *peft.Adapter, hidden *tensor.Tensor, rows []int32) *tensor.Tensor {
	w := a.Score()
	if w == nil {
		w = m.score
	}
	if w == nil {
		panic("model: Scores: neither the adapter nor the checkpoint has a scalar head")
	}
	return t.Linear(t.Gather(hidden, rows), w, nil, nil)
}

// HasScore says whether the checkpoint itself has a scalar head.
func (m *Model) HasScore() bool { return m.score != nil }
