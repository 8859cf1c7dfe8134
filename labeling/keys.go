package labeling

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// act is something a key does.
type act string

// The acts, by the names under which a recipe can bind them to other keys.
const (
	actMuchLeft      act = "left_much"
	actClearlyLeft   act = "left_clearly"
	actSomewhatLeft  act = "left_somewhat"
	actSlightlyLeft  act = "left_slightly"
	actSlightlyRight act = "right_slightly"
	actSomewhatRight act = "right_somewhat"
	actClearlyRight  act = "right_clearly"
	actMuchRight     act = "right_much"
	actTie           act = "tie"
	actBothBad       act = "both_bad"
	actCantSay       act = "cant_say"
	actGood          act = "good"
	actBad           act = "bad"
	actConfirm       act = "confirm"
	actEdit          act = "edit"
	actLater         act = "later"
	actUndo          act = "undo"
	actRedo          act = "redo"
	actPrev          act = "previous"
	actNext          act = "next"
	actGoTo          act = "go_to"
	actNote          act = "note"
	actTags          act = "tags"
	actUp            act = "up"
	actDown          act = "down"
	actPageUp        act = "page_up"
	actPageDown      act = "page_down"
	actTop           act = "top"
	actBottom        act = "bottom"
	actFocus         act = "pane"
	actAxis          act = "next_axis"
	actZoom          act = "zoom"
	actDiff          act = "diff"
	actRaw           act = "raw"
	actLayout        act = "layout"
	actSearch        act = "search"
	actFindNext      act = "search_next"
	actClear         act = "clear"
	actFold          act = "fold"
	actCopy          act = "copy"
	actPanel         act = "panel"
	actInfo          act = "info"
	actGuide         act = "guidelines"
	actHelp          act = "help"
	actQuit          act = "quit"
)

// binding is an act with its keys and what the help says of it.
type binding struct {
	act  act // "" for a section of the help, or where keys is set for keys that always mean the same
	keys []string
	help string // "" where the act before says it for both
}

// defaultBindings is the table of keys, in the order of the help screen.
func defaultBindings() []binding {
	return []binding{
		{"", nil, "Choose"},
		{actMuchLeft, []string{"1"}, "left better"},
		{actClearlyLeft, []string{"2"}, ""},
		{actSomewhatLeft, []string{"3"}, ""},
		{actSlightlyLeft, []string{"4"}, ""},
		{actSlightlyRight, []string{"5"}, "right better"},
		{actSomewhatRight, []string{"6"}, ""},
		{actClearlyRight, []string{"7"}, ""},
		{actMuchRight, []string{"8"}, ""},
		{actTie, []string{"="}, "tie, equally good"},
		{actBothBad, []string{"b"}, "both are bad"},
		{actCantSay, []string{"x"}, "can't say"},
		{actGood, []string{"+", "a"}, "good"},
		{actBad, []string{"-"}, "bad"},
		{actAxis, []string{"tab"}, "next axis"},
		{actConfirm, []string{"enter"}, "confirm"},
		{"", nil, "Correct"},
		{actUndo, []string{"u", "backspace", "delete"}, "undo, without limit"},
		{actRedo, []string{"r"}, "redo"},
		{actPrev, []string{"left", "["}, "earlier, later item"},
		{actNext, []string{"right", "]"}, ""},
		{actLater, []string{"s"}, "set aside for later"},
		{"", nil, "Say why (optional)"},
		{actNote, []string{"c"}, "comment, tick reasons"},
		{actTags, []string{"t"}, ""},
		{actEdit, []string{"e"}, "write it better"},
		{"", nil, "Else"},
		{actGuide, []string{"g"}, "guidelines"},
		{actPanel, []string{"m"}, "my labels so far"},
		{actHelp, []string{"?", "h"}, "this help"},
		{actQuit, []string{"q", "ctrl+c"}, "quit (all is saved)"},
		{"", nil, "Read"},
		{actDown, []string{"down", "j"}, "scroll"},
		{actUp, []string{"up", "k"}, ""},
		{actPageDown, []string{"pgdown", " "}, "by pages"},
		{actPageUp, []string{"pgup"}, ""},
		{actTop, []string{"home"}, "to the ends"},
		{actBottom, []string{"end"}, ""},
		{actFocus, []string{"tab", "p"}, "what to scroll"},
		{actZoom, []string{"z"}, "zoom into it"},
		{actDiff, []string{"d"}, "mark different words"},
		{actRaw, []string{"w"}, "markdown or raw"},
		{actLayout, []string{"v"}, "side or stacked"},
		{actFold, []string{"f"}, "fold the prompt"},
		{actSearch, []string{"/"}, "search, next"},
		{actFindNext, []string{"n"}, ""},
		{actClear, []string{"esc"}, "end search and zoom"},
		{actGoTo, []string{"o"}, "open item by number"},
		{actCopy, []string{"y"}, "copy the text"},
		{actInfo, []string{"i"}, "models, after choice"},
		{"", nil, "In a line of text"},
		{"", []string{"enter"}, "done"},
		{"", []string{"esc"}, "give it up"},
		{"", []string{"left", "right", "home", "end", "ctrl+b", "ctrl+f", "ctrl+a", "ctrl+e"}, "move"},
		{"", []string{"backspace", "delete", "ctrl+h", "ctrl+d"}, "take a letter"},
		{"", []string{"ctrl+w", "ctrl+u", "ctrl+k"}, "a word, to the ends"},
	}
}

