package labeling

// Who said what in a record of Argilla.

// response is what a person says in answer to one question of a record.
type response struct {
	question string
	who      string
	value    any
}

// argillaResponses are the responses of a record, by the names of the questions. Who gave one is the user's id, and the name in the
// metadata for the id that is made of that name. It is also the name of a single person with another id: Argilla refuses ids that it
// does not know, so those of an export may have been exchanged for its own.
func argillaResponses(r record) []response {
	var out []response
	people := map[string]bool{}
	responses := r.object("responses")
	for _, q := range responses.keys() {
		list, _ := responses[q].([]any)
		for _, e := range list {
			m, _ := e.(map[string]any)
			out = append(out, response{q, record(m).text("user_id"), m["value"]})
			people[record(m).text("user_id")] = true
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
