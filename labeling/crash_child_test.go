package labeling

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"modernc.org/sqlite"

	"plumb/internal/pgurl"
)

// TestMain lets the test binary play the program that gets killed, and one of several at work.
func TestMain(m *testing.M) {
	if place := os.Getenv("LABELING_RACE_STORE"); place != "" {
		raceChild(place, os.Getenv("LABELING_RACE_NAME"))
		return
	}
	if text := os.Getenv("LABELING_CRASH"); text != "" {
		var c crash
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		c.child()
		return
	}
	os.Exit(m.Run())
}

// crash is a sitting that gets killed.
type crash struct {
	Store     string
	Annotator string
	Review    bool
	Repeat    float64
	Keys      []string
	At        int // the write at which it is killed, from 1; 0: none
}

func (c crash) session() SessionConfig {
	return SessionConfig{Annotator: c.Annotator, Seed: 1, Review: c.Review, Queue: Queue{Repeat: c.Repeat}}
}

// editorKey stands for e and an editor that has saved a text: editors are no part of what is killed.
const editorKey = "editor"

// child labels by keys, says what the store holds after every key that the screen acknowledged, and kills itself at the n-th
// write: in a file, a row about to change or a transaction about to commit; on a server, a statement about to be sent.
func (c crash) child() {
	ctx := context.Background()
	s, err := Open(ctx, c.Store)
	if err != nil {
		panic(err)
	}
	quicken(s)
	writes := 0
	step := func() {
		if writes++; writes == c.At {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {} // never go on past the kill
		}
	}
	onWrites(s, step)
	ss, err := s.NewSession(c.session())
	if err != nil {
		panic(err)
	}
	m, err := newModel(ctx, ss, Options{Review: c.Review, Tags: []string{"rude", "wrong"}, Width: 80, Height: 24, Environ: []string{"TERM=xterm"}, Out: io.Discard})
	if err != nil {
		panic(err)
	}
	m.Update(m.Init()())
	for _, k := range c.Keys {
		var msg tea.Msg = keyMsg(k)
		if k == editorKey {
			msg = saved(m)
		}
		for msg != nil {
			_, cmd := m.Update(msg)
			if msg = nil; cmd != nil {
				msg = cmd()
			}
		}
		m.View()
		step() // the moment between the commit and the screen
		fmt.Println("ack", holding(s))
	}
	fmt.Println("end")
}

// saved is the message of an editor that has saved a text for the first answer shown; nothing where no editor can be started.
func saved(m *model) tea.Msg {
	if m.task == nil || m.busy || m.input != nil || m.over != noOverlay || m.ticking {
		return nil
	}
	answer := m.task.Shown[0]
	path, err := m.ss.editPath(m.task.Item.Seq, answer)
	if err == nil {
		err = os.WriteFile(path, []byte("better: "+m.task.Item.Answers[answer].String()+"\n"), 0o600)
	}
	return edited{answer, path, err}
}

// holding says how many events a store holds, and what is being typed.
func holding(s *Store) string {
	var events int
	var text string
	if err := s.row(context.Background(), `SELECT (SELECT count(*) FROM events), coalesce((SELECT max(text) FROM typing), '')`).Scan(&events, &text); err != nil {
		panic(err)
	}
	return fmt.Sprintf("%d %q", events, text)
}

// quicken leaves a store one connection and does not wait for the disk: what a program has written the system keeps when the
// program is killed, unlike when the power is cut.
func quicken(s *Store) {
	s.db.SetMaxOpenConns(1)
	if !pgurl.Is(s.Path()) {
		if _, err := s.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
			panic(err)
		}
	}
}

// onWrites calls step before each write of a store that has one connection.
func onWrites(s *Store, step func()) {
	if pgurl.Is(s.Path()) {
		bind := s.d.bind
		s.d.bind = func(query string, args []any) (string, []any) {
			if verb, _, _ := strings.Cut(query, " "); verb == "INSERT" || verb == "UPDATE" || verb == "DELETE" {
				step()
			}
			return bind(query, args)
		}
		return
	}
	c, err := s.db.Conn(context.Background())
	if err != nil {
		panic(err)
	}
	err = c.Raw(func(dc any) error {
		h := dc.(sqlite.HookRegisterer)
		h.RegisterPreUpdateHook(func(sqlite.SQLitePreUpdateData) { step() })
		h.RegisterCommitHook(func() int32 { step(); return 0 })
		return nil
	})
	if err := errors.Join(err, c.Close()); err != nil {
		panic(err)
	}
}

// run lets the child sit. It returns what the store held after each key that was acknowledged, and whether the child came to
// the end.
func (c crash) run(t *testing.T) (acks []string, end bool) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LABELING_CRASH="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if ack, ok := strings.CutPrefix(sc.Text(), "ack "); ok {
			acks = append(acks, ack)
		}
		end = sc.Text() == "end"
	}
	err = cmd.Wait()
	if killed := err != nil && strings.Contains(err.Error(), "killed"); killed == end {
		t.Fatalf("killed at write %d: %v, end %v", c.At, err, end)
	}
	return acks, end
}
