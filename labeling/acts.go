package labeling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// countAfter is the age from which the count of what is decided is read anew with the next act: others work on the store too, and
// counting a large one takes longer than a key may.
const countAfter = 5 * time.Second

// perform runs an act on the store outside Update.
func (m *model) perform(fn func(ctx context.Context) outcome) tea.Cmd {
	m.busy = true
	ctx, ss, doubt, known := m.ctx, m.ss, m.doubt, m.progress
	old := m.now().Sub(m.counted) >= countAfter
	return func() tea.Msg {
		out := fn(ctx)
		stale := old || known.Decided+out.delta > known.Items // another sitting has taken something back since it was counted
		if (doubt || out.recount || stale) && out.err == nil {
			if p, err := ss.Progress(ctx); err == nil {
				out.count = &p
			}
		}
		return out
	}
}

// judge records a decision on the item shown and moves on.
func (m *model) judge(d Decision, ratings map[string]int, key string) tea.Cmd {
	t := m.task
	took := m.now().Sub(m.shownAt)
	data := Data{Screen: m.layout(), Ratings: ratings}
	sides, ss := m.sides(), m.ss
	opinion := m.opt.Opinion
	return m.perform(func(ctx context.Context) outcome {
		before, err := ss.decided(ctx, t.Item.Seq)
		if err != nil {
			return outcome{err: err}
		}
		e, err := ss.Judge(ctx, t, d, took, data)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{say: strings.TrimSuffix("✓ "+key, " ") + " " + describe(e, sides), tone: done, took: &took, side: sideOf(e)}
		if t.Judged != nil {
			out.say += " (instead of " + describe(*t.Judged, sides) + ")"
			out.took = nil
		}
		if opinion {
			out.say += modelsSay(t, e)
		}
		if !before && e.Kind != Repeat {
			out.delta = 1
		}
		out.task, out.err = ss.Next(ctx, t.Item.Seq)
		return out
	})
}

// layout is how the item is shown, for the log.
func (m *model) layout() string {
	layout := "stacked"
	if m.sideBySide() {
		layout = "side"
	}
	return fmt.Sprintf("%s %dx%d", layout, m.w, m.h)
}

func (m *model) later() tea.Cmd {
	t, ss, took := m.task, m.ss, m.now().Sub(m.shownAt)
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Later(ctx, t, took); err != nil {
			return outcome{err: err}
		}
		next, err := ss.Next(ctx, t.Item.Seq)
		return outcome{task: next, say: "set aside; it comes back at the end", tone: done, err: err}
	})
}

// undo takes back the last act and shows its item.
func (m *model) undo() tea.Cmd {
	ss, sides, now := m.ss, m.sides(), m.task
	return m.perform(func(ctx context.Context) outcome {
		e, err := ss.Undo(ctx)
		if err != nil {
			return outcome{err: err}
		}
		if e == nil {
			return outcome{task: now, keep: true, say: "nothing left to undo"}
		}
		out := outcome{tone: done, undid: e.Kind == Judge || e.Kind == Repeat || e.Kind == Adjudicate}
		out.recount = e.Kind == ss.kind() // the act may be of another sitting, and not in the count
		out.task, out.err = ss.taskOf(ctx, *e)
		out.keep = now != nil && now.Item.Seq == e.Item && now.Again == e.Kind.again()
		out.say = fmt.Sprintf("undone: %s (item %d)", describeAct(*e, sidesOf(e, out.task, sides)), e.Item)
		return out
	})
}

// sidesOf are the names of the answers of an act's item: those of the screen, where it has as many.
func sidesOf(e *Event, t *Task, sides []string) []string {
	if t != nil && len(t.Item.Answers) != len(sides) {
		return numbered(len(t.Item.Answers))
	}
	return sides
}

