package labeling

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// of are the keys of an act on items that are judged in a mode: in rankings and ratings digits are places and values, and a
// key that brings the next axis does nothing else.
func (km keymap) of(a act, mode Mode) []string {
	i := slices.IndexFunc(km.bindings, func(b binding) bool { return b.act == a })
	if i < 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(km.bindings[i].keys), func(k string) bool {
		digit := len(k) == 1 && k[0] >= '1' && k[0] <= '9'
		return digit && (mode == Rank || mode == Rate) || mode == Rate && a != actAxis && km.inRate[k]
	})
}

// name is the first key of an act as the screen shows it.
func (km keymap) name(a act) string { return km.nameIn(a, Compare) }

// nameIn is the first key of an act on items that are judged in a mode; "" where it has none.
func (km keymap) nameIn(a act, mode Mode) string {
	if keys := km.of(a, mode); len(keys) > 0 {
		return keyName(keys[0])
	}
	return ""
}

func keyName(k string) string {
	switch k {
	case " ":
		return "space"
	case "backspace":
		return "bksp"
	case "delete":
		return "del"
	case "pgdown":
		return "pgdn"
	case "up":
		return "↑"
	case "down":
		return "↓"
	case "left":
		return "←"
	case "right":
		return "→"
	}
	return k
}

// sideKeys are the keys that choose a side, the first answer's with the strongest first: "1–4" where they are digits in a row.
func (km keymap) sideKeys() [2]string {
	acts := [2][4]act{
		{actMuchLeft, actClearlyLeft, actSomewhatLeft, actSlightlyLeft},
		{actSlightlyRight, actSomewhatRight, actClearlyRight, actMuchRight},
	}
	var out [2]string
	for side, as := range acts {
		var names []string
		row := true
		for i, a := range as {
			names = append(names, km.name(a))
			row = row && len(names[i]) == 1 && names[i][0] >= '1' && names[i][0] <= '9' && names[i][0] == names[0][0]+byte(i)
		}
		if out[side] = strings.Join(names, " "); row {
			out[side] = names[0] + "–" + names[3]
		}
	}
	return out
}

// keyColumn is the width of the keys in the help.
const keyColumn = 15

// helpLines are what a help screen says of binding i: its keys, and those of the acts that it speaks for, in as many lines as they
// take, and beside the first of them what they do. There are none where an act before speaks for it, or where it has no key.
func (km keymap) helpLines(i int, mode Mode, sides []string) []string {
	help := km.helpOf(km.bindings[i], mode, sides)
	if help == "" {
		return nil
	}
	var rows []string
	for j := i; j < len(km.bindings) && (j == i || km.bindings[j].help == ""); j++ {
		keys := km.bindings[j].keys
		if a := km.bindings[j].act; a != "" {
			keys = km.of(a, mode)
		}
		for _, k := range keys {
			n, last := keyName(k), len(rows)-1
			if last >= 0 && ansi.StringWidth(rows[last])+1+ansi.StringWidth(n) <= keyColumn {
				rows[last] += " " + n
			} else {
				rows = append(rows, n)
			}
		}
	}
	for r := range rows {
		rows[r] = "  " + rows[r]
	}
	if len(rows) > 0 {
		rows[0] += strings.Repeat(" ", max(1, 3+keyColumn-ansi.StringWidth(rows[0]))) + help
	}
	return rows
}

// helpOf is what a binding does, in the names that the answers have on the screen.
func (km keymap) helpOf(b binding, mode Mode, sides []string) string {
	switch side, _, ok := preference(b.act); {
	case ok && b.help != "" && len(sides) == 2:
		return fmt.Sprintf("%s better, %s most", sides[side], km.name([2]act{actMuchLeft, actMuchRight}[side]))
	case b.act == actTie && mode == Rank && len(sides) > 2:
		return "all equally good"
	case b.act == actBothBad && mode == Single:
		return "bad"
	case b.act == actBothBad && mode == Rank && len(sides) > 2:
		return "all are bad"
	}
	return b.help
}
