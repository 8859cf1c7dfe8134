package labeling

import (
	"fmt"
	"strings"
)

// opinionLines are what others said of the item, for a reviewer: a line a person, as many as there is room for.
func (m *model) opinionLines() []string {
	if m.task == nil || len(m.task.Opinions) == 0 {
		return nil
	}
	var out []string
	most := max(1, m.h/5)
	for i, o := range m.task.Opinions {
		if i == most-1 && len(m.task.Opinions) > most {
			out = append(out, fit(fmt.Sprintf(" and %d more", len(m.task.Opinions)-i), m.w))
			break
		}
		e := o.Event
		e.Shown = m.task.Shown // in the names that the answers have on this screen
		text := fmt.Sprintf(" %s: %s", m.st.key.Render(isolated(o.Annotator)), describe(e, m.sides()))
		if len(o.Tags) > 0 {
			text += " · " + isolated(strings.Join(o.Tags, ", "))
		}
		if o.Note != "" {
			text += " · “" + isolated(strings.ReplaceAll(o.Note, "\n", " ")) + "”"
		}
		out = append(out, fit(text, m.w))
	}
	return out
}

// modelsSay is what the models in the store think of a choice that was just made between two answers.
func modelsSay(t *Task, e Event) string {
	if len(t.Item.Answers) != 2 || len(t.Scores) == 0 {
		return ""
	}
	var ds []float64
	for _, s := range t.Scores {
		if d, ok := delta(s.Scores); ok {
			ds = append(ds, d)
		}
	}
	mean, _ := meanStd(ds)
	word := "a model"
	if len(ds) > 1 {
		word = fmt.Sprintf("%d models", len(ds))
	}
	switch {
	case e.Choice != Win:
		return fmt.Sprintf(" · %s: %.2f apart", word, max(mean, -mean))
	case (mean > 0) == (e.Ranking[0] == 0):
		return fmt.Sprintf(" · so says %s (by %.2f)", word, max(mean, -mean))
	}
	return fmt.Sprintf(" · %s would not (by %.2f)", word, max(mean, -mean))
}
