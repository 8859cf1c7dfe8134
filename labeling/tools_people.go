package labeling

import "slices"

// Who said what in the records of Argilla and Label Studio.

// response is what a person says in answer to one question of a record.
type response struct {
	question string
	who      string
	value    any
}

// argillaResponses are the responses of a record: {question: [{value, user_id}]}, as Argilla's Python SDK 2 writes them, or
// [{user_id, status, values: {question: {value}}}], as SDK 1 and the server do, of which drafts and what was discarded are left alone.
// Who gave one is the user's id, and the name in the metadata for the id that is made of that name. It is also the name of a single
// person with another id: Argilla refuses ids that it does not know, so those of an export may have been exchanged for its own.
func argillaResponses(r record) []response {
	var out []response
	people := map[string]bool{}
	add := func(question string, by record, value any) {
		who := by.text("user_id")
		people[who] = true // whose draft it is may be the person named
		if status := by.text("status"); status == "submitted" || status == "" {
			out = append(out, response{question, who, value})
		}
	}
	byQuestion := r.object("responses")
	for _, q := range byQuestion.keys() {
		list, _ := byQuestion[q].([]any)
		for _, e := range list {
			m, _ := e.(map[string]any)
			add(q, m, m["value"])
		}
	}
	byPerson, _ := r["responses"].([]any)
	for _, e := range byPerson {
		m, _ := e.(map[string]any)
		values := record(m).object("values")
		for _, q := range values.keys() {
			add(q, m, values.object(q)["value"])
		}
	}
	name := r.object("metadata").text("annotator")
	for i := range out {
		if name != "" && (len(people) == 1 || out[i].who == userID(name)) {
			out[i].who = name
		}
	}
	return out
}

// statement is what a person says of an item: a decision, or why it is none here.
type statement struct {
	Decision
	problem dropped
}

const contradiction dropped = "one person says different things of it; the rest of the record is kept"

// statements are those of several people on one item. The zero value has none.
type statements struct {
	people []string // in the order in which they first say something
	of     map[string]statement
}

// add takes what a person says. Said twice it must be the same: which of two contradictory answers counts is not for an import to
// choose.
func (s *statements) add(who string, st statement) {
	had, again := s.of[who]
	switch {
	case !again:
		s.put(who, st)
	case had.problem == "" && st.problem != "":
		s.put(who, st)
	case had.problem == "" && (had.Choice != st.Choice || !slices.Equal(had.Ranking, st.Ranking)):
		s.put(who, statement{problem: contradiction})
	}
}

func (s *statements) put(who string, st statement) {
	if s.of == nil {
		s.of = map[string]statement{}
	}
	if _, again := s.of[who]; !again {
		s.people = append(s.people, who)
	}
	s.of[who] = st
}

// overrule puts what people say in others in the place of what they say here.
func (s *statements) overrule(others statements) {
	for _, who := range others.people {
		s.put(who, others.of[who])
	}
}

// labelled are the judgements; an item of which nothing could be read enters undecided. The error is the first problem.
func (s *statements) labelled(it Item) ([]Labelled, error) {
	var out []Labelled
	var err error
	for _, who := range s.people {
		st := s.of[who]
		if st.problem == "" {
			out = append(out, Labelled{Item: it, Annotator: who, Decision: &st.Decision})
		} else if err == nil {
			err = st.problem
		}
	}
	if len(out) == 0 {
		out = append(out, Labelled{Item: it})
	}
	return out, err
}
