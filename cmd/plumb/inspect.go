package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"plumb/internal/checkpoint"
	"plumb/internal/run"
	"plumb/internal/ui"
)

func (a *app) inspectCmd() *cobra.Command {
	var tensors, metadata bool
	cmd := &cobra.Command{
		Use:   "inspect FILE|FOLDER",
		Short: "What lies in a weights file, a model or adapter folder",
		Long: `Lists the parameters, types and tensors of a model folder, an adapter folder, a
.safetensors or .gguf file, of any architecture, without reading the weights.
Of a run or stage folder: its model.`,
		Args: args("one file or folder", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := expandHome(args[0])
			if info, err := os.Stat(path); err == nil && info.IsDir() && (run.IsStage(path) || run.IsRun(path)) {
				p, err := a.locate(cmd.Context(), path)
				if err != nil {
					return err
				}
				if path = p.base; p.adapter != "" {
					path = p.adapter
				}
			}
			s, err := checkpoint.Inspect(path)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			return a.printSummary(s, tensors, metadata)
		},
	}
	cmd.Flags().BoolVar(&tensors, "tensors", false, "list every tensor")
	cmd.Flags().BoolVar(&metadata, "metadata", false, "print metadata and config too")
	return cmd
}

func (a *app) printSummary(s *checkpoint.Summary, tensors, metadata bool) error {
	t := a.theme
	fmt.Fprintln(a.out, t.Title.Render(s.Path))
	what := s.Format
	if s.Architecture != "" {
		what += ", " + s.Architecture
	}
	fmt.Fprintf(a.out, "%s  %s parameters  %s in %d tensors\n\n", what, ui.Count(float64(s.Parameters)), ui.Bytes(s.Bytes), len(s.Tensors))
	rows := make([][]string, len(s.Types))
	for i, ty := range s.Types {
		rows[i] = []string{string(ty.DType), strconv.Itoa(ty.Tensors), strconv.FormatInt(ty.Elements, 10), ui.Bytes(ty.Bytes)}
	}
	if err := ui.Table(a.out, t, []string{"type", "tensors", "elements", "size"}, rows); err != nil {
		return err
	}
	if tensors {
		fmt.Fprintln(a.out)
		rows = make([][]string, len(s.Tensors))
		for i, x := range s.Tensors {
			rows[i] = []string{x.Name, string(x.DType), shape(x.Shape), ui.Bytes(x.Bytes), x.File}
		}
		if err := ui.Table(a.out, t, []string{"tensor", "type", "shape", "size", "file"}, rows); err != nil {
			return err
		}
	}
	if !metadata {
		return nil
	}
	keys := make([]string, 0, len(s.Metadata))
	for k := range s.Metadata {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		fmt.Fprintf(a.out, "%s: %v\n", k, s.Metadata[k])
	}
	if s.Config != nil {
		var b bytes.Buffer
		if err := json.Indent(&b, s.Config, "", "  "); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s\n", b.Bytes())
	}
	return nil
}

// shape writes [576,1536] as 576 × 1536.
func shape(dims []int) string {
	if len(dims) == 0 {
		return "scalar"
	}
	parts := make([]string, len(dims))
	for i, d := range dims {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, " × ")
}
