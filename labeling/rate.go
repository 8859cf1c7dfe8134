package labeling

import (
	"fmt"
	"maps"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// ratings are the numbers of the item shown as far as they are given.
func (m *model) ratings() map[string]int {
	switch {
	case m.task.Draft != nil:
		return m.task.Draft.Data.Ratings
	case m.task.Judged != nil:
		return m.task.Judged.Data.Ratings
	}
	return nil
}

// openAxis is the first axis without a number, the first one where all have theirs.
func (m *model) openAxis() int {
	if m.mode() != Rate {
		return 0
	}
	given := m.ratings()
	for i, axis := range m.opt.Axes {
		if _, ok := given[axis]; !ok {
			return i
		}
	}
	return 0
}

// rate gives the axis under the cursor a number. The number that was missing last makes it a judgement; before that, each
// is written down as a draft.
func (m *model) rate(v int) tea.Cmd {
	if v > MaxRating {
		m.status, m.tone = fmt.Sprintf("ratings go from 1 to %d", MaxRating), quiet
		return nil
	}
	given := maps.Clone(m.ratings())
	if given == nil {
		given = map[string]int{}
	}
	given[m.opt.Axes[m.axis]] = v
	if len(given) == len(m.opt.Axes) {
		return m.confirmRatings(given)
	}
	for range m.opt.Axes {
		m.axis = (m.axis + 1) % len(m.opt.Axes)
		if _, ok := given[m.opt.Axes[m.axis]]; !ok {
			break
		}
	}
	return m.draft(nil, given, "")
}

// confirmRatings makes the ratings a judgement, also where some axes have none.
func (m *model) confirmRatings(given map[string]int) tea.Cmd {
	if len(given) == 0 {
		m.status, m.tone = "no rating yet: "+m.modeHint(), quiet
		return nil
	}
	return m.judge(Decision{Choice: Rated}, given, "")
}

// ratingLine shows the axes with their numbers, the one that a digit gives marked.
func (m *model) ratingLine() string {
	given := m.ratings()
	var parts []string
	for i, axis := range m.opt.Axes {
		value := "_"
		if v, ok := given[axis]; ok {
			value = fmt.Sprint(v)
		}
		part := isolated(axis) + " " + m.st.key.Render(value)
		if i == m.axis {
			part = m.st.chosen.Render("▸" + isolated(axis) + " " + value)
		}
		parts = append(parts, part)
	}
	hint := fmt.Sprintf("   %s bad to good, %s next", m.st.key.Render(fmt.Sprintf("1–%d", MaxRating)), m.st.key.Render(m.keyOf(actAxis)))
	return fit(" "+strings.Join(parts, "  ")+hint, m.w)
}
