package labeling

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// modeKey gives a key to the mode of the item shown before it is looked up: digits and what goes with them mean another
// thing in each. taken is false where the mode has no use for it.
func (m *model) modeKey(k string) (cmd tea.Cmd, taken bool) {
	digit := 0
	if len(k) == 1 && k[0] >= '1' && k[0] <= '9' {
		digit = int(k[0] - '0')
	}
	switch m.mode() {
	case Rank:
		switch {
		case digit > 0:
			return m.place(digit - 1), true
		case m.keys.byKey[k] == actConfirm:
			return m.confirmOrder(), true
		}
	case Rate:
		switch {
		case digit > 0:
			return m.rate(digit), true
		case m.keys.inRate[k]:
			m.axis = (m.axis + 1) % len(m.opt.Axes)
			return nil, true
		case m.keys.byKey[k] == actConfirm:
			return m.confirmRatings(m.ratings()), true
		}
	}
	return nil, false
}

// keyOf is the first key of an act on the item shown.
func (m *model) keyOf(a act) string { return m.keys.nameIn(a, m.mode()) }

// modeHint says which keys choose in this mode.
func (m *model) modeHint() string {
	switch m.mode() {
	case Rank:
		return fmt.Sprintf("digits put the answers in order, best first; %s confirms", m.keyOf(actConfirm))
	case Rate:
		return fmt.Sprintf("1 to %d is the value, %s the next axis", MaxRating, m.keyOf(actAxis))
	case Single:
		return fmt.Sprintf("%s good, %s bad, %s can't say", m.keyOf(actGood), m.keyOf(actBad), m.keyOf(actCantSay))
	}
	return fmt.Sprintf("%s to %s choose", m.keyOf(actMuchLeft), m.keyOf(actMuchRight))
}

// title is the line over an answer: its name, and the keys or the place it has.
func (m *model) title(i int) string {
	sides := m.sides()
	name := strings.ToUpper(sides[i][:1]) + sides[i][1:]
	switch m.mode() {
	case Compare:
		return name + " · " + m.keys.sideKeys()[i]
	case Rank:
		if len(sides) == 2 {
			name = fmt.Sprintf("%s · %d", name, i+1)
		} else {
			name = "Answer " + name
		}
		for place, a := range m.placed() {
			if m.task.Shown[i] == a {
				return fmt.Sprintf("%s · %s", name, placeName(place))
			}
		}
	}
	return name
}

func placeName(place int) string {
	switch place {
	case 0:
		return "best"
	case 1:
		return "2nd"
	case 2:
		return "3rd"
	}
	return fmt.Sprintf("%dth", place+1)
}

// modeLine is the line of the footer that shows how to choose, and what is chosen.
func (m *model) modeLine() string {
	switch m.mode() {
	case Rank:
		return m.orderLine()
	case Rate:
		return m.ratingLine()
	case Single:
		return fit(" "+m.choiceKey(actGood, "good")+"    "+m.choiceKey(actBad, "bad"), m.w)
	}
	return m.scaleLine()
}
