package labeling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// judged is something that a person says of an item.
type judged struct {
	who string
	seq int64
	d   Decision
}

// toldStore holds items and what is said of them.
func toldStore(t *testing.T, items []Item, said ...judged) *Store {
	t.Helper()
	s := newTestStore(t)
	tell(t, s, items, said...)
	return s
}

// tell adds items to a store, and what is said of them, each within a second and a half.
func tell(t *testing.T, s *Store, items []Item, said ...judged) {
	t.Helper()
	ctx := context.Background()
	if _, err := s.AddItems(ctx, items); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, j := range said {
		ss, err := s.NewSession(SessionConfig{Annotator: j.who, Now: func() time.Time { at = at.Add(time.Second); return at }})
		if err != nil {
			t.Fatal(err)
		}
		task, err := ss.Task(ctx, j.seq)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Judge(ctx, task, j.d, 1500*time.Millisecond, Data{}); err != nil {
			t.Fatal(err)
		}
	}
}

// told is who said what of which answers, best first where there is an order.
func told(t *testing.T, s *Store) []string {
	t.Helper()
	js, err := s.Judgements(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, j := range js {
		prompt, _ := marshal(j.Item.Prompt)
		var as []string
		for _, a := range j.Item.Answers {
			as = append(as, a.String())
		}
		slices.Sort(as)
		line := fmt.Sprintf("%s %s of %s: %s says %s", prompt, j.Item.mode(), strings.Join(as, ","), j.Event.Annotator, j.Event.Choice)
		for _, i := range j.Event.Ranking {
			line += " " + j.Item.Answers[i].String()
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func answersOf(texts ...string) (out []Answer) {
	for _, text := range texts {
		out = append(out, Answer{Text: text})
	}
	return out
}

// rankedStore holds orders, a tie, all bad and can't say of three to nine answers, one of which is empty, and an order of two.
func rankedStore(t *testing.T) *Store {
	t.Helper()
	win := func(order ...int) Decision { return Decision{Choice: Win, Ranking: order} }
	return toldStore(
		t, []Item{
			{Mode: Rank, Prompt: Prompt{Text: "q1"}, Answers: answersOf("one", "two", "three")},
			{Mode: Rank, Prompt: Prompt{Messages: []Message{{"user", "Hi?"}}}, Answers: answersOf("", "b", "c", "你好")},
			{Mode: Rank, Prompt: Prompt{Text: "q3"}, Answers: answersOf("1", "2", "3", "4", "5", "6", "7", "8", "9")},
			{Mode: Rank, Prompt: Prompt{Text: "q4"}, Answers: answersOf("x", "y")},
		},
		judged{"ann", 1, win(2, 0, 1)}, judged{"bob", 1, Decision{Choice: Tie}},
		judged{"ann", 2, Decision{Choice: BothBad}}, judged{"bob", 2, Decision{Choice: CantSay}}, judged{"eve", 2, win(3, 0, 2, 1)},
		judged{"ann", 3, win(8, 7, 6, 5, 4, 3, 2, 1, 0)}, judged{"ann", 4, win(1, 0)},
	)
}

// Written by hand from the tools' documentation: the value of a RankingQuestion is [{value, rank}], that of a Ranker without buckets
// {ranker: {its name: [ids]}}, and the data of a List are [{id, title, body}].
func TestExportRankings(t *testing.T) { onBackends(t, testExportRankings) }

func testExportRankings(t *testing.T) {
	s := rankedStore(t)
	it, err := s.Item(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	got, x := exportText(t, s, Argilla)
	rows := strings.Split(got, "\n")
	first := `{"fields":{"prompt":"q1","response_1":"one","response_2":"two","response_3":"three"},"id":"` + it.Hash[:32] + `-49915e0d",` +
		`"metadata":{"annotator":"ann","seconds":1.5},"responses":{"ranking":[{"status":"submitted","user_id":"` + annID + `","value":[` +
		`{"rank":1,"value":"response_3"},{"rank":2,"value":"response_1"},{"rank":3,"value":"response_2"}]}]},"status":"completed","suggestions":{}},`
	if rows[1] != first {
		t.Errorf("%s\nwant\n%s", rows[1], first)
	}
	for line, want := range map[int]string{
		2: `"value":[{"rank":1,"value":"response_1"},{"rank":1,"value":"response_2"},{"rank":1,"value":"response_3"}]}]}`,
		3: `{"rank":1,"value":"response_4"}]}],"verdict":[{"status":"submitted","user_id":"` + annID + `","value":"both_bad"}]}`,
		4: `"value":"cant_say"}]}`,
		6: `"value":[{"rank":1,"value":"response_9"},{"rank":2,"value":"response_8"}`,
		7: `"fields":{"prompt":"q4","response_a":"x","response_b":"y"}`,
	} {
		if !strings.Contains(rows[line], want) {
			t.Errorf("no %s in\n%s", want, rows[line])
		}
	}
	want := Exported{Rows: 7, Text: 4, Conversations: 3, LeftOut: map[string]int{}}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
	got, x = exportText(t, s, LabelStudio)
	first = `{"annotations":[{"ground_truth":false,"lead_time":1.5,"result":[` +
		`{"from_name":"ranking","meta":{"annotator":"ann"},"to_name":"answers","type":"ranker","value":{"ranker":{"ranking":["answer3","answer1","answer2"]}}}]},` +
		`{"ground_truth":false,"lead_time":1.5,"result":[{"from_name":"verdict","meta":{"annotator":"bob"},"to_name":"prompt","type":"choices","value":{"choices":["tie"]}}]}],` +
		`"data":{"answers":[{"body":"one","id":"answer1","title":"Answer 1"},{"body":"two","id":"answer2","title":"Answer 2"},` +
		`{"body":"three","id":"answer3","title":"Answer 3"}],"prompt":"q1"},"id":1},`
	if line := strings.Split(got, "\n")[1]; line != first {
		t.Errorf("%s\nwant\n%s", line, first)
	}
	want.Rows = 4
	if diff := cmp.Diff(want, x); diff != "" {
		t.Error(diff)
	}
}

// Orders come back as they were, an order of two as a comparison; reading twice adds nothing, another order is a new judgement.
func TestRankingsRoundTrip(t *testing.T) { onBackends(t, testRankingsRoundTrip) }

func testRankingsRoundTrip(t *testing.T) {
	s, ctx := rankedStore(t), context.Background()
	want := []string{
		`"q1" rank of one,three,two: ann says win three one two`,
		`"q1" rank of one,three,two: bob says tie`,
		`"q3" rank of 1,2,3,4,5,6,7,8,9: ann says win 9 8 7 6 5 4 3 2 1`,
		`"q4" compare of x,y: ann says win y x`,
		`[{"role":"user","content":"Hi?"}] rank of ,b,c,你好: ann says both_bad`,
		`[{"role":"user","content":"Hi?"}] rank of ,b,c,你好: bob says cant_say`,
		`[{"role":"user","content":"Hi?"}] rank of ,b,c,你好: eve says win 你好  c b`,
	}
	for _, f := range []Format{Argilla, LabelStudio} {
		text, _ := exportText(t, s, f)
		back := newTestStore(t)
		for i, fresh := range []int{7, 0} {
			got, err := back.Import(ctx, strings.NewReader(text), "x.json", ImportOptions{})
			if err != nil || got.Format != f || got.Judged != fresh || got.Known != 7-fresh || len(got.Dropped) > 0 {
				t.Fatalf("%s, time %d: %+v, %v", f, i+1, got, err)
			}
		}
		if diff := cmp.Diff(want, told(t, back)); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
		changed := strings.NewReplacer(`"rank":1,"value":"response_3"`, `"rank":4,"value":"response_3"`, `["answer3","answer1","answer2"]`, `["answer1","answer2","answer3"]`).Replace(text)
		got, err := back.Import(ctx, strings.NewReader(changed), "x.json", ImportOptions{})
		if err != nil || got.Judged == 0 || !slices.Contains(told(t, back), `"q1" rank of one,three,two: ann says win one two three`) {
			t.Errorf("%s, changed: %+v, %v", f, got, err)
		}
	}
}

// foreign is a file of one record that others have made, and what has to become of it.
type foreign struct {
	in      string
	want    []string
	dropped string // part of the reason; "" where nothing is dropped
	isNew   int
}

func (c foreign) test(t *testing.T, name string) {
	t.Helper()
	s := newTestStore(t)
	got, err := s.Import(context.Background(), strings.NewReader(c.in), "x.json", ImportOptions{})
	if err != nil || got.New != c.isNew {
		t.Errorf("%s: %+v, %v", name, got, err)
	}
	if diff := cmp.Diff(c.want, told(t, s)); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	if (c.dropped == "") != (len(got.Dropped) == 0) {
		t.Errorf("%s: dropped %v, want %q", name, got.Dropped, c.dropped)
	}
	for reason, n := range got.Dropped {
		if n != 1 || !strings.Contains(reason, c.dropped) {
			t.Errorf("%s: dropped %d: %s, want %q", name, n, reason, c.dropped)
		}
	}
}

// Records as Argilla's documentation has them: ranks from 1, equal ones for ties, null or nothing where a draft has none, a list of
// names in what its Python SDK 2 writes.
func TestArgillaRankings(t *testing.T) {
	const (
		r1 = `{"value":"response-1","rank":1}`
		r2 = `{"value":"response-2","rank":2}`
		r3 = `{"value":"response-3","rank":3}`
	)
	record := func(responses string) string {
		return `[{"fields":{"instruction":"q","response-1":"a","response-2":"b","response-3":"c"},"responses":{` + responses + `}}]`
	}
	by := func(who, value string) string { return `{"value":` + value + `,"user_id":"` + who + `"}` }
	abc := []string{`"q" rank of a,b,c: u says win a b c`}
	tenth := ""
	for i := range 7 {
		tenth += fmt.Sprintf(`,"response-%d":"%d"`, i+4, i+4)
	}
	for name, c := range map[string]foreign{
		"an order":        {record(`"rank":[` + by("u", `[`+r3+`,`+r1+`,`+r2+`]`) + `]`), abc, "", 1},
		"ranks with gaps": {record(`"rank":[` + by("u", `[`+r1+`,`+r3+`,{"value":"response-2","rank":7}]`) + `]`), []string{`"q" rank of a,b,c: u says win a c b`}, "", 1},
		"all equal": {
			record(`"rank":[` + by("u", `[{"value":"response-1","rank":2},`+r2+`,{"value":"response-3","rank":2}]`) + `]`),
			[]string{`"q" rank of a,b,c: u says tie`},
			"", 1,
		},
		"two equal": {record(`"rank":[` + by("u", `[`+r1+`,{"value":"response-2","rank":1},`+r3+`]`) + `]`), nil, "some answers are equal and others are not", 1},
		"two equal, and an order": {
			record(`"rank":[` + by("v", `[`+r1+`,`+r2+`,{"value":"response-3","rank":2}]`) + `,` + by("u", `[`+r1+`,`+r2+`,`+r3+`]`) + `]`), abc, "some answers are equal", 1,
		},
		"a rank that is null":   {record(`"rank":[` + by("u", `[`+r1+`,`+r2+`,{"value":"response-3","rank":null}]`) + `]`), nil, "leaves out an answer", 1},
		"a rank that is absent": {record(`"rank":[` + by("u", `[`+r1+`,`+r2+`,{"value":"response-3"}]`) + `]`), nil, "leaves out an answer", 1},
		"an answer without":     {record(`"rank":[` + by("u", `[`+r1+`,`+r2+`]`) + `]`), nil, "leaves out an answer", 1},
		"an answer twice":       {record(`"rank":[` + by("u", `[`+r1+`,`+r2+`,`+r3+`,{"value":"response-3","rank":1}]`) + `]`), nil, "has it twice", 1},
		"other names":           {record(`"rank":[` + by("u", `[{"value":"1","rank":1},{"value":"2","rank":2},{"value":"3","rank":3}]`) + `]`), nil, "leaves out an answer", 1},
		"names only":            {record(`"rank":[` + by("u", `["response-2","response-1","response-3"]`) + `]`), nil, "without ranks", 1},
		"more values":           {record(`"rank":[` + by("u", `[{"value":"response-5","rank":1},{"value":"response-4","rank":1},`+r2+`,`+r1+`,`+r3+`]`) + `]`), abc, "", 1},
		"other questions": {
			record(`"comment":[` + by("u", `"response-2 is odd"`) + `],"good":[` + by("u", `4`) + `],"rank":[` + by("u", `[`+r1+`,`+r2+`,`+r3+`]`) + `],"safe":[` + by("u", `"unsure"`) +
				`],"spans":[` + by("u", `[{"label":"x","start":0,"end":1}]`) + `],"topics":[` + by("u", `["maths","tie"]`) + `]`), abc, "", 1,
		},
		"a verdict and an order":       {record(`"rank":[` + by("u", `[`+r1+`,`+r2+`,`+r3+`]`) + `],"verdict":[` + by("u", `"both_bad"`) + `]`), []string{`"q" rank of a,b,c: u says both_bad`}, "", 1},
		"a verdict and part of one":    {record(`"rank":[` + by("u", `[`+r1+`]`) + `],"verdict":[` + by("u", `"cant_say"`) + `]`), []string{`"q" rank of a,b,c: u says cant_say`}, "", 1},
		"two questions that agree":     {record(`"better":[` + by("u", `[`+r1+`,`+r2+`,`+r3+`]`) + `],"rank":[` + by("u", `[`+r3+`,`+r1+`,`+r2+`]`) + `]`), abc, "", 1},
		"two questions that do not":    {record(`"better":[` + by("u", `[`+r1+`,`+r2+`,`+r3+`]`) + `],"rank":[` + by("u", `[`+r1+`,{"value":"response-2","rank":4},`+r3+`]`) + `]`), nil, "says different things", 1},
		"one that cannot be read":      {record(`"better":[` + by("u", `[`+r1+`,`+r2+`,`+r3+`]`) + `],"rank":[` + by("u", `[`+r1+`,`+r2+`]`) + `]`), nil, "leaves out an answer", 1},
		"the best of them":             {record(`"best":[` + by("u", `"response-2"`) + `]`), nil, "which of three answers or more is the best", 1},
		"of two, names only":           {`[{"fields":{"prompt":"q","response-1":"a","response-2":"b"},"responses":{"x":[` + by("u", `["response-2","response-1"]`) + `]}}]`, nil, "without ranks", 1},
		"of two, a rank that is null":  {`[{"fields":{"prompt":"q","response-1":"a","response-2":"b"},"responses":{"x":[` + by("u", `[`+r1+`,{"value":"response-2","rank":null}]`) + `]}}]`, nil, "leaves out an answer", 1},
		"of two, equal":                {`[{"fields":{"prompt":"q","response-1":"a","response-2":"b"},"responses":{"x":[` + by("u", `[`+r1+`,{"value":"response-2","rank":1}]`) + `]}}]`, []string{`"q" compare of a,b: u says tie`}, "", 1},
		"of two, labels besides":       {`[{"fields":{"prompt":"q","response-1":"a","response-2":"b"},"responses":{"topics":[` + by("u", `["maths"]`) + `],"x":[` + by("u", `[`+r2+`,`+r1+`]`) + `]}}]`, []string{`"q" compare of a,b: u says win a b`}, "", 1},
		"not judged":                   {record(``), nil, "", 1},
		"a field that is not required": {`[{"fields":{"prompt":"q","response_a":"a","response_b":"b","response_c":null},"responses":{"x":[` + by("u", `"response_a"`) + `]}}]`, []string{`"q" compare of a,b: u says win a b`}, "", 1},
		"letters":                      {`[{"fields":{"prompt":"q","reply-a":"a","reply-b":"b","reply-c":"c"},"responses":{"x":[` + by("u", `[{"value":"reply-c","rank":3},{"value":"reply-b","rank":2},{"value":"reply-a","rank":1}]`) + `]}}]`, abc, "", 1},
		"messages":                     {`[{"fields":{"prompt":"q","reply_1":[{"role":"assistant","content":"a"}],"reply_2":"b","reply_3":"c"},"responses":{"x":[` + by("u", `[{"value":"reply_3","rank":3},{"value":"reply_2","rank":2},{"value":"reply_1","rank":1}]`) + `]}}]`, abc, "", 1},
		"ten answers":                  {`[{"fields":{"prompt":"q","response-1":"a","response-2":"b","response-3":"c"` + tenth + `},"responses":{}}]`, nil, "more answers than can be ranked", 0},
		"the same answer":              {`[{"fields":{"prompt":"q","response-1":"a","response-2":"b","response-3":"a"},"responses":{}}]`, nil, "two are the same", 0},
	} {
		c.test(t, name)
	}
	_, err := newTestStore(t).Import(context.Background(), strings.NewReader(`[{"fields":{"prompt":"q","response_1":"a","response_2":7,"response_3":"c"},"responses":{}}]`), "x.json", ImportOptions{})
	if err == nil || !strings.Contains(err.Error(), "x.json: element 1: as argilla: field response_2: neither text nor") {
		t.Error(err)
	}
}

// Tasks as Label Studio's documentation has them for <List> and <Ranker>, with and without buckets.
func TestStudioRankings(t *testing.T) {
	const items = `"items":[{"id":"blog","title":"10 tips","body":"a"},{"id":"mdn","title":"Arrow","body":"b"},{"id":"wiki","title":"c"}]`
	task := func(data, result string) string {
		return `[{"id":1,"data":{"question":"q",` + data + `},"annotations":[{"completed_by":3,"result":[` + result + `]}]}]`
	}
	ranker := func(value string) string {
		return `{"from_name":"rank","to_name":"results","type":"ranker","value":{"ranker":` + value + `}}`
	}
	verdict := func(control, choices string) string {
		return `{"from_name":"` + control + `","to_name":"prompt","type":"choices","value":{"choices":` + choices + `}}`
	}
	bca := []string{`"q" rank of a,b,c: user 3 says win b c a`}
	var ten []string
	for i := range 10 {
		ten = append(ten, fmt.Sprintf(`{"id":"%d","body":"%d"}`, i, i))
	}
	for name, c := range map[string]foreign{
		"an order":              {task(items, ranker(`{"rank":["mdn","wiki","blog"]}`)), bca, "", 1},
		"as it was first":       {task(items, ranker(`["mdn","wiki","blog"]`)), bca, "", 1},
		"one bucket":            {task(items, ranker(`{"_":[],"best":["mdn","wiki","blog"],"ads":[]}`)), bca, "", 1},
		"two buckets":           {task(items, ranker(`{"best":["mdn"],"ads":["wiki","blog"]}`)), nil, "several buckets", 1},
		"part in a bucket":      {task(items, ranker(`{"_":["blog"],"best":["mdn","wiki"]}`)), nil, "leaves out an answer", 1},
		"nothing in a bucket":   {task(items, ranker(`{"_":["blog","mdn","wiki"],"best":[]}`)), nil, "leaves out an answer", 1},
		"an answer twice":       {task(items, ranker(`{"rank":["mdn","wiki","blog","mdn"]}`)), nil, "has it twice", 1},
		"no order":              {task(items, ranker(`null`)), nil, "leaves out an answer", 1},
		"verdict":               {task(items, verdict("verdict", `["tie"]`)+`,`+ranker(`{"rank":["blog","mdn","wiki"]}`)), []string{`"q" rank of a,b,c: user 3 says tie`}, "", 1},
		"verdict after":         {task(items, ranker(`{"rank":["blog","mdn","wiki"]}`)+`,`+verdict("verdict", `["both_bad"]`)), []string{`"q" rank of a,b,c: user 3 says both_bad`}, "", 1},
		"verdict alone":         {task(items, verdict("verdict", `["cant_say"]`)), []string{`"q" rank of a,b,c: user 3 says cant_say`}, "", 1},
		"two verdicts":          {task(items, verdict("verdict", `["tie","both_bad"]`)+`,`+ranker(`{"rank":["mdn","wiki","blog"]}`)), bca, "", 1},
		"choices of other kind": {task(items, verdict("topic", `["tie"]`)+`,`+verdict("verdict", `["green"]`)+`,`+ranker(`{"rank":["mdn","wiki","blog"]}`)), bca, "", 1},
		"two rankers":           {task(items, ranker(`{"a":["mdn","wiki","blog"]}`)+`,`+ranker(`{"b":["mdn","blog","wiki"]}`)), nil, "says different things", 1},
		"numbers as ids":        {task(`"items":[{"id":1,"body":"a"},{"id":2,"body":"b"},{"id":30,"html":"c"}]`, ranker(`{"rank":["2","30","1"]}`)), bca, "", 1},
		"two answers":           {task(`"items":[{"id":"x","body":"a"},{"id":"y","body":"b"}]`, ranker(`{"rank":["y","x"]}`)), []string{`"q" compare of a,b: user 3 says win b a`}, "", 1},
		"two answers, tie":      {task(`"items":[{"id":"x","body":"a"},{"id":"y","body":"b"}]`, verdict("verdict", `["tie"]`)), []string{`"q" compare of a,b: user 3 says tie`}, "", 1},
		"not judged":            {task(items, ``), nil, "", 1},
		"the same id":           {task(`"items":[{"id":"x","body":"a"},{"id":"x","body":"b"},{"id":"y","body":"c"}]`, ``), nil, "the same id", 0},
		"the same answer":       {task(`"items":[{"id":"x","body":"a"},{"id":"y","body":"a"},{"id":"z","body":"c"}]`, ``), nil, "two are the same", 0},
		"ten answers":           {task(`"items":[`+strings.Join(ten, ",")+`]`, ``), nil, "more answers than can be ranked", 0},
		"cancelled": {
			`[{"id":1,"data":{"prompt":"q",` + items + `},"annotations":[{"was_cancelled":true,"completed_by":3,"result":[` + ranker(`{"rank":["blog","mdn","wiki"]}`) +
				`]},{"completed_by":{"email":"x@y"},"result":[` + ranker(`{"rank":["mdn","wiki","blog"]}`) + `]}]}]`,
			[]string{`"q" rank of a,b,c: x@y says win b c a`},
			"", 1,
		},
	} {
		c.test(t, name)
	}
	_, err := newTestStore(t).Import(context.Background(), strings.NewReader(task(`"items":[{"id":"x","body":"a"},{"id":"y","body":"b"},{"body":"c"}]`, ``)), "x.json", ImportOptions{})
	if err == nil || !strings.Contains(err.Error(), "found neither one answer nor two among the fields: items, question") {
		t.Error(err)
	}
}