// redo puts an undone act back and moves on as its key did.
func (m *model) redo() tea.Cmd {
	ss, sides, now := m.ss, m.sides(), m.task
	return m.perform(func(ctx context.Context) outcome {
		e, err := ss.Redo(ctx)
		if err != nil {
			return outcome{err: err}
		}
		if e == nil {
			return outcome{task: now, keep: true, say: "nothing to redo"}
		}
		was, err := ss.taskOf(ctx, *e)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{say: fmt.Sprintf("redone: %s (item %d)", describeAct(*e, sidesOf(e, was, sides)), e.Item), tone: done}
		switch e.Kind {
		case Judge, Repeat, Adjudicate:
			out.took, out.side = &e.Elapsed, sideOf(*e)
			out.recount = e.Kind == ss.kind()
			out.task, out.err = ss.Next(ctx, e.Item)
		case Later:
			out.task, out.err = ss.Next(ctx, e.Item)
		default:
			out.task = was
			out.keep = now != nil && now.Item.Seq == e.Item && now.Again == e.Kind.again()
		}
		return out
	})
}

func (m *model) browse(step int) tea.Cmd {
	ss, now := m.ss, m.task
	return m.perform(func(ctx context.Context) outcome {
		if now == nil && step > 0 { // from the end screen: others may have left items, or brought new ones
			t, err := ss.Next(ctx, 0)
			if err == nil && t == nil {
				return outcome{keep: true, say: "still nothing"}
			}
			return outcome{task: t, err: err}
		}
		from := int64(1) << 62 // from the end screen, back to the last item
		if now != nil {
			from = now.Item.Seq
		}
		t, err := ss.Neighbour(ctx, from, step)
		if err == nil && t == nil {
			return outcome{task: now, keep: true, say: "no item there"}
		}
		return outcome{task: t, err: err}
	})
}

// goTo shows the item of a number, or of a name (the beginning of its content hash).
func (m *model) goTo(name string) tea.Cmd {
	ss, now := m.ss, m.task
	return m.perform(func(ctx context.Context) outcome {
		t, err := ss.Find(ctx, name)
		if err == nil && t == nil {
			return outcome{task: now, keep: true, say: fmt.Sprintf("there is no item %s", name)}
		}
		return outcome{task: t, err: err}
	})
}

// typed takes the line that was typed.
func (m *model) typed() tea.Cmd {
	text, purpose := strings.TrimSpace(string(m.input.text)), m.inputFor
	m.input = nil
	if purpose == actSearch {
		m.search, m.hit = text, -1
		m.mark()
		m.findNext()
		return nil
	}
	if purpose == actGoTo {
		if text == "" {
			return nil
		}
		return m.goTo(text)
	}
	t, ss := m.task, m.ss
	if text == t.Note {
		return m.typing("")
	}
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Note(ctx, t, text); err != nil {
			return outcome{err: err}
		}
		again, err := ss.task(ctx, t.Item.Seq, t.Again)
		return outcome{task: again, keep: true, say: "comment saved", tone: done, err: err}
	})
}

// typing keeps the comment as far as it is typed: a killed program gives it back.
func (m *model) typing(text string) tea.Cmd {
	t, ss := m.task, m.ss
	t.Typing = text
	return m.perform(func(ctx context.Context) outcome { return outcome{quiet: true, err: ss.Type(ctx, t, text)} })
}

// tick turns a reason of the list on or off.
func (m *model) tick(i int) tea.Cmd {
	t, ss := m.task, m.ss
	tags := toggled(t.Tags, m.opt.Tags[i])
	return m.perform(func(ctx context.Context) outcome {
		if _, err := ss.Tag(ctx, t, tags); err != nil {
			return outcome{err: err}
		}
		again, err := ss.task(ctx, t.Item.Seq, t.Again)
		return outcome{task: again, keep: true, err: err}
	})
}

// toggled are tags with one more, or without it where it was among them.
func toggled(tags []string, name string) []string {
	if i := slices.Index(tags, name); i >= 0 {
		return slices.Delete(slices.Clone(tags), i, i+1)
	}
	return append(slices.Clip(tags), name)
}
