package rollout

import (
	"math"
	"slices"
	"strings"
	"testing"

	"plumb/internal/model"
	"plumb/internal/tensor"
)

// letters decodes id i as the i-th letter of the alphabet.
type letters struct{}

func (letters) Decode(ids []int32, _ bool) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteByte('a' + byte(id%26))
	}
	return b.String()
}

// TestStops: each reason, at the right token, the stop token included; the minimum length; nothing stops if so wished.
func TestStops(t *testing.T) {
	m, a := small(t, 2)
	req := []Request{{Prompt: []int32{3, 1, 4}, Episode: 9}}
	base := Options{Temperature: 1, MaxNew: 40, Seed: 2}
	free := generate(t, m, a, req, base)[0]
	if free.Stop != StopLength || len(free.IDs) != 40 {
		t.Fatalf("stop %q after %d tokens", free.Stop, len(free.IDs))
	}
	text := letters{}.Decode(free.IDs, false)
	stopAt := func(name string, o Options, n int, reason, s string) {
		t.Helper()
		c := generate(t, m, a, req, o)[0]
		if c.Stop != reason || c.StopString != s || len(c.IDs) != n || !slices.Equal(c.IDs, free.IDs[:n]) || !slices.Equal(c.LogProbs, free.LogProbs[:n]) {
			t.Errorf("%s: stop %q %q after %d tokens, want %q %q after %d", name, c.Stop, c.StopString, len(c.IDs), reason, s, n)
		}
	}
	o := base
	o.StopIDs = []int32{free.IDs[10], free.IDs[6]}
	first := slices.IndexFunc(free.IDs, func(id int32) bool { return slices.Contains(o.StopIDs, id) })
	stopAt("stop id", o, first+1, StopID, "")
	m.EOS = []int32{free.IDs[first]}
	stopAt("end of text", o, first+1, StopEOS, "")
	o.MaxNew = first + 1
	stopAt("end of text at the last moment", o, first+1, StopEOS, "")
	o.MaxNew = first
	stopAt("length just before", o, first, StopLength, "")
	o = base
	o.StopIDs, o.IgnoreStop, o.StopStrings = free.IDs[:3], true, []string{"a"}
	stopAt("ignored", o, 40, StopLength, "")
	o = base
	o.Decoder, o.StopStrings = letters{}, []string{"never..", text[8:11], text[20:22]}
	end := min(strings.Index(text, text[8:11])+3, strings.Index(text, text[20:22])+2)
	which := text[8:11]
	if strings.HasSuffix(text[:end], text[20:22]) {
		which = text[20:22]
	}
	stopAt("stop string", o, end, StopString, which)
	o.StopStrings, o.MinNew = []string{text[:1]}, 5
	again := strings.IndexByte(text[4:], text[0]) // only a match that the newest token completes counts
	if again < 0 {
		stopAt("stop string before the minimum", o, 40, StopLength, "")
	} else {
		stopAt("stop string after the minimum", o, 5+again, StopString, text[:1])
	}
}

// TestMinimum: stop ids cannot be drawn before the minimum, and the log-probabilities are those without them.
func TestMinimum(t *testing.T) {
	m, a := small(t, 2)
	var even []int32
	for i := 0; i < m.Vocab; i += 2 {
		even = append(even, int32(i))
	}
	reqs := prompts(m.Vocab, 8)
	for _, greedy := range []bool{false, true} {
		o := Options{Temperature: 1, Greedy: greedy, MinNew: 6, MaxNew: 30, StopIDs: even, Seed: 1}
		with := generate(t, m, a, reqs, o)
		for i, c := range with {
			n := slices.IndexFunc(c.IDs, func(id int32) bool { return id%2 == 0 })
			if n >= 0 && (n < 6 || n != len(c.IDs)-1 || c.Stop != StopID) || n < 0 && c.Stop != StopLength {
				t.Errorf("request %d: first even id at %d of %d, stop %q", i, n, len(c.IDs), c.Stop)
			}
			tape := tensor.NewInferenceTape(m.Pool())
			row := m.Logits(tape, a, m.Hidden(tape, a, model.Pack(reqs[i].Prompt)), []int32{int32(len(reqs[i].Prompt) - 1)}).Data
			sum := 0.0
			for id := 1; id < len(row); id += 2 {
				sum += math.Exp(float64(row[id] - row[c.IDs[0]]))
			}
			if got := float64(c.LogProbs[0]); math.Abs(got+math.Log(sum)) > 1e-5 {
				t.Errorf("request %d: log-probability %v, among the odd ids %v", i, got, -math.Log(sum))
			}
		}
	}
}

func TestCompleted(t *testing.T) {
	for _, c := range []struct {
		before, after string
		stops         []string
		want          string
	}{
		{"ab", "abc", []string{"c"}, "c"},
		{"ab", "abc", []string{"bc", "abc"}, "bc"}, // both end together: the one listed first
		{"abc", "abcd", []string{"bc"}, ""},        // was there before
		{"x", "x a b", []string{"b", "a"}, "a"},    // ends first
		{"caf\uFFFD", "café", []string{"é"}, "é"},  // the incomplete character became one
		{"", "stop", []string{"stop", "st"}, "st"},
		{"", "", []string{"a"}, ""},
	} {
		if got := completed(c.before, c.after, c.stops); got != c.want {
			t.Errorf("completed(%q, %q, %q) = %q, want %q", c.before, c.after, c.stops, got, c.want)
		}
	}
}
