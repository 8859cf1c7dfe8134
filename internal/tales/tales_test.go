package tales

import (
	"strings"
	"testing"

	"plumb/internal/rng"
)

var miaAndTom = Request{
	Hero: "Mia", HeroSpecies: "fox", Friend: "Tom", FriendSpecies: "crow",
	Event: event(discover, "Tom", "", "", "bell", ""),
}

const good = "Once there was a fox named Mia. Near by lived Tom the crow. The crow smiled at Mia. Mia had a kite. " +
	"One day Mia lost the kite at the river. Mia looked for the kite. Tom found a bell. " +
	"At last Tom brought the kite back to Mia. Mia was happy and sang a song. The end."

// Verdicts worked out by hand, each by one change to the good story.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           Verdict
	}{
		{"as it is", "", "", Verdict{Asked: true, Mended: true, Closed: true}},
		{"another finds the bell", "Tom found a bell", "Mia found a bell", Verdict{Asked: true, Mended: true, Closed: true, Faults: 1}},
		{"another thing is found", "Tom found a bell", "Tom found a drum", Verdict{Mended: true, Closed: true}},
		{"it comes back to another", "the kite back to Mia", "the kite back to Tom", Verdict{Asked: true, Mended: true, Closed: true, Faults: 2}},
		{"the deed in other words", "Tom found a bell", "Behind a stone Tom found a bell", Verdict{Asked: true, Mended: true, Closed: true}},
		{"naming the bell is not finding it", "Tom found a bell", "Tom owned a fine bell", Verdict{Mended: true, Closed: true}},
		{"unmended, but sad", "At last Tom brought the kite back to Mia. Mia was happy and sang a song", "Nobody ever saw the kite again. Mia was sad and went home", Verdict{Asked: true, Closed: true}},
		{"unmended, yet happy", "At last Tom brought the kite back to Mia", "Nobody ever saw the kite again", Verdict{Asked: true, Closed: true, Faults: 1}},
		{"the wrong thing comes back", "brought the kite", "brought the drum", Verdict{Asked: true, Closed: true, Faults: 2}},
		{"a stranger smiles", "The crow smiled", "The goat smiled", Verdict{Asked: true, Mended: true, Closed: true, Faults: 1}},
		{"another species than asked for", "a fox named Mia", "a deer named Mia", Verdict{Asked: true, Mended: true, Closed: true, Faults: 1}},
		{"losing what one has not", "Mia had a kite", "Mia had a drum", Verdict{Asked: true, Mended: true, Closed: true, Faults: 1}},
		{"an unknown name", "Mia looked for", "Otto looked for", Verdict{Asked: true, Mended: true, Closed: true, Faults: 1}},
		{"said twice", "Tom found a bell.", "Tom found a bell. Tom found a bell.", Verdict{Asked: true, Mended: true, Closed: true, Faults: 1, Repeats: 1}},
		{"no sentence", "Mia looked for the kite", "Mia looked kite the for", Verdict{Asked: true, Mended: true, Closed: true, Bad: 1}},
		{"no end", " The end.", "", Verdict{Asked: true, Mended: true}},
	} {
		story := good
		if c.from != "" {
			story = strings.Replace(good, c.from, c.to, 1)
			if story == good {
				t.Fatalf("%s: nothing replaced", c.name)
			}
		}
		got := Judge(miaAndTom, story)
		got.Sentences = 0
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
	if g := Gold(miaAndTom, good); g != 2.25 {
		t.Errorf("gold of the good story is %g, want 2.25", g)
	}
	if g := Gold(miaAndTom, ""); g > 0.5 {
		t.Errorf("gold of nothing is %g", g)
	}
}

