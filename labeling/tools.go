package labeling

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// Argilla and Label Studio, both ways. What the exports write the imports read.

// Names of the fields and questions that the exports use.
const (
	argillaQuestion = "preference" // LabelQuestion: response_a, response_b, tie, both_bad, cant_say
	studioControl   = "comparison" // <Pairwise name="comparison" toName="answer1,answer2"/>
	studioVerdict   = "verdict"    // <Choices name="verdict" toName="prompt"> tie, both_bad, cant_say
	studioStrength  = "strength"   // <Rating name="strength" toName="prompt" maxRating="4"/>
	studioName      = "annotator"  // in a result's meta, who said it
)

var errNoAnswers = errors.New("found no two answers among the fields")

// promptOf finds the prompt among named texts.
func promptOf(fields record) (prompt Prompt, err error) {
	for _, k := range []string{"prompt", "instruction", "question", "input", "context", "text"} {
		if v, ok := fields[k]; ok {
			if text, ok := v.(string); ok {
				prompt.Text = text
			} else if prompt.Messages, err = messages(v); err != nil {
				return prompt, fmt.Errorf("field %s: %w", k, err)
			}
			break
		}
	}
	return prompt, nil
}

// answersIn are the answers in named fields: texts, or messages.
func answersIn(fields record, names []string) ([]Answer, error) {
	var as []Answer
	for _, n := range names {
		if text, ok := fields[n].(string); ok {
			as = append(as, Answer{Text: text, Source: n})
			continue
		}
		ms, err := messages(fields[n])
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", n, err)
		}
		as = append(as, answer(ms, n))
	}
	return as, nil
}

// twoAnswers finds prompt and two answers among named texts. Extra fields are left alone.
func twoAnswers(fields record) (prompt Prompt, names [2]string, as []Answer, err error) {
	if prompt, err = promptOf(fields); err != nil {
		return prompt, names, nil, err
	}
	for _, pairNames := range [][2]string{
		{"response_a", "response_b"},
		{"response-1", "response-2"},
		{"response_1", "response_2"},
		{"response1", "response2"},
		{"answer1", "answer2"},
		{"answer_a", "answer_b"},
		{"completion_a", "completion_b"},
		{"generation-1", "generation-2"},
		{"chosen", "rejected"},
	} {
		if !fields.has(pairNames[0], pairNames[1]) {
			continue
		}
		as, err = answersIn(fields, pairNames[:])
		return prompt, pairNames, as, err
	}
	return prompt, names, nil, fmt.Errorf("%w: %s", errNoAnswers, strings.Join(fields.keys(), ", "))
}

// verdict reads the names under which people file a choice.
func verdict(value string, names [2]string) *Decision {
	var d Decision
	switch strings.ToLower(value) {
	case names[0], "left", "a", "1":
		d = Prefer(0, 0)
	case names[1], "right", "b", "2":
		d = Prefer(1, 0)
	default:
		if d.Choice = orderless(value); d.Choice == "" {
			return nil
		}
	}
	return &d
}

// orderless reads the names of the choices that put no answer before another; "" for other names.
func orderless(value string) Choice {
	switch strings.ToLower(value) {
	case "tie", "equal", "both":
		return Tie
	case "both_bad", "both bad", "neither":
		return BothBad
	case "cant_say", "can't say", "unsure":
		return CantSay
	}
	return ""
}

