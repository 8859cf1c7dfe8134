package dataset

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"plumb/internal/chat"
	"plumb/internal/golden"
)

// goldenPassage reads a string or a list of {"role","content"} or {"from","value"}.
func goldenPassage(t *testing.T, raw json.RawMessage) Passage {
	t.Helper()
	var p Passage
	if len(raw) == 0 {
		return p
	}
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &p.Text); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var turns []map[string]string
	if err := json.Unmarshal(raw, &turns); err != nil {
		t.Fatal(err)
	}
	for _, turn := range turns {
		p.Messages = append(p.Messages, chat.Message{
			Role: turn["role"] + turn["from"], Content: turn["content"] + turn["value"],
		})
	}
	return p
}

type goldenRow struct {
	IDs    []int32 `json:"input_ids"`
	Labels []int32 `json:"labels"`
	Seqs   []int   `json:"seq_lengths"`
}

type goldenSFT struct {
	Template string `json:"training_template"`
	Cases    []struct {
		Kind     string                       `json:"kind"`
		Examples []map[string]json.RawMessage `json:"examples"`
		Runs     []struct {
			Options struct {
				Completion bool     `json:"completion_only_loss"`
				Assistant  bool     `json:"assistant_only_loss"`
				Max        int      `json:"max_length"`
				Truncation string   `json:"truncation_mode"`
				Packing    bool     `json:"packing"`
				Strategy   Strategy `json:"packing_strategy"`
			} `json:"options"`
			Template    string      `json:"template"`
			Rows        []goldenRow `json:"rows"`
			PaddingFree *struct {
				IDs    [][]int32 `json:"input_ids"`
				Labels [][]int32 `json:"labels"`
				Starts []int32   `json:"cu_seq_lens_q"`
			} `json:"padding_free_batch"`
		} `json:"runs"`
		Masks []struct {
			IDs  []int32 `json:"input_ids"`
			Mask []int   `json:"assistant_mask"`
		} `json:"assistant_masks_training_template"`
	} `json:"cases"`
}

func (f *goldenSFT) demonstrations(t *testing.T, i int) (ds []Demonstration, texts []Text) {
	t.Helper()
	for _, ex := range f.Cases[i].Examples {
		switch {
		case ex["text"] != nil:
			texts = append(texts, Text{Text: goldenPassage(t, ex["text"]).Text})
		case ex["messages"] != nil:
			ds = append(ds, Demonstration{Conversation: goldenPassage(t, ex["messages"]).Messages})
		case ex["conversations"] != nil:
			ds = append(ds, Demonstration{Conversation: goldenPassage(t, ex["conversations"]).Messages})
		default:
			ds = append(ds, Demonstration{Prompt: goldenPassage(t, ex["prompt"]), Completion: goldenPassage(t, ex["completion"])})
		}
	}
	return ds, texts
}

// labels are TRL's: the id where it is learned, -100 elsewhere.
func labels(ids []int32, weights []float32) []int32 {
	out := slices.Repeat([]int32{-100}, len(ids))
	for i, w := range weights {
		if w == 1 {
			out[i] = ids[i]
		}
	}
	return out
}

func loadSFT(t *testing.T) *goldenSFT {
	t.Helper()
	var f goldenSFT
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "sft.json.gz"), &f)
	return &f
}

