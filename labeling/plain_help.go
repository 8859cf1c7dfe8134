package labeling

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// typed is the act of a key that is typed as a word: itself, or space for the space bar.
func (km keymap) typed(word string) act {
	if word == "space" {
		word = " "
	}
	return km.byKey[word]
}

// key is the key of an act that is typed in the fewest letters, as it is typed and read aloud.
func (p *plain) key(a act) string {
	best := ""
	for _, k := range p.keys.of(a, Compare) {
		if k == " " {
			k = "space"
		}
		if best == "" || len(k) < len(best) {
			best = k
		}
	}
	return best
}

// hint is how to choose.
func (p *plain) hint(t *Task) string {
	cantSay := p.key(actCantSay) + " can't say."
	switch t.Item.mode() {
	case Rank:
		return fmt.Sprintf("Type the numbers of the %d answers, best first, as in 2 1 3; %s all equal, %s all bad, %s", len(t.Shown), p.key(actTie), p.key(actBothBad), cantSay)
	case Rate:
		return fmt.Sprintf("Type a number from 1 to %d for each of %s, with spaces; %s", MaxRating, strings.Join(p.opt.Axes, ", "), cantSay)
	case Single:
		return fmt.Sprintf("%s good, %s bad, %s", p.key(actGood), p.key(actBad), cantSay)
	}
	return fmt.Sprintf("%s first much better, %s slightly, %s second slightly better, %s much, %s tie, %s both bad, %s",
		p.key(actMuchLeft), p.key(actSlightlyLeft), p.key(actSlightlyRight), p.key(actMuchRight), p.key(actTie), p.key(actBothBad), cantSay)
}

// plainAct is what an act does in lines of text, and what follows its key.
type plainAct struct {
	act        act
	rest, help string
}

// plainActs are all that lines of text know.
func plainActs() []plainAct {
	return []plainAct{
		{actMuchLeft, "", "first much better"},
		{actClearlyLeft, "", "first clearly better"},
		{actSomewhatLeft, "", "first somewhat better"},
		{actSlightlyLeft, "", "first slightly better"},
		{actSlightlyRight, "", "second slightly better"},
		{actSomewhatRight, "", "second somewhat better"},
		{actClearlyRight, "", "second clearly better"},
		{actMuchRight, "", "second much better"},
		{actTie, "", "equally good"},
		{actBothBad, "", "all are bad"},
		{actGood, "", "good"},
		{actBad, "", "bad"},
		{actCantSay, "", "can't say"},
		{actUndo, "", "undo, without limit"},
		{actRedo, "", "redo"},
		{actPrev, "", "earlier item"},
		{actNext, "", "later item"},
		{actGoTo, "N", "item N"},
		{actLater, "", "set aside for later"},
		{actNote, "TEXT", "a comment"},
		{actTags, "N ...", "tick reasons, by their numbers; alone, lists them"},
		{actEdit, "N", "write answer N better"},
		{actGuide, "", "guidelines"},
		{actPanel, "", "your pace and your labels so far"},
		{actHelp, "", "this help"},
		{actQuit, "", "quit, all is saved"},
	}
}

// help lists the keys, one a line.
func (p *plain) help(t *Task) {
	mode := Compare
	if t != nil {
		mode = t.Item.mode()
		fmt.Fprintln(p.out, p.hint(t))
	}
	for _, h := range plainActs() {
		if helps(h.act, mode) && (mode != Single || h.act != actBothBad) {
			fmt.Fprintf(p.out, "  %-9s %s\n", strings.TrimSpace(p.key(h.act)+" "+h.rest), h.help)
		}
	}
}

func (p *plain) guidelines() string {
	if strings.TrimSpace(p.opt.Guidelines) == "" {
		return "No guidelines were given."
	}
	return visible(p.opt.Guidelines)
}

// pace is how far the work is and how fast it goes, in one sentence.
func (p *plain) pace(ctx context.Context) (string, error) {
	prog, err := p.ss.Progress(ctx)
	if err != nil {
		return "", err
	}
	t := p.opt.tell(prog, p.sat, plainSides(nil))
	if p.opt.Sitting == 0 && !p.opt.Review {
		t.count += " judged"
	}
	return strings.Join(append([]string{t.count}, t.pace...), ", "), nil
}

// panel says the pace, and how the person judges.
func (p *plain) panel(ctx context.Context) error {
	pace, err := p.pace(ctx)
	if err != nil {
		return err
	}
	text, err := p.ss.panelText(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s.\n%s", pace, text)
	return nil
}

// count ends the sentence that a judgement is saved with: how many there are now. The pace is said when it is asked for, and when the
// sitting's goal is reached: what is read aloud is not skipped with a glance.
func (p *plain) count(ctx context.Context, isNew bool) error {
	prog, err := p.ss.Progress(ctx)
	if err != nil {
		return err
	}
	t := p.opt.tell(prog, p.sat, plainSides(nil))
	fmt.Fprintf(p.out, ". %s.\n", t.count)
	if isNew && p.opt.Sitting > 0 && p.sat == p.opt.Sitting {
		fmt.Fprintf(p.out, "The goal of this sitting is reached, %s; %s quits.\n", strings.Join(t.pace, ", "), p.key(actQuit))
	}
	return nil
}

// reasons ticks reasons by their numbers, or lists them where there is none.
func (p *plain) reasons(ctx context.Context, t *Task, numbers string) (*Task, error) {
	if len(p.opt.Tags) == 0 {
		fmt.Fprintf(p.out, "This store has no list of reasons; %s TEXT is a comment.\n", p.key(actNote))
		return t, nil
	}
	tags := t.Tags
	for _, f := range strings.Fields(numbers) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 || n > len(p.opt.Tags) {
			fmt.Fprintf(p.out, "%s N, with N from 1 to %d, ticks or unticks that reason; nothing was changed.\n", p.key(actTags), len(p.opt.Tags))
			return t, nil
		}
		tags = toggled(tags, p.opt.Tags[n-1])
	}
	if numbers != "" {
		if _, err := p.ss.Tag(ctx, t, tags); err != nil {
			return nil, err
		}
		var err error
		if t, err = p.ss.task(ctx, t.Item.Seq, t.Again); err != nil {
			return nil, err
		}
	}
	var parts []string
	for i, name := range p.opt.Tags {
		part := fmt.Sprintf("%d %s", i+1, visible(name))
		if slices.Contains(t.Tags, name) {
			part += ", ticked"
		}
		parts = append(parts, part)
	}
	fmt.Fprintf(p.out, "Reasons: %s.\n", strings.Join(parts, "; "))
	return t, nil
}
