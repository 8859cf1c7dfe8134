package labeling

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// panel shows how the person at work judges. Nothing of it says which items are gold or come twice.
func (m *model) panel() tea.Cmd {
	ss := m.ss
	return m.perform(func(ctx context.Context) outcome {
		text, err := ss.panelText(ctx)
		return outcome{panel: text, err: err}
	})
}

func (ss *Session) panelText(ctx context.Context) (string, error) {
	q, err := ss.s.Quality(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	i := slices.IndexFunc(q.People, func(p Person) bool { return p.Name == ss.annotator })
	if i < 0 {
		b.WriteString("Your judgements\n  none yet\n")
	} else {
		fmt.Fprintf(&b, "Your judgements\n%s\n", strings.Join(q.People[i].Lines(), "\n"))
	}
	if len(q.Pairs) > 0 {
		b.WriteString("\nAgreement\n")
	}
	for _, p := range q.Pairs {
		if p.A == ss.annotator || p.B == ss.annotator {
			other := p.A
			if other == ss.annotator {
				other = p.B
			}
			fmt.Fprintf(&b, "  %-14s %s\n", "κ with "+visible(other), p.Kappa)
		}
	}
	for _, a := range q.Alphas {
		fmt.Fprintf(&b, "  %-14s %s, %s\n", "α of everyone", a.Estimate, visible(a.Of))
	}
	if s := q.Sentence(); s != "" {
		fmt.Fprintf(&b, "\n%s\n", s)
	}
	return b.String(), nil
}

// String is the number with its interval.
func (e Estimate) String() string {
	if math.IsNaN(float64(e.Value)) {
		return fmt.Sprintf("not defined (%d)", e.N)
	}
	return fmt.Sprintf("%.3f (%.3f to %.3f; %d)", float64(e.Value), float64(e.Low), float64(e.High), e.N)
}