// TestRowsLikeTRL encodes, cuts, drops, packs and flattens TRL's example data sets as TRL does, ids and labels.
func TestRowsLikeTRL(t *testing.T) {
	f := loadSFT(t)
	runs := 0
	for i, c := range f.Cases {
		ds, texts := f.demonstrations(t, i)
		for _, r := range c.Runs {
			o := r.Options
			name := fmt.Sprintf("%s %+v", c.Kind, o)
			loss := map[[2]bool]Loss{
				{false, false}: LossAll, {true, false}: LossCompletion, {false, true}: LossAssistant, {true, true}: LossAnswers,
			}[[2]bool{o.Completion, o.Assistant}]
			template := smolTemplate
			if r.Template == "training" {
				template = f.Template
			}
			e := encoder(t, template, loss)
			length := Length{Max: o.Max, Cut: Cut(o.Truncation)}
			if o.Packing {
				length = Length{}
			}
			var rows []Example
			var err error
			if texts != nil {
				rows, _, err = e.Texts(texts, length)
			} else {
				rows, _, err = e.Demonstrations(ds, length)
			}
			if (err != nil) != (len(r.Rows) == 0) { // a data set of which nothing is left is an error here
				t.Errorf("%s: %v, want %d rows", name, err, len(r.Rows))
				continue
			}
			bins := make([][]Piece, len(rows))
			for k, x := range rows {
				bins[k] = []Piece{{k, 0, len(x.IDs)}}
			}
			if o.Packing {
				lengths := make([]int, len(rows))
				for k, x := range rows {
					lengths[k] = len(x.IDs)
				}
				if bins, err = Pack(lengths, o.Max, o.Strategy); err != nil {
					t.Fatal(err)
				}
			}
			got := Fill(rows, bins, o.Strategy == PackWrapped)
			if len(got) != len(r.Rows) {
				t.Errorf("%s: %d rows, want %d", name, len(got), len(r.Rows))
				continue
			}
			for k, want := range r.Rows {
				for _, s := range got[k].Starts[:len(got[k].Starts)-1] { // nothing predicts a first id; TRL drops it later
					want.Labels[s] = -100
				}
				if !slices.Equal(got[k].IDs, want.IDs) || !slices.Equal(labels(got[k].IDs, got[k].Weights), want.Labels) {
					t.Errorf("%s, row %d:\n got %v\n     %v\nwant %v\n     %v", name, k, got[k].IDs, labels(got[k].IDs, got[k].Weights), want.IDs, want.Labels)
				}
				for s, n := range want.Seqs {
					if int(got[k].Starts[s+1]-got[k].Starts[s]) != n {
						t.Errorf("%s, row %d: sequences start at %v, want lengths %v", name, k, got[k].Starts, want.Seqs)
						break
					}
				}
			}
			if pf := r.PaddingFree; pf != nil {
				one := Fill(rows, [][]Piece{slices.Concat(bins...)}, false)[0]
				if !slices.Equal(one.IDs, pf.IDs[0]) || !slices.Equal(labels(one.IDs, one.Weights), pf.Labels[0]) || !slices.Equal(one.Starts, pf.Starts) {
					t.Errorf("%s: as one padding-free row:\n got %v %v\nwant %v %v", name, one.IDs, one.Starts, pf.IDs[0], pf.Starts)
				}
			}
			runs++
		}
	}
	t.Logf("%d runs", runs)
}

// TestAssistantTurnsLikeTRL finds the assistant's tokens in two ways: by the blocks of the training template, and
// by what the plain template's text grows by. Both are the tokens that TRL finds with the former.
func TestAssistantTurnsLikeTRL(t *testing.T) {
	f := loadSFT(t)
	marked, grown := encoder(t, f.Template, LossAssistant), encoder(t, smolTemplate, LossAssistant)
	rows := 0
	for i, c := range f.Cases {
		if c.Kind == "sharegpt" { // its roles are human and gpt: no assistant
			continue
		}
		ds, _ := f.demonstrations(t, i)
		for k, want := range c.Masks {
			for name, e := range map[string]*Encoder{"marked": marked, "grown": grown} {
				x, err := e.Demonstration(ds[k])
				if err != nil {
					t.Errorf("%s %d, %s: %v", c.Kind, k, name, err)
					continue
				}
				mask := make([]int, len(x.Weights))
				for j, w := range x.Weights {
					mask[j] = int(w)
				}
				if !slices.Equal(x.IDs, want.IDs) || !slices.Equal(mask, want.Mask) {
					t.Errorf("%s %d, %s: %v %v\nwant %v %v", c.Kind, k, name, x.IDs, mask, want.IDs, want.Mask)
				}
				if e.UntrainedStop(x) {
					t.Errorf("%s %d, %s: no stop token is learned", c.Kind, k, name)
				}
				rows++
			}
		}
	}
	if rows == 0 {
		t.Error("no rows with masks")
	}
}

