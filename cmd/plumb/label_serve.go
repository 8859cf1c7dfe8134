package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"plumb/labeling"
)

func (a *app) labelServeCmd() *cobra.Command {
	var lf labelFlags
	var so labeling.ServeOptions
	var addr string
	cmd := &cobra.Command{
		Use:   "serve --store FILE --ssh :2222 --keys FILE",
		Short: "Give the labeling screen to a team over SSH",
		Long: `Everyone whose public key stands in the file of keys (the form of OpenSSH's
authorized_keys, the name at the end of each line) gets the labeling screen with
ssh -p 2222 HOST, and nothing else: no shell, no command, no file, no forwarding. Two
people are not given the same item unless --overlap asks for it. The file is read anew
at each login. With the word administrator before it, a key's owner sees who does what,
live, by ssh -t -p 2222 HOST who. The host key is made at the first start and kept. plumb label works on
the same store beside it; plumb label who says who is at it. Ctrl-C ends the server and
loses nothing.`,
		Example: "  plumb label serve --store labels.db --ssh :2222 --keys team.keys --overlap 2 --overlap-share 0.2",
		Args:    args("no argument", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if so.Keys == "" {
				return usagef("name the file of public keys with --keys FILE: nobody else gets in")
			}
			if so.HostKey == "" {
				so.HostKey = lf.path + ".hostkey"
			}
			opt, err := lf.options(a)
			if err != nil {
				return err
			}
			so.Options, so.Log = opt, func(format string, args ...any) { a.note(format, args...) }
			return withStore(cmd.Context(), lf.path, false, func(store *labeling.Store) error {
				return a.serveLabels(cmd.Context(), store, addr, so)
			})
		},
	}
	lf.register(cmd)
	fs := cmd.Flags()
	for _, only := range []string{"annotator", "plain", "record"} { // these are the person's, not the server's
		if err := fs.MarkHidden(only); err != nil {
			panic("plumb: serve: no flag " + only)
		}
	}
	fs.StringVar(&addr, "ssh", ":2222", "address to listen at")
	fs.StringVar(&so.Keys, "keys", "", "file of public keys with their owners' names")
	fs.StringVar(&so.HostKey, "host-key", "", "file with the host key; by default STORE.hostkey")
	fs.IntVar(&so.MaxSessions, "people", 64, "people at a time")
	fs.IntVar(&so.PerMinute, "per-minute", 30, "connections a minute from one address")
	return cmd
}

// serveLabels serves until the context ends, with a signal: that is how a server ends well.
func (a *app) serveLabels(ctx context.Context, store *labeling.Store, addr string, so labeling.ServeOptions) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	so.Listener = l
	a.note("serving %s over SSH at %s; host key %s", store.Path(), l.Addr(), so.HostKey)
	if err := labeling.Serve(ctx, store, so); !errors.Is(err, context.Canceled) {
		return err
	}
	a.note("the server has ended; all labels are in %s", store.Path())
	return nil
}

func (a *app) labelWhoCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "who --store FILE",
		Short: "Who labels what just now, and how much",
		Args:  args("no argument", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), path, false, func(store *labeling.Store) error {
				now := time.Now()
				who, err := store.Presences(cmd.Context(), now)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(who)
				}
				items, decided, err := store.Count(cmd.Context())
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%d of %d items decided\n", decided, items)
				for _, p := range who {
					at := "not here"
					if p.Item > 0 {
						at = fmt.Sprintf("at item %d", p.Item)
					}
					last := "never"
					if !p.Last.IsZero() {
						last = now.Sub(p.Last).Round(time.Second).String() + " ago"
					}
					fmt.Fprintf(a.out, "  %-16s %-14s %6d judged, %d in 24 h, last %s\n", p.Annotator, at, p.Judged, p.Today, last)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the label store: a file, or postgres://USER@HOST/DATABASE")
	return cmd
}
