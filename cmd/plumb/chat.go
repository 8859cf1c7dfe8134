package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"plumb/internal/chat"
	"plumb/internal/dataset"
	"plumb/internal/peft"
	"plumb/internal/rollout"
)

const chatHelp = `Type a message and press return. A line that ends with \ goes on.
  /reset        begin a new conversation
  /system TEXT  set the system message and begin anew
  /retry        another answer to the last message
  /undo         take back the last message and its answer
  /quit         leave (or ctrl-d)
`

// conversation is one sitting of plumb chat.
type conversation struct {
	*app
	l        *loaded
	opt      rollout.Options
	system   string
	messages []chat.Message
	draws    uint64 // answers drawn so far: each draw is another episode
}

func (a *app) chatCmd() *cobra.Command {
	var s samplingFlags
	var adapter, system string
	cmd := &cobra.Command{
		Use:   "chat MODEL [--adapter DIR] [flags]",
		Short: "Talk to a model",
		Long: `A conversation in the terminal, by the model's chat template. A model without one
continues each text by itself, without a memory. Messages are read line by line from
stdin, so that a conversation can also be piped in.

` + chatHelp,
		Args: args("one MODEL", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.load(cmd.Context(), args[0], adapter)
			if err != nil {
				return err
			}
			if err := l.needTokenizer(); err != nil {
				return err
			}
			if !l.Model.HasHead() {
				return fmt.Errorf("%s has no language-model head: it can only score", args[0])
			}
			opt, err := s.options(l)
			if err != nil {
				return err
			}
			if l.Template == nil {
				a.note("%s has no chat template: each text is continued as it stands", args[0])
				if system != "" {
					return usagef("--system needs a model with a chat template")
				}
			}
			c := &conversation{app: a, l: l, opt: opt, system: system}
			c.reset()
			return c.loop(cmd.Context())
		},
	}
	s.register(cmd)
	f := cmd.Flags()
	f.StringVar(&adapter, "adapter", "", "PEFT adapter folder to put on the model")
	f.StringVar(&system, "system", "", "system message")
	return cmd
}

func (c *conversation) reset() {
	c.messages = nil
	if c.system != "" {
		c.messages = []chat.Message{{Role: "system", Content: c.system}}
	}
}

func (c *conversation) loop(ctx context.Context) error {
	lines := make(chan string)
	readErr := make(chan error, 1)
	go func() { // A read cannot be interrupted: it is left behind when a signal comes.
		in := bufio.NewReader(c.in)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				lines <- strings.TrimRight(line, "\r\n")
			}
			if err != nil {
				readErr <- err
				return
			}
		}
	}()
	interactive := isTerminal(c.in)
	if interactive && !c.quiet {
		fmt.Fprint(c.err, chatHelp)
	}
	text := ""
	for {
		if interactive {
			fmt.Fprint(c.err, c.errTheme.Accent.Render("> "))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-readErr:
			if interactive {
				fmt.Fprintln(c.err)
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
			if text != "" { // a last line that was to go on
				_, err = c.turn(ctx, strings.TrimSuffix(text, "\n"))
				return err
			}
			return nil
		case line := <-lines:
			if rest, more := strings.CutSuffix(line, `\`); more {
				text += rest + "\n"
				continue
			}
			quit, err := c.turn(ctx, text+line)
			if quit || err != nil {
				return err
			}
			text = ""
		}
	}
}

// turn handles one message or command.
func (c *conversation) turn(ctx context.Context, text string) (quit bool, err error) {
	verb, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch {
	case verb == "":
		return false, nil
	case verb == "/quit" || verb == "/exit":
		return true, nil
	case verb == "/reset":
		c.reset()
		return false, nil
	case verb == "/system":
		c.system = strings.TrimSpace(rest)
		c.reset()
		return false, nil
	case verb == "/undo" || verb == "/retry":
		n := len(c.messages)
		if n < 2 || c.messages[n-1].Role != "assistant" {
			fmt.Fprintln(c.err, "nothing to take back")
			return false, nil
		}
		last := c.messages[n-2]
		c.messages = c.messages[:n-2]
		if verb == "/undo" {
			return false, nil
		}
		return false, c.say(ctx, last.Content)
	case strings.HasPrefix(verb, "/"):
		fmt.Fprint(c.err, chatHelp)
		return false, nil
	}
	return false, c.say(ctx, text)
}

// say sends a message and streams the answer.
func (c *conversation) say(ctx context.Context, text string) error {
	enc, err := c.l.encoder()
	if err != nil {
		return err
	}
	p := dataset.Prompt{Prompt: dataset.Passage{Text: text}}
	if c.l.Template != nil {
		c.messages = append(c.messages, chat.Message{Role: "user", Content: text})
		p.Prompt = dataset.Passage{Messages: c.messages}
	}
	ids, err := enc.Prompt(p)
	if err != nil {
		return err
	}
	if room := c.l.Model.MaxPositions; room > 0 && len(ids)+c.opt.MaxNew > room {
		c.warn("the conversation and the answer may take %d tokens; the model was trained for %d. /reset begins anew", len(ids)+c.opt.MaxNew, room)
	}
	opt := c.opt
	stream := c.l.Tokenizer.NewStream(true)
	if c.l.Template == nil { // The text goes on: what begins it depends on what is there.
		for _, id := range ids {
			stream.Next(id)
		}
	}
	opt.Token = func(_ int, id int32, _ float32) { io.WriteString(c.out, stream.Next(id)) }
	done, err := rollout.Generate(ctx, c.l.Model, []*peft.Adapter{c.l.Adapter}, []rollout.Request{{Prompt: ids, Episode: c.draws}}, opt)
	c.draws++
	fmt.Fprintln(c.out, stream.Rest())
	if err != nil {
		return err
	}
	if c.l.Template != nil {
		c.messages = append(c.messages, chat.Message{Role: "assistant", Content: strings.TrimSpace(c.l.Tokenizer.Decode(done[0].IDs, true))})
	}
	if done[0].Stop == rollout.StopLength {
		c.note("%s", c.errTheme.Dim.Render(fmt.Sprintf("(cut at %d tokens; --max-new allows more)", opt.MaxNew)))
	}
	return nil
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