func TestPackingLikeTRL(t *testing.T) {
	var f struct {
		Cases []struct {
			Lengths  []int    `json:"lengths"`
			Size     int      `json:"seq_length"`
			Strategy Strategy `json:"strategy"`
			IDs      [][]int  `json:"packed_ids_are_running_numbers"`
			Seqs     [][]int  `json:"seq_lengths"`
		} `json:"cases"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "packing.json"), &f)
	for _, c := range f.Cases {
		first := make([]int, len(c.Lengths)+1)
		for i, n := range c.Lengths {
			first[i+1] = first[i] + n
		}
		bins, err := Pack(c.Lengths, c.Size, c.Strategy)
		if err != nil {
			t.Fatal(err)
		}
		ids, seqs := [][]int{}, [][]int{}
		for _, bin := range bins {
			var row, lengths []int
			for _, p := range bin {
				lengths = append(lengths, p.To-p.From)
				for k := p.From; k < p.To; k++ {
					row = append(row, first[p.Row]+k)
				}
			}
			ids, seqs = append(ids, row), append(seqs, lengths)
		}
		if !reflect.DeepEqual(ids, c.IDs) || c.Seqs != nil && !reflect.DeepEqual(seqs, c.Seqs) {
			t.Errorf("%s of %v into %d:\n got %v\nwant %v", c.Strategy, c.Lengths, c.Size, seqs, c.Seqs)
		}
	}
}

// TestPairsLikeTRL: reward rows, pairs over the limit dropped, and DPO rows with their common prompt.
func TestPairsLikeTRL(t *testing.T) {
	type ids struct {
		Chosen   []int32 `json:"chosen_ids"`
		Rejected []int32 `json:"rejected_ids"`
		Prompt   []int32 `json:"prompt_ids"`
		Margin   float64 `json:"margin"`
	}
	var f struct {
		Sets []struct {
			Set      string                       `json:"set"`
			Examples []map[string]json.RawMessage `json:"examples"`
			All      []ids                        `json:"reward_max_length_None"`
			Short    []ids                        `json:"reward_max_length_30"`
			DPO      struct {
				Rows []ids `json:"rows"`
			} `json:"dpo_max_length_None_keep_start"`
			KTO struct {
				Rows []struct {
					Prompt     []int32 `json:"prompt_ids"`
					Completion []int32 `json:"completion_ids"`
					Label      bool    `json:"label"`
				} `json:"rows"`
			} `json:"kto_batch_size_4"`
		} `json:"sets"`
		Extracted []struct {
			Example, Result map[string]json.RawMessage
		} `json:"extract_prompt"`
	}
	golden.JSON(t, filepath.Join(golden.Dir(t, "sft"), "preference.json"), &f)
	e := encoder(t, smolTemplate, "")
	split := map[string]map[string]json.RawMessage{} // implicit prompts as TRL splits them, by chosen
	for _, x := range f.Extracted {
		split[string(x.Example["chosen"])] = x.Result
	}
	for _, set := range f.Sets {
		var cs []Comparison
		for i, ex := range set.Examples {
			if ex["prompt"] == nil {
				ex = split[string(ex["chosen"])]
			}
			cs = append(cs, Comparison{
				Prompt: goldenPassage(t, ex["prompt"]), Chosen: goldenPassage(t, ex["chosen"]),
				Rejected: goldenPassage(t, ex["rejected"]), Better: 1, Margin: float64(i),
			})
		}
		for limit, want := range map[int][]ids{0: set.All, 30: set.Short} {
			pairs, counts, err := e.Comparisons(cs, limit)
			if (err != nil) != (len(want) == 0) {
				t.Errorf("%s, limit %d: %v", set.Set, limit, err)
			}
			if len(pairs) != len(want) || counts.Kept != len(want) || counts.Read != len(cs) {
				t.Errorf("%s, limit %d: %d pairs, %s, want %d", set.Set, limit, len(pairs), counts, len(want))
				continue
			}
			for i, w := range want {
				p := pairs[i]
				if !slices.Equal(p.Chosen.IDs, w.Chosen) || !slices.Equal(p.Rejected.IDs, w.Rejected) || p.Margin != w.Margin {
					t.Errorf("%s, limit %d, pair %d: %+v, want %+v", set.Set, limit, i, p, w)
				}
				if limit > 0 {
					continue
				}
				d, n := set.DPO.Rows[i], p.Chosen.Prompt
				if p.Rejected.Prompt != n || !slices.Equal(p.Chosen.IDs[:n], d.Prompt) || !slices.Equal(p.Chosen.IDs[n:], d.Chosen) ||
					!slices.Equal(p.Rejected.IDs[n:], d.Rejected) || p.Chosen.Learnable() != len(d.Chosen)-btoi(n == 0) {
					t.Errorf("%s, pair %d: prompt of %d ids, want %+v", set.Set, i, n, d)
				}
			}
		}
		for i, w := range set.KTO.Rows {
			c := cs[i%len(cs)]
			j := Judgement{Prompt: c.Prompt, Completion: c.Chosen, Good: true}
			if !w.Label {
				j.Completion, j.Good = c.Rejected, false
			}
			x, err := e.Judgement(j)
			if err != nil || !slices.Equal(x.IDs[:x.Prompt], w.Prompt) || !slices.Equal(x.IDs[x.Prompt:], w.Completion) {
				t.Errorf("%s, judgement %d: %v %v, want %+v", set.Set, i, x, err, w)
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
