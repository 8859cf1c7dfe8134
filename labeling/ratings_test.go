package labeling

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ratedStore holds ratings of ann and bob: on all axes, on one, on one with an odd name, and one can't say.
func ratedStore(t *testing.T) *Store {
	t.Helper()
	s, ctx := newTestStore(t), context.Background()
	item := func(n int) Item {
		return Item{Mode: Rate, Prompt: Prompt{Text: fmt.Sprint("question ", n)}, Answers: []Answer{{Text: fmt.Sprint("answer ", n)}}}
	}
	chat := Item{Mode: Rate, Prompt: Prompt{Messages: []Message{{"user", "Hi?"}}}, Answers: []Answer{{Text: "Hello."}}}
	if _, err := s.AddItems(ctx, []Item{item(1), chat, item(3), item(4)}); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rate := func(who string, seq int64, d Decision, ratings map[string]int) {
		t.Helper()
		ss, err := s.NewSession(SessionConfig{Annotator: who, Now: func() time.Time { at = at.Add(time.Second); return at }})
		if err != nil {
			t.Fatal(err)
		}
		task, err := ss.Task(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Judge(ctx, task, d, 1500*time.Millisecond, Data{Ratings: ratings}); err != nil {
			t.Fatal(err)
		}
	}
	rated := Decision{Choice: Rated}
	rate("ann", 1, rated, map[string]int{"helpful": 4, "harmless": 5, "honest": 1})
	rate("bob", 1, rated, map[string]int{"helpful": 2})
	rate("ann", 2, rated, map[string]int{"Tone of voice": 3, "helpful": 5})
	rate("ann", 3, Decision{Choice: CantSay}, nil)
	rate("bob", 4, rated, map[string]int{"verdict": 2})
	return s
}

// ratedSummary is who said what of which answer.
func ratedSummary(t *testing.T, s *Store) []string {
	t.Helper()
	js, err := s.Judgements(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, j := range js {
		line := fmt.Sprintf("%v %q: %s %s", j.Item.Prompt, j.Item.Answers[0].String(), j.Event.Annotator, j.Event.Choice)
		for _, axis := range slices.Sorted(maps.Keys(j.Event.Data.Ratings)) {
			line += fmt.Sprintf(" %s=%d", axis, j.Event.Data.Ratings[axis])
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// Written by hand from the tools' documentation: Argilla's records of Dataset.to_json, Label Studio's tasks with annotations.
func TestExportRatings(t *testing.T) { onBackends(t, testExportRatings) }

func testExportRatings(t *testing.T) {
	s := ratedStore(t)
	it, err := s.Item(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ann, bob := userID("ann"), userID("bob")
	response := func(who, value string) string {
		return `[{"status":"submitted","user_id":"` + who + `","value":` + value + `}]`
	}
	got, x := exportText(t, s, Argilla)
	first := `{"fields":{"prompt":"question 1","response":"answer 1"},"id":"` + it.Hash[:32] + "-" + shortHash("ann") + `","metadata":{"annotator":"ann","seconds":1.5},` +
		`"responses":{"harmless":` + response(ann, "5") + `,"helpful":` + response(ann, "4") + `,"honest":` + response(ann, "1") + `,"verdict":` + response(ann, `"rated"`) + `},"status":"completed","suggestions":{}},`
	if line := strings.Split(got, "\n")[1]; line != first {
		t.Errorf("%s\nwant\n%s", line, first)
	}
	for _, want := range []string{
		`"responses":{"helpful":` + response(bob, "2") + `,"verdict":` + response(bob, `"rated"`) + `}`,
		`"metadata":{"annotator":"ann","axis_tone_of_voice":"Tone of voice","seconds":1.5}`, `"tone_of_voice":` + response(ann, "3"),
		`"responses":{"verdict":` + response(ann, `"cant_say"`) + `}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	want := Exported{Rows: 4, Text: 3, Conversations: 1, LeftOut: map[string]int{"rated": 1}, Unnamed: map[string]int{"verdict": 1}}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
	got, x = exportText(t, s, LabelStudio)
	rating := func(who, axis string, n int) string {
		return fmt.Sprintf(`{"from_name":"%s","meta":{"annotator":"%s"},"to_name":"answer","type":"rating","value":{"rating":%d}}`, axis, who, n)
	}
	first = `{"annotations":[{"ground_truth":false,"lead_time":1.5,"result":[` + rating("ann", "harmless", 5) + `,` + rating("ann", "helpful", 4) + `,` + rating("ann", "honest", 1) + `]},` +
		`{"ground_truth":false,"lead_time":1.5,"result":[` + rating("bob", "helpful", 2) + `]}],"data":{"answer":"answer 1","prompt":"question 1"},"id":1},`
	if line := strings.Split(got, "\n")[1]; line != first {
		t.Errorf("%s\nwant\n%s", line, first)
	}
	if x.Rows != 3 || x.LeftOut["rated"] != 1 || x.Unnamed["verdict"] != 1 {
		t.Errorf("%+v", x)
	}
}

// What has a place there comes back as it was; reading twice adds nothing, a number that has changed is a new judgement.
func TestRatingsRoundTrip(t *testing.T) { onBackends(t, testRatingsRoundTrip) }

func testRatingsRoundTrip(t *testing.T) {
	s, ctx := ratedStore(t), context.Background()
	want := slices.DeleteFunc(ratedSummary(t, s), func(l string) bool { return strings.Contains(l, "verdict=2") })
	if len(want) != 4 {
		t.Fatal(want)
	}
	for _, f := range []Format{Argilla, LabelStudio} {
		text, _ := exportText(t, s, f)
		back := newTestStore(t)
		for i, judged := range []int{4, 0} {
			got, err := back.Import(ctx, strings.NewReader(text), "x.json", ImportOptions{})
			if err != nil || got.Format != f || got.Judged != judged || got.Known != 4-judged || len(got.Dropped) > 0 {
				t.Fatalf("%s, time %d: %+v, %v", f, i+1, got, err)
			}
		}
		if diff := cmp.Diff(want, ratedSummary(t, back)); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
		changed := strings.NewReplacer(`"value":4`, `"value":3`, `"rating":4`, `"rating":3`).Replace(text)
		got, err := back.Import(ctx, strings.NewReader(changed), "x.json", ImportOptions{})
		if err != nil || got.Judged != 1 || got.Known != 3 {
			t.Errorf("%s, changed: %+v, %v", f, got, err)
		}
		if _, err := back.Import(ctx, strings.NewReader(text), "x.json", ImportOptions{Gold: true}); err == nil || !strings.Contains(err.Error(), "ratings cannot be gold") {
			t.Errorf("%s as gold: %v", f, err)
		}
		back = newTestStore(t)
		if got, err = back.Import(ctx, strings.NewReader(text), "x.json", ImportOptions{Unlabeled: true}); err != nil || got.Judged != 0 || got.New != 3 {
			t.Errorf("%s, unlabeled: %+v, %v", f, got, err)
		}
	}
}

// Records of other people: several users in one, ratings on longer scales, answers that are not judged, two axes whose
// questions have the same name.
func TestRatingsOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		in      string
		want    []string
		dropped int
		isNew   int
	}{
		"two users": {
			`[{"fields":{"instruction":"q","response":"a"},"metadata":{"annotator":"x"},"responses":{"quality":[{"value":5,"user_id":"u"},{"value":1,"user_id":"v"}],"safety":[{"value":2,"user_id":"v"}]}}]`,
			[]string{`{q []} "a": u rated quality=5`, `{q []} "a": v rated quality=1 safety=2`},
			0, 1,
		},
		"scale of ten": {
			`[{"fields":{"prompt":"q","completion":"a"},"responses":{"good":[{"value":9,"user_id":"u"}],"kind":[{"value":2,"user_id":"u"}]}}]`,
			[]string{`{q []} "a": u rated kind=2`},
			1, 1,
		},
		"not judged":    {`[{"fields":{"prompt":"q","response":"a"},"responses":{}}]`, nil, 0, 1},
		"rated nothing": {`[{"fields":{"prompt":"q","response":"a"},"responses":{"verdict":[{"value":"rated","user_id":"u"}]}}]`, nil, 1, 1},
		"no number":     {`[{"fields":{"prompt":"q","response":"a"},"responses":{"l":[{"value":"fine","user_id":"u"}]}}]`, nil, 1, 1},
		"half a star":   {`[{"data":{"prompt":"q","response":"a"},"annotations":[{"completed_by":7,"result":[{"from_name":"r","type":"rating","value":{"rating":2.5}}]}]}]`, nil, 1, 1},
		"cancelled": {
			`[{"data":{"prompt":"q","answer":"a"},"annotations":[{"was_cancelled":true,"completed_by":7,"result":[{"from_name":"r","type":"rating","value":{"rating":2}}]},{"completed_by":8,"result":[{"from_name":"r","type":"rating","value":{"rating":3}}]}]}]`,
			[]string{`{q []} "a": user 8 rated r=3`},
			0, 1,
		},
	} {
		s := newTestStore(t)
		got, err := s.Import(context.Background(), strings.NewReader(c.in), "x.json", ImportOptions{})
		dropped := 0
		for reason, n := range got.Dropped {
			if dropped += n; !strings.Contains(reason, "no rating from 1 to 5") {
				t.Errorf("%s: %s", name, reason)
			}
		}
		if err != nil || dropped != c.dropped || got.New != c.isNew {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if diff := cmp.Diff(c.want, ratedSummary(t, s)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := newTestStore(t).Import(context.Background(), strings.NewReader(`[{"fields":{"prompt":"q","x":"a"},"responses":{}}]`), "x.json", ImportOptions{}); err == nil || !strings.Contains(err.Error(), "neither one answer nor two among the fields: prompt, x") {
		t.Error(err)
	}
	x := exporter{}
	ratings, _ := x.namedRatings(Judgement{Event: Event{Data: Data{Ratings: map[string]int{"to ne": 1, "to-ne": 4, "to_ne": 2, "調": 3}}}}, argillaQuestionName)
	if diff := cmp.Diff(map[string]int{"to_ne": 1, "to-ne": 4}, ratings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"to_ne": 1, "調": 1}, x.out.Unnamed); diff != "" {
		t.Error(diff)
	}
}
