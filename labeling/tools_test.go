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
		"a draft":        {`{"preference":[{"value":"response_b","user_id":"v","status":"draft"},{"value":"tie","user_id":"u","status":"submitted"}]}`, []string{`"p": tie by u`}},
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

// Records as Argilla's server gives them, with what its documentation says of them: only what was submitted counts.
func TestArgillaResponsesByPerson(t *testing.T) {
	response := func(who, status, values string) string {
		return `{"id":"0","user_id":"` + who + `"` + status + `,"values":` + values + `,"inserted_at":"2024-11-25T00:00:00"}`
	}
	const submitted, draft, discarded = `,"status":"submitted"`, `,"status":"draft"`, `,"status":"discarded"`
	record := func(fields, metadata string, responses ...string) string {
		return `[{"id":"0","status":"completed","fields":{"prompt":"q",` + fields + `},"metadata":` + metadata + `,"external_id":"0","responses":[` +
			strings.Join(responses, ",") + `],"suggestions":[],"vectors":{}}]`
	}
	const three, ranks = `"response_1":"a","response_2":"b","response_3":"c"`, `{"ranking":{"value":[{"value":"response_1","rank":2},{"value":"response_2","rank":3},{"value":"response_3","rank":1}]}}`
	for name, c := range map[string]foreign{
		"a ranking":         {record(three, `null`, response("u", submitted, ranks)), []string{`"q" rank of a,b,c: u says win c a b`}, "", 1},
		"without a status":  {record(three, `null`, response("u", ``, ranks)), []string{`"q" rank of a,b,c: u says win c a b`}, "", 1},
		"not submitted":     {record(three, `null`, response("u", draft, ranks), response("v", discarded, ranks)), nil, "", 1},
		"values are null":   {record(three, `null`, response("u", submitted, `null`)), nil, "", 1},
		"two people":        {record(three, `{}`, response("u", submitted, ranks), response("v", submitted, `{"verdict":{"value":"both_bad"}}`)), []string{`"q" rank of a,b,c: u says win c a b`, `"q" rank of a,b,c: v says both_bad`}, "", 1},
		"a comparison":      {record(`"response_a":"a","response_b":"b"`, `{"annotator":"ann"}`, response(annID, submitted, `{"preference":{"value":"response_b"}}`), response("u", submitted, `{"preference":{"value":"tie"}}`)), []string{`"q" compare of a,b: ann says win b a`, `"q" compare of a,b: u says tie`}, "", 1},
		"ratings":           {record(`"response":"a"`, `{}`, response("u", submitted, `{"good":{"value":4}}`)), []string{`"q" rate of a: u says rated`}, "", 1},
		"nobody's response": {record(three, `{}`), nil, "", 1},
	} {
		c.test(t, name)
	}
}
