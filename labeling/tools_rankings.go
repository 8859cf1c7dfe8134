package labeling

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Rankings of three answers and more in Argilla and Label Studio, both ways. What has to be declared there:
//
//	rg.RankingQuestion(name="ranking", values=["response_1", "response_2", …])
//	rg.LabelQuestion(name="verdict", labels=["both_bad", "cant_say"], required=False)
//
//	<List name="answers" value="$answers"/> <Ranker name="ranking" toName="answers"/>
//	<Choices name="verdict" toName="prompt"> tie, both_bad, cant_say
//
// A verdict counts before an order: Label Studio writes the order of the list where nobody has moved anything, and Argilla asks for an
// order whatever the verdict is, since a dataset needs a question that is required.

// Names of the fields and questions of a ranking.
const (
	rankingQuestion = "ranking"   // RankingQuestion; <Ranker name="ranking" toName="answers"/>
	argillaRanked   = "response_" // fields response_1 … response_9, the values of the question
	studioRanked    = "answers"   // <List name="answers" value="$answers"/>: [{id: answer1, title, body}]
	studioUnsorted  = "_"         // column of a Ranker with buckets: what is in none of them
)

// Why what a person says is not one ranking of all answers.
const (
	someEqual  dropped = "an order in which some answers are equal and others are not, which is no one ranking; the rest of the record is kept"
	incomplete dropped = "an order that leaves out an answer or has it twice; the rest of the record is kept"
	unranked   dropped = "an order of names without ranks, of which Argilla does not say that the first is the best; the rest of the record is kept"
	onlyBest   dropped = "which of three answers or more is the best, which is no ranking; the rest of the record is kept"
	buckets    dropped = "answers sorted into several buckets, which is no one ranking; the rest of the record is kept"
	tooMany    dropped = "more answers than can be ranked"
	sameAnswer dropped = "answers to be ranked of which two are the same"
	sameID     dropped = "answers to be ranked of which two have the same id"
)

func argillaRanking(j Judgement) any {
	answers := map[string]any{}
	for i, a := range j.Item.Answers {
		answers[argillaRanked+strconv.Itoa(i+1)] = a.String()
	}
	values := map[string]any{}
	switch j.Event.Choice {
	case Win:
		var ranks []any
		for place, i := range j.Event.Ranking {
			ranks = append(ranks, map[string]any{"value": argillaRanked + strconv.Itoa(i+1), "rank": place + 1})
		}
		values[rankingQuestion] = ranks
	default:
		var equal []any
		for i := range j.Item.Answers {
			equal = append(equal, map[string]any{"value": argillaRanked + strconv.Itoa(i+1), "rank": 1})
		}
		values[rankingQuestion] = equal
		if j.Event.Choice != Tie {
			values[studioVerdict] = j.Event.Choice
		}
	}
	return argillaAnswered(j, answers, values, nil)
}

// studioRanking is one item with the rankings of everyone who gave one.
func studioRanking(js []Judgement) any {
	it := js[0].Item
	id := func(i int) string { return fmt.Sprintf("answer%d", i+1) }
	var list, annotations []any
	for i, a := range it.Answers {
		list = append(list, map[string]any{"id": id(i), "title": fmt.Sprintf("Answer %d", i+1), "body": a.String()})
	}
	for _, j := range js {
		result := studioChoice(studioVerdict, j.Event.Choice)
		if j.Event.Choice == Win {
			var order []string
			for _, i := range j.Event.Ranking {
				order = append(order, id(i))
			}
			result = map[string]any{
				"from_name": rankingQuestion, "to_name": studioRanked, "type": "ranker",
				"value": map[string]any{"ranker": map[string]any{rankingQuestion: order}},
			}
		}
		annotations = append(annotations, studioAnnotation(j, []map[string]any{result}))
	}
	return map[string]any{
		"id":          it.Seq,
		"data":        map[string]any{"prompt": it.Prompt, studioRanked: list},
		"annotations": annotations,
	}
}

// numberedFields are the names of the most fields that number answers, as response_1, response_2 … or response-a, response-b … do.
func numberedFields(fields record) []string {
	marks := []func(int) string{
		func(i int) string { return strconv.Itoa(i + 1) },
		func(i int) string { return string(rune('a' + i)) },
	}
	var most []string
	for _, stem := range []string{"response", "answer", "reply", "completion", "generation", "generations"} {
		for _, separator := range []string{"_", "-", ""} {
			for _, mark := range marks {
				var names []string
				for name := stem + separator + mark(0); fields[name] != nil; name = stem + separator + mark(len(names)) {
					names = append(names, name)
				}
				if len(names) > len(most) {
					most = names
				}
			}
		}
	}
	return most
}

// toRank is the item of answers to be ranked; of two, a comparison.
func toRank(fields record, as []Answer) (Item, error) {
	prompt, err := promptOf(fields)
	if err != nil {
		return Item{}, err
	}
	if len(as) > maxRanked {
		return Item{}, tooMany
	}
	texts := map[string]bool{}
	for _, a := range as {
		texts[a.String()] = true
	}
	if len(texts) < len(as) {
		return Item{}, sameAnswer
	}
	it := Item{Mode: Rank, Prompt: prompt, Answers: as}
	if len(as) == 2 {
		it.Mode = Compare
	}
	return it, nil
}

