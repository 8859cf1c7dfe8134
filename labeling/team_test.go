package labeling

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// aTeam is a made-up view of a team with n people more.
func aTeam(n int) teamView {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	v := teamView{at: at, items: 1200, decided: 417, measured: at.Add(-20 * time.Second)}
	add := func(name string, here int, item int64, last time.Duration, today, judged int, m measured) {
		v.people = append(v.people, teammate{Presence{name, judged, today, at.Add(-last), item}, here, m})
	}
	add("ada", 2, 418, 3*time.Second, 41, 203, measured{184.4, 40, 35})
	add("漢字 \x1b[31mred", 1, 419, 12*time.Minute, 7, 9, measured{})
	add("a-person-with-a-very-long-name", 0, 0, 26*time.Hour, 0, 205, measured{97, 3, 3})
	v.people = append(v.people, teammate{Presence: Presence{Annotator: "new"}})
	for i := range n {
		add(fmt.Sprintf("p%02d", i), 0, 0, 30*24*time.Hour, 0, i, measured{})
	}
	return v
}

func newTeamScreen(w, h int, v teamView) *teamScreen {
	m := &teamScreen{ctx: context.Background(), st: newStyles(Options{Out: &strings.Builder{}}.renderer(), true), w: w, h: h}
	m.Update(looked{view: v})
	return m
}

func TestTeamScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {100, 30}, {160, 50}} {
		m := newTeamScreen(size[0], size[1], aTeam(0))
		compareGolden(t, fmt.Sprintf("team-%dx%d", size[0], size[1]), wholeScreen(t, m.View(), m.w, m.h))
	}
	m := newTeamScreen(40, 10, aTeam(30))
	m.Update(keyMsg("end"))
	m.Update(keyMsg("up"))
	m.Update(looked{err: errors.New("disk\nfull")})
	compareGolden(t, "team-smallest", wholeScreen(t, m.View(), m.w, m.h))
	m.Update(tea.WindowSizeMsg{Width: 20, Height: 5})
	if v := m.View(); !strings.Contains(v, "make it 30 x 10") {
		t.Errorf("a tiny window says %q", v)
	}
}

// Scrolling stays between the first and the last person, also when people leave the list or the window grows.
func TestTeamScreenScrolls(t *testing.T) {
	m := newTeamScreen(80, 14, aTeam(20)) // 24 people, room for 10
	for _, c := range []struct {
		key string
		top int
	}{{"up", 0}, {"down", 1}, {"pgdown", 11}, {"pgdown", 14}, {"end", 14}, {"pgup", 4}, {"k", 3}, {"home", 0}, {"end", 14}} {
		m.Update(keyMsg(c.key))
		if wholeScreen(t, m.View(), 80, 14); m.top != c.top {
			t.Errorf("%s: person %d on top, want %d", c.key, m.top, c.top)
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24}) // room for 20
	if wholeScreen(t, m.View(), 80, 24); m.top != 4 {
		t.Errorf("in a larger window person %d is on top", m.top)
	}
	if _, cmd := m.Update(keyMsg("q")); cmd == nil || cmd() != (tea.QuitMsg{}) || m.View() != "" {
		t.Error("q does not end it")
	}
}

// What everyone does, against numbers by hand: ann and bob judge items 1 to 6 in 10 s each and differ on the last two.
func TestTeamLooks(t *testing.T) { onBackends(t, testTeamLooks) }

