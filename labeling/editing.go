package labeling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"

	"plumb/internal/pgurl"
)

// edited says that the editor has ended.
type edited struct {
	answer int // index of the stored answer
	path   string
	err    error
}

// startEdit opens the better answer in the editor: the one chosen, the one in focus, or the one that is asked for.
func (m *model) startEdit() tea.Cmd {
	t := m.task
	switch f := int(m.focus); {
	case len(t.Shown) == 1:
		return m.openEditor(0)
	case f >= 1 && f <= len(t.Shown):
		return m.openEditor(t.Shown[f-1])
	case t.Judged != nil && t.Judged.Choice == Win:
		return m.openEditor(t.Judged.Ranking[0])
	}
	m.choosing = true
	return nil
}

// chooseKey says which answer to edit.
func (m *model) chooseKey(k string) tea.Cmd {
	m.choosing = false
	if len(k) == 1 && k[0] >= '1' && int(k[0]-'1') < len(m.task.Shown) {
		return m.openEditor(m.task.Shown[k[0]-'1'])
	}
	return nil
}

// editor is the command that edits a file, with its arguments.
func (o Options) editor() []string {
	for _, c := range []string{o.Editor, o.env("VISUAL"), o.env("EDITOR")} {
		if f := strings.Fields(c); len(f) > 0 {
			return f
		}
	}
	return nil
}

// openEditor runs the editor on a file that lies there (see editPath) until its text is in the log: whatever is killed, what the
// editor has saved is found again by the next e on that answer.
func (m *model) openEditor(answer int) tea.Cmd {
	if m.opt.Remote {
		m.status, m.tone = "answers are edited on the machine of the store only", quiet
		return nil
	}
	command := m.opt.editor()
	if len(command) == 0 {
		m.status, m.tone = "no editor: set the variable EDITOR, say to vi or nano", quiet
		return nil
	}
	path, err := m.ss.editPath(m.task.Item.Seq, answer)
	if err != nil {
		m.status, m.tone = err.Error(), alarm
		return nil
	}
	m.busy = true
	run := &editRun{Cmd: exec.Command(command[0], append(command[1:], path)...), path: path, text: m.task.Item.Answers[answer].String()}
	return tea.Exec(run, func(err error) tea.Msg { return edited{answer, path, err} })
}

// editRun is the editor at work on a file, which it finds as an earlier one left it.
type editRun struct {
	*exec.Cmd
	path, text string
}

func (r *editRun) SetStdin(in io.Reader)   { r.Stdin = in }
func (r *editRun) SetStderr(out io.Writer) { r.Stderr = out }

// SetStdout gives the editor the terminal itself: an editor wants no pipe.
func (r *editRun) SetStdout(out io.Writer) {
	if t, ok := out.(terminalTurns); ok {
		out = t.file
	}
	r.Stdout = out
}

func (r *editRun) Run() error {
	if _, err := os.Stat(r.path); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(r.path, []byte(r.text+"\n"), 0o600); err != nil {
			return err
		}
	}
	return r.Cmd.Run()
}

// editPath is the file in which an answer is edited: beside the store, or in the cache folder where that is on a server.
func (ss *Session) editPath(item int64, answer int) (string, error) {
	dir, name := filepath.Split(ss.s.path)
	if pgurl.Is(ss.s.path) {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place for the editor's file: %w", err)
		}
		dir, name = filepath.Join(cache, "plumb"), shortHash(ss.s.path)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("no place for the editor's file: %w", err)
		}
	}
	return filepath.Join(dir, fmt.Sprintf(".%s.edit-%s-%d-%d.md", name, shortHash(ss.annotator), item, answer)), nil
}

// takeEdit writes down what the editor left.
func (m *model) takeEdit(e edited) tea.Cmd {
	t, ss, took := m.task, m.ss, m.now().Sub(m.shownAt)
	m.busy = false
	if e.err != nil {
		m.status, m.tone = fmt.Sprintf("the editor failed (%v); its text is kept in %s", e.err, e.path), alarm
		return nil
	}
	return m.perform(func(ctx context.Context) outcome {
		changed, err := ss.keepEdit(ctx, t, e.answer, e.path, took)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{task: t, keep: true, say: "nothing was changed"}
		if changed {
			out.say, out.tone = "edited: a demonstration, and a pair that it wins", done
		}
		return out
	})
}

// keepEdit records the text of an edited file and takes the file away.
func (ss *Session) keepEdit(ctx context.Context, t *Task, answer int, path string, took time.Duration) (changed bool, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("edited answer: %w", err)
	}
	was := t.Item.Answers[answer].String()
	text := string(raw)
	if !strings.HasSuffix(was, "\n") {
		text = strings.TrimRight(text, "\n") // editors end a file with a newline
	}
	if !utf8.ValidString(text) {
		return false, fmt.Errorf("edited answer %s: it is not valid UTF-8", path)
	}
	if text != was && strings.TrimSpace(text) != "" {
		if _, err := ss.Edit(ctx, t, answer, text, took); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, os.Remove(path)
}
