package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"plumb/internal/model"
	"plumb/internal/objective"
	"plumb/internal/peft"
	"plumb/internal/run"
	"plumb/internal/tensor"
)

// Scale is how raw scores become rewards: gain*score + bias.
type Scale struct {
	Gain float64 `json:"gain"`
	Bias float64 `json:"bias"`
}

// Scorer scores sequences with a trained reward model.
type Scorer struct {
	Model       *model.Model
	Adapter     *peft.Adapter
	Scale       Scale
	MicroTokens int
}

// Score returns gain*score + bias of each sequence: prompt and answer with its stop token.
func (s *Scorer) Score(ctx context.Context, sequences [][]int32) ([]float64, error) {
	raw, err := s.Model.ScoresOf(ctx, tensor.NewInferenceTape(s.Model.Pool()), s.Adapter, sequences, s.MicroTokens)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(raw))
	for i, r := range raw {
		out[i] = s.Scale.Gain*float64(r) + s.Scale.Bias
	}
	return out, nil
}

// FindScale is step 9: the scale that brings scores of the policy's answers to mean 0 and, with unitStd, deviation 1.
func FindScale(scores []float64, unitStd bool) (Scale, error) {
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return Scale{}, fmt.Errorf("normalise: answer %d scores %g", i, s)
		}
	}
	gain, bias := objective.Standardise(scores, unitStd)
	return Scale{gain, bias}, nil
}

const (
	// AdapterDir is the folder of the adapter inside the stage folder.
	AdapterDir = "adapter"
	scaleFile  = "plumb.json"
)

// Save is step 10: it writes the adapter with its head, and the scale, loads them again, and compares the scores of probe
// sequences bit for bit.
func Save(ctx context.Context, s *Scorer, st *run.Stage, base string, probe [][]int32) error {
	err := run.WriteDir(st.Path(AdapterDir), func(dir string) error {
		if err := s.Adapter.Save(dir, base); err != nil {
			return err
		}
		text, err := json.MarshalIndent(s.Scale, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, scaleFile), append(text, '\n'), 0o644)
	})
	if err != nil {
		return fmt.Errorf("save reward model: %w", err)
	}
	again, err := Load(s.Model, st.Path(AdapterDir))
	if err != nil {
		return fmt.Errorf("read back the reward model just saved: %w", err)
	}
	again.MicroTokens = s.MicroTokens
	want, err := s.Score(ctx, probe)
	if err != nil {
		return err
	}
	got, err := again.Score(ctx, probe)
	if err != nil {
		return err
	}
	for i := range want {
		if got[i] != want[i] {
			return fmt.Errorf("the reward model scores sequence %d with %g after saving and loading, %g before: it was not saved whole", i, got[i], want[i])
		}
	}
	return nil
}

// Load reads what Save wrote. A folder without a scale is a reward model of somebody else's: gain 1, bias 0.
func Load(m *model.Model, dir string) (*Scorer, error) {
	a, err := peft.Load(dir, m.Modules())
	if err != nil {
		return nil, err
	}
	if a.Score() == nil {
		return nil, fmt.Errorf("%s has no scalar head (score.weight): it is no reward model", dir)
	}
	s := &Scorer{Model: m, Adapter: a, Scale: Scale{Gain: 1}, MicroTokens: Default().MicroTokens}
	text, err := os.ReadFile(filepath.Join(dir, scaleFile))
	if os.IsNotExist(err) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.Scale); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, scaleFile), err)
	}
	if s.Scale.Gain == 0 || math.IsNaN(s.Scale.Gain+s.Scale.Bias) || math.IsInf(s.Scale.Gain+s.Scale.Bias, 0) {
		return nil, fmt.Errorf("%s: gain %g, bias %g make no reward", filepath.Join(dir, scaleFile), s.Scale.Gain, s.Scale.Bias)
	}
	return s, nil
}
