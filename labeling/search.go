package labeling

import "fmt"

// findNext brings the next hit of the search into view, and says how many there are.
func (m *model) findNext() {
	type place struct {
		pane int
		span
	}
	var hits []place
	for _, i := range m.reading() {
		for _, sp := range find(m.panes[i].text, m.search) {
			hits = append(hits, place{i, sp})
		}
	}
	m.tone = quiet
	switch {
	case m.search == "":
		m.status = "nothing is searched for; " + m.keys.name(actSearch) + " begins"
	case len(hits) == 0:
		m.status = fmt.Sprintf("%q is not in this item", m.search)
	default:
		m.hit = (m.hit + 1) % len(hits)
		h := hits[m.hit]
		m.panes[h.pane].seek(h.from)
		where := "prompt"
		if h.pane != promptPane {
			where = m.sides()[h.pane-1]
		}
		m.status = fmt.Sprintf("%d of %d × %q, %s", m.hit+1, len(hits), m.search, where)
	}
}

// reading is the order of the panes on the screen.
func (m *model) reading() []int {
	out := make([]int, len(m.panes))
	for i := range out {
		out[i] = i
	}
	return out
}
