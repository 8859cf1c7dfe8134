package ui

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/muesli/termenv"
)

func env(kv map[string]string) func(string) string {
	return func(k string) string { return kv[k] }
}

// fake is a Progress on a clock that the test moves.
func fake(tty bool, columns int) (*Progress, *bytes.Buffer, *time.Time) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	p := NewProgress(&b, NewTheme(&b, env(nil)), false, func() time.Time { return now })
	p.tty, p.columns = tty, columns
	return p, &b, &now
}

func TestProgressInPlainLines(t *testing.T) {
	p, b, now := fake(false, 80)
	p.Start("sft", "steps", 100, 400) // 100 done by the run that was cut off
	for i := 1; i <= 100; i++ {
		*now = now.Add(time.Second)
		p.Set(100+i, "loss 1.5")
	}
	p.Done()
	// At 2 s, then after 10, 20, 40 s; the last at the end. 1 step/s, not (100+i)/i.
	want := `sft  102/400 steps  26%  1 steps/s  4m58s left  loss 1.5
sft  112/400 steps  28%  1 steps/s  4m48s left  loss 1.5
sft  132/400 steps  33%  1 steps/s  4m28s left  loss 1.5
sft  172/400 steps  43%  1 steps/s  3m48s left  loss 1.5
sft  200/400 steps  50%  1 steps/s  in 1m40s  loss 1.5
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	p, b, now := fake(true, 40)
	p.Start("sft", "steps", 0, 400)
	for i := 1; i <= 50; i++ {
		*now = now.Add(50 * time.Millisecond)
		p.Set(i, strings.Repeat("long ", 20))
	}
	p.Printf("saved %s", "x")
	p.Done()
	out := b.String()
	if n := strings.Count(out, "\n"); n != 2 {
		t.Errorf("%d line breaks, want 2 (the message, the end): %q", n, out)
	}
	for _, line := range strings.Split(strings.ReplaceAll(out, "\r\x1b[K", "\n"), "\n") {
		if n := len([]rune(line)); n > 39 {
			t.Errorf("%d columns in a terminal of 40: %q", n, line)
		}
	}
	if !strings.Contains(out, "\r\x1b[Ksaved x\n") {
		t.Errorf("the message is not on its own line: %q", out)
	}
}

func TestShortWorkShowsNothing(t *testing.T) {
	for _, tty := range []bool{false, true} {
		p, b, now := fake(tty, 80)
		p.Start("sft", "steps", 0, 3)
		for i := 1; i <= 3; i++ {
			*now = now.Add(500 * time.Millisecond)
			p.Set(i, "")
		}
		p.Done()
		if b.Len() > 0 {
			t.Errorf("terminal %v: %q", tty, b)
		}
	}
}

func TestUnknownTotal(t *testing.T) {
	p, b, now := fake(false, 80)
	p.Start("reading", "records", 0, 0)
	*now = now.Add(4 * time.Second)
	p.Set(5000, "")
	if want := "reading  5000 records  1.25k records/s\n"; b.String() != want {
		t.Errorf("%q, want %q", b, want)
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 1499 * time.Millisecond: "1s", 59 * time.Second: "59s", 190 * time.Second: "3m10s", 7500 * time.Second: "2h05m", 76 * time.Hour: "3d04h"} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %s, want %s", d, got, want)
		}
	}
	for x, want := range map[float64]string{0: "0", 950: "950", 1234: "1.23k", 999999: "1M", 45.6e6: "45.6M", 0.125: "0.125"} {
		if got := Count(x); got != want {
			t.Errorf("Count(%g) = %s, want %s", x, got, want)
		}
	}
	for n, want := range map[int64]string{512: "512 B", 1536: "1.5 KiB", 270 << 20: "270 MiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestTableAlignsNumbersRight(t *testing.T) {
	var b bytes.Buffer
	rows := [][]string{{"kl", "1.5", "nats"}, {"win rate", "+12.25", ""}, {"日本", "-", "二"}}
	if err := Table(&b, NewTheme(&b, env(nil)), []string{"metric", "value", "unit"}, rows); err != nil {
		t.Fatal(err)
	}
	want := "metric     value  unit\nkl           1.5  nats\nwin rate  +12.25\n日本           -  二\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestCharts(t *testing.T) {
	if got := Spark([]float64{0, 7, math.NaN(), 3.5}, 10); got != "▁█ ▅" {
		t.Errorf("Spark %q", got)
	}
	if got := Spark([]float64{1, 1, 5, 5}, 2); got != "▁█" {
		t.Errorf("Spark in two %q", got)
	}
	// A line that rises over 4 dots in one character: columns of dots 4 and 1.
	if got := Line([]float64{0, 1}, 1, 1); got != "1 ⣸\n" {
		t.Errorf("Line %q", got)
	}
	if got := Line([]float64{math.NaN(), math.Inf(1)}, 4, 2); got != "(no values)\n" {
		t.Errorf("Line of nothing %q", got)
	}
	if got := Bars([]string{"a", "bb"}, []float64{2, 1}, 4); got != "a   ████ 2\nbb  ██ 1\n" {
		t.Errorf("Bars %q", got)
	}
}

func TestColourFollowsTheEnvironment(t *testing.T) {
	var b bytes.Buffer
	plain := NewTheme(&b, env(map[string]string{"TERM": "xterm-256color"}))
	if plain.Color || plain.Bad.Render("x") != "x" {
		t.Errorf("colour into something that is not a terminal: %q", plain.Bad.Render("x"))
	}
	force := map[string]string{"CLICOLOR_FORCE": "1", "TERM": "xterm"}
	if got := NewTheme(&b, env(force)).Good.Render("x"); got != "\x1b[32mx\x1b[0m" {
		t.Errorf("16 colours: %q", got)
	}
	force["NO_COLOR"] = "1"
	if got := NewTheme(&b, env(force)).Good.Render("x"); got != "x" {
		t.Errorf("NO_COLOR: %q", got)
	}
	for _, c := range []struct {
		env     map[string]string
		profile termenv.Profile
	}{
		{map[string]string{"COLORTERM": "truecolor"}, termenv.TrueColor},
		{map[string]string{"TERM": "screen-256color"}, termenv.ANSI256},
		{map[string]string{"TERM": "linux"}, termenv.ANSI},
	} {
		if got := profile(true, env(c.env)); got != c.profile {
			t.Errorf("%v: profile %v, want %v", c.env, got, c.profile)
		}
	}
	for v, dark := range map[string]bool{"15;0": true, "0;15": false, "0;default;15": false, "7;8": true, "": true} {
		if got := darkBackground(env(map[string]string{"COLORFGBG": v})); got != dark {
			t.Errorf("COLORFGBG=%q: dark %v", v, got)
		}
	}
}
