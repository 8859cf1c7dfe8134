package labeling

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// singleStore holds what is said of single answers, and can't say of the same answers to rate.
func singleStore(t *testing.T) *Store {
	t.Helper()
	chat := Prompt{Messages: []Message{{"user", "Hi?"}}}
	return toldStore(
		t, []Item{
			{Mode: Single, Prompt: Prompt{Text: "q1"}, Answers: answersOf("a")},
			{Mode: Single, Prompt: chat, Answers: answersOf("b")},
			{Mode: Rate, Prompt: Prompt{Text: "q1"}, Answers: answersOf("a")},
			{Mode: Rate, Prompt: chat, Answers: answersOf("b")},
		},
		judged{"ann", 1, Decision{Choice: Good}}, judged{"bob", 1, Decision{Choice: Bad}}, judged{"eve", 1, Decision{Choice: CantSay}},
		judged{"ann", 2, Decision{Choice: CantSay}}, judged{"ann", 3, Decision{Choice: CantSay}}, judged{"bob", 4, Decision{Choice: CantSay}},
	)
}

// Written by hand from the tools' documentation: the value of a LabelQuestion is a label, that of <Choices> {choices: [choice]}.
func TestExportSingles(t *testing.T) { onBackends(t, testExportSingles) }

func testExportSingles(t *testing.T) {
	s := singleStore(t)
	it, err := s.Item(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	got, x := exportText(t, s, Argilla)
	rows := strings.Split(got, "\n")
	first := `{"fields":{"prompt":"q1","response":"a"},"id":"` + it.Hash[:32] + `-49915e0d","metadata":{"annotator":"ann","seconds":1.5},` +
		`"responses":{"good_or_bad":[{"status":"submitted","user_id":"` + annID + `","value":"good"}]},"status":"completed","suggestions":{}},`
	if rows[1] != first {
		t.Errorf("%s\nwant\n%s", rows[1], first)
	}
	for line, want := range map[int]string{2: `"value":"bad"}]}`, 4: `"responses":{"good_or_bad":[{"status":"submitted","user_id":"` + annID + `","value":"cant_say"}]}`, 5: `"responses":{"verdict":[`} {
		if !strings.Contains(rows[line], want) {
			t.Errorf("no %s in\n%s", want, rows[line])
		}
	}
	want := Exported{Rows: 6, Text: 4, Conversations: 2, LeftOut: map[string]int{}}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
	got, x = exportText(t, s, LabelStudio)
	choice := func(who, c string) string {
		return `{"ground_truth":false,"lead_time":1.5,"result":[{"from_name":"good_or_bad","meta":{"annotator":"` + who + `"},"to_name":"prompt","type":"choices","value":{"choices":["` + c + `"]}}]}`
	}
	first = `{"annotations":[` + choice("ann", "good") + `,` + choice("bob", "bad") + `,` + choice("eve", "cant_say") + `],"data":{"answer":"a","prompt":"q1"},"id":1},`
	if line := strings.Split(got, "\n")[1]; line != first {
		t.Errorf("%s\nwant\n%s", line, first)
	}
	want.Rows = 4
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
}

// What is said of one answer comes back in its mode, can't say too; reading twice adds nothing, another choice is a new judgement.
func TestSinglesRoundTrip(t *testing.T) { onBackends(t, testSinglesRoundTrip) }

func testSinglesRoundTrip(t *testing.T) {
	s, ctx := singleStore(t), context.Background()
	want := []string{
		`"q1" rate of a: ann says cant_say`,
		`"q1" single of a: ann says good`,
		`"q1" single of a: bob says bad`,
		`"q1" single of a: eve says cant_say`,
		`[{"role":"user","content":"Hi?"}] rate of b: bob says cant_say`,
		`[{"role":"user","content":"Hi?"}] single of b: ann says cant_say`,
	}
	for _, f := range []Format{Argilla, LabelStudio} {
		text, _ := exportText(t, s, f)
		back := newTestStore(t)
		for i, fresh := range []int{6, 0} {
			got, err := back.Import(ctx, strings.NewReader(text), "x.json", ImportOptions{})
			if err != nil || got.Format != f || got.Judged != fresh || got.Known != 6-fresh || len(got.Dropped) > 0 {
				t.Fatalf("%s, time %d: %+v, %v", f, i+1, got, err)
			}
		}
		if diff := cmp.Diff(want, told(t, back)); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
		got, err := back.Import(ctx, strings.NewReader(strings.ReplaceAll(text, `"good"`, `"bad"`)), "x.json", ImportOptions{})
		if err != nil || got.Judged != 1 || got.Known != 5 || !slices.Contains(told(t, back), `"q1" single of a: ann says bad`) {
			t.Errorf("%s, changed: %+v, %v", f, got, err)
		}
		back = newTestStore(t)
		if got, err = back.Import(ctx, strings.NewReader(text), "x.json", ImportOptions{Unlabeled: true}); err != nil || got.Judged != 0 || got.New != 4 {
			t.Errorf("%s, unlabeled: %+v, %v", f, got, err)
		}
	}
}

// Records of other people: labels of a question with another name, ratings besides, and what is neither.
func TestSinglesOfOthers(t *testing.T) {
	argilla := func(responses string) string {
		return `[{"fields":{"prompt":"q","completion":"a"},"responses":{` + responses + `}}]`
	}
	by := func(who, value string) string { return `{"value":` + value + `,"user_id":"` + who + `"}` }
	studio := func(result string) string {
		return `[{"id":1,"data":{"prompt":"q","answer":"a"},"annotations":[{"completed_by":3,"result":[` + result + `]}]}]`
	}
	choices := func(control, list string) string {
		return `{"from_name":"` + control + `","to_name":"prompt","type":"choices","value":{"choices":` + list + `}}`
	}
	const rating = `{"from_name":"quality","to_name":"prompt","type":"rating","value":{"rating":4}}`
	for name, c := range map[string]foreign{
		"another name": {argilla(`"fine":[` + by("u", `"good"`) + `,` + by("v", `"bad"`) + `]`), []string{`"q" single of a: u says good`, `"q" single of a: v says bad`}, "", 1},
		"a capital":    {argilla(`"fine":[` + by("u", `"Good"`) + `]`), []string{`"q" single of a: u says good`}, "", 1},
		"can't say beside good, in one question": {
			argilla(`"fine":[` + by("u", `"good"`) + `,` + by("v", `"cant_say"`) + `,` + by("w", `"unsure"`) + `]`),
			[]string{`"q" single of a: u says good`, `"q" single of a: v says cant_say`, `"q" single of a: w says cant_say`},
			"", 1,
		},
		"can't say in good_or_bad":      {argilla(`"good_or_bad":[` + by("u", `"cant_say"`) + `]`), []string{`"q" single of a: u says cant_say`}, "", 1},
		"can't say in another question": {argilla(`"fine":[` + by("u", `"cant_say"`) + `]`), []string{`"q" rate of a: u says cant_say`}, "", 1},
		"ratings besides": {
			argilla(`"fine":[` + by("u", `"good"`) + `],"quality":[` + by("u", `4`) + `,` + by("v", `5`) + `]`),
			[]string{`"q" rate of a: u says rated`, `"q" rate of a: v says rated`, `"q" single of a: u says good`},
			"", 2,
		},
		"can't say in both": {
			argilla(`"good_or_bad":[` + by("u", `"cant_say"`) + `],"verdict":[` + by("v", `"cant_say"`) + `]`),
			[]string{`"q" rate of a: v says cant_say`, `"q" single of a: u says cant_say`},
			"", 2,
		},
		"good and bad":      {argilla(`"facts":[` + by("u", `"good"`) + `,` + by("v", `"bad"`) + `],"tone":[` + by("u", `"bad"`) + `]`), []string{`"q" single of a: v says bad`}, "says different things", 1},
		"good twice":        {argilla(`"facts":[` + by("u", `"good"`) + `],"tone":[` + by("u", `"good"`) + `]`), []string{`"q" single of a: u says good`}, "", 1},
		"only contradicted": {argilla(`"facts":[` + by("u", `"good"`) + `],"tone":[` + by("u", `"bad"`) + `]`), nil, "says different things", 1},
		"a comment besides": {argilla(`"comment":[` + by("u", `"so so"`) + `],"fine":[` + by("u", `"good"`) + `]`), []string{`"q" single of a: u says good`}, "no rating from 1 to 5", 1},
		"another label":     {argilla(`"good_or_bad":[` + by("u", `"so so"`) + `]`), nil, "no rating from 1 to 5", 1},
		"a number":          {argilla(`"good":[` + by("u", `1`) + `]`), []string{`"q" rate of a: u says rated`}, "", 1},
		"by person": {
			`[{"fields":{"prompt":"q","response":"a"},"responses":[{"user_id":"u","status":"submitted","values":{"good_or_bad":{"value":"bad"}}}]}]`,
			[]string{`"q" single of a: u says bad`},
			"", 1,
		},
		"studio":                 {studio(choices("fine", `["Bad"]`)), []string{`"q" single of a: user 3 says bad`}, "", 1},
		"studio, can't say":      {studio(choices("good_or_bad", `["cant_say"]`)), []string{`"q" single of a: user 3 says cant_say`}, "", 1},
		"studio, verdict":        {studio(choices("verdict", `["cant_say"]`)), []string{`"q" rate of a: user 3 says cant_say`}, "", 1},
		"studio, rating besides": {studio(rating + `,` + choices("good_or_bad", `["good"]`)), []string{`"q" rate of a: user 3 says rated`, `"q" single of a: user 3 says good`}, "", 2},
		"studio, two choices":    {studio(choices("good_or_bad", `["good","bad"]`)), nil, "no rating from 1 to 5", 1},
		"studio, a comment": {
			studio(choices("good_or_bad", `["good"]`) + `,{"from_name":"why","to_name":"prompt","type":"textarea","value":{"text":["good"]}}`),
			[]string{`"q" single of a: user 3 says good`},
			"no rating from 1 to 5", 1,
		},
	} {
		c.test(t, name)
	}
}