func testTeamLooks(t *testing.T) {
	s, ctx := newTestStore(t), context.Background()
	addPairs(t, s, 8)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := func() time.Time { return at }
	judge := func(ss *Session, n int, d func(int) Decision) {
		t.Helper()
		for i := range n {
			task, err := ss.Task(ctx, int64(i+1))
			if err != nil {
				t.Fatal(err)
			}
			at = at.Add(10 * time.Second)
			if _, err := ss.Judge(ctx, task, d(i), 10*time.Second, Data{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	sit := func(name string) *Session {
		ss, err := s.NewSession(SessionConfig{Annotator: name, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return ss
	}
	here := map[string]int{"bob": 1, "eve": 2}
	tm := &team{store: s, now: now, here: func() map[string]int { return maps.Clone(here) }}
	ann := sit("ann")
	judge(ann, 6, func(int) Decision { return Prefer(0, Much) })
	at = at.Add(25 * time.Hour)
	bob := sit("bob")
	judge(bob, 6, func(i int) Decision { return Prefer(i/4, Much) })
	if _, err := bob.Resume(ctx); err != nil { // leases item 7
		t.Fatal(err)
	}
	v, err := tm.look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// 6 in 60 s are 360 an hour; 4 of 6 are the same.
	want := []string{
		" name  here  item  last key  24 h  judged  an hour    as others",
		" bob      1     7       0 s     6       6      360    67 % of 6",
		" eve      2     –     never     0       0        –            –",
		" ann      –     –      25 h     0       6      360    67 % of 6",
	}
	for i, l := range v.lines(100) {
		if got := strings.Join(strings.Fields(l), " "); got != strings.Join(strings.Fields(want[i]), " ") {
			t.Errorf("%q, want %q", got, want[i])
		}
	}
	if v.items != 8 || v.decided != 6 || !strings.Contains(v.summary(), "6 of 8 items decided · 2 here") {
		t.Errorf("%+v: %s", v, v.summary())
	}
	// What takes every judgement to know is not read anew at each look, but after a while.
	task, _ := bob.Task(ctx, 7)
	if _, err := bob.Judge(ctx, task, Prefer(0, Much), time.Hour, Data{}); err != nil {
		t.Fatal(err)
	}
	for _, wait := range []time.Duration{29 * time.Second, time.Second} {
		at = at.Add(wait)
		if v, err = tm.look(ctx); err != nil || v.people[0].Judged != 7 {
			t.Fatalf("%+v, %v", v, err)
		}
		// 7 in 60 s and a pause that counts as 180: 105 an hour.
		want := 360.
		if wait == time.Second {
			want = 105
		}
		if got := v.people[0].perHour; got < want-0.01 || got > want+0.01 {
			t.Errorf("after %v: %g an hour, want %g", wait, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 59*time.Minute + 59*time.Second: "59 min", 47 * time.Hour: "47 h", 48 * time.Hour: "2 d"} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := ago(time.Time{}, now); got != "never" {
		t.Error(got)
	}
}

// An administrator sees with the real client who does what, while it is done; others are refused as for any command, and so
// is every other word of an administrator. Looking takes no place, and striking the word out takes effect at the next login.
func TestAdministratorOverSSH(t *testing.T) {
	sv := startServer(t, 20, []string{"ada", "administrator boss"}, ServeOptions{MaxSessions: 1})
	defer sv.end()
	ada := viaSSH(t, sv, "ada")
	ada.await("of 20")
	ada.await("item 1")
	boss := viaSSH(t, sv, "boss", "who")
	boss.await("0 of 20 items decided · 1 here")
	boss.await("ada      1     1")
	ada.press("1")
	ada.await("✓ 1 upper much better")
	boss.await("1 of 20 items decided")
	boss.await("ada      1     2")
	boss.press("1u=") // judges nothing
	run := func(name string, words ...string) (string, error) {
		cmd := openSSH(t, sv, name)
		cmd.Args = append(cmd.Args, words...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("boss", "who"); err != nil || !strings.Contains(out, "1 of 20 items decided · 1 here") || !strings.Contains(out, " ada ") {
		t.Errorf("without a terminal: %v, %s", err, out)
	}
	for _, c := range [][]string{{"ada", "who"}, {"boss", "ls"}, {"boss", "who", "ls"}, {"boss", "who;ls"}} {
		if out, err := run(c[0], c[1:]...); err == nil || !strings.Contains(out, "give no command") || strings.Contains(out, "decided") {
			t.Errorf("%v: %v, %s", c, err, out)
		}
	}
	keys := filepath.Join(sv.dir, "keys")
	listed, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, bytes.ReplaceAll(listed, []byte("administrator "), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("boss", "who"); err == nil || !strings.Contains(out, "give no command") {
		t.Errorf("no longer an administrator: %v, %s", err, out)
	}
	boss.press("q")
	if err := boss.end(); err != nil {
		t.Errorf("%v\n%s", err, boss.screen())
	}
	ada.press("q")
	ada.end()
	evs, err := sv.store.Events(context.Background())
	if err != nil || len(evs) != 1 || evs[0].Annotator != "ada" {
		t.Errorf("%+v, %v", evs, err)
	}
}