// Every wording of every kind is read back as what was said.
func TestParseInvertsSay(t *testing.T) {
	r := rng.New(1)
	for range 2000 {
		p := patterns[r.IntN(len(patterns))]
		e := Event{kind: p.kind}
		for _, w := range p.words {
			if s := slotOf(w); s >= 0 {
				e.slot[s] = pick(r, [][]string{names, names, species, items, places}[s])
			}
		}
		// A wording may leave a slot out (one way to say it); all wordings of a kind must name the same slots.
		for c := range 6 {
			got, bad := Parse(e.say(c))
			if bad != 0 || len(got) != 1 || got[0] != e {
				t.Fatalf("%q is read as %v (%d bad), want %v", e.say(c), got, bad, e)
			}
		}
	}
}

func TestRequestsAreReadBack(t *testing.T) {
	for i := range 500 {
		r := rng.New(5, uint64(i))
		q := newRequest(r)
		got, err := ParseRequest(q.ask(r))
		if err != nil || got != q {
			t.Fatalf("got %+v, %v; want %+v", got, err, q)
		}
	}
	if _, err := ParseRequest("Tell me a joke."); err == nil {
		t.Error("a joke was taken for a request")
	}
}

// Stories told with perfect habits are perfect, and each habit moves its own part of the verdict.
func TestHabitsShowInTheVerdict(t *testing.T) {
	const n = 400
	rate := func(h habits) (asked, mended, clean, both float64) {
		for i := range n {
			r := rng.New(2, uint64(i))
			q := newRequest(r)
			w := author{r, h}
			v := Judge(q, w.write(q))
			if v.Bad != 0 || !v.Closed {
				t.Fatalf("the grammar wrote what it cannot read: %v", v)
			}
			if v.Asked {
				asked++
			}
			if v.Mended {
				mended++
			}
			if v.Faults == 0 {
				clean++
			}
			if v.Asked && v.Faults == 0 {
				both++
			}
		}
		return asked / n, mended / n, clean / n, both / n
	}
	if a, m, c, _ := rate(habits{1, 1, 1}); a != 1 || m != 1 || c != 1 {
		t.Errorf("perfect habits give asked %g, mended %g, clean %g", a, m, c)
	}
	if a, m, _, both := rate(habits{0, 1, 1}); a == 1 || m != 1 || both != 0 {
		t.Errorf("never what was asked: asked %g, mended %g, asked without a fault %g", a, m, both)
	}
	if a, m, c, _ := rate(habits{1, 0, 1}); a != 1 || m != 0 || c != 1 {
		t.Errorf("never mended: asked %g, mended %g, clean %g", a, m, c)
	}
	if _, _, c, _ := rate(habits{1, 1, 0}); c > 0.1 {
		t.Errorf("never consistent, yet %g are clean", c)
	}
}

// The choice follows the Bradley-Terry probability of the difference over the noise, 2/1.1 = 1.818 here.
func TestLabelsFollowTheRuleWithNoise(t *testing.T) {
	bad := strings.Replace(strings.Replace(good, "Tom found a bell", "Tom found a drum", 1), "At last Tom brought the kite back to Mia. Mia was happy and sang a song", "Nobody ever saw the kite again. Mia was sad and went home", 1)
	if g := Gold(miaAndTom, bad); g != 0.25 {
		t.Fatalf("gold of the bad story is %g, want 0.25", g)
	}
	const n = 20000
	var same, wrong int
	for i := range uint64(n) {
		if LabelPair(miaAndTom, bad, good, 1, i) > 0 {
			wrong++
		}
		if LabelPair(miaAndTom, good, good, 1, i) > 0 {
			same++
		}
	}
	// |d| < 0.5 is a tie, so a wrong choice needs the noise to pass 2.318: 1/(1+e^2.318) = 0.0896; five standard errors.
	if p := float64(wrong) / n; p < 0.0896-0.0101 || p > 0.0896+0.0101 {
		t.Errorf("the worse story wins %g of the time, want 0.0896", p)
	}
	// Equal stories: each side wins 1/(1+e^0.5) = 0.3775.
	if p := float64(same) / n; p < 0.3775-0.0172 || p > 0.3775+0.0172 {
		t.Errorf("equal stories: A wins %g, want 0.3775", p)
	}
}
