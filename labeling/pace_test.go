package labeling

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	p := Progress{Items: 1000, Decided: 100}
	for _, s := range []int{10, 20, 30, 600, 20} { // 600 s counts as a pause of 180
		p.add(time.Duration(s)*time.Second, -1)
	}
	// 5 in 10+20+30+180+20 = 260 s is 69.23 an hour; 900 left take 13 h; the median is 20 s.
	if r, ok := p.PerHour(); !ok || r < 69.22 || r > 69.24 {
		t.Errorf("%v an hour", r)
	}
	if d, _ := p.Median(); d != 20*time.Second {
		t.Errorf("median %v", d)
	}
	if d, _ := p.Left(0); say(d) != "13 h 0 min" {
		t.Errorf("left %v", say(d))
	}
	if d, _ := p.Left(200); say(d) != "87 min" { // 100 left: 1.444 h
		t.Errorf("left %v", say(d))
	}
}

// The screen says from seven on how many times in a row one side was chosen; a tie between them does not count, an undo takes one
// back, and another sitting goes on counting.
func TestStreak(t *testing.T) { onBackends(t, testStreak) }

func testStreak(t *testing.T) {
	s := newTestStore(t)
	addPairs(t, s, 20)
	b := newBench(t, s, 100, 30)
	says := func(want string) {
		t.Helper()
		head, _, _ := strings.Cut(b.screen(), "\n")
		if _, got, _ := strings.Cut(head, "░"); !strings.Contains(got, want) || want == "" && strings.Contains(got, "in a row") {
			t.Errorf("%q, want %q", strings.Trim(got, "░ "), want)
		}
	}
	b.press("8", "1", "2", "3", "=", "4", "1", "x", "1")
	says("")
	b.press("1")
	says("left 7 in a row · ")
	b.press("1")
	says("left 8 in a row · ")
	b.press("u", "u")
	says("")
	b.press("r", "r")
	says("left 8 in a row · ")
	b = newBench(t, s, 80, 24)
	says("upper 8 in a row · ")
	b.press("8")
	says("")
	p, err := b.m.ss.Progress(context.Background())
	if err != nil || len(p.Recent) != len(p.Sides) {
		t.Errorf("%d times of %d sides, %v", len(p.Recent), len(p.Sides), err)
	}
}
