package labeling

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
)

// lookEvery is how long after one look at the team the next begins.
const lookEvery = 2 * time.Second

// teamScreen is the administrator's: who does what, live. It shows; it changes nothing.
type teamScreen struct {
	ctx  context.Context
	look func(context.Context) (teamView, error)
	st   styles
	w, h int

	view     teamView
	seen     bool // there is a view
	err      error
	top      int // the first person shown
	quitting bool
}

type looked struct {
	view teamView
	err  error
}

type lookAgain struct{}

func (m *teamScreen) Init() tea.Cmd { return m.read }

func (m *teamScreen) read() tea.Msg {
	v, err := m.look(m.ctx)
	return looked{v, err}
}

// Update takes a look or a key. The next look begins a while after the last one has ended, so that they never pile up.
func (m *teamScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case looked:
		if m.err = msg.err; msg.err == nil {
			m.view, m.seen = msg.view, true
		}
		return m, tea.Tick(lookEvery, func(time.Time) tea.Msg { return lookAgain{} })
	case lookAgain:
		return m, m.read
	case tea.KeyMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			m.quitting = true
			return m, tea.Quit
		case "up", "k":
			m.top--
		case "down", "j":
			m.top++
		case "pgup":
			m.top -= m.room()
		case "pgdown", " ":
			m.top += m.room()
		case "home":
			m.top = 0
		case "end":
			m.top = len(m.view.people)
		}
	}
	m.top = clamp(m.top, 0, max(0, len(m.view.people)-m.room()))
	return m, nil
}

// room is the number of people that fit between the header and the last line.
func (m *teamScreen) room() int { return max(1, m.h-4) }

// View is the screen: each line as wide as the window.
func (m *teamScreen) View() string {
	if m.quitting {
		return ""
	}
	if m.w < minWidth || m.h < minHeight {
		return fmt.Sprintf("The window is %d x %d;\nmake it %d x %d or more.", m.w, m.h, minWidth, minHeight)
	}
	lines := []string{m.st.header.Render(m.headline()), m.st.rule.Render(strings.Repeat("─", m.w))}
	table := m.view.lines(m.w)
	lines = append(lines, m.st.faint.Render(table[0]))
	to := min(m.top+m.room(), len(m.view.people))
	for i := m.top; i < to; i++ {
		line := table[1+i]
		if m.view.people[i].here > 0 {
			line = m.st.ok.Render(line)
		}
		lines = append(lines, line)
	}
	for len(lines) < m.h-1 {
		lines = append(lines, strings.Repeat(" ", m.w))
	}
	return strings.Join(append(lines, m.lastLine(to)), "\n")
}

func (m *teamScreen) headline() string {
	if !m.seen {
		return fit(" Who does what", m.w)
	}
	return spread(" Who does what", m.view.summary()+" ", m.w)
}

func (m *teamScreen) lastLine(to int) string {
	if m.err != nil {
		return m.st.alarm.Render(fit(" "+strings.ReplaceAll(m.err.Error(), "\n", " "), m.w))
	}
	text := " " + m.st.key.Render("q") + " ends"
	if n := len(m.view.people); to-m.top < n {
		text += fmt.Sprintf("  %s %d–%d of %d", m.st.key.Render("↑ ↓"), m.top+1, to, n)
	}
	if !m.seen {
		return fit(text, m.w)
	}
	return spread(text, "pace and agreement at "+m.view.measured.UTC().Format("15:04:05")+" ", m.w)
}

// spread puts one text at the left end of a line and one at its right, where there is room for both.
func spread(left, right string, width int) string {
	room := width - ansi.StringWidth(right)
	if room <= ansi.StringWidth(left) {
		return fit(left, width)
	}
	return fit(left, room) + right
}

func (v teamView) summary() string {
	here := 0
	for _, p := range v.people {
		here += min(p.here, 1)
	}
	return fmt.Sprintf("%d of %d items decided · %d here · %s UTC", v.decided, v.items, here, v.at.UTC().Format("15:04:05"))
}

// teamColumns are in the order of what is wanted most: a narrow screen leaves out the last ones.
var teamColumns = [...]string{"name", "here", "item", "last key", "24 h", "judged", "an hour", "as others"}

// longestName is how much of a name is shown.
const longestName = 20

func (p teammate) cells(now time.Time) [len(teamColumns)]string {
	orNone := func(n int64) string {
		if n == 0 {
			return "–"
		}
		return fmt.Sprint(n)
	}
	pace, agreement := "–", "–"
	if p.perHour > 0 {
		pace = fmt.Sprintf("%.0f", p.perHour)
	}
	if p.others > 0 {
		agreement = share(p.same, p.others) + fmt.Sprintf(" of %d", p.others)
	}
	name := isolated(ansi.Truncate(strings.ReplaceAll(visible(p.Annotator), "\n", " "), longestName, "…"))
	return [...]string{name, orNone(int64(p.here)), orNone(p.Item), ago(p.Last, now), fmt.Sprint(p.Today), fmt.Sprint(p.Judged), pace, agreement}
}

// lines are the table, the names of its columns first, each line width cells wide.
func (v teamView) lines(width int) []string {
	rows := [][len(teamColumns)]string{teamColumns}
	for _, p := range v.people {
		rows = append(rows, p.cells(v.at))
	}
	var widths [len(teamColumns)]int
	for _, r := range rows {
		for j, c := range r {
			widths[j] = max(widths[j], ansi.StringWidth(c))
		}
	}
	shown, total := 0, 0
	for _, w := range widths {
		if total += w + 2; total > width {
			break
		}
		shown++
	}
	var out []string
	for _, r := range rows {
		line := " " + r[0] + strings.Repeat(" ", widths[0]-ansi.StringWidth(r[0]))
		for j := 1; j < shown; j++ {
			line += strings.Repeat(" ", 2+widths[j]-ansi.StringWidth(r[j])) + r[j]
		}
		out = append(out, fit(line, width))
	}
	return out
}

// runTeam shows the team until its administrator quits or ctx ends; where there is no screen, once, in lines of text.
func runTeam(ctx context.Context, t *team, opt Options, isTerminal bool) error {
	if !isTerminal || opt.env("TERM") == "dumb" {
		v, err := t.look(ctx)
		if err != nil {
			return err
		}
		text := v.summary() + "\n"
		for _, l := range v.lines(120) {
			text += strings.TrimRight(l, " ") + "\n"
		}
		_, err = io.WriteString(opt.Out, strings.ReplaceAll(text, "\n", "\r\n"))
		return err
	}
	m := &teamScreen{ctx: ctx, look: t.look, st: newStyles(opt.renderer(), opt.color()), w: opt.Width, h: opt.Height}
	return show(ctx, m, opt)
}
