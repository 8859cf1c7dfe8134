package labeling

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// runPlain asks item by item in lines of text: nothing is drawn, moved or coloured.
func runPlain(ctx context.Context, ss *Session, opt Options) error {
	keys, err := newKeymap(opt.Keys)
	if err != nil {
		return err
	}
	p := &plain{ss: ss, opt: opt, keys: keys, out: bufio.NewWriter(opt.Out), lines: make(chan string), failed: make(chan error, 1)}
	// Reading blocks until the next line, so it has its own goroutine: a cancelled context does not wait for Enter. After
	// that the goroutine ends with the line or the end of In.
	go func() {
		in := bufio.NewScanner(opt.In)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			select {
			case p.lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
		err := in.Err()
		if err == nil {
			err = io.EOF
		}
		p.failed <- err
	}()
	return p.run(ctx)
}

type plain struct {
	ss     *Session
	opt    Options
	keys   keymap
	sat    int // judgements of this sitting
	out    *bufio.Writer
	lines  chan string
	failed chan error
}

// ask prints what was written so far and waits for a line, without spaces around it.
func (p *plain) ask(ctx context.Context, prompt string) (string, error) {
	l, err := p.line(ctx, prompt)
	return strings.TrimSpace(l), err
}

func (p *plain) line(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(p.out, prompt)
	if err := p.out.Flush(); err != nil {
		return "", err
	}
	select {
	case l := <-p.lines:
		return l, nil
	case err := <-p.failed:
		return "", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (p *plain) run(ctx context.Context) error {
	pace, err := p.pace(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s. Type a key and Enter; %s lists the keys.\n", pace, p.key(actHelp))
	task, err := p.ss.Resume(ctx)
	if err != nil {
		return err
	}
	shown := int64(-1)
	at := p.ss.now()
	for {
		switch {
		case task == nil && p.opt.Review:
			fmt.Fprintln(p.out, "\nNothing is left to adjudicate.")
		case task == nil:
			fmt.Fprintln(p.out, "\nNothing is left to judge.")
		case task.Item.Seq != shown:
			p.show(task)
			shown, at = task.Item.Seq, p.ss.now()
		}
		line, err := p.ask(ctx, "> ")
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(p.out)
			return p.out.Flush()
		}
		if err != nil {
			return err
		}
		next, quit, err := p.answer(ctx, task, line, p.ss.now().Sub(at))
		if err != nil {
			return err
		}
		if quit {
			return p.out.Flush()
		}
		if next == nil && task != nil || next != nil && (task == nil || next.Item.Seq != task.Item.Seq) {
			shown = -1
		}
		task = next
	}
}

func (p *plain) show(t *Task) {
	doc, _ := promptDocument(t.Item.Prompt, true)
	fmt.Fprintf(p.out, "\nItem %d. Prompt:\n%s\n\n", t.Item.Seq, doc.text)
	names := plainNames(len(t.Shown))
	for i, name := range names {
		fmt.Fprintf(p.out, "%s:\n%s\n\n", name, visible(t.Answer(i).String()))
	}
	for _, o := range t.Opinions {
		e := o.Event
		e.Shown = t.Shown
		said := fmt.Sprintf("%s says: %s.", visible(o.Annotator), describe(e, plainSides(t)))
		if len(o.Tags) > 0 {
			said += " Reasons: " + visible(strings.Join(o.Tags, ", ")) + "."
		}
		fmt.Fprintln(p.out, strings.TrimSpace(said+" "+visible(o.Note)))
	}
	if t.Judged != nil {
		fmt.Fprintf(p.out, "You chose: %s.\n", describe(*t.Judged, plainSides(t)))
	}
	if t.Draft != nil && len(t.Draft.Ranking) > 0 {
		fmt.Fprintf(p.out, "Your order so far: %s.\n", orderText(t.Draft.Ranking, t.Shown, numbered(len(t.Shown))))
	}
	if t.Note != "" {
		fmt.Fprintf(p.out, "Your comment: %s\n", visible(t.Note))
	}
	if len(t.Tags) > 0 {
		fmt.Fprintf(p.out, "Your reasons: %s.\n", visible(strings.Join(t.Tags, ", ")))
	}
	fmt.Fprintln(p.out, p.hint(t))
}

// plainSides are the answers where there is no left and right.
func plainSides(t *Task) []string {
	if t == nil || len(t.Shown) == 2 && t.Item.mode() == Compare {
		return []string{"first", "second"}
	}
	return numbered(len(t.Shown))
}

// plainNames are the headings of the answers.
func plainNames(n int) []string {
	switch n {
	case 1:
		return []string{"Answer"}
	case 2:
		return []string{"First answer", "Second answer"}
	}
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("Answer %d", i+1)
	}
	return out
}

// answer does what a line says and returns the task to be at then.
func (p *plain) answer(ctx context.Context, t *Task, line string, took time.Duration) (next *Task, quit bool, err error) {
	verb, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	a := p.keys.typed(verb)
	if t != nil {
		if d, ratings, ok := p.numbers(t, line); ok {
			next, err = p.judge(ctx, t, d, ratings, took)
			return next, false, err
		}
	}
	switch a {
	case actQuit:
		return t, true, nil
	case actHelp:
		p.help(t)
		return t, false, nil
	case actGuide:
		fmt.Fprintln(p.out, p.guidelines())
		return t, false, nil
	case actPanel:
		return t, false, p.panel(ctx)
	case actUndo, actRedo:
		next, err = p.turn(ctx, t, a)
		return next, false, err
	case actPrev, actNext, actGoTo:
		next, err = p.goTo(ctx, t, a, rest)
		return next, false, err
	}
	if t == nil {
		fmt.Fprintf(p.out, "%s takes back the last key, %s quits.\n", p.key(actUndo), p.key(actQuit))
		return nil, false, nil
	}
	switch a {
	case actLater:
		if _, err := p.ss.Later(ctx, t, took); err != nil {
			return nil, false, err
		}
		next, err = p.ss.Next(ctx, t.Item.Seq)
		return next, false, err
	case actNote:
		if _, err := p.ss.Note(ctx, t, rest); err != nil {
			return nil, false, err
		}
		fmt.Fprintln(p.out, "Comment saved.")
		next, err = p.ss.task(ctx, t.Item.Seq, t.Again)
		return next, false, err
	case actTags:
		next, err = p.reasons(ctx, t, rest)
		return next, false, err
	case actEdit:
		return t, false, p.edit(ctx, t, rest, took)
	}
	d, ok := decision(a, t)
	if !ok || rest != "" {
		fmt.Fprintf(p.out, "%q means nothing here; %s lists the keys.\n", visible(line), p.key(actHelp))
		return t, false, nil
	}
	next, err = p.judge(ctx, t, d, nil, took)
	return next, false, err
}

// goTo is the item before or after, or the one that is asked for.
func (p *plain) goTo(ctx context.Context, t *Task, a act, name string) (next *Task, err error) {
	from := int64(1) << 62 // where nothing is left: back to the last item
	if t != nil {
		from = t.Item.Seq
	}
	switch a {
	case actPrev:
		next, err = p.ss.Neighbour(ctx, from, -1)
	case actNext:
		next, err = p.ss.Neighbour(ctx, from, 1)
	default:
		next, err = p.ss.Find(ctx, name)
	}
	if err == nil && next == nil {
		fmt.Fprintln(p.out, "No item there.")
		return t, nil
	}
	return next, err
}

// turn takes the last act back, or does it again.
func (p *plain) turn(ctx context.Context, t *Task, a act) (*Task, error) {
	turn, word, step := p.ss.Undo, "undone", -1
	if a == actRedo {
		turn, word, step = p.ss.Redo, "redone", 1
	}
	e, err := turn(ctx)
	if err != nil {
		return nil, err
	}
	if e == nil {
		fmt.Fprintln(p.out, "Nothing to do.")
		return t, nil
	}
	was, err := p.ss.taskOf(ctx, *e)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(p.out, "%s: %s (item %d).\n", word, describeAct(*e, plainSides(was)), e.Item)
	judged := e.Kind == Judge || e.Kind == Repeat || e.Kind == Adjudicate
	if judged {
		p.sat = max(0, p.sat+step)
	}
	if a == actRedo && (judged || e.Kind == Later) {
		return p.ss.Next(ctx, e.Item)
	}
	return was, nil
}

func (p *plain) judge(ctx context.Context, t *Task, d Decision, ratings map[string]int, took time.Duration) (*Task, error) {
	e, err := p.ss.Judge(ctx, t, d, took, Data{Screen: "plain", Ratings: ratings})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(p.out, "Saved: %s", describe(e, plainSides(t)))
	if p.opt.Opinion {
		fmt.Fprint(p.out, modelsSay(t, e))
	}
	if t.Judged == nil {
		p.sat++
	}
	if err := p.count(ctx, t.Judged == nil); err != nil {
		return nil, err
	}
	return p.ss.Next(ctx, t.Item.Seq)
}

// numbers reads an order or ratings off a line.
func (p *plain) numbers(t *Task, line string) (d Decision, ratings map[string]int, ok bool) {
	var ns []int
	for _, f := range strings.Fields(line) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return d, nil, false
		}
		ns = append(ns, n)
	}
	switch {
	case t.Item.mode() == Rank && len(ns) == len(t.Shown):
		for _, n := range ns {
			if n < 1 || n > len(t.Shown) {
				return d, nil, false
			}
			d.Ranking = append(d.Ranking, t.Shown[n-1])
		}
		d.Choice = Win
		return d, nil, distinct(d.Ranking, len(t.Shown)) == nil
	case t.Item.mode() == Rate && len(ns) == len(p.opt.Axes):
		ratings = map[string]int{}
		for i, n := range ns {
			if n < 1 || n > MaxRating {
				return d, nil, false
			}
			ratings[p.opt.Axes[i]] = n
		}
		return Decision{Choice: Rated}, ratings, true
	}
	return d, nil, false
}

// edit takes a better answer, line by line up to one that is a full stop.
func (p *plain) edit(ctx context.Context, t *Task, which string, took time.Duration) error {
	n, err := strconv.Atoi(which)
	if len(t.Shown) == 1 && which == "" {
		n, err = 1, nil
	}
	if err != nil || n < 1 || n > len(t.Shown) {
		fmt.Fprintf(p.out, "%s N, with N from 1 to %d, writes that answer better.\n", p.keys.name(actEdit), len(t.Shown))
		return nil
	}
	fmt.Fprintln(p.out, "Type the better answer; a line with only a full stop ends it.")
	var text []string
	for {
		l, err := p.line(ctx, "")
		if errors.Is(err, io.EOF) || l == "." {
			break
		}
		if err != nil {
			return err
		}
		text = append(text, l)
	}
	if _, err := p.ss.Edit(ctx, t, t.Shown[n-1], strings.Join(text, "\n"), took); err != nil {
		fmt.Fprintf(p.out, "Not saved: %v.\n", err)
		return nil
	}
	fmt.Fprintln(p.out, "Saved: edited answer.")
	return nil
}
