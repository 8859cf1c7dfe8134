package rollout

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"plumb/internal/golden"
	"plumb/internal/rng"
)

type processorCases struct {
	Cases []struct {
		Name   string       `json:"name"`
		Logits [][]*float64 `json:"logits"` // null: -Inf
		Runs   []struct {
			Processor string `json:"processor"`
			Params    struct {
				Temperature  *float64 `json:"temperature"`
				TopK         int      `json:"top_k"`
				TopP         *float64 `json:"top_p"`
				MinP         float64  `json:"min_p"`
				MinTokens    int      `json:"min_tokens_to_keep"`
				Penalty      float64  `json:"repetition_penalty"`
				MinNew       int      `json:"min_new_tokens"`
				PromptLength int      `json:"prompt_length"`
				EOS          []int32  `json:"eos_token_id"`
			} `json:"params"`
			Logits        [][]*float64 `json:"logits"`
			Probabilities [][]float64  `json:"probabilities"`
		} `json:"runs"`
		InputIDs [][]int32 `json:"input_ids"`
	} `json:"cases"`
}

// TestFilters: temperature, top-k, top-p, min-p, minimum length and their chains keep the tokens and give the
// probabilities of transformers' processors, ties included (tolerance 1e-12, as stated with the values).
func TestFilters(t *testing.T) {
	var ref processorCases
	golden.JSON(t, filepath.Join(golden.Dir(t, "sampling"), "logits_processors.json.gz"), &ref)
	checked := map[string]int{}
	for _, c := range ref.Cases {
		for _, run := range c.Runs {
			p := run.Params
			switch run.Processor {
			case "temperature", "top_k", "top_p", "min_p", "min_new_tokens", "chain":
			default:
				continue
			}
			if p.MinTokens > 1 || p.Penalty != 0 && p.Penalty != 1 || p.TopP != nil && *p.TopP == 0 {
				continue // not offered: several tokens always kept, repetition penalty; top-p 0 means off here
			}
			topP, temperature := 1.0, 1.0
			if p.TopP != nil {
				topP = *p.TopP
			}
			if p.Temperature != nil {
				temperature = *p.Temperature
			}
			for r, row := range c.Logits {
				var s sampler
				for i, z := range row {
					banned := false
					for _, e := range p.EOS {
						banned = banned || int(e) == i && len(c.InputIDs[r])-p.PromptLength < p.MinNew
					}
					if z != nil && !banned {
						s.cand = append(s.cand, candidate{int32(i), *z / temperature})
					}
				}
				if len(s.cand) == 0 {
					continue
				}
				s.keep(p.TopK, topP, p.MinP)
				compareKept(t, fmt.Sprintf("%s, row %d, %s %+v", c.Name, r, run.Processor, p), &s, run.Logits[r], run.Probabilities[r])
				checked[run.Processor]++
			}
		}
	}
	for _, name := range []string{"temperature", "top_k", "top_p", "min_p", "min_new_tokens", "chain"} {
		if checked[name] < 20 {
			t.Errorf("only %d rows of %s were checked", checked[name], name)
		}
	}
}

func compareKept(t *testing.T, what string, s *sampler, logits []*float64, probabilities []float64) {
	t.Helper()
	kept := map[int]float64{}
	top, sum := s.top(), 0.0
	for _, c := range s.cand {
		kept[int(c.id)] = c.z
		sum += math.Exp(c.z - top)
	}
	for i, want := range logits {
		z, ok := kept[i]
		if ok && want == nil && math.Exp(z-top) == 0 {
			continue // top-p 1 drops what has no probability there; here it stays and cannot be drawn
		}
		if ok != (want != nil) {
			t.Errorf("%s: token %d kept: %v, transformers: %v", what, i, ok, want != nil)
			continue
		}
		if ok && math.Abs(z-*want) > 1e-12*max(1, math.Abs(*want)) {
			t.Errorf("%s: logit %d is %v, want %v", what, i, z, *want)
		}
		if p := math.Exp(z-top) / sum; ok && probabilities != nil && math.Abs(p-probabilities[i]) > 1e-12 {
			t.Errorf("%s: probability %d is %v, want %v", what, i, p, probabilities[i])
		}
	}
}