// fromArgillaRanking reads {fields, responses: {question: [{value: [{value, rank}], user_id}]}} with an answer in each of the fields
// named. Values that are no such field, as those of a question for longer rankings, are left alone.
func fromArgillaRanking(r record, names []string) ([]Labelled, error) {
	as, err := answersIn(r.object("fields"), names)
	if err != nil {
		return nil, err
	}
	it, err := toRank(r.object("fields"), as)
	if err != nil {
		return nil, err
	}
	var orders, verdicts statements
	best := false
	for _, a := range argillaResponses(r) {
		switch v := a.value.(type) {
		case string:
			if c := orderless(v); c != "" && a.question == studioVerdict {
				verdicts.add(a.who, statement{Decision: Decision{Choice: c}})
			}
			best = best || slices.Contains(names, v)
		case []any:
			if st, ok := argillaOrder(v, names); ok {
				orders.add(a.who, st)
			}
		}
	}
	orders.overrule(verdicts)
	if best && len(orders.people) == 0 {
		return []Labelled{{Item: it}}, onlyBest
	}
	return orders.labelled(it)
}

// argillaOrder reads the value of a RankingQuestion; ok is false for a list of something else, such as labels or spans.
func argillaOrder(list []any, names []string) (st statement, ok bool) {
	ranks := map[string][]float64{}
	bare := false
	for _, e := range list {
		switch e := e.(type) {
		case string:
			bare = bare || slices.Contains(names, e)
		case map[string]any:
			name := record(e).text("value")
			ok = ok || record(e).has("rank") || slices.Contains(names, name)
			if rank, given := e["rank"].(float64); given {
				ranks[name] = append(ranks[name], rank)
			}
		}
	}
	if bare {
		return statement{problem: unranked}, true
	}
	return orderOf(ranks, names), ok
}

// orderOf is the order of the answers by their ranks, the smallest first; all equal is a tie.
func orderOf(ranks map[string][]float64, names []string) statement {
	var order []int
	for i, name := range names {
		if len(ranks[name]) != 1 {
			return statement{problem: incomplete}
		}
		order = append(order, i)
	}
	byRank := func(a, b int) int { return cmp.Compare(ranks[names[a]][0], ranks[names[b]][0]) }
	slices.SortFunc(order, byRank)
	equal := 0
	for place := 1; place < len(order); place++ {
		if byRank(order[place-1], order[place]) == 0 {
			equal++
		}
	}
	switch equal {
	case 0:
		return statement{Decision: Decision{Choice: Win, Ranking: order}}
	case len(order) - 1:
		return statement{Decision: Decision{Choice: Tie}}
	}
	return statement{problem: someEqual}
}

// studioList are the answers of a List, [{id, title, body, html}], each with its id as the source: the first one among the data.
func studioList(data record) []Answer {
	for _, key := range data.keys() {
		list, _ := data[key].([]any)
		var as []Answer
		for _, e := range list {
			m, _ := e.(map[string]any)
			id := record(m).text("id")
			if n, ok := m["id"].(float64); ok {
				id = strconv.FormatFloat(n, 'f', -1, 64)
			}
			for _, part := range []string{"body", "html", "title"} {
				if text, ok := m[part].(string); ok && id != "" {
					as = append(as, Answer{Text: text, Source: id})
					break
				}
			}
		}
		if len(as) > 1 && len(as) == len(list) {
			return as
		}
	}
	return nil
}

// fromStudioRanking reads a task {data, annotations: [{completed_by, result: [{type: ranker, value: {ranker}}]}]} with answers in a
// List.
func fromStudioRanking(r record, as []Answer) ([]Labelled, error) {
	it, err := toRank(r.object("data"), as)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range as {
		if slices.Contains(ids, a.Source) {
			return nil, sameID
		}
		ids = append(ids, a.Source)
	}
	var orders, verdicts statements
	for _, m := range studioAnnotations(r) {
		who := studioPerson(m)
		results, _ := m["result"].([]any)
		for _, e := range results {
			m, _ := e.(map[string]any)
			value := record(m).object("value")
			switch record(m).text("type") {
			case "ranker":
				orders.add(who, studioOrder(value["ranker"], ids))
			case "choices":
				if c := studioChosen(value); record(m).text("from_name") == studioVerdict && orderless(c) != "" {
					verdicts.add(who, statement{Decision: Decision{Choice: orderless(c)}})
				}
			}
		}
	}
	orders.overrule(verdicts)
	return orders.labelled(it)
}

// studioChosen is the one choice of a <Choices>; "" where there are several, or none.
func studioChosen(value record) string {
	if list, _ := value["choices"].([]any); len(list) == 1 {
		s, _ := list[0].(string)
		return s
	}
	return ""
}

// studioOrder reads the value of a Ranker: {name: [id, …]} with the Ranker's name or those of its buckets, or, as the first versions
// wrote it, the bare list.
func studioOrder(v any, ids []string) statement {
	list, _ := v.([]any)
	columns, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		column, _ := columns[name].([]any)
		switch {
		case name == studioUnsorted || len(column) == 0:
		case list != nil:
			return statement{problem: buckets}
		default:
			list = column
		}
	}
	ranks := map[string][]float64{}
	for place, e := range list {
		id, _ := e.(string)
		ranks[id] = append(ranks[id], float64(place))
	}
	return orderOf(ranks, ids)
}
