package eval

import (
	"fmt"

	"plumb/internal/report"
)

// page lays the report out: the verdict first, then what it rests on.
func (r *Report) page(cfg Config) (*report.Page, error) {
	p := &report.Page{
		Title:    fmt.Sprintf("%s compared with %s", r.After, r.Before),
		Subtitle: fmt.Sprintf("%d prompts, %d answer(s) each, the same random draws for both sides; intervals at %g %%", r.Prompts, r.Samples, 100*cfg.Level),
	}
	judge := r.Comparisons[0]
	p.Text("%s prefers %s in %s of the prompts (ties count one half), interval %s, sign test p = %s. Its mean score went from %s to %s; the divergence KL(after‖before) is %s nats per answer.",
		judge.Scorer, r.After, report.Number(judge.WinRate), report.Range(judge.WinRateCI.Low, judge.WinRateCI.High), report.Number(judge.SignP),
		report.PlusMinus(judge.Before, float64(judge.BeforeSE)), report.PlusMinus(judge.After, float64(judge.AfterSE)), report.PlusMinus(r.KL, float64(r.KLSE)))

	p.Heading("Scores")
	var rows [][]string
	for _, c := range r.Comparisons {
		rows = append(rows, []string{
			c.Scorer, c.Role, report.PlusMinus(c.Before, float64(c.BeforeSE)), report.PlusMinus(c.After, float64(c.AfterSE)),
			report.Number(c.Difference) + " " + report.Range(c.DifferenceCI.Low, c.DifferenceCI.High), report.Number(c.P),
			report.Number(c.WinRate) + " " + report.Range(c.WinRateCI.Low, c.WinRateCI.High), fmt.Sprintf("%d / %d / %d", c.Wins, c.Ties, c.Losses),
		})
	}
	p.Table("mean ± standard error; paired bootstrap intervals; p of a paired t test. A proxy is what PPO optimised: a rise of it alone proves nothing.",
		[]string{"scorer", "role", "before", "after", "difference", "p", "win rate", "win / tie / loss"}, rows)
	for _, c := range r.Comparisons {
		err := p.Histogram(c.Scorer+": scores of the answers", "score", 24, report.Series{Name: r.Before, Y: c.BeforeScores}, report.Series{Name: r.After, Y: c.AfterScores})
		if err != nil {
			return nil, err
		}
	}

	p.Heading("How far the policy moved")
	p.Table("on the answers of "+r.After, []string{"measure", "value"}, [][]string{
		{"KL, nats per answer (k1)", report.PlusMinus(r.KL, float64(r.KLSE))}, {"KL, nats per answer (k3)", report.Number(float64(r.KLK3))}, {"KL, nats per token (k1)", report.Number(r.KLPerToken)},
	})
	if r.PerplexityB != nil {
		p.Table(fmt.Sprintf("perplexity on held-out demonstrations, %d tokens", r.PerplexityN), []string{"side", "perplexity"},
			[][]string{{r.Before, report.Number(float64(*r.PerplexityB))}, {r.After, report.Number(float64(*r.PerplexityA))}})
	}

	p.Heading("Texts")
	b, a := r.TextsBefore, r.TextsAfter
	line := func(what string, x, y float64) []string { return []string{what, report.Number(x), report.Number(y)} }
	p.Table("", []string{"measure", r.Before, r.After}, [][]string{
		line("mean length, tokens", b.LengthMean, a.LengthMean), line("95th percentile of length", b.LengthP95, a.LengthP95),
		line("ended by themselves, share", b.StopShare, a.StopShare), line("empty, share", b.EmptyShare, a.EmptyShare),
		line("repeated 4-grams, share", b.Repeated4, a.Repeated4), line("distinct-1", b.Distinct1, a.Distinct1), line("distinct-2", b.Distinct2, a.Distinct2),
		line("perplexity under the bare model", float64(r.FluencyBefore), float64(r.FluencyAfter)),
		line("identical on both sides, share", b.IdenticalTo, a.IdenticalTo),
	})

	if cfg.Show > 0 {
		p.Heading("Answers")
	}
	for i := 0; i < min(cfg.Show*cfg.Samples, len(r.before)); i += cfg.Samples {
		p.Sample(report.Sample{Prompt: r.before[i].Prompt, Answers: []report.Answer{
			{Name: r.Before, Text: r.before[i].Text, Note: "score " + report.Number(judge.BeforeScores[i])},
			{Name: r.After, Text: r.after[i].Text, Note: "score " + report.Number(judge.AfterScores[i])},
		}})
	}
	return p, nil
}