// keymap finds the act of a key.
type keymap struct {
	bindings []binding
	byKey    map[string]act
	inRate   map[string]bool // keys that bring the next axis where answers are rated, whatever they do elsewhere
}

// newKeymap applies what a recipe binds otherwise: act name to keys separated by spaces ("space" is the space bar).
func newKeymap(custom map[string]string) (keymap, error) {
	km := keymap{bindings: defaultBindings(), byKey: map[string]act{}, inRate: map[string]bool{}}
	left, wanted := map[string]string{}, map[string]bool{}
	for name, keys := range custom {
		left[name] = keys
	}
	for i := range km.bindings {
		b := &km.bindings[i]
		keys, ok := left[string(b.act)]
		if b.act == "" || !ok {
			continue
		}
		delete(left, string(b.act))
		if b.keys = strings.Fields(keys); len(b.keys) == 0 {
			return km, fmt.Errorf("keys.%s: no key", b.act)
		}
		for j, k := range b.keys {
			if k == "space" {
				b.keys[j] = " "
			}
			if k == "ctrl+c" && b.act != actQuit {
				return km, fmt.Errorf("keys.%s: ctrl+c quits, whatever else is bound", b.act)
			}
			wanted[b.keys[j]] = true
		}
	}
	if len(left) > 0 {
		var names []string
		for n := range left {
			names = append(names, n)
		}
		sort.Strings(names)
		return km, fmt.Errorf("keys.%s: there is no such act", names[0])
	}
	// A second key that an act has by default gives way to the recipe's.
	for i := range km.bindings {
		b := &km.bindings[i]
		if _, own := custom[string(b.act)]; own || b.act == "" || len(b.keys) < 2 {
			continue
		}
		b.keys = append(b.keys[:1:1], slices.DeleteFunc(slices.Clone(b.keys[1:]), func(k string) bool { return wanted[k] })...)
	}
	for i := range km.bindings {
		if b := &km.bindings[i]; b.act == actQuit && !slices.Contains(b.keys, "ctrl+c") {
			b.keys = append(b.keys, "ctrl+c")
		}
	}
	return km, km.index()
}

