package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/config"
	"plumb/internal/ui"
)

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write, show and explain recipes",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usagef("unknown verb \"config %s\"%s", args[0], didYouMean(config.Nearest(args[0], verbs(cmd))))
		},
	}
	cmd.AddCommand(a.configInitCmd(), a.configShowCmd(), a.configExplainCmd(), a.configSchemaCmd())
	return cmd
}

func (a *app) configInitCmd() *cobra.Command {
	var out, name string
	cmd := &cobra.Command{
		Use:   "init [SECTION ...]",
		Short: "Print a recipe with every default and what it means",
		Long: `Prints a recipe with every default and what it means. With --preset the settings of a
published training take the place of the defaults: guanaco is QLoRA's for models of 7 and
13 billion parameters, guanaco-33b for 33 and 65 (Dettmers et al. 2023), both sft alone
unless sections are named.`,
		Example: `  plumb config init sft reward ppo > recipe.yaml
  plumb config init --out recipe.yaml
  plumb config init --preset guanaco > guanaco.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, sections []string) error {
			r, err := preset(name)
			if err != nil {
				return err
			}
			if name != "" && len(sections) == 0 {
				sections = []string{"sft"}
			}
			data, err := config.Init(r, docs(), sections...)
			if err != nil {
				return usageError{err}
			}
			if out == "" {
				_, err = a.out.Write(data)
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			if _, err := f.Write(data); err != nil {
				f.Close()
				return err
			}
			return f.Close()
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this file, which must not exist, instead of stdout")
	cmd.Flags().StringVar(&name, "preset", "", "settings of a published training: "+strings.Join(presetNames(), ", "))
	return cmd
}

func (a *app) configShowCmd() *cobra.Command {
	var o recipeFlags
	cmd := &cobra.Command{
		Use:   "show RECIPE",
		Short: "Print a recipe as resolved, with the place each value came from",
		Long:  "Prints the recipe with defaults, variables and flags worked in. The output is itself a valid\nrecipe; comments say where values that are no defaults came from.",
		Args:  args("one RECIPE", 1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, r, err := a.loadRecipe(args[0], o)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r.JSON(""))
			}
			data, err := r.Show()
			if err != nil {
				return err
			}
			_, err = a.out.Write(data)
			return err
		},
	}
	o.register(cmd)
	return cmd
}

func (a *app) configExplainCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "explain [KEY]",
		Short:   "Say what a key means, its type and default; without KEY, list all",
		Example: "  plumb config explain ppo.kl.coef",
		Args:    args("at most one KEY", 0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listKeys()
			}
			e, err := config.Explain(recipeDefaults(), args[0], docs())
			if err != nil {
				return usageError{err}
			}
			if a.json {
				return a.printJSON(e)
			}
			a.printEntry(e)
			return nil
		},
	}
}

func (a *app) listKeys() error {
	entries := config.Entries(recipeDefaults(), docs())
	if a.json {
		return a.printJSON(entries)
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		doc, _, _ := strings.Cut(e.Doc, ". ")
		rows[i] = []string{e.Key, e.Default, strings.TrimSuffix(doc, ".")}
	}
	return ui.Table(a.out, a.theme, []string{"key", "default", ""}, rows)
}

func (a *app) printEntry(e config.Entry) {
	t := a.theme
	fmt.Fprintf(a.out, "%s  %s\n", t.Title.Render(e.Key), t.Dim.Render(e.Type))
	if e.Doc != "" {
		fmt.Fprintln(a.out, wrapText(e.Doc, 90, "  "))
	}
	if e.Default != "" {
		fmt.Fprintf(a.out, "  default   %s\n", e.Default)
	}
	if e.Flag != "" {
		fmt.Fprintf(a.out, "  flag      %s\n  variable  %s\n", e.Flag, e.Variable)
	}
	for i, k := range e.Keys {
		label := "        "
		if i == 0 {
			label = "keys    "
		}
		fmt.Fprintf(a.out, "  %s  %s\n", label, k)
	}
}

func (a *app) configSchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of recipes, for editors",
		Args:  args("no arguments", 0, 0),
		RunE: func(*cobra.Command, []string) error {
			data, err := config.Schema(recipeDefaults(), docs())
			if err != nil {
				return err
			}
			_, err = a.out.Write(data)
			return err
		},
	}
}

// wrapText breaks text into lines of at most width columns, each after indent.
func wrapText(text string, width int, indent string) string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, indent+line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	return strings.Join(append(lines, indent+line), "\n")
}
