package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed lists, for each package of the module, the packages of the module it may import. A package that is missing here
// fails: its place has to be decided first. cmd/plumb wires everything and may import anything.
var allowed = map[string][]string{
	// The machine, from the bottom up.
	"internal/arch":       {},
	"internal/golden":     {},
	"internal/pgserver":   {"internal/golden"},
	"internal/pgurl":      {},
	"internal/smalldisk":  {},
	"internal/rng":        {},
	"internal/kernels":    {},
	"internal/tokenizer":  {},
	"internal/chat":       {},
	"internal/checkpoint": {},
	"internal/objective":  {},
	"internal/run":        {},
	"internal/ui":         {},
	"internal/config":     {},
	"internal/optim":      {"internal/kernels"},
	"internal/tensor":     {"internal/kernels"},
	"internal/peft":       {"internal/kernels", "internal/optim", "internal/tensor", "internal/checkpoint", "internal/rng"},
	"internal/model":      {"internal/kernels", "internal/tensor", "internal/peft", "internal/rng"},
	"internal/rollout":    {"internal/kernels", "internal/tensor", "internal/peft", "internal/model", "internal/rng"},
	"internal/dataset":    {"internal/tokenizer", "internal/chat", "internal/rng"},
	"internal/tales":      {"internal/rng"},
	"internal/stats":      {"internal/rng"},
	"internal/report":     {},

	"internal/plan":  {"internal/kernels", "internal/tensor", "internal/peft", "internal/model", "internal/rollout", "internal/objective", "internal/optim"},
	"internal/pairs": {"internal/kernels", "internal/tensor", "internal/peft", "internal/model", "internal/rollout", "internal/rng", "internal/stats"},

	// The stages: each on the machine, none on another.
	"sft":      append([]string{}, trainer...),
	"reward":   append([]string{"internal/pgurl", "internal/rollout"}, trainer...),
	"ppo":      append([]string{"internal/rollout", "internal/ui"}, trainer...),
	"eval":     append([]string{"internal/rollout", "internal/ui"}, trainer...),
	"labeling": {"internal/pgurl", "internal/rng", "internal/stats", "internal/ui"},
}

// trainer is what a stage that runs a model stands on.
var trainer = []string{
	"internal/dataset", "internal/tokenizer", "internal/chat", "internal/checkpoint", "internal/model", "internal/peft",
	"internal/tensor", "internal/kernels", "internal/objective", "internal/optim", "internal/run", "internal/rng", "internal/stats", "internal/report",
}

// confined lists the packages that may import a library (by path prefix), or the pseudo packages C and unsafe.
var confined = map[string][]string{
	"github.com/spf13/viper":           {"internal/config"},
	"github.com/charmbracelet/":        {"labeling", "internal/ui"},
	"gorgonia.org/":                    {"internal/objective"},
	"modernc.org/sqlite":               {"labeling"},
	"github.com/pressly/goose":         {"labeling"},
	"golang.org/x/crypto":              {"labeling"},
	"github.com/parquet-go/parquet-go": {"internal/dataset"},
	"gonum.org/v1/plot":                {"internal/report"},
	"C":                                {"internal/kernels"},
	"unsafe":                           {"internal/kernels", "internal/tensor", "internal/checkpoint"},
	"math/rand":                        {},
	"google.golang.org/protobuf":       {"internal/run"},
	"github.com/dlclark/regexp2":       {"internal/tokenizer"},
	"github.com/go-viper/mapstructure": {"internal/config"},
	"go.yaml.in/yaml":                  {"internal/config"},
	"gonum.org/v1/gonum/blas":          {"internal/kernels"},
	"github.com/spf13/cobra":           {"cmd/plumb"},
	"github.com/rogpeppe/go-internal":  {},
	"plumb/internal/golden":            {"internal/pgserver"},
	"plumb/internal/pgserver":          {},
	"plumb/internal/smalldisk":         {},
	"github.com/jackc/pgx":             {"labeling"},
	"net/http":                         {"internal/checkpoint"},
	"github.com/klauspost/compress":    {"internal/dataset", "internal/run", "ppo", "labeling"},
}

type source struct {
	pkg, file string
	imports   []string
}

// sources parses the files itself instead of asking the go command, so that the test cache sees a changed import.
func sources(t *testing.T) []source {
	root := filepath.Join("..", "..")
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "runs" || name == "tools" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		s := source{pkg: filepath.ToSlash(dir), file: path}
		for _, im := range f.Imports {
			p, _ := strconv.Unquote(im.Path.Value)
			s.imports = append(s.imports, p)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImportsPointDownwards(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg == "." {
			continue
		}
		may, known := allowed[s.pkg]
		if !known && s.pkg != "cmd/plumb" {
			t.Errorf("%s: package %s has no place in the import table yet", s.file, s.pkg)
			continue
		}
		for _, im := range s.imports {
			p, ours := strings.CutPrefix(im, "plumb/")
			if ours && s.pkg != "cmd/plumb" && !slices.Contains(may, p) {
				t.Errorf("%s: %s must not import %s", s.file, s.pkg, p)
			}
		}
	}
}

func TestLibrariesAreConfined(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg == "." {
			continue
		}
		for _, im := range s.imports {
			for lib, where := range confined {
				if (im == lib || strings.HasPrefix(im, lib)) && !slices.Contains(where, s.pkg) {
					t.Errorf("%s: %s must not import %s (only %v may)", s.file, s.pkg, im, where)
				}
			}
		}
	}
}

// The table itself points downwards: no package reaches itself.
func TestTableHasNoCycle(t *testing.T) {
	const onPath, done = 1, 2
	state := map[string]int{}
	var visit func(string)
	visit = func(p string) {
		switch state[p] {
		case onPath:
			t.Fatalf("%s reaches itself", p)
		case done:
			return
		}
		state[p] = onPath
		for _, q := range allowed[p] {
			if _, ok := allowed[q]; !ok {
				t.Errorf("%s may import %s, which is not in the table", p, q)
			}
			visit(q)
		}
		state[p] = done
	}
	for p := range allowed {
		visit(p)
	}
}

func TestStagesDoNotImportEachOther(t *testing.T) {
	stages := []string{"sft", "reward", "ppo", "eval", "labeling"}
	for _, a := range stages {
		for _, b := range stages {
			if slices.Contains(allowed[a], b) {
				t.Errorf("%s may import %s", a, b)
			}
		}
	}
}
