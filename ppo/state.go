package ppo

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"plumb/internal/run"
)

// state is everything an update depends on besides the vectors of the models and optimizers: the rest (learning rates, the
// order of prompts and minibatches, every random draw) is a function of the seed and these counts.
type state struct {
	Update   int     `json:"update"`   // updates done
	Episodes int     `json:"episodes"` // episodes done: the cursor into the prompts and the schedules' clock
	Coef     float64 `json:"kl_coef"`
	Moments  Moments `json:"score_moments"`

	NonFinite      int `json:"skipped_nonfinite"` // minibatches skipped so far
	NonFiniteInRow int `json:"skipped_nonfinite_in_row"`
	OverRatio      int `json:"skipped_ratio"`

	BestReward float64 `json:"best_rlhf_reward"` // of BestUpdate, which is 0 while there is none
	BestUpdate int     `json:"best_update"`

	Last lastMetrics `json:"last_metrics"` // of the last update

	// What the vectors belong to.
	Base      string `json:"base_sha256"`
	Tokenizer string `json:"tokenizer_sha256"`
	Template  string `json:"template_sha256"`
}

func newState(c Config, m run.Manifest) *state {
	return &state{Coef: c.KL.Coef, Moments: NewMoments(), Base: m.Base.SHA256, Tokenizer: m.Tokenizer.SHA256, Template: m.Template.SHA256}
}

// lastMetrics are stored as a list of pairs, in order, null where not finite.
type lastMetrics []run.KV

func (m lastMetrics) MarshalJSON() ([]byte, error) {
	out := make([][2]any, len(m))
	for i, kv := range m {
		out[i] = [2]any{kv.Key, number(kv.Value)}
	}
	return json.Marshal(out)
}

func (m *lastMetrics) UnmarshalJSON(text []byte) error {
	var pairs [][2]json.RawMessage
	if err := json.Unmarshal(text, &pairs); err != nil {
		return err
	}
	*m = make(lastMetrics, len(pairs))
	for i, p := range pairs {
		value := math.NaN()
		if string(p[1]) != "null" {
			if err := json.Unmarshal(p[1], &value); err != nil {
				return err
			}
		}
		(*m)[i].Value = value
		if err := json.Unmarshal(p[0], &(*m)[i].Key); err != nil {
			return err
		}
	}
	return nil
}

// note remembers an update's metrics, and the best update.
func (st *state) note(m run.Values) {
	st.Last = lastMetrics(m)
	reward, ok := m.Lookup("objective/rlhf_reward")
	if !ok || math.IsNaN(reward) || math.IsInf(reward, 0) {
		return
	}
	if st.BestUpdate == 0 || reward > st.BestReward {
		st.BestReward, st.BestUpdate = reward, st.Update
	}
}

const stateFile = "ppo.json"

// save writes the folder of a checkpoint: ppo.json, and each model's parameters and moments.
func (l *learner) save(dir string, st *state) error {
	if err := run.WriteState(dir, stateFile, st); err != nil {
		return err
	}
	for _, m := range l.models() {
		if err := m.opt.Save(dir, m.name, m.adapter.Values); err != nil {
			return err
		}
	}
	return nil
}

// load restores what save wrote, in place. Another base, tokenizer or template than the manifest's is refused.
func (l *learner) load(dir string, manifest run.Manifest) (*state, error) {
	st, err := readState(dir)
	if err != nil {
		return nil, err
	}
	if st.Base != manifest.Base.SHA256 || st.Tokenizer != manifest.Tokenizer.SHA256 || st.Template != manifest.Template.SHA256 {
		return nil, fmt.Errorf("resume from %s: it was made with another base, tokenizer or chat template", dir)
	}
	for _, m := range l.models() {
		if err := m.opt.Load(dir, m.name, m.adapter.Values); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// readState reads ppo.json of a checkpoint's folder. Counts that no update leaves behind are damage: they would be looked up
// among the prompts.
func readState(dir string) (*state, error) {
	st := &state{}
	if err := run.ReadState(dir, stateFile, st); err != nil {
		return nil, err
	}
	if st.Update < 0 || st.Episodes < 0 || st.BestUpdate < 0 || st.BestUpdate > st.Update {
		return nil, fmt.Errorf("read %s: update %d, %d episodes and best update %d cannot be together", filepath.Join(dir, stateFile), st.Update, st.Episodes, st.BestUpdate)
	}
	return st, nil
}