// index finds the acts by their keys. A key has one act, but the one that brings the next axis may move the focus elsewhere.
func (km keymap) index() error {
	for _, b := range km.bindings {
		if b.act == "" || b.act == actAxis {
			continue
		}
		for _, k := range b.keys {
			if other, taken := km.byKey[k]; taken {
				return fmt.Errorf("key %q is bound to both %s and %s", k, other, b.act)
			}
			km.byKey[k] = b.act
		}
	}
	for _, b := range km.bindings {
		if b.act != actAxis {
			continue
		}
		for _, k := range b.keys {
			if other, taken := km.byKey[k]; taken && other != actFocus {
				return fmt.Errorf("key %q is bound to both %s and %s", k, other, actAxis)
			}
			km.inRate[k] = true
		}
	}
	return nil
}

// preference is the side (0 left, 1 right) and strength that an act chooses.
func preference(a act) (side, strength int, ok bool) {
	switch a {
	case actMuchLeft:
		return 0, Much, true
	case actClearlyLeft:
		return 0, Clearly, true
	case actSomewhatLeft:
		return 0, Somewhat, true
	case actSlightlyLeft:
		return 0, Slightly, true
	case actSlightlyRight:
		return 1, Slightly, true
	case actSomewhatRight:
		return 1, Somewhat, true
	case actClearlyRight:
		return 1, Clearly, true
	case actMuchRight:
		return 1, Much, true
	}
	return 0, 0, false
}

// decision is the judgement that an act stands for on a task.
func decision(a act, t *Task) (Decision, bool) {
	mode := t.Item.mode()
	if side, strength, ok := preference(a); ok {
		if mode != Compare {
			return Decision{}, false
		}
		return t.Decide(side, strength), true
	}
	var c Choice
	switch {
	case a == actTie:
		c = Tie
	case a == actBothBad && mode == Single, a == actBad:
		c = Bad
	case a == actBothBad:
		c = BothBad
	case a == actGood:
		c = Good
	case a == actCantSay:
		c = CantSay
	}
	return Decision{Choice: c}, c != "" && slices.Contains(choicesOf(mode), c)
}

// describe says a judgement in words, in terms of the sides it was seen on, named as the screen names them.
func describe(e Event, sides []string) string {
	switch e.Choice {
	case Tie:
		return "tie"
	case BothBad:
		return "both bad"
	case CantSay:
		return "can't say"
	}
	switch {
	case e.Choice == Rated:
		return "rated " + ratingsText(e.Data.Ratings)
	case e.Choice != Win:
		return string(e.Choice)
	case len(e.Ranking) > 2 || len(sides) != 2:
		return orderText(e.Ranking, e.Shown, sides)
	}
	side := sides[0]
	if len(e.Shown) > 1 && len(e.Ranking) > 0 && e.Shown[1] == e.Ranking[0] {
		side = sides[1]
	}
	return side + " " + [...]string{"", "slightly ", "somewhat ", "clearly ", "much "}[e.Strength] + "better"
}

// orderText is a ranking in the names the answers have on the screen, best first.
func orderText(ranking, shown []int, sides []string) string {
	var parts []string
	for _, a := range ranking {
		at := slices.Index(shown, a)
		if at < 0 { // imported: no order was shown
			at = a
		}
		if at >= len(sides) {
			sides = numbered(max(at+1, 2))
		}
		parts = append(parts, sides[at])
	}
	return strings.Join(parts, " ≻ ")
}

// ratingsText is "helpful 4, honest 5", by the axes' names.
func ratingsText(ratings map[string]int) string {
	var parts []string
	for _, axis := range slices.Sorted(maps.Keys(ratings)) {
		parts = append(parts, fmt.Sprintf("%s %d", isolated(axis), ratings[axis]))
	}
	return strings.Join(parts, ", ")
}

// describeAct says any act in words.
func describeAct(e Event, sides []string) string {
	switch e.Kind {
	case Judge, Repeat, Adjudicate:
		return describe(e, sides)
	case Draft:
		if e.Data.Ratings != nil {
			return "rating"
		}
		return "place in the order"
	case Edit:
		return "edited answer"
	case Later:
		return "set aside"
	case Note, RepeatNote:
		return "comment"
	case Tag, RepeatTag:
		return "reasons"
	}
	return string(e.Kind)
}
