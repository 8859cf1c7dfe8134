package labeling

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// raceChild judges what it is given until there is nothing, and says every item. It begins when its input ends, so that
// several begin at once.
func raceChild(place, name string) {
	ctx := context.Background()
	s, err := Open(ctx, place)
	if err != nil {
		panic(err)
	}
	ss, err := s.NewSession(SessionConfig{Annotator: name, Seed: 1})
	if err != nil {
		panic(err)
	}
	fmt.Println(0)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		panic(err)
	}
	for {
		task, err := ss.Resume(ctx)
		if err != nil {
			panic(err)
		}
		if task == nil {
			break
		}
		fmt.Println(task.Item.Seq)
		if _, err := ss.Judge(ctx, task, task.Decide(0, Much), time.Second, Data{}); err != nil {
			panic(err)
		}
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
}

// Several programs on one store, as fast as they can: no item is given to two of them, none is left, and every judgement is
// in the log once, at a time of its own.
func TestProcessesAtOnce(t *testing.T) { onBackends(t, testProcessesAtOnce) }

func testProcessesAtOnce(t *testing.T) {
	const items = 60
	place := newPlace(t)
	s := openTest(t, place)
	defer s.Close()
	addPairs(t, s, items)
	type child struct {
		cmd   *exec.Cmd
		start io.Closer
		out   *bufio.Scanner
	}
	children := map[string]child{}
	for _, name := range []string{"ann", "bob", "cyd", "dan"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LABELING_RACE_STORE="+place, "LABELING_RACE_NAME="+name)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c := child{cmd, in, bufio.NewScanner(out)}
		if !c.out.Scan() { // it is ready
			t.Fatalf("%s does not begin", name)
		}
		children[name] = c
	}
	for _, c := range children {
		c.start.Close()
	}
	given := map[string]string{} // item to whom
	worked := 0
	for name, c := range children {
		n := 0
		for c.out.Scan() {
			n++
			if other, twice := given[c.out.Text()]; twice {
				t.Errorf("item %s was given to %s and to %s", c.out.Text(), other, name)
			}
			given[c.out.Text()] = name
		}
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		worked += index(n > 0)
	}
	if len(given) != items || worked < 2 {
		t.Errorf("%d of %d items were given, to %d people", len(given), items, worked)
	}
	evs, err := s.Events(context.Background())
	if err != nil || len(evs) != items {
		t.Fatalf("%d events, %v", len(evs), err)
	}
	for i, e := range evs {
		if given[fmt.Sprint(e.Item)] != e.Annotator {
			t.Errorf("item %d is judged by %s, and was given to %s", e.Item, e.Annotator, given[fmt.Sprint(e.Item)])
		}
		if i > 0 && !e.At.After(evs[i-1].At) {
			t.Errorf("two events at %v", e.At)
		}
	}
}