// TestNucleusOfMany: on a large vocabulary the buckets drop what sorting everything drops.
func TestNucleusOfMany(t *testing.T) {
	draw := rng.New(3)
	for _, p := range []float64{1e-9, 0.01, 0.3, 0.9, 0.95, 0.999, 0.9999999} {
		var s sampler
		for i := range 5000 {
			s.cand = append(s.cand, candidate{int32(i), math.Round(8*4*draw.Norm()) / 8}) // many ties
		}
		all := append([]candidate(nil), s.cand...)
		s.nucleus(p)
		kept := map[int32]bool{}
		for _, c := range s.cand {
			kept[c.id] = true
		}
		// By definition: a candidate goes if it and all that come before it, by (z, id), have at most 1-p together.
		top, total := 0.0, 0.0
		for _, c := range all {
			top = max(top, c.z)
		}
		for _, c := range all {
			total += math.Exp(c.z - top)
		}
		for i := 0; i < len(all); i += 7 {
			sum := 0.0
			for _, c := range all {
				if c.z < all[i].z || c.z == all[i].z && c.id <= all[i].id {
					sum += math.Exp(c.z - top)
				}
			}
			if share := sum/total - (1 - p); math.Abs(share) > 1e-12 && kept[all[i].id] != (share > 0) {
				t.Fatalf("p=%v: token %d (z %v) kept: %v", p, all[i].id, all[i].z, kept[all[i].id])
			}
		}
	}
}

// TestDraw: uniforms spread evenly over [0,1) draw each token as often as its probability, and report its logarithm,
// with and without filters, over more than one tile.
func TestDraw(t *testing.T) {
	draw := rng.New(4)
	logits := make([]float32, 2500)
	for i := range logits {
		logits[i] = float32(6*draw.Norm()) - 8
	}
	logits[5], logits[1030], logits[2400], logits[2499] = 9, 8.5, 9, 7
	logits[0], logits[1100] = float32(math.Inf(-1)), float32(math.Inf(-1))
	const n = 6000
	for _, o := range []Options{{Temperature: 1}, {Temperature: 0.6}, {Temperature: 2, TopK: 40}, {Temperature: 1.1, TopP: 0.9, MinP: 0.01}} {
		var banned []int32
		if o.TopK > 0 {
			banned = []int32{5}
		}
		counts := make([]int, len(logits))
		logps := make([]float64, len(logits))
		var s sampler
		for i := range n {
			id, logp, ok := s.draw(logits, &o, banned, (float64(i)+0.5)/n)
			if !ok {
				t.Fatal("nothing drawn")
			}
			counts[id]++
			logps[id] = float64(logp)
		}
		for id, c := range counts {
			if c == 0 {
				continue
			}
			// An interval of length p holds p·n of the n equidistant points, give or take one.
			if p := math.Exp(logps[id]); math.Abs(float64(c)-p*n) > 1.01 {
				t.Errorf("%+v: token %d drawn %d times, its probability is %v", o, id, c, p)
			}
		}
		if counts[0]+counts[1100] > 0 || len(banned) > 0 && counts[5] > 0 {
			t.Errorf("%+v: an impossible token was drawn", o)
		}
		for _, u := range []float64{0, 1 - 0x1p-53} {
			if id, _, ok := s.draw(logits, &o, banned, u); !ok || counts[id] == 0 && u > 0 && logits[id] < -20 {
				t.Errorf("%+v: u=%v draws token %d", o, u, id)
			}
		}
	}
}

func TestLargest(t *testing.T) {
	draw := rng.New(5)
	for n := 1; n < 60; n++ {
		z := make([]float64, n)
		for i := range z {
			z[i] = float64(draw.IntN(20))
		}
		for k := 1; k <= n; k++ {
			got := largest(append([]float64(nil), z...), k)
			above, equal := 0, 0
			for _, v := range z {
				if v > got {
					above++
				}
				if v == got {
					equal++
				}
			}
			if above >= k || above+equal < k {
				t.Fatalf("the %d-th largest of %v is not %v", k, z, got)
			}
		}
	}
}

func TestNotANumber(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, logits := range [][]float32{{1, nan, 2}, {nan, nan}, {1, inf}, {-inf, -inf}} {
		for _, o := range []Options{{Temperature: 1}, {Greedy: true}, {Temperature: 1, TopK: 1}} {
			var s sampler
			if id, _, ok := s.draw(logits, &o, nil, 0.5); ok {
				t.Errorf("%v %+v: drew %d", logits, o, id)
			}
		}
	}
}
