package labeling

import (
	"context"
	"fmt"
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// placed is the order of the item shown as far as it is given: the draft, else the judgement.
func (m *model) placed() []int {
	switch {
	case m.task.Draft != nil:
		return m.task.Draft.Ranking
	case m.task.Judged != nil:
		return m.task.Judged.Ranking
	}
	return nil
}

// place puts the answer shown at a position next in the order. Each such key is written down: the undo key takes it back,
// and a killed program finds it again.
func (m *model) place(position int) tea.Cmd {
	t := m.task
	var before []int
	if t.Draft != nil {
		before = t.Draft.Ranking
	}
	switch {
	case position >= len(t.Shown):
		m.status, m.tone = fmt.Sprintf("there are %d answers", len(t.Shown)), quiet
		return nil
	case slices.Contains(before, t.Shown[position]):
		m.status, m.tone = fmt.Sprintf("%d has its place; %s takes the last one back", position+1, m.keys.name(actUndo)), quiet
		return nil
	}
	order := append(slices.Clone(before), t.Shown[position])
	say := ""
	if len(order) >= len(t.Shown)-1 {
		say = fmt.Sprintf("%s confirms the order", m.keys.name(actConfirm))
	}
	return m.draft(order, nil, say)
}

// draft writes down what is given of an order or of ratings.
func (m *model) draft(order []int, ratings map[string]int, say string) tea.Cmd {
	t, ss, took := m.task, m.ss, m.now().Sub(m.shownAt)
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Draft(ctx, t, order, ratings, took); err != nil {
			return outcome{err: err}
		}
		again, err := ss.task(ctx, t.Item.Seq, t.Again)
		return outcome{task: again, keep: true, say: say, err: err}
	})
}

// confirmOrder makes the order a judgement. The last answer needs no key of its own.
func (m *model) confirmOrder() tea.Cmd {
	t := m.task
	order := slices.Clone(m.placed())
	for _, a := range t.Shown {
		if len(order) == len(t.Shown)-1 && !slices.Contains(order, a) {
			order = append(order, a)
			break
		}
	}
	if n := len(t.Shown) - len(order); n > 0 {
		m.status, m.tone = fmt.Sprintf("%d answers have no place yet: %s", n, m.modeHint()), quiet
		return nil
	}
	return m.judge(Decision{Choice: Win, Ranking: order}, nil, m.keys.name(actConfirm))
}

// orderLine shows the order so far.
func (m *model) orderLine() string {
	sides := numbered(len(m.task.Shown))
	var parts []string
	for _, a := range m.placed() {
		parts = append(parts, m.st.key.Render(sides[slices.Index(m.task.Shown, a)]))
	}
	if m.task.Draft == nil && m.task.Judged != nil && m.task.Judged.Choice != Win {
		parts = []string{describe(*m.task.Judged, m.sides())}
	} else {
		for range len(m.task.Shown) - len(parts) {
			parts = append(parts, "_")
		}
	}
	hint := fmt.Sprintf("   %s best first, %s confirms", m.st.key.Render(fmt.Sprintf("1–%d", len(m.task.Shown))), m.st.key.Render(m.keys.name(actConfirm)))
	return fit(" order: "+strings.Join(parts, " ≻ ")+hint, m.w)
}
