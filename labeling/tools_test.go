package labeling

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// annID is the id that an export makes of ann: the SHA-256 of "plumb annotator ann", as a UUID of version 8.
const annID = "fd3fd1bd-dd14-8c0e-85d0-af9b231c7e22"

// A record of ann's that others have answered too: the name and the strength in the metadata are hers, not theirs; a single person has it with any id.
func TestArgillaPeople(t *testing.T) { onBackends(t, testArgillaPeople) }

func testArgillaPeople(t *testing.T) {
	for name, c := range map[string]struct {
		responses string
		want      []string
	}{
		"two people": {
			`{"preference":[{"value":"response_a","user_id":"` + annID + `"},{"value":"response_b","user_id":"u"}]}`,
			[]string{`"p": win "x" > "y" by ann margin 1.00`, `"p": win "y" > "x" by u`},
		},
		"two others":     {`{"preference":[{"value":"response_b","user_id":"v"},{"value":"tie","user_id":"u"}]}`, []string{`"p": tie by u`, `"p": win "y" > "x" by v`}},
		"exchanged id":   {`{"preference":[{"value":"response_b","user_id":"v"}]}`, []string{`"p": win "y" > "x" by ann margin 1.00`}},
		"nobody's id":    {`{"preference":[{"value":"tie"}]}`, []string{`"p": tie by ann`}},
		"nobody answers": {`{}`, nil},
	} {
		s := newTestStore(t)
		in := `[{"fields":{"prompt":"p","response_a":"x","response_b":"y"},"metadata":{"annotator":"ann","strength":4},"responses":` + c.responses + `}]`
		if _, err := s.Import(context.Background(), strings.NewReader(in), "x.json", ImportOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, summary(t, s)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