// fromArgilla reads a record {fields, responses: {question: [{value, user_id}]}}; the value is a label, or the ranks of field names, or
// of one answer a number.
func fromArgilla(r record) ([]Labelled, error) {
	if names := numberedFields(r.object("fields")); len(names) > 2 {
		return fromArgillaRanking(r, names)
	}
	prompt, names, as, err := twoAnswers(r.object("fields"))
	if errors.Is(err, errNoAnswers) {
		return fromArgillaOne(r)
	}
	if err != nil {
		return nil, err
	}
	it := Item{Prompt: prompt, Answers: as}
	metadata := r.object("metadata")
	of := metadata.text("annotator")
	var out []Labelled
	var problem error
	for _, a := range argillaResponses(r) {
		var d *Decision
		switch v := a.value.(type) {
		case string:
			d = verdict(v, names)
		case []any:
			st, ok := argillaOrder(v, names[:])
			switch {
			case ok && st.problem == "":
				d = &st.Decision
			case ok && problem == nil:
				problem = st.problem
			}
		}
		if d == nil {
			continue
		}
		if s, ok := metadata["strength"].(float64); ok && d.Choice == Win && s >= 0 && s <= Much && (of == "" || of == a.who) {
			d.Strength = int(s)
		}
		out = append(out, Labelled{Item: it, Annotator: a.who, Decision: d})
	}
	if len(out) == 0 {
		out = append(out, Labelled{Item: it})
	}
	return out, problem
}

// fromLabelStudio reads a task {data, annotations: [{completed_by, result, lead_time}]}.
func fromLabelStudio(r record) ([]Labelled, error) {
	prompt, names, as, err := twoAnswers(r.object("data"))
	if errors.Is(err, errNoAnswers) {
		if list := studioList(r.object("data")); len(list) > 0 {
			return fromStudioRanking(r, list)
		}
		return fromStudioOne(r)
	}
	if err != nil {
		return nil, err
	}
	it := Item{Prompt: prompt, Answers: as}
	var out []Labelled
	for _, m := range studioAnnotations(r) {
		if d := studioResult(m["result"], names); d != nil {
			out = append(out, Labelled{Item: it, Annotator: studioPerson(m), Decision: d})
		}
	}
	if len(out) == 0 {
		out = append(out, Labelled{Item: it})
	}
	return out, nil
}

// studioAnnotations are a task's annotations that were not cancelled.
func studioAnnotations(r record) []record {
	list, _ := r["annotations"].([]any)
	if !r.has("annotations") {
		list, _ = r["completions"].([]any)
	}
	var out []record
	for _, e := range list {
		m, _ := e.(map[string]any)
		if cancelled, _ := m["was_cancelled"].(bool); !cancelled {
			out = append(out, m)
		}
	}
	return out
}

func studioResult(v any, names [2]string) *Decision {
	results, _ := v.([]any)
	var d *Decision
	strength := 0
	for _, e := range results {
		m, _ := e.(map[string]any)
		value := record(m).object("value")
		switch record(m).text("type") {
		case "pairwise":
			d = verdict(value.text("selected"), names)
		case "choices":
			if c, _ := value["choices"].([]any); len(c) == 1 && d == nil {
				s, _ := c[0].(string)
				d = verdict(s, names)
			}
		case "rating":
			if s, ok := value["rating"].(float64); ok && s >= 0 && s <= Much {
				strength = int(s)
			}
		}
	}
	if d != nil && d.Choice == Win {
		d.Strength = strength
	}
	return d
}

// studioPerson is whose an annotation is: the name that studioAnnotation left with a result, else the tool's own user, as of a copy of
// somebody's annotation.
func studioPerson(annotation record) string {
	results, _ := annotation["result"].([]any)
	if annotation["parent_annotation"] != nil {
		results = nil
	}
	for _, e := range results {
		m, _ := e.(map[string]any)
		if name := record(m).object("meta").text(studioName); name != "" {
			return name
		}
	}
	switch v := annotation["completed_by"].(type) {
	case string:
		return v
	case float64:
		return fmt.Sprintf("user %d", int(v))
	case map[string]any:
		return record(v).text("email")
	}
	return ""
}

// place is what the tools call the answer that a judgement chose.
func place(j Judgement, names [2]string) string {
	if j.Event.Choice == Win {
		return names[j.Event.Ranking[0]]
	}
	return string(j.Event.Choice)
}

