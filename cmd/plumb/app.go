package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plumb/internal/config"
	"plumb/internal/kernels"
	"plumb/internal/ui"
)

// app is what every verb shares: streams, the global flags, the thread pool.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time // of the progress that is shown

	json    bool
	quiet   bool
	threads int
	runs    string // folder of run folders
	offline bool
	judged  bool // the labeling screen was open

	profileDir string
	profiler   *profiler // nil where --profile is not given

	theme    ui.Theme // of out
	errTheme ui.Theme // of err
	progress *ui.Progress
	pool     func() *kernels.Pool
	ceiling  func() float64 // GFLOP/s
}

// plumb runs one command line and returns the exit code.
func plumb(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut, now: time.Now}
	return a.execute(ctx, args)
}

// execute runs a command line and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	a.pool, a.ceiling = sync.OnceValue(a.newPool), sync.OnceValue(a.findCeiling)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if perr := a.stopProfile(); err == nil {
		err = perr
	}
	if a.progress != nil { // nil where the command line could not be read
		a.progress.Done()
	}
	code := exitCode(ctx, err)
	switch {
	case err == nil:
	case code == exitInterrupted:
		fmt.Fprintln(a.err, "plumb: interrupted")
	default:
		fmt.Fprintf(a.err, "plumb: %s\n", describe(err))
		if code == exitUsage && cmd != nil && cmd != root {
			fmt.Fprintf(a.err, "See \"%s --help\".\n", cmd.CommandPath())
		}
	}
	return code
}

// newPool makes the pool that everything computes on.
func (a *app) newPool() *kernels.Pool {
	if len(kernels.Available()) == 1 {
		a.note("no fast kernels in this build or for this processor: everything works, slower")
	}
	p := kernels.NewPool(a.threads)
	if a.profiler != nil {
		p.Profile()
	}
	return p
}

// describe puts several errors on lines of their own.
func describe(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "\n  ")
}

// mayCompute tells a verb from help and completion, and from doctor, which lists wrong kernels among its findings.
func mayCompute(cmd *cobra.Command) bool {
	for c := cmd; c.HasParent(); c = c.Parent() {
		if slices.Contains([]string{"doctor", "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, c.Name()) {
			return false
		}
	}
	return cmd.HasParent()
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "plumb",
		Short:         "Turn a pretrained language model into an aligned one",
		Long:          "plumb turns a pretrained language model into an aligned one: instruction tuning, preference\nlabels, a reward model, PPO, and an evaluation one can believe.",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := kernels.Err(); err != nil && mayCompute(cmd) {
				return err
			}
			return a.start()
		},
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return usagef("unknown verb %q%s; \"plumb --help\" lists them", args[0], didYouMean(config.Nearest(args[0], verbs(cmd))))
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("plumb {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print results as JSON")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no notes, only results and errors")
	f.IntVar(&a.threads, "threads", 0, "threads of arithmetic, 0 for all cores; results do not depend on it")
	f.StringVar(&a.runs, "runs", "runs", "folder of the run folders")
	f.StringVar(&a.profileDir, "profile", "", "folder for a profile of this command: cpu.pprof, heap.pprof, operations.txt and .json")
	f.BoolVar(&a.offline, "offline", false, "never use the network; what was downloaded before is still found")
	root.AddGroup(
		&cobra.Group{ID: "pipeline", Title: "Pipeline (each takes a recipe):"},
		&cobra.Group{ID: "models", Title: "Models:"},
		&cobra.Group{ID: "look", Title: "Look and check:"},
	)
	a.addVerbs(root)
	return root
}

// addVerbs is the list of verbs; each has a file of its name.
func (a *app) addVerbs(root *cobra.Command) {
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("pipeline", a.runCmd(), a.sftCmd(), a.pairsCmd(), a.labelCmd(), a.rewardCmd(), a.ppoCmd(), a.evalCmd(), a.exportCmd())
	add("models", a.chatCmd(), a.generateCmd(), a.scoreCmd(), a.tokenizeCmd())
	add("look", a.runsCmd(), a.inspectCmd(), a.planCmd(), a.dataCmd(), a.configCmd(), a.doctorCmd())
	root.AddCommand(a.talesCmd())
}

// start checks the global flags, once they are parsed.
func (a *app) start() error {
	if a.threads < 0 {
		return usagef("--threads %d: want 0 (all cores) or more", a.threads)
	}
	a.theme = ui.NewTheme(a.out, os.Getenv)
	a.errTheme = ui.NewTheme(a.err, os.Getenv)
	a.progress = ui.NewProgress(a.err, a.errTheme, a.quiet, a.now)
	return a.startProfile()
}

// note tells a person something on stderr, unless --quiet.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		a.progress.Printf(format, args...)
	}
}

// warn is note, also with --quiet.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "plumb: "+format+"\n", args...)
}

// printJSON writes one value to stdout, indented.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// flagError names the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			return usagef("unknown flag --%s%s", unknown.GetSpecifiedName(), didYouMean("--"+near))
		}
	}
	return usageError{err}
}

func verbs(root *cobra.Command) []string {
	var out []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			out = append(out, c.Name())
		}
	}
	return out
}

func didYouMean(name string) string {
	if name == "" || name == "--" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// args wants between least and most arguments, described by what; most < 0: no limit.
func args(what string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < least:
			return usagef("%s wants %s", cmd.CommandPath(), what)
		case most >= 0 && len(given) > most:
			extra, hint := given[most], ""
			if _, err := strconv.ParseBool(extra); err == nil {
				hint = " (a switch takes its value behind an equals sign: --NAME=" + extra + ")"
			}
			return usagef("%s wants %s; %q is too much%s", cmd.CommandPath(), what, extra, hint)
		}
		return nil
	}
}

// version is the module's version and the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := strings.Trim(info.Main.Version, "()")
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(v, s.Value[:min(12, len(s.Value))]) {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
