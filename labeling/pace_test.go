package labeling

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	p := Progress{Items: 1000, Decided: 100}
	for _, s := range []int{10, 20, 30, 600, 20} { // 600 s counts as a pause of 180
		p.add(time.Duration(s) * time.Second)
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