func argillaComparison(j Judgement) any {
	names := [2]string{"response_a", "response_b"}
	return struct {
		ID          string         `json:"id"`
		Fields      map[string]any `json:"fields"`
		Metadata    map[string]any `json:"metadata"`
		Suggestions struct{}       `json:"suggestions"`
		Responses   map[string]any `json:"responses"`
		Status      string         `json:"status"`
	}{
		ID:        j.Item.Hash[:32] + "-" + shortHash(j.Event.Annotator),
		Fields:    map[string]any{"prompt": j.Item.Prompt, names[0]: j.Item.Answers[0].String(), names[1]: j.Item.Answers[1].String()},
		Metadata:  map[string]any{"annotator": j.Event.Annotator, "strength": j.Event.Strength, "seconds": argillaSeconds(j)},
		Responses: map[string]any{argillaQuestion: []any{argillaResponse(j, place(j, names))}},
		Status:    "completed",
	}
}

// argillaAnswered is the record of one person's responses: answers by field, values by question, and what the metadata have besides.
func argillaAnswered(j Judgement, answers, values, metadata map[string]any) any {
	fields := map[string]any{"prompt": j.Item.Prompt}
	maps.Copy(fields, answers)
	all := map[string]any{"annotator": j.Event.Annotator, "seconds": argillaSeconds(j)}
	maps.Copy(all, metadata)
	responses := map[string]any{}
	for question, v := range values {
		responses[question] = []any{argillaResponse(j, v)}
	}
	return map[string]any{
		"id":          j.Item.Hash[:32] + "-" + shortHash(j.Event.Annotator),
		"fields":      fields,
		"metadata":    all,
		"suggestions": struct{}{},
		"responses":   responses,
		"status":      "completed",
	}
}

// argillaResponse is one value. What does not say that it was submitted is a draft to Argilla.
func argillaResponse(j Judgement, value any) map[string]any {
	return map[string]any{"value": value, "user_id": userID(j.Event.Annotator), "status": "submitted"}
}

// argillaSeconds is how long a judgement took, with a fraction always: to Argilla 2 is no value of a FloatMetadataProperty.
func argillaSeconds(j Judgement) json.Number {
	s := strconv.FormatFloat(j.Event.Elapsed.Seconds(), 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return json.Number(s)
}

// userID is a UUID made of a name, since Argilla takes no names there.
func userID(name string) string {
	sum := sha256.Sum256([]byte("plumb annotator " + name))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8 (own making), variant 1 (RFC 9562)
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// studioComparison is one item with the annotations of everyone who judged it.
func studioComparison(js []Judgement) any {
	it := js[0].Item
	var annotations []any
	for _, j := range js {
		var result []map[string]any
		if j.Event.Choice == Win {
			result = append(result, map[string]any{
				"id": j.Event.Session + fmt.Sprint(j.Event.N), "from_name": studioControl, "to_name": "answer1", "type": "pairwise",
				"value": map[string]any{"selected": [2]string{"left", "right"}[j.Event.Ranking[0]]},
			})
			if j.Event.Strength > 0 {
				result = append(result, map[string]any{
					"from_name": studioStrength, "to_name": "prompt", "type": "rating", "value": map[string]any{"rating": j.Event.Strength},
				})
			}
		} else {
			result = append(result, studioChoice(studioVerdict, j.Event.Choice))
		}
		annotations = append(annotations, studioAnnotation(j, result))
	}
	return map[string]any{
		"id":          it.Seq,
		"data":        map[string]any{"prompt": it.Prompt, "answer1": it.Answers[0].String(), "answer2": it.Answers[1].String()},
		"annotations": annotations,
	}
}

// studioAnnotation is what one person said. Label Studio refuses a file with a completed_by that is none of its users and gives
// annotations without one to whoever imports; so the name goes with the results, whose meta it keeps as they are. What does not say
// whether it is the ground truth becomes so there.
func studioAnnotation(j Judgement, result []map[string]any) any {
	for _, r := range result {
		r["meta"] = map[string]any{studioName: j.Event.Annotator}
	}
	return map[string]any{"ground_truth": false, "lead_time": j.Event.Elapsed.Seconds(), "result": result}
}

// studioChoice is the result of a <Choices name="control" toName="prompt"/>.
func studioChoice(control string, c Choice) map[string]any {
	return map[string]any{"from_name": control, "to_name": "prompt", "type": "choices", "value": map[string]any{"choices": []string{string(c)}}}
}
