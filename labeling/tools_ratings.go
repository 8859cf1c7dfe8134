package labeling

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Ratings of an answer in Argilla and Label Studio, both ways: a RatingQuestion, or a <Rating>, of each axis.

// Names that a rating's export takes for itself.
const (
	ratedPrompt  = "prompt"
	argillaRated = "response" // field
	studioRated  = "answer"   // <Text name="answer" value="$answer"/>
	ratedVerdict = studioVerdict

	axisTitle = "axis_" // metadata of an Argilla record: the axis of a question whose name is not the axis
)

// argillaQuestionName is an axis as the name of a question, which Argilla wants of lower-case letters, digits, _ and -, one letter or
// digit at least; "" where nothing of the axis is left, or the name is taken.
func argillaQuestionName(axis string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, axis)
	if strings.Trim(name, "_-") == "" || name == ratedVerdict || name == ratedPrompt || name == argillaRated {
		return ""
	}
	return name
}

// studioControlName is an axis as the name of a control; "" where it is the name of something else there.
func studioControlName(axis string) string {
	if axis == ratedPrompt || axis == studioRated || axis == ratedVerdict {
		return ""
	}
	return axis
}

// namedRatings are the ratings of a judgement under the names that a tool has for their axes, and the axes by name. The axes
// without one, or with the name of another, are counted.
func (x *exporter) namedRatings(j Judgement, name func(string) string) (ratings map[string]int, axes map[string]string) {
	ratings, axes = map[string]int{}, map[string]string{}
	for _, axis := range slices.Sorted(maps.Keys(j.Event.Data.Ratings)) {
		n := name(axis)
		if _, taken := axes[n]; n == "" || taken {
			if x.out.Unnamed == nil {
				x.out.Unnamed = map[string]int{}
			}
			x.out.Unnamed[axis]++
			continue
		}
		ratings[n], axes[n] = j.Event.Data.Ratings[axis], axis
	}
	return ratings, axes
}

// argillaRating is the record of one person's ratings; ok is false where none of them has a place. The verdict is the question that is
// required, for a dataset has to have one and nobody has to rate on every axis.
func (x *exporter) argillaRating(j Judgement) (rec any, ok bool) {
	values, metadata := map[string]any{}, map[string]any{}
	ratings, axes := x.namedRatings(j, argillaQuestionName)
	for name, v := range ratings {
		values[name] = v
		if axes[name] != name {
			metadata[axisTitle+name] = axes[name]
		}
	}
	if len(values) > 0 || j.Event.Choice == CantSay {
		values[ratedVerdict] = j.Event.Choice
	}
	return argillaAnswered(j, map[string]any{argillaRated: j.Item.Answers[0].String()}, values, metadata), len(values) > 0
}

// studioRatings is one item with the ratings of everyone who gave some; ok is false where none of them has a place.
func (x *exporter) studioRatings(js []Judgement) (task any, ok bool) {
	var annotations []any
	for _, j := range js {
		var result []map[string]any
		if j.Event.Choice == CantSay {
			result = append(result, studioChoice(ratedVerdict, CantSay))
		}
		ratings, _ := x.namedRatings(j, studioControlName)
		for _, name := range slices.Sorted(maps.Keys(ratings)) {
			result = append(result, map[string]any{
				"from_name": name, "to_name": studioRated, "type": "rating", "value": map[string]any{"rating": ratings[name]},
			})
		}
		if len(result) == 0 {
			x.out.LeftOut[string(Rated)]++
			continue
		}
		annotations = append(annotations, studioAnnotation(j, result))
	}
	return studioOne(js[0].Item, annotations), len(annotations) > 0
}

// studioOne is a task of one answer.
func studioOne(it Item, annotations []any) any {
	return map[string]any{
		"id":          it.Seq,
		"data":        map[string]any{ratedPrompt: it.Prompt, studioRated: it.Answers[0].String()},
		"annotations": annotations,
	}
}

// oneAnswer finds prompt and a single answer among named texts, as an item to rate.
func oneAnswer(fields record) (Item, error) {
	prompt, err := promptOf(fields)
	if err != nil {
		return Item{}, err
	}
	for _, name := range []string{"response", "answer", "completion", "output", "generation"} {
		if !fields.has(name) {
			continue
		}
		as, err := answersIn(fields, []string{name})
		return Item{Mode: Rate, Prompt: prompt, Answers: as}, err
	}
	return Item{}, errors.New("found neither one answer nor two among the fields: " + strings.Join(fields.keys(), ", "))
}

// ratingsBy collects what several people say of one answer, in the order in which they first do.
type ratingsBy struct {
	people  []string
	ratings map[string]map[string]int
	cantSay map[string]bool
	other   bool // something was said that is no rating here
}

func (b *ratingsBy) see(who string) {
	if b.ratings == nil {
		b.ratings, b.cantSay = map[string]map[string]int{}, map[string]bool{}
	}
	if b.ratings[who] == nil {
		b.people, b.ratings[who] = append(b.people, who), map[string]int{}
	}
}

// add takes a rating where it is one.
func (b *ratingsBy) add(who, axis string, value any) {
	b.see(who)
	v, ok := value.(float64)
	if !ok || axis == "" || v != float64(int(v)) || v < 1 || v > MaxRating {
		b.other = true
		return
	}
	b.ratings[who][axis] = int(v)
}

// labelled are the judgements; an item of which nothing could be read enters undecided. The error counts what was no rating.
func (b *ratingsBy) labelled(it Item) ([]Labelled, error) {
	var out []Labelled
	for _, who := range b.people {
		l := Labelled{Item: it, Annotator: who}
		switch {
		case len(b.ratings[who]) > 0:
			l.Decision, l.Data.Ratings = &Decision{Choice: Rated}, b.ratings[who]
		case b.cantSay[who]:
			l.Decision = &Decision{Choice: CantSay}
		default:
			continue
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		out = append(out, Labelled{Item: it})
	}
	if b.other {
		return out, dropped(fmt.Sprintf("a value that is no rating from 1 to %d, of a record with one answer; the rest of it is kept", MaxRating))
	}
	return out, nil
}

// fromArgillaOne reads {fields, responses: {question: [{value, user_id}]}} of one answer.
func fromArgillaOne(r record) ([]Labelled, error) {
	it, err := oneAnswer(r.object("fields"))
	if err != nil {
		return nil, err
	}
	return saidOfOne(it, argillaResponses(r), func(question string) string {
		if axis := r.object("metadata").text(axisTitle + question); axis != "" {
			return axis
		}
		return question
	})
}

// fromStudioOne reads a task {data, annotations: [{completed_by, result}]} of one answer.
func fromStudioOne(r record) ([]Labelled, error) {
	it, err := oneAnswer(r.object("data"))
	if err != nil {
		return nil, err
	}
	var said []response
	for _, annotation := range studioAnnotations(r) {
		results, _ := annotation["result"].([]any)
		for _, e := range results {
			m, _ := e.(map[string]any)
			a := response{question: record(m).text("from_name"), who: studioPerson(annotation)}
			if value := record(m).object("value"); record(m).text("type") == "rating" {
				a.value = value["rating"]
			} else {
				a.value = studioChosen(value)
			}
			said = append(said, a)
		}
	}
	return saidOfOne(it, said, func(control string) string { return control })
}
