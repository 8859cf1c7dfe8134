package labeling

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
	out    *bufio.Writer
	lines  chan string
	failed chan error
}

// ask prints what was written so far and waits for a line.
func (p *plain) ask(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(p.out, prompt)
	if err := p.out.Flush(); err != nil {
		return "", err
	}
	select {
	case l := <-p.lines:
		return strings.TrimSpace(l), nil
	case err := <-p.failed:
		return "", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (p *plain) run(ctx context.Context) error {
	prog, err := p.ss.Progress(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%d of %d items judged. Type a key and Enter; ? lists the keys.\n", prog.Decided, prog.goal(p.opt.Goal))
	task, err := p.ss.Resume(ctx)
	if err != nil {
		return err
	}
	shown := int64(-1)
	at := p.ss.now()
	for {
		switch {
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
	text, _, _ := promptText(t.Item.Prompt)
	fmt.Fprintf(p.out, "\nItem %d. Prompt:\n%s\n\nFirst answer:\n%s\n\nSecond answer:\n%s\n\n", t.Item.Seq, text, visible(t.Answer(0).String()), visible(t.Answer(1).String()))
	if t.Judged != nil {
		fmt.Fprintf(p.out, "You chose: %s.\n", describe(*t.Judged, plainSides))
	}
	fmt.Fprintln(p.out, "1 first much better, 4 slightly, 5 second slightly better, 8 much, = tie, b both bad, x can't say.")
}

// plainSides are the two answers where there is no left and right.
var plainSides = [2]string{"first", "second"}

// answer does what a line says and returns the task to be at then.
func (p *plain) answer(ctx context.Context, t *Task, line string, took time.Duration) (next *Task, quit bool, err error) {
	verb, rest, _ := strings.Cut(line, " ")
	a := p.keys.byKey[verb]
	switch a {
	case actQuit:
		return t, true, nil
	case actHelp:
		for i, b := range p.keys.bindings {
			switch b.act {
			case "", actPrev, actNote, actTags, actDown, actPageDown, actTop, actFocus, actZoom, actDiff, actRaw, actLayout, actSearch, actInfo:
				continue
			}
			if l := p.keys.helpLine(i, plainSides); l != "" {
				fmt.Fprintln(p.out, l)
			}
		}
		fmt.Fprintf(p.out, "  %s TEXT  a comment\n", p.keys.name(actNote))
		return t, false, nil
	case actGuide:
		fmt.Fprintln(p.out, visible(p.opt.Guidelines))
		return t, false, nil
	case actUndo, actRedo:
		turn, word := p.ss.Undo, "undone"
		if a == actRedo {
			turn, word = p.ss.Redo, "redone"
		}
		e, err := turn(ctx)
		if err != nil {
			return nil, false, err
		}
		if e == nil {
			fmt.Fprintln(p.out, "Nothing to do.")
			return t, false, nil
		}
		fmt.Fprintf(p.out, "%s: %s (item %d).\n", word, describeAct(*e, plainSides), e.Item)
		if a == actRedo && (e.Kind == Judge || e.Kind == Later) {
			next, err = p.ss.Next(ctx, e.Item)
		} else {
			next, err = p.ss.Task(ctx, e.Item)
		}
		return next, false, err
	}
	if t == nil {
		fmt.Fprintln(p.out, "u takes back the last key, q quits.")
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
		if _, err := p.ss.Note(ctx, t, strings.TrimSpace(rest)); err != nil {
			return nil, false, err
		}
		fmt.Fprintln(p.out, "Comment saved.")
		return t, false, nil
	}
	d, ok := decision(a, t)
	if !ok || rest != "" {
		fmt.Fprintf(p.out, "%q means nothing here; ? lists the keys.\n", visible(line))
		return t, false, nil
	}
	e, err := p.ss.Judge(ctx, t, d, took, Data{Screen: "plain"})
	if err != nil {
		return nil, false, err
	}
	fmt.Fprintf(p.out, "Saved: %s.\n", describe(e, plainSides))
	next, err = p.ss.Next(ctx, t.Item.Seq)
	return next, false, err
}
