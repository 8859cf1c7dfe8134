package tales

import (
	"math"
	"strings"
	"testing"
)

// FuzzParse: any text is read, sentence by sentence, and has a score that a story can have.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"Once there was a bear named Hugo. Tom was a little deer. Hugo owned a fine book. One day Tom stole the book of Hugo. At last Tom returned the book to Hugo. The end.",
		"The end. The end", "...", "Tom Tom.", "Tom gave the book to Tom.", "At last Hugo helped Tom to climb out.", "\x00.\xff.", "", "The end.\u00a0",
	} {
		f.Add(s, "Write a story with Hugo the bear and Tom the deer where Tom finds a hat.")
	}
	f.Add("Tom found a hat.", "Tell a tale about Paul the deer and Nora the cat in which Paul meets a dog.")
	f.Add("", "Write a story with Hugo the bear and Tom the deer where Tom.")
	f.Fuzz(func(t *testing.T, story, prompt string) {
		events, bad := Parse(story)
		if n := strings.Count(story, "."); len(events) > n || len(events)+bad < n || len(events)+bad > n+1 {
			t.Errorf("%d sentences and %d that are none, of %d periods", len(events), bad, n)
		}
		for _, e := range events {
			if e.kind < introduce || e.kind > close {
				t.Errorf("a sentence of kind %d", e.kind)
			}
		}
		q, err := ParseRequest(prompt)
		if err != nil && err.Error() == "" {
			t.Error("an error without a word")
		}
		v := Judge(q, story)
		if s := v.Score(); math.IsNaN(s) || s < -3 || s > goldAsked+goldEnding+goldConsistency || v.Sentences != len(events)+bad {
			t.Errorf("score %v, %v", s, v)
		}
	})
}
