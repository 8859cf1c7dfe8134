package labeling

import (
	"context"
	"fmt"
	"io"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
)

// copyText puts what is in focus on the clipboard of the person's terminal (OSC 52), as it was written: both answers
// together only where one is in focus.
func (m *model) copyText() tea.Cmd {
	var text, what string
	switch f := int(m.focus); {
	case m.focus == m.onPrompt():
		doc, _ := promptDocument(m.task.Item.Prompt, true)
		text, what = doc.text, "the prompt"
	case m.answers() == 1:
		text, what = m.task.Answer(0).String(), "the answer"
	case f >= 1:
		text, what = m.task.Answer(f-1).String(), "the "+m.sides()[f-1]+" answer"
		if m.answers() > 2 {
			what = "answer " + m.sides()[f-1]
		}
	default:
		m.status, m.tone = "which text? "+m.keys.name(actFocus)+" goes to one, then "+m.keys.name(actCopy), quiet
		return nil
	}
	t, out := m.task, m.opt.Out
	return m.perform(func(context.Context) outcome {
		_, err := io.WriteString(out, ansi.SetSystemClipboard(text))
		return outcome{task: t, keep: true, say: fmt.Sprintf("%s is copied, if the terminal allows it", what), err: err}
	})
}
