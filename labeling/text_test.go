package labeling

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// However a text is wrapped, its rows hold every character once and in order, none is wider than asked, and paint and
// measure agree about it.
func TestWrap(t *testing.T) {
	st := newStyles(Options{Out: &strings.Builder{}}.renderer(), true)
	rapid.Check(t, func(t *rapid.T) {
		s := visible(rapid.OneOf(rapid.String(), rapid.StringMatching(`([a-z]{1,12}[ \-\t]{0,3}|潮の満|e\x{301}|👩‍👩‍👧|\n){0,30}`)).Draw(t, "text"))
		width := rapid.IntRange(2, 40).Draw(t, "width")
		rows := wrap(s, width)
		at := 0
		for _, r := range rows {
			gap := s[at:r.from]
			if gap != "" && gap != "\n" {
				t.Fatalf("%q between rows of %q", gap, s)
			}
			at = r.to
			line := paint(s, r, []span{{r.from, r.from + 3, diffLook}}, &st.text, width, true)
			if w := ansi.StringWidth(line); w != width {
				t.Fatalf("row %q is %d wide, not %d", ansi.Strip(line), w, width)
			}
			if strings.ContainsAny(ansi.Strip(line), "\t\n\x1b") {
				t.Fatalf("row %q", line)
			}
			// Nothing but spaces hangs over the edge.
			shown := strings.TrimRight(unmarked(ansi.Strip(line)), " ")
			if shown != "" {
				if lead := strings.Repeat(" ", r.indent); !strings.HasPrefix(shown, lead) {
					t.Fatalf("row %q is not indented by %d", shown, r.indent)
				}
				shown = shown[r.indent:]
			}
			if want := strings.TrimRight(s[r.from:r.to], " \t"); !strings.Contains(want, "\t") && shown != want {
				t.Fatalf("row shows %q of %q", shown, want)
			}
		}
		if at != len(s) {
			t.Fatalf("the rows of %q end at %d", s, at)
		}
	})
}

func TestWrapBreaksWhereReadersExpect(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three", 7, "one two|three"},
		{"one two", 3, "one|two"},
		{"well-known fact", 6, "well-|known|fact"},
		{"- one two three", 9, "- one two|  three"}, // a list goes on under its text
		{"12. one two", 12, "12. one two"},
		{"12. one two six", 13, "12. one two|    six"},
		{"• onetwothree", 9, "• onetwot|  hree"}, // not broken behind the mark
		{"a -b", 3, "a|-b"},                      // a hyphen that begins a word is no place to break
		{"aaaaaaaaaa", 4, "aaaa|aaaa|aa"},
		{"ab cd漢字", 6, "ab cd|漢字"},
		{"漢字漢", 5, "漢字|漢"},
		{"a\n\nb\n", 9, "a||b|"},
		{"x\ty", 9, "x\ty"},
		{"", 9, ""},
	} {
		var got []string
		for _, r := range wrap(c.text, c.width) {
			got = append(got, strings.Repeat(" ", r.indent)+strings.TrimRight(c.text[r.from:r.to], " "))
		}
		if g := strings.Join(got, "|"); g != c.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.width, g, c.want)
		}
	}
}

func TestVisibleIsHarmless(t *testing.T) {
	got := visible("a\x1b[31mred\r\nb\x07\u202eevil\u0085 \xff ok\tö")
	if want := "a␛[31mred\nb␇[U+202E]evil[U+0085] \ufffd ok\tö"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWordDiff(t *testing.T) {
	a, b := "The cat sat on the mat.", "The dog sat on a red mat."
	words := func(s string, spans []span) (out []string) {
		for _, sp := range spans {
			out = append(out, s[sp.from:sp.to])
		}
		return out
	}
	inA, inB := wordDiff(a, b)
	if diff := cmp.Diff([][]string{{"cat", "the"}, {"dog", "a red"}}, [][]string{words(a, inA), words(b, inB)}); diff != "" {
		t.Error(diff)
	}
}
