package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"plumb/eval"
	"plumb/internal/report"
	"plumb/internal/run"
	"plumb/internal/stats"
	"plumb/internal/tales"
	"plumb/internal/ui"
)

// summary is summary.json: the chain's main numbers. What a recipe has no stage for is null.
type summary struct {
	Reward  *rewardSummary `json:"reward"`
	Proxy   *sideSummary   `json:"proxy"` // the reward model that PPO optimised
	Gold    *goldSummary   `json:"gold"`  // the judge
	KL      *float64       `json:"kl"`    // nats per answer
	WinRate *float64       `json:"win_rate"`
	Seconds float64        `json:"seconds"` // the only clock reading outside timing objects; all stages together
}

type rewardSummary struct {
	Accuracy float64  `json:"accuracy"`
	Low      float64  `json:"low"`
	High     float64  `json:"high"`
	Ceiling  *float64 `json:"ceiling"` // what the rule behind the labels reaches on the same pairs; null where no rule is known
	Longer   float64  `json:"longer_wins"`
	Pairs    int      `json:"pairs"`
}

type sideSummary struct {
	Before   float64      `json:"before"`
	BeforeSE stats.Number `json:"before_se"`
	After    float64      `json:"after"`
	AfterSE  stats.Number `json:"after_se"`
}

type goldSummary struct {
	sideSummary
	BeforeStd stats.Number `json:"before_std"`
	P         float64      `json:"p"`
	Interval  [2]float64   `json:"difference_interval"`
}

// summarise reads the finished stages of the run, writes summary.json and prints the table.
func (p *pipeline) summarise() error {
	var s summary
	for _, name := range p.stages() {
		m, err := run.ReadManifest(p.dir.Path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.Seconds += m.Timing.Seconds
		if name == "reward" {
			if s.Reward, err = p.rewardSummary(m); err != nil {
				return err
			}
		}
	}
	r, err := p.evalReport()
	if err != nil {
		return err
	}
	if r != nil {
		s.add(r)
	}
	err = p.dir.WriteFile("summary.json", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	})
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(s)
	}
	return p.printSummary(s, r)
}

// add takes the evaluation's numbers.
func (s *summary) add(r *eval.Report) {
	for _, c := range r.Comparisons {
		side := sideSummary{c.Before, c.BeforeSE, c.After, c.AfterSE}
		if c.Role == "judge" {
			s.Gold = &goldSummary{side, c.BeforeStd, c.P, [2]float64{c.DifferenceCI.Low, c.DifferenceCI.High}}
			s.WinRate = &c.WinRate
		} else {
			s.Proxy = &side
		}
	}
	s.KL = &r.KL
}

// rewardSummary takes the reward stage's numbers and, where the labels follow the embedded rule, what that rule itself reaches.
func (p *pipeline) rewardSummary(m run.Manifest) (*rewardSummary, error) {
	of := func(key string) float64 { v, _ := m.Results.Lookup(key); return v }
	if of("pairs") == 0 {
		return nil, nil
	}
	s := &rewardSummary{Accuracy: of("eval_accuracy"), Low: of("eval_accuracy_low"), High: of("eval_accuracy_high"), Longer: of("longer_wins"), Pairs: int(of("pairs"))}
	if p.recipe.Label == nil || p.recipe.Label.By != talesLabeler {
		return s, nil
	}
	held, err := readHeld(p.dir.Path("reward", heldFile))
	if err != nil {
		return nil, err
	}
	right, n := 0.0, 0.0
	for _, h := range held {
		if h.Better != 1 {
			continue
		}
		q, err := tales.ParseRequest(h.Prompt)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", heldFile, err)
		}
		switch a, b := tales.Gold(q, h.Chosen), tales.Gold(q, h.Rejected); {
		case a > b:
			right++
		case a == b:
			right += 0.5
		}
		n++
	}
	if n > 0 {
		ceiling := right / n
		s.Ceiling = &ceiling
	}
	return s, nil
}

func (p *pipeline) evalReport() (*eval.Report, error) {
	data, err := os.ReadFile(p.dir.Path("eval", "report.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r eval.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", p.dir.Path("eval", "report.json"), err)
	}
	return &r, nil
}

// printSummary prints the table, a few answers before and after, and where the report lies.
func (p *pipeline) printSummary(s summary, r *eval.Report) error {
	var rows [][]string
	add := func(what, value, note string) { rows = append(rows, []string{what, value, note}) }
	if w := s.Reward; w != nil {
		note := fmt.Sprintf("on %d held-out pairs; 95 %% interval %s; the longer answer wins %s", w.Pairs, report.Range(w.Low, w.High), report.Number(w.Longer))
		add("reward model accuracy", report.Number(w.Accuracy), note)
		if w.Ceiling != nil {
			add("noise ceiling", report.Number(*w.Ceiling), "what the labels' own rule reaches on these pairs")
		}
	}
	if x := s.Proxy; x != nil {
		add("proxy score before", report.PlusMinus(x.Before, float64(x.BeforeSE)), "the reward model that PPO optimised")
		add("proxy score after", report.PlusMinus(x.After, float64(x.AfterSE)), "")
	}
	if g := s.Gold; g != nil {
		what := "gold"
		if p.recipe.Eval == nil || p.recipe.Eval.Judge.Gold == "" {
			what = "judge's" // A reward model's word, not the truth.
		}
		add(what+" score before", report.PlusMinus(g.Before, float64(g.BeforeSE)), "judge: "+r.Comparisons[0].Scorer)
		add(what+" score after", report.PlusMinus(g.After, float64(g.AfterSE)), fmt.Sprintf("difference %s, p = %s", report.Range(g.Interval[0], g.Interval[1]), report.Number(g.P)))
	}
	if s.KL != nil {
		add("KL from the SFT policy", report.PlusMinus(r.KL, float64(r.KLSE))+" nats", "per answer")
		c := r.Comparisons[0]
		add("win rate", report.Number(*s.WinRate), fmt.Sprintf("after against before, ties ½; interval %s over %d prompts", report.Range(c.WinRateCI.Low, c.WinRateCI.High), r.Prompts))
	}
	add("time", ui.Duration(time.Duration(s.Seconds*float64(time.Second))), "all stages")
	if err := ui.Table(p.out, p.theme, []string{"measure", "value", ""}, rows); err != nil {
		return err
	}
	if r == nil {
		return nil
	}
	fmt.Fprintln(p.out)
	if err := p.printAnswers(2); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "report: %s\n", p.dir.Path("eval", reportFile))
	return nil
}

// printAnswers prints the first n prompts with the answers of both sides.
func (p *pipeline) printAnswers(n int) error {
	f, err := os.Open(p.dir.Path("eval", "answers.jsonl"))
	if err != nil {
		return err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	for i := 0; i < n && dec.More(); i++ {
		var a struct{ Prompt, Before, After string }
		if err := dec.Decode(&a); err != nil {
			return fmt.Errorf("read answers: %w", err)
		}
		fmt.Fprintf(p.out, "prompt  %s\nbefore  %s\nafter   %s\n\n", oneLine(a.Prompt), oneLine(a.Before), oneLine(a.After))
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
