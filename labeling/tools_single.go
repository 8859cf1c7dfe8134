package labeling

import "strings"

// One answer judged good or bad in Argilla and Label Studio, both ways. What has to be declared there:
//
//	rg.LabelQuestion(name="good_or_bad", labels=["good", "bad", "cant_say"])
//
//	<Choices name="good_or_bad" toName="prompt"> good, bad, cant_say

// goodOrBad is the name of the question: another one than that of ratings, so that can't say comes back in the mode it left in.
const goodOrBad = "good_or_bad"

func argillaSingle(j Judgement) any {
	return argillaAnswered(j, map[string]any{argillaRated: j.Item.Answers[0].String()}, map[string]any{goodOrBad: j.Event.Choice}, nil)
}

// studioSingle is one item with what everyone says of it.
func studioSingle(js []Judgement) any {
	var annotations []any
	for _, j := range js {
		annotations = append(annotations, studioAnnotation(j, []map[string]any{studioChoice(goodOrBad, j.Event.Choice)}))
	}
	return studioOne(js[0].Item, annotations)
}

// singleChoice reads the names of the choices of a single answer; "" for other values.
func singleChoice(value any) Choice {
	name, _ := value.(string)
	switch strings.ToLower(name) {
	case "good":
		return Good
	case "bad":
		return Bad
	}
	if orderless(name) == CantSay {
		return CantSay
	}
	return ""
}

// saidOfOne sorts what people say of one answer into judgements and ratings: a question is about good and bad where its name is
// good_or_bad, or somebody says so in answer to it, and about an axis else. A record with both gives an item of each mode.
func saidOfOne(it Item, said []response, axis func(question string) string) ([]Labelled, error) {
	single := map[string]bool{goodOrBad: true}
	for _, a := range said {
		if c := singleChoice(a.value); c == Good || c == Bad {
			single[a.question] = true
		}
	}
	var judged statements
	var rated ratingsBy
	var claimed []string // who say that they rated
	for _, a := range said {
		c := singleChoice(a.value)
		switch {
		case single[a.question] && c != "":
			judged.add(a.who, statement{Decision: Decision{Choice: c}})
		case a.question == ratedVerdict && a.value == string(Rated):
			claimed = append(claimed, a.who)
		case a.value == string(CantSay):
			rated.see(a.who)
			rated.cantSay[a.who] = true
		default:
			rated.add(a.who, axis(a.question), a.value)
		}
	}
	for _, who := range claimed {
		rated.other = rated.other || len(rated.ratings[who]) == 0
	}
	ratings, err := rated.labelled(it)
	if len(judged.people) == 0 {
		return ratings, err
	}
	it.Mode = Single
	out, problem := judged.labelled(it)
	if problem != nil {
		err = problem
	}
	if ratings[0].Decision != nil {
		out = append(out, ratings...)
	}
	return out, err
}
